"""The parts every test stands on: two databases, the commands, real processes."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

import opsapp
from opsapp.ops.seal import Sealer
from opsapp.settings import SETTINGS, config
from opsapp.testing import cheap_hashes
from tests.support import Cli, Database, close_connections, in_process, parts
from tests.support.postgres import running_postgres
from tests.support.templates import ADA, BOB, Commands, Templates

# Started in the background by a script, or under nohup, everything below would inherit deaf ears.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# --- what runs ---------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    parts.deselect(config, items)


# --- databases ---------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of this test process, without a database name."""
    if started := os.environ.get("OPSAPP_TESTS_POSTGRES"):
        yield started
        return
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of database; a test that takes it, or what stands on it, runs on both."""
    return str(request.param)


@pytest.fixture(scope="session")
def sqlite_templates(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """The SQLite databases that tests begin with."""
    return Templates(tmp_path_factory.mktemp("sqlite"))


@pytest.fixture(scope="session")
def postgresql_templates(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """The PostgreSQL databases that tests begin with."""
    return Templates(tmp_path_factory.mktemp("postgresql"), postgres)


@pytest.fixture
def templates(kind: str, request: pytest.FixtureRequest) -> Templates:
    """The databases that tests begin with, of the test's kind."""
    name = "sqlite_templates" if kind == "sqlite" else "postgresql_templates"
    found: Templates = request.getfixturevalue(name)
    return found


@pytest.fixture
def empty_database(templates: Templates, tmp_path: Path) -> Iterator[Database]:
    """A database that is not initialised yet."""
    with templates.empty(tmp_path / "instance") as database:
        yield database


@pytest.fixture
def database(
    templates: Templates, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Database]:
    """A database that is initialised.

    A fixture or test that takes one named ``after_…`` finds its commands done. The longest
    has them all, because each begins with those of what it stands on.
    """
    asked = [name for name in request.fixturenames if name.startswith("after_")]
    commands = max(map(request.getfixturevalue, asked), key=len, default=())
    with templates.copy(tmp_path / "instance", commands) as database:
        yield database


@pytest.fixture
def sqlite_only(request: pytest.FixtureRequest, kind: str) -> None:
    """For a test of what only SQLite has."""
    if kind != "sqlite":
        pytest.skip("speaks of SQLite files")


# --- commands ----------------------------------------------------------------


@pytest.fixture
def cli(database: Database, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """``cli("users", "list")`` runs the command in this process, without a terminal."""
    return in_process(database, monkeypatch)


@pytest.fixture(autouse=True)
def _path_of_imports() -> Iterator[None]:
    """Flask adds the folder of each command to ``sys.path``; forked processes would search all."""
    before = sys.path.copy()
    yield
    sys.path[:] = before


# --- settings ----------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _no_settings_of_the_developer() -> Iterator[None]:
    names = {setting.name for setting in SETTINGS}
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.removesuffix("_FILE") in names:
                patch.delenv(name)
        yield


# --- hashes ------------------------------------------------------------------

_flask_settings = config.flask_settings


@pytest.fixture(scope="session", autouse=True)
def _cheap_hashes() -> Iterator[None]:
    """A hash costs nothing in this process; in those that a test starts it is as ever."""
    with cheap_hashes():
        yield


@pytest.fixture
def real_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a test of the hashes: those of production, here too."""
    monkeypatch.setattr(config, "flask_settings", _flask_settings)


# --- services ----------------------------------------------------------------


@pytest.fixture
def app(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The application with a context, for tests of services."""
    for name, value in database.environ.items():
        if name.startswith("OPSAPP_"):
            monkeypatch.setenv(name, value)
    app = opsapp.create_app()
    with app.app_context():
        yield app
    close_connections()


@pytest.fixture(autouse=True)
def _sealers_end(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The thread that seals an application's changes lives as long as its process; here, its test.

    Otherwise it takes the gate of the next test's database, a second later.
    """
    begun = []
    start = Sealer._start

    def _start(self: Sealer) -> None:
        begun.append(self)
        start(self)

    monkeypatch.setattr(Sealer, "_start", _start)
    yield
    for sealer in begun:
        sealer._app = lambda: None  # type: ignore[assignment,return-value]
        sealer._due.set()


# --- people ------------------------------------------------------------------


@pytest.fixture
def after_ada() -> Commands:
    return ADA


@pytest.fixture
def ada(database: Database, after_ada: Commands) -> str:
    """The address of the first administrator, id 1."""
    return "ada@example.com"


@pytest.fixture
def after_bob() -> Commands:
    return BOB


@pytest.fixture
def bob(database: Database, after_bob: Commands) -> str:
    """The address of an ordinary account without a password, id 2; Ada is there too."""
    return "bob@example.com"
