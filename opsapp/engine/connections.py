"""Connections to the two databases: durable, bounded, named.

SQLite: WAL, ``synchronous=FULL``, foreign keys, five seconds of patience, and
``BEGIN IMMEDIATE`` for every writing unit, because a transaction that reads
first and writes later loses updates or fails at once in SQLite's other modes.
PostgreSQL: every wait has a bound, and the server shows who is connected.
"""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from contextvars import ContextVar
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from .. import libpq, settings, text
from ..errors import Busy, NotReady
from ..values.damage import tolerate_moments
from . import handles, holders, pooler
from .conditions import CREATE, LOCK_SECONDS, busy_error

BOOKKEEPING = "bookkeeping"
"""The bind with connections of its own: a request that holds one of the others, and needs
a second for a moment, must not wait for what other requests hold in the same situation."""
SANDBOX = "sandbox"
"""The execution option of an engine whose work is thrown away in the end."""
TURN_SECONDS = (0.001, 0.005)

application_name: ContextVar[str] = ContextVar("application_name", default="opsapp")
"""The name in ``pg_stat_activity``: the command and the actor."""

opening: ContextVar[bool] = ContextVar("opening", default=False)
"""True while opsapp opens a SQLite file; the console's audit hook asks."""


_SECRET_QUERY = frozenset({"password", "sslpassword", "passfile"})


def check_url(url: str, setting: str = "OPSAPP_DATABASE_URL") -> URL:
    """Return the database's URL, if opsapp can use it.

    :param setting: its name, for the message.
    :raises NotReady: it is no URL, not UTF-8, of another database, SQLite without a file, or
        PostgreSQL without its driver.
    """
    if not text.is_utf8(url):
        raise NotReady(f"{setting} is not UTF-8")
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise NotReady(f"{setting} is not a database URL", hint=_EXAMPLE) from error
    except ValueError as error:
        raise NotReady(f"{setting} has an invalid port", hint=_EXAMPLE) from error
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        kind = text.truncate(parsed.drivername)
        raise NotReady(f"{setting} is for {kind}", hint=_EXAMPLE)
    if parsed.drivername == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise NotReady(f"{setting} is in memory, which is lost when a command ends")
    if "@" in (parsed.database or "") and parsed.drivername != "sqlite":
        # Else what follows a slash in the password would be shown as the database's name.
        raise NotReady(f"{setting} has a password with / or @; write them as %2F and %40")
    if parsed.drivername != "sqlite":
        _import_driver()
        _refuse_parameters(parsed, setting)
    return parsed


def _import_driver() -> None:
    try:
        import_module("psycopg")
    except ImportError as error:
        raise NotReady(
            f"PostgreSQL needs psycopg, which cannot be imported: {error}",
            hint="pip install 'psycopg[binary]'",
        ) from error


def _refuse_parameters(url: URL, setting: str) -> None:
    libpq.refuse_unknown(libpq.keywords(url.query), setting)
    try:
        url.get_dialect()().create_connect_args(url)
    except ArgumentError as error:
        raise NotReady(f"{setting} cannot be used: {error}", hint=_EXAMPLE) from error


_EXAMPLE = "sqlite:////srv/opsapp.sqlite or postgresql://USER@HOST/NAME"


def shown_url(url: URL) -> str:
    """Return the URL without its secrets."""
    query = {name: "***" if name in _SECRET_QUERY else v for name, v in url.query.items()}
    return url.set(query=query).render_as_string(hide_password=True)


def is_without_secret(url: URL) -> bool:
    """Return whether the URL is safe to show: it has no password, and names no file of one."""
    return url.password is None and not _SECRET_QUERY & url.query.keys()


def keywords(url: URL) -> dict[str, str]:
    """Return the keywords of libpq for ``url``, password included; for libpq's programs."""
    _args, connecting = url.get_dialect()().create_connect_args(url)
    return {name: str(value) for name, value in connecting.items()}


