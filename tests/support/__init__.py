"""The vocabulary of the tests: an installation, its commands, and their actors."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from flask.cli import cli as flask_cli

import opsapp
from opsapp import migrations
from opsapp.actors import Actor
from opsapp.extensions import db
from opsapp.mail.outbox import take_kept, wait_for_thread
from opsapp.unit.work import Unit
from tests.support import canaries
from tests.support.canaries import PASSWORD as PASSWORD
from tests.support.canaries import SECRETS as SECRETS
from tests.support.forks import flask, forked

ROOT = Path(opsapp.__file__).resolve().parent.parent
CORE, ACCOUNTS = (migrations.our_branch(label).head or "" for label in ("core", "accounts"))
HEAD = f"{ACCOUNTS} {CORE}"
"""The newest revisions of the database, as they are shown."""
FLASK = str(Path(sys.executable).with_name("flask"))
# Click 8.1 mixes stderr into stdout unless told; later ones keep them apart.
APART: dict[str, Any] = (
    {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}
)


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
        """The environment of its processes, without the developer's own settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("OPSAPP_", "FLASK_"))}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)  # Each process would compile everything.
        return {
            **kept,
            "FLASK_APP": "opsapp",
            "FLASK_SKIP_DOTENV": "1",
            "OPSAPP_PROFILING": "off",  # Its own tests turn it on: it has threads, and writes.
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
        """Return the rows of a query."""
        with self.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]

    def execute(self, statement: str, **values: Any) -> None:
        """Change the database behind opsapp's back."""
        with self.connect() as connection:
            connection.execute(sa.text(statement), values)

    def failed_logins(self) -> int:
        """Return the number of consecutive failures that are counted, of all names."""
        return int(self.rows("SELECT coalesce(sum(count), 0) FROM ops_login_failures")[0][0])

    def lock_out(self, name: str) -> None:
        """Lock the account of this username or address, as ten failures do."""
        self.execute(
            "INSERT INTO ops_login_failures (key, user_id, count, failed_at, locked_until)"
            " SELECT 'locked', id, 10, '2026-01-01 00:00:00.000000', '2090-01-01 00:00:00.000000'"
            " FROM ops_users WHERE :name IN (username, email)",
            name=name,
        )


@dataclass(frozen=True)
class Result:
    """The end of a command."""

    exit_code: int
    stdout: str
    stderr: str

    def __post_init__(self) -> None:
        canaries.printed(f"{self.stdout}\0{self.stderr}")

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


def run(
    database: Database,
    *args: str,
    stdin: str | None = None,
    check: bool = False,
    begun: Callable[[int], None] = lambda pid: None,
    **environ: str,
) -> Result:
    """Run ``flask ARGS`` as a process, without a terminal; it begins where importing has ended.

    :param begun: is called with the id of the process, as :func:`forked` does.
    """
    done = forked(
        flask,
        *args,
        environ={**database.environ, **environ},
        folder=database.instance,
        stdin=stdin or "",
        begun=begun,
    )
    return _checked(args, Result(*done), check)


def run_afresh(
    database: Database,
    *args: str,
    stdin: str | None = None,
    check: bool = False,
    **environ: str,
) -> Result:
    """Run ``flask ARGS`` as an operator who types it does: from the start of Python on."""
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
    return _checked(args, Result(done.returncode, done.stdout, done.stderr), check)


def _checked(args: tuple[str, ...], done: Result, check: bool) -> Result:
    if check and done.exit_code:
        raise AssertionError(f"flask {' '.join(args)} → {done.exit_code}\n{done.stderr}")
    return done


Cli = Callable[..., Result]


def in_process(database: Database, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A function that runs a command against this database, in this process."""
    for name in [name for name in os.environ if name.startswith(("OPSAPP_", "FLASK_"))]:
        monkeypatch.delenv(name)
    for name, value in database.environ.items():
        if name.startswith(("OPSAPP_", "FLASK_")):
            monkeypatch.setenv(name, value)

    monkeypatch.chdir(database.instance)

    def call(
        *args: str, stdin: str | bytes | None = None, check: bool = False, **environ: str
    ) -> Result:
        runner = CliRunner(env=environ, **APART)
        take_kept()  # Mail of a test before is not the command's to send.
        gc.disable()  # An application that is collected before its connections warns of them.
        try:
            done = runner.invoke(flask_cli, args, input=stdin, prog_name="flask")
            close_connections()
        finally:
            gc.enable()
        if check and done.exit_code:
            raise AssertionError(f"flask {' '.join(args)} → {done.exit_code}\n{done.stderr}")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    return call


def call(
    database: Database,
    *args: str,
    stdin: str | None = None,
    check: bool = False,
    **environ: str,
) -> Result:
    """Run ``flask ARGS`` as :func:`run` does, in this process: for all but processes."""
    with pytest.MonkeyPatch.context() as patch:
        return in_process(database, patch)(*args, stdin=stdin, check=check, **environ)


def close_connections() -> None:
    """Close what the applications of this process have open: a test leaves nothing behind."""
    for app, engines in list(db._app_engines.items()):
        pools = [engine.pool for engine in engines.values()]
        if any(pool.checkedin() or pool.checkedout() for pool in pools):
            wait_for_thread(app)  # Its connection would be lost while it is in use.
        for engine in engines.values():
            if engine.pool.checkedin():  # Those of earlier tests are many, and closed.
                engine.dispose()


OPERATOR = Actor(kind="os", name="operator", host="here", terminal="none")


def a_unit(*, reason: str | None = None, dry_run: bool = False) -> Unit:
    """A unit of work of the command line."""
    return Unit(actor=OPERATOR, door="cli", reason=reason, dry_run=dry_run)


def administer(server: str, statement: str) -> None:
    """Do what no transaction may hold, such as making a database."""
    with psycopg.connect(server.format("postgres"), autocommit=True) as connection:
        connection.execute(statement)


def fields(stdout: str) -> dict[str, str]:
    """A record that was printed in plain format, by field."""
    return dict(line.split("\t", 1) for line in stdout.splitlines()[1:])


def disarm(database: Database) -> None:
    """Drop the triggers, as the owner of the tables can."""
    if database.is_sqlite:
        for verb in ("update", "delete"):
            database.execute(f"DROP TRIGGER IF EXISTS ops_audit_events_no_{verb}")
    else:
        database.execute("DROP TRIGGER IF EXISTS ops_audit_events_append_only ON ops_audit_events")


def move_core(database: Database, revision: str) -> None:
    """Have the database say that its core is at another revision."""
    database.execute(
        "UPDATE ops_alembic_version SET version_num = :revision WHERE version_num LIKE 'core%'",
        revision=revision,
    )


def expire_grants(database: Database) -> None:
    """Let the end of every grant that has one lie in the past."""
    database.execute(
        "UPDATE ops_grants SET valid_until = '2020-01-01 00:00:00.000000'"
        " WHERE valid_until IS NOT NULL"
    )
