"""Read-only connections: the database refuses every write.

SQLite opens the file with ``mode=ro``. That alone leaves ``ATTACH``, which opens
the same file once more for writing, so an authorizer refuses that too.
PostgreSQL signs in as a role without write grants if
``OPSAPP_READONLY_DATABASE_URL`` names one. Otherwise, and on MySQL and MariaDB, a setting
stands in for it, which SQL can switch off, and which is called a speed bump.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from .. import libpq, settings, text
from ..engine import pooler
from ..engine.conditions import READ_ONLY
from ..engine.connections import (
    check_url,
    connection_name,
    open_sqlite,
    options,
    redirect,
    sqlite_file,
)
from ..errors import NotReady, Refused
from ..extensions import db
from . import sandbox

SETTING = "OPSAPP_READONLY_DATABASE_URL"
OPCODES = 100_000
"""The number of SQLite's steps between two checks for Ctrl-C."""

_MYSQL = frozenset({"mysql", "mariadb"})
_MYSQL_SETTING = (
    "SHOW SESSION VARIABLES WHERE Variable_name IN ('transaction_read_only', 'tx_read_only')"
)
"""MySQL has the first name, older MariaDB the second, and newer MariaDB both."""
_MYSQL_REFUSAL = 1792

_ATTACHING = (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH)


@dataclass(frozen=True, slots=True)
class Wall:
    """The protection of a read-only connection."""

    is_boundary: bool
    """False for a speed bump, which SQL can go around."""
    description: str


def enforce(engines: Mapping[str | None, sa.Engine]) -> Callable[[], None]:
    """Let these engines open read-only connections; return a function that ends that.

    :raises Refused: one of them could still write; nothing may be run then.
    """
    ways_back = [_open_read_only(engine) for engine in engines.values()]
    try:
        for engine in engines.values():
            _prove(engine)
    except BaseException:
        _go(ways_back)
        raise
    for engine in engines.values():
        engine.update_execution_options(**{READ_ONLY: other_modes()})
        ways_back.append(partial(engine.update_execution_options, **{READ_ONLY: None}))
    return partial(_go, ways_back)


def _open_read_only(engine: sa.Engine) -> Callable[[], None]:
    if engine.dialect.name not in _MYSQL:
        return redirect(engine, partial(connect, engine))
    # It is the application's engine, with its driver and arguments.
    event.listen(engine, "connect", _begin_read_only)
    engine.dispose()

    def back() -> None:
        event.remove(engine, "connect", _begin_read_only)
        engine.dispose()

    return back


def _begin_read_only(driver: Any, _record: object) -> None:
    with closing(driver.cursor()) as cursor:
        cursor.execute("SET SESSION TRANSACTION READ ONLY")


def _go(ways: list[Callable[[], None]]) -> None:
    for way in ways:
        way()


def _prove(engine: sa.Engine) -> None:
    """Try to write, on a connection as the session will get them."""
    connection: Any = engine.raw_connection()
    try:
        driver = connection.dbapi_connection
        if engine.dialect.name == "sqlite":
            # BEGIN IMMEDIATE is let through, a change is not.
            driver.execute("BEGIN")
            driver.execute("CREATE TABLE opsapp_probe (id)")
        elif _is_read_only(engine, driver):
            return
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith("SQLITE_READONLY"):
            return
        raise
    finally:
        connection.close()  # The pool rolls back.
    raise Refused(f"the database {engine.url.database} could still be written; nothing was run")


def _is_read_only(engine: sa.Engine, driver: Any) -> bool:
    # A trial would do harm: MySQL commits a CREATE TABLE at once.
    is_mysql = engine.dialect.name in _MYSQL
    statement = _MYSQL_SETTING if is_mysql else "SHOW transaction_read_only"
    with closing(driver.cursor()) as cursor:
        cursor.execute(statement)
        return str(cursor.fetchone()[-1]).lower() == "on"


def connect(engine: sa.Engine) -> Any:
    """Return a driver's connection to the database of ``engine`` that cannot write.

    :raises NotReady: there is no such file, or the read-only URL is not usable.
    """
    return _open_sqlite(engine) if engine.dialect.name == "sqlite" else _open_server(engine)


def other_modes() -> str:
    """Return the commands for the modes in which this database can be changed."""
    return "flask shell --sandbox, or --write" if sandbox.is_possible() else "flask shell --write"