def options(url: URL) -> dict[str, Any]:
    """Return the arguments of ``create_engine`` for ``url``."""
    # The parameters of a failed statement may hold a password hash.
    arguments: dict[str, Any] = {"hide_parameters": True, "pool_timeout": LOCK_SECONDS}
    if url.get_backend_name() == "postgresql":
        arguments["pool_pre_ping"] = True
        arguments["connect_args"] = libpq.additions(
            libpq.parameters(libpq.keywords(url.query)),
            lock_seconds=LOCK_SECONDS,
            statement_seconds=settings.get("OPSAPP_STATEMENT_TIMEOUT"),
        )
    return arguments


def connection_name(url: URL) -> str:
    """Return the name in ``pg_stat_activity`` of a connection to ``url`` that is opened now."""
    return libpq.application_name(
        libpq.parameters(libpq.keywords(url.query)).get("application_name"), application_name.get()
    )


def prepare(engine: sa.Engine) -> None:
    """Add the listeners that give ``engine`` the behaviour described above."""
    if engine.dialect.name == "sqlite":
        event.listen(engine, "do_connect", _open_sqlite)
        event.listen(engine, "connect", _set_pragmas)
        event.listen(engine, "begin", _begin_sqlite)
        handles.watch(engine)
    else:
        _name_connections(engine)
        # Before SQLAlchemy's own first look, which fails where text comes as bytes.
        event.listen(engine, "connect", _refuse_encoding, insert=True)
        pooler.watch(engine)
        holders.watch(engine)
        event.listen(engine, "connect", _settle)
        event.listen(engine, "connect", tolerate_moments)
        event.listen(engine, "begin", _begin_postgresql)
        # psycopg also logs the errors that it raises; stderr is not the place for them.
        logging.getLogger("psycopg").addHandler(_SILENT)


_SILENT = logging.NullHandler()
"""Added again, it is there once."""

_openers: WeakKeyDictionary[sa.Dialect, Callable[[], Any]] = WeakKeyDictionary()


