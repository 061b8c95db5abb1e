"""Translation of database errors into opsapp's errors."""

from __future__ import annotations

import re
import sqlite3
import traceback
from typing import Any

from flask import has_app_context
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from .. import text
from ..errors import Busy, Conflict, NotReady, OpsError, Refused, TimedOut
from ..extensions import db
from . import holders, pooler

LOCK_SECONDS = 5
"""How long a statement waits for a lock."""
READ_ONLY = "read_only"
"""The execution option of engines that a session keeps from writing: the way to write."""
CREATE = "createdb --encoding UTF8 --template template0 --owner ROLE NAME"


def busy_error(pid: int | None = None) -> Busy:
    """Return the error of a SQLite file that another process writes into, if it is known which."""
    name = holders.process(pid) if pid else "another process"
    return Busy(
        f"the database has been locked for more than {LOCK_SECONDS} seconds by {name}",
        hint=holders.end_of_process(pid) if pid else holders.WAIT,
    )


def _busy_server_error(error: Any, message: str) -> Busy:
    if holder := getattr(error, "holder", None):
        name, pid = holder
        return Busy(f"a lock is held by {name}", hint=holders.end_of_session(pid))
    return Busy(f"another session holds a lock: {message}", hint=holders.WAIT)


def translate_error(error: Exception) -> OpsError | None:
    """Return the condition that a database error means, or None where it is a fault of ours.

    :param error: SQLAlchemy's, or a driver's own.
    """
    cause: Any = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(error, IntegrityError):
        return Conflict("it conflicts with data in the database")
    if isinstance(error, DataError):
        return OpsError("the database holds a value that cannot be read", hint="flask audit verify")
    if _is_missing(error, cause):
        return _outdated_error(
            text.first_line(cause.args[-1]), getattr(error, "statement", None) or ""
        )
    if isinstance(cause, sqlite3.Error):
        return _translate_sqlite(cause)
    if (number := _number(error)) is not None:
        return _translate_mysql(number, text.first_line(cause.args[-1]))
    if hasattr(cause, "sqlstate"):
        return _translate_postgresql(cause)
    if isinstance(error, PoolTimeout):
        return Busy("all database connections of this process are in use")
    if isinstance(error, SQLAlchemyError) and _is_of_mapping(error):
        return NotReady(
            f"the application's models cannot be mapped: {text.first_line(error)}",
            hint="see that the application imports each model before its first query",
        )
    return None


def _is_of_mapping(error: SQLAlchemyError) -> bool:
    """Return whether SQLAlchemy failed to relate models to each other; it has no class for that."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == "_configure_registries" for frame, _line in frames)


def _refused_write(message: str) -> OpsError:
    """Return the condition of a database that refuses to write: for this session, or for all."""
    if has_app_context() and (way := db.engine.get_execution_options().get(READ_ONLY)):
        return Refused(f"this session is read-only: {way}")
    return _unwritable(message)


def _unwritable(message: str) -> NotReady:
    return NotReady(f"the database cannot be written: {message}", hint="flask doctor")


_MISSING = frozenset({"42P01", "42703"})  # undefined table, undefined column
_MISSING_MYSQL = frozenset({1054, 1146})
_MISSING_SQLITE = re.compile("no such (table|column): |table .* has no column named ")


def _is_missing(error: Exception, cause: Any) -> bool:
    """Return whether an error is about a table or column that the database lacks."""
    if isinstance(cause, sqlite3.Error):
        return _MISSING_SQLITE.match(str(cause)) is not None
    return _number(error) in _MISSING_MYSQL or getattr(cause, "sqlstate", None) in _MISSING


def _outdated_error(message: str, statement: str) -> NotReady:
    if "ops_" in f"{message} {statement}":  # A table of ours.
        return NotReady(
            f"the database is not initialised or behind: {message}", hint="flask db init"
        )
    return NotReady(
        f"the database is behind the application's models: {message}",
        hint="the application's own migrations, for example its flask db upgrade",
    )


def _translate_sqlite(error: sqlite3.Error) -> OpsError | None:
    name = getattr(error, "sqlite_errorname", "")
    message = text.safe(error)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return busy_error()
    if name.startswith("SQLITE_PROTOCOL"):
        return Busy(f"the database file could not be locked: {message}", hint=holders.WAIT)
    if name.startswith("SQLITE_CANTOPEN"):
        return NotReady(f"the database cannot be opened: {message}")
    if name.startswith(("SQLITE_READONLY", "SQLITE_AUTH")):
        return _refused_write(message)
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return _unwritable(message)
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return NotReady(f"the database file is damaged: {message}", hint="restore a backup")
    return None


_MYSQL_BUSY = frozenset({1205, 1213})  # lock wait timeout, deadlock
_MYSQL_READ_ONLY = frozenset({1142, 1290, 1792, 1836})  # no privilege, read-only
_MYSQL_AWAY = frozenset({1040, 1044, 1045, 1049, 2002, 2003, 2005, 2006, 2013, 2055})


def _number(error: Exception) -> int | None:
    """Return the number of an error of MySQL or MariaDB, which its drivers put before the words.

    PyMySQL's errors have a ``sqlstate`` too, as PostgreSQL's have.
    """
    first = error.orig.args[:1] if isinstance(error, DBAPIError) and error.orig else ()
    return first[0] if first and isinstance(first[0], int) else None


def _translate_mysql(number: int, message: str) -> OpsError | None:
    if number in _MYSQL_BUSY:
        return Busy(f"another session holds a lock: {message}", hint=holders.WAIT)
    if number in _MYSQL_READ_ONLY:
        return _refused_write(message)
    if number in _MYSQL_AWAY:
        return NotReady(f"the database cannot be reached: {message}", hint="flask doctor")
    return None


def _way_to_reach(message: str) -> str:
    """Return the hint; psycopg knows only the server's words about a failed connection."""
    is_absent = re.search(r'database ".*" does not exist', message)
    return f"is its name right? To make it: {CREATE}" if is_absent else "flask doctor"


_READ_ONLY = frozenset({"25006", "42501"})  # the transaction, no privilege


_FULL = "53100"


_NO_SCHEMA = "3F000"


_BUSY = frozenset({"55P03", "40P01", "40001"})  # lock timeout, deadlock, serialization


_LATE = frozenset({"57014", "25P03", "25P04"})  # of a statement, idle, of a transaction


_AWAY = frozenset({"08", "28", "3D", "53", "57", "58"})  # the classes of what a server suffers


def _translate_postgresql(error: Any) -> OpsError | None:
    state = error.sqlstate or ""
    message = text.first_line(error)
    if state in _BUSY:
        return _busy_server_error(error, message)
    if state in _LATE:
        return TimedOut(f"the database gave up: {message}")
    if state in _READ_ONLY:
        return _refused_write(message)
    if state == _FULL:
        return _unwritable(message)
    if (refusal := pooler.refusal(message)) is not None:
        return refusal
    if state == _NO_SCHEMA:
        return NotReady(f"the schema of the search_path is not there: {message}", hint=_SCHEMA)
    if state[:2] in _AWAY or (not state and _is_operational(error)):
        return NotReady(f"the database cannot be reached: {message}", hint=_way_to_reach(message))
    return None


def _is_operational(error: Any) -> bool:
    """Return whether psycopg gave up, or the server before the login."""
    from psycopg import OperationalError

    return isinstance(error, OperationalError)


_SCHEMA = "psql -c 'CREATE SCHEMA NAME AUTHORIZATION ROLE'"
