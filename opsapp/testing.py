"""Testing: fixtures for the tests of an application on opsapp, which pytest loads by itself.

``ops_app`` is the application on a database of its own, ``ops_cli`` runs a command in
process, and ``ops_unit`` makes a unit of work for a service. The tutorial has a chapter
on them (docs/building-on-opsapp.md#testing-it).
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flask import Flask

    from .unit.work import Unit

OPTION = "--ops-database-url"
CHEAP = {"argon2__time_cost": 1, "argon2__memory_cost": 64, "argon2__parallelism": 1}

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Result:
    """The end of a command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The answer of a command with ``--format json``."""
        return json.loads(self.stdout)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option with the server of the databases."""
    help = "PostgreSQL database next to which ops_app has a database for each test (not SQLite)"
    parser.getgroup("opsapp").addoption(OPTION, metavar="URL", help=help)


# --- fixtures ----------------------------------------------------------------


@pytest.fixture(scope="session")
def ops_create_app() -> Callable[[], Flask]:
    """Return the factory of the application: that of ``FLASK_APP``. Override it for another."""
    from flask.cli import ScriptInfo

    path = os.environ.get("FLASK_APP")
    return lambda: ScriptInfo(app_import_path=path, set_debug_flag=False).load_app()


@pytest.fixture(scope="session")
def ops_template(
    ops_create_app: Callable[[], Flask],
    tmp_path_factory: pytest.TempPathFactory,
    pytestconfig: pytest.Config,
) -> Iterator[Template]:
    """Yield the database that each test begins with a copy of: ``flask db init`` made it.

    Override it to begin with more: run commands with :meth:`Template.run`.
    """
    template = Template(tmp_path_factory.mktemp("ops") / "instance", pytestconfig.getoption(OPTION))
    with cheap_hashes():
        template.create()
        try:
            template.run(ops_create_app, "db", "init")
            yield template
        finally:
            template.drop()


@pytest.fixture
def ops_app(
    ops_create_app: Callable[[], Flask],
    ops_template: Template,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Flask]:
    """Yield the application on a database of this test. Push its context for services."""
    with ops_template.copy(tmp_path / "instance") as database:
        database.use(monkeypatch)
        app = _new_app(ops_create_app)
        app.testing = True
        try:
            yield app
        finally:
            _close(app)


@pytest.fixture
def ops_cli(ops_app: Flask) -> Callable[..., Result]:
    """Return a function that runs a command: ``ops_cli("users", "list", "--format", "json")``.

    It runs in process and without a terminal, with ``stdin`` as input. A word may be a path
    or a number.
    """
    return lambda *words, stdin=None: _run(ops_app, tuple(map(str, words)), stdin)


@pytest.fixture
def ops_unit(ops_app: Flask) -> Callable[..., Unit]:
    """Return a function that makes a unit of work: ``users.create(…, unit=ops_unit())``."""
    from .actors import Actor
    from .unit.work import Unit

    actor = Actor(kind="os", name="test", host="localhost", terminal="none")
    return lambda **options: Unit(actor=actor, door="cli", **options)


# --- databases ---------------------------------------------------------------


class Template:
    """A database with its instance folder, of which tests get copies.

    :param instance: the folder, which need not exist yet.
    :param server: the URL of a PostgreSQL database, next to which others are created.
    """

    def __init__(self, instance: Path, server: str | None) -> None:
        self.instance = instance
        self.server = server
        self.name = f"opsapp_test_{os.getpid()}_{next(_numbers)}"

    @property
    def url(self) -> str:
        """The URL of the database."""
        if self.server is None:
            return f"sqlite:///{self.instance}/opsapp.sqlite"
        from sqlalchemy.engine import make_url

        return make_url(self.server).set(database=self.name).render_as_string(False)

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Let applications that are made from now on find this database and no other."""
        from .settings import SETTINGS

        for setting in SETTINGS:
            patch.delenv(setting.name, raising=False)
            patch.delenv(f"{setting.name}_FILE", raising=False)
        patch.setenv("OPSAPP_INSTANCE", str(self.instance))
        patch.setenv("OPSAPP_DATABASE_URL", self.url)
        patch.setenv("OPSAPP_PROFILING", "off")
        patch.setenv("FLASK_SKIP_DOTENV", "1")

    def run(self, create_app: Callable[[], Flask], *words: str, stdin: str | None = None) -> Result:
        """Run a command on this database.

        :raises AssertionError: it failed.
        """
        with pytest.MonkeyPatch.context() as patch:
            self.use(patch)
            app = _new_app(create_app)
            result = _run(app, words, stdin)
            _close(app)
        assert not result.exit_code, f"flask {' '.join(words)}: {result.stderr}"
        return result

    @contextmanager
    def copy(self, instance: Path) -> Iterator[Template]:
        """Yield a copy of this database, which is dropped at the end."""
        shutil.copytree(self.instance, instance)
        copy = Template(instance, self.server)
        copy.create(like=self.name)
        try:
            yield copy
        finally:
            copy.drop()

    def create(self, like: str = "template1") -> None:
        """Create the folder, and the database of a server as a copy of another."""
        self.instance.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._on_server(f"CREATE DATABASE {self.name} TEMPLATE {like} STRATEGY FILE_COPY")

    def drop(self) -> None:
        """Drop the database of a server."""
        self._on_server(f"DROP DATABASE {self.name} WITH (FORCE)")

    def _on_server(self, statement: str) -> None:
        if self.server is not None:
            import psycopg

            with psycopg.connect(self.server, autocommit=True) as connection:
                connection.execute(statement)


def _new_app(create_app: Callable[[], Flask]) -> Flask:
    """Return a new application; one that is not built on opsapp fails the test in a line."""
    from .state import is_built_on

    app = create_app()
    if not is_built_on(app):
        words = "is not built on opsapp: the fixtures ops_… are for applications that are"
        pytest.fail(f"{app.name} {words}", pytrace=False)
    return app


def _close(app: Flask) -> None:
    from .extensions import db

    with app.app_context():
        for engine in db.engines.values():
            engine.dispose()


# --- commands ----------------------------------------------------------------


def _run(app: Flask, words: tuple[str, ...], stdin: str | None) -> Result:
    from click.testing import CliRunner
    from flask.cli import ScriptInfo, cli

    # Click 8.1 mixes stderr into stdout unless told; later versions keep them apart.
    options: Any = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
    info = ScriptInfo(create_app=lambda: app, set_debug_flag=False)
    result = CliRunner(**options).invoke(cli, words, input=stdin, prog_name="flask", obj=info)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


@contextmanager
def cheap_hashes() -> Iterator[None]:
    """Let hashes of passwords cost next to nothing in this process."""
    from .settings import config

    settings = config.flask_settings

    def cheap_settings() -> dict[str, object]:
        return {**settings(), "SECURITY_PASSWORD_HASH_PASSLIB_OPTIONS": CHEAP}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config, "flask_settings", cheap_settings)
        yield