def wait_for_reader(connection: sa.Connection) -> None:
    """Let this transaction be idle for as long as the reader of its rows takes.

    A pipe may be read slowly. Only a transaction that writes must not be idle.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


def redirect(engine: sa.Engine, opener: Callable[[], Any]) -> Callable[[], None]:
    """Let ``opener`` make the connections of ``engine`` from now on; the way back is returned.

    Those that are open and not in use are closed, there and on the way back.
    """
    # SQLAlchemy asks its listeners in the order they came, so those above ask here first.
    _openers[engine.dialect] = opener
    event.listen(engine, "do_connect", _run_opener)
    engine.dispose()

    def back() -> None:
        del _openers[engine.dialect]
        event.remove(engine, "do_connect", _run_opener)
        engine.dispose()

    return back


def _run_opener(dialect: sa.Dialect, *_connecting: Any) -> Any:
    opener = _openers.get(dialect)
    return opener() if opener else None


def sqlite_file(engine: sa.Engine) -> str:
    """Return the path of the SQLite database of ``engine``."""
    return _from_root(str(engine.url.database))


def _from_root(path: str) -> str:
    """Return the path with one slash in front: SQLite reads what follows two as a host."""
    return f"/{path.lstrip('/')}" if path.startswith("//") else path


def create_sqlite(path: str, *, wal: bool) -> None:
    """Make the database file if it is not there: readable by its owner.

    :param wal: put the file into WAL mode. That is a property of the file, so it is set once,
        here; call it under a lock.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        if wal:
            with closing(sqlite3.connect(path, timeout=LOCK_SECONDS)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
    except OSError as error:
        raise NotReady(f"the database file {path} cannot be created: {error.strerror}") from error
    except sqlite3.DatabaseError as error:
        raise NotReady(f"the database file {path} cannot be used: {error}") from error


def _open_sqlite(
    dialect: Any, _record: Any, args: list[Any], params: dict[str, Any]
) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = _run_opener(dialect)
    if connection is not None:
        return connection
    return open_sqlite(Path(args[0] if args else params["database"]))


def open_sqlite(path: Path, mode: str = "rw") -> sqlite3.Connection:
    """Return the driver's connection to a SQLite file that is there.

    :param mode: ``rw`` or ``ro``; never the mode that makes a file by reading it.
    :raises NotReady: there is no such file, or it cannot be opened.
    """
    # Asked first: once the opening has failed, another process may have made the file.
    was_there = path.exists()
    token = opening.set(True)
    try:
        return sqlite3.connect(
            f"file:{quote(_from_root(str(path)))}?mode={mode}",
            uri=True,
            timeout=LOCK_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.OperationalError as error:
        if not was_there:
            message = f"there is no database file {path}"
            raise NotReady(message, hint="flask db init") from error
        raise NotReady(f"the database file {path} cannot be opened: {error}") from error
    finally:
        opening.reset(token)


def _set_pragmas(connection: Any, _record: Any) -> None:
    for pragma in ("foreign_keys=ON", "recursive_triggers=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    # A text that is no UTF-8 would take down every row that is fetched with it.
    connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")


def _begin_sqlite(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if not options.get("writing", False):
        connection.exec_driver_sql("BEGIN")
        return
    patience = options.get("patience")
    deadline = time.monotonic() + (LOCK_SECONDS if patience is None else patience)
    try:
        _wait_for_turn(connection, deadline)
    except (DBAPIError, Busy) as error:
        # A short patience is for changes that may be left out, such as while this process writes.
        if patience is not None or not handles.is_stuck(error, sqlite_file(connection.engine)):
            raise
        handles.renew(connection)
        _wait_for_turn(connection, deadline)


def _wait_for_turn(connection: sa.Connection, deadline: float) -> None:
    driver: Any = connection.connection.dbapi_connection
    # SQLite would wait inside of C, where no signal is heard, and ever longer, so that a
    # process that keeps coming back wins over one that has waited.
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while not _has_begun(driver, deadline, sqlite_file(connection.engine)):
            time.sleep(random.uniform(*TURN_SECONDS))  # noqa: S311  (a lot, not a secret)
    finally:
        driver.execute(f"PRAGMA busy_timeout={LOCK_SECONDS * 1000}")


def _has_begun(driver: Any, deadline: float, file: str) -> bool:
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.Error as error:
        if not error.sqlite_errorname.startswith("SQLITE_BUSY"):
            # As SQLAlchemy raises the errors of its own statements, for those that expect them.
            raise DBAPIError.instance("BEGIN IMMEDIATE", None, error, sqlite3.Error) from error
        if time.monotonic() > deadline:
            raise busy_error(holders.writer(Path(file))) from error
        return False
    return True


def _begin_postgresql(connection: sa.Connection) -> None:
    patience = connection.get_execution_options().get("patience")
    if patience is not None:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(patience * 1000)}")


def _name_connections(engine: sa.Engine) -> None:
    def name(dialect: Any, _record: Any, _args: list[Any], params: dict[str, Any]) -> Any:
        if dialect in _openers:
            return _run_opener(dialect)
        params["application_name"] = connection_name(engine.url)
        return None

    event.listen(engine, "do_connect", name)


def _settle(connection: Any, _record: Any) -> None:
    # A pooler's session is not ours to keep settings in: each transaction sets them.
    if not pooler.is_behind(connection):
        libpq.settle(connection)


def _refuse_encoding(connection: Any, _record: Any) -> None:
    """Refuse a database that cannot hold every name, or does not know what its bytes mean.

    :raises NotReady: its encoding is not UTF-8.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):  # A pooler may not tell.
        name = text.safe(connection.info.dbname)
        raise NotReady(
            f"the database {name} has the encoding {encoding}, and UTF8 is needed",
            hint=f"make another: {CREATE}",
        )
