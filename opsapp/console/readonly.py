"""Read-only connections: the database refuses every write.

SQLite opens the file with ``mode=ro``. That alone leaves ``ATTACH``, which opens
the same file once more for writing, so an authorizer refuses that too.
PostgreSQL signs in as a role without write grants if
``OPSAPP_READONLY_DATABASE_URL`` names one. Otherwise a setting stands in for it,
which SQL can switch off, and which is called a speed bump.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from .. import libpq, settings, text
from ..engine import pooler
from ..engine.connections import (
    checked_url,
    connection_name,
    open_sqlite,
    options,
    redirect,
    sqlite_file,
)
from ..errors import NotReady, Refused
from ..extensions import db

SETTING = "OPSAPP_READONLY_DATABASE_URL"
OPCODES = 100_000
"""The number of SQLite's steps between two checks for Ctrl-C."""

OTHER_MODES = "flask shell --sandbox, or --write"

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
    ways_back = [redirect(engine, partial(connect, engine)) for engine in engines.values()]
    try:
        for engine in engines.values():
            _prove(engine)
    except BaseException:
        _go(ways_back)
        raise
    return partial(_go, ways_back)


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
        elif driver.execute("SHOW transaction_read_only").fetchone()[0] == "on":
            return
    except sqlite3.OperationalError as error:
        if error.sqlite_errorname.startswith("SQLITE_READONLY"):
            return
        raise
    finally:
        connection.close()  # The pool rolls back.
    raise Refused(f"the database {engine.url.database} could still be written; nothing was run")


def connect(engine: sa.Engine) -> Any:
    """Return a driver's connection to the database of ``engine`` that cannot write.

    :raises NotReady: there is no such file, or the read-only URL is not usable.
    """
    return _open_sqlite(engine) if engine.dialect.name == "sqlite" else _open_server(engine)


def is_refused_write(error: DBAPIError) -> bool:
    """Return whether SQLite or PostgreSQL refused a write."""
    name = getattr(error.orig, "sqlite_errorname", "") or getattr(error.orig, "sqlstate", "")
    return str(name).startswith(("SQLITE_READONLY", "25006", "42501"))


def wall(engine: sa.Engine) -> Wall:
    """Return the protection of the read-only connections of ``engine``."""
    if engine.dialect.name == "sqlite":
        return Wall(True, "SQLite opened the file read-only")
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
    with engine.connect() as ours:
        here = ours.exec_driver_sql(chain).scalar()
    connection = connect(engine)
    try:
        row = connection.execute(chain).fetchone()
    except Exception as error:
        reason = text.first_line(error)
        raise NotReady(f"the role of {SETTING} cannot read the database: {reason}") from error
    finally:
        connection.close()
    if row is None or row[0] != here:
        raise NotReady(f"{SETTING} leads to another database than OPSAPP_DATABASE_URL")


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
    named = settings.get(SETTING)
    if named is None or engine.url != db.engine.url:
        return engine.url  # That of opsapp's own database is not the application's.
    url = checked_url(named)
    if url.get_backend_name() != "postgresql":
        raise NotReady(f"{SETTING} is for {url.drivername}, and the database is PostgreSQL")
    return url


def _open_server(engine: sa.Engine) -> Any:
    if engine.dialect.name != "postgresql":
        raise Refused(f"a {engine.dialect.name} database cannot be opened read-only")
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