def is_refused_write(error: DBAPIError) -> bool:
    """Return whether the database refused a write of a read-only session."""
    if getattr(error.orig, "args", ())[:1] == (_MYSQL_REFUSAL,):
        return True
    name = getattr(error.orig, "sqlite_errorname", "") or getattr(error.orig, "sqlstate", "")
    return str(name).startswith(("SQLITE_READONLY", "25006", "42501"))


def wall(engine: sa.Engine) -> Wall:
    """Return the protection of the read-only connections of ``engine``."""
    if engine.dialect.name == "sqlite":
        return Wall(True, "SQLite opened the file read-only")
    if engine.dialect.name in _MYSQL:
        return Wall(False, "a setting that SQL can undo")
    refuse_other_database(engine)
    connection = connect(engine)
    try:
        role, may_write = connection.execute(_RIGHTS).fetchone()
    finally:
        connection.close()
    if may_write:
        return Wall(False, f"a setting that SQL can undo: the role {role} may write")
    return Wall(True, f"the role {role} may not write")


def refuse_other_database(engine: sa.Engine) -> None:
    """Refuse a read-only URL that leads elsewhere; a replica has the same chain.

    :raises NotReady: it has another chain, or its role may not look.
    """
    if engine.dialect.name == "sqlite" or settings.get(SETTING) is None:
        return
    if db.our_engine.url != engine.url:
        return  # The chain is elsewhere, and nothing else tells databases apart.
    chain = "SELECT chain FROM ops_audit_head"
    with engine.connect() as application:
        here = application.exec_driver_sql(chain).scalar()
    connection = connect(engine)
    try:
        row = connection.execute(chain).fetchone()
    except Exception as error:
        reason = text.first_line(error)
        raise NotReady(f"the role of {SETTING} cannot read the database: {reason}") from error
    finally:
        connection.close()
    if row is None or row[0] != here:
        raise NotReady(f"{SETTING} points to a different database than OPSAPP_DATABASE_URL")


_RIGHTS = """
SELECT current_user, rolsuper OR EXISTS (
  SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname <> 'information_schema'
  AND n.nspname NOT LIKE 'pg\\_%'
  AND (pg_has_role(c.relowner, 'MEMBER') OR has_any_column_privilege(c.oid, 'INSERT, UPDATE')
       OR has_table_privilege(c.oid, 'DELETE, TRUNCATE')))
FROM pg_roles WHERE rolname = current_user
"""

# --- SQLite ------------------------------------------------------------------


def _open_sqlite(engine: sa.Engine) -> sqlite3.Connection:
    connection = open_sqlite(Path(sqlite_file(engine)), "ro")
    connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    connection.set_authorizer(_refuse_other_files)
    connection.set_progress_handler(hear_signals, OPCODES)
    return connection


def _refuse_other_files(action: int, *_about: str | None) -> int:
    return sqlite3.SQLITE_DENY if action in _ATTACHING else sqlite3.SQLITE_OK


def hear_signals() -> int:
    """Let Python run the handler of a signal that came while SQLite works."""
    # Being called is the point: an error of a signal's handler, raised here, ends the statement.
    return 0


# --- PostgreSQL --------------------------------------------------------------


def server_url(engine: sa.Engine) -> URL:
    """Return the URL of read-only connections: the setting's, else that of the engine.

    :raises NotReady: the setting is not a PostgreSQL URL.
    """
    setting = settings.get(SETTING)
    if setting is None or engine.url != db.engine.url:
        return engine.url  # That of opsapp's own database is not the application's.
    url = check_url(setting)
    if url.get_backend_name() != "postgresql":
        raise NotReady(f"{SETTING} is for {url.drivername}, and the database is PostgreSQL")
    return url


def _open_server(engine: sa.Engine) -> Any:
    if engine.dialect.name != "postgresql":
        hint = "flask shell --read-only" if engine.dialect.name in _MYSQL else None
        raise Refused(f"opsapp cannot query a {engine.dialect.name} database", hint=hint)
    url = server_url(engine)
    args, params = engine.dialect.create_connect_args(url)
    params |= options(url)["connect_args"]
    params["options"] += " -c default_transaction_read_only=on"
    params["application_name"] = connection_name(url)
    if libpq.parameters(libpq.keywords(url.query)).get("target_session_attrs") == "read-write":
        # The same server; that a session of it is read-write is no longer true of this one.
        params["target_session_attrs"] = "primary"
    connection = engine.dialect.connect(*args, **params)
    pooler.recognise(connection)
    if not pooler.is_behind(connection):
        libpq.settle(connection)
    connection.read_only = True  # Of each transaction, should a pooler drop the session's setting.
    return connection
