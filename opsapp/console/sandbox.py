"""Sandbox: writes work, are never committed, and are invisible to other processes.

SQLite works on a copy of the file, so that no lock is held. PostgreSQL works in
one transaction on one connection. A commit of the session only moves a savepoint.
A row violates a deferred constraint, so that a real COMMIT fails, and the
transactions after it are read-only. Changed rows stay locked until the session ends.
The reasons are in docs/decisions/console.md#a-sandbox-is-a-copy-or-one-transaction.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.pool import StaticPool

from .. import text
from ..engine.connections import SANDBOX, open_sqlite, redirect, sqlite_file
from ..errors import NotReady, Refused
from ..extensions import db
from ..settings import config
from . import transcript

MARK = "opsapp_sandbox"
"""The savepoint of every rollback."""


def is_possible() -> bool:
    """Return whether the application's databases can be a sandbox."""
    kinds = {engine.dialect.name for engine in db.engines.values()}
    return kinds == {"sqlite"} or (kinds == {"postgresql"} and db.our_engine is db.engine)


def enter(session: str, *, idle_seconds: float) -> Callable[[], None]:
    """Let the application's engines work in a sandbox; return a function that ends that.

    :param session: the id of the console's session.
    :param idle_seconds: the time that the session may be idle; 0 is no limit.
    :raises NotReady: there is no room for a copy.
    :raises Refused: opsapp's tables are in a database of their own, and one is a server's.
    """
    engines = list(db.engines.values())
    if not is_possible():
        raise Refused(
            "a sandbox is one PostgreSQL database, or copies of SQLite files",
            hint="flask shell --read-only, or --write",
        )
    for engine in engines:
        engine.dispose()
    is_sqlite = db.engine.dialect.name == "sqlite"
    leave = _copy(engines, session) if is_sqlite else _hold(engines, idle_seconds)
    for engine in engines:
        engine.update_execution_options(**{SANDBOX: True})
    before = _mute_mail()

    def leave_all() -> None:
        leave()
        for engine in engines:
            engine.update_execution_options(**{SANDBOX: False})
        current_app.config["MAIL_BACKEND"] = before

    return leave_all


def _mute_mail() -> Any:
    """Discard Flask-Mailman's messages from now on; return the backend of before."""
    silent = "flask_mailman.backends.dummy.EmailBackend"
    before, current_app.config["MAIL_BACKEND"] = current_app.config.get("MAIL_BACKEND"), silent
    if (mailman := current_app.extensions.get("mailman")) is not None:
        mailman.backend = silent
    return before


# --- SQLite ------------------------------------------------------------------


def folder() -> Path:
    """Return the folder of the copies of live sessions."""
    return config.instance_folder() / "sandboxes"


def remove_abandoned() -> None:
    """Remove the copies of sessions that were killed."""
    for path in folder().glob("*"):
        if not transcript.is_alive(path.name):
            shutil.rmtree(path, ignore_errors=True)


def _copy(engines: list[sa.Engine], session: str) -> Callable[[], None]:
    here = folder() / session
    try:
        here.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise NotReady(f"the folder {here} cannot be created: {error.strerror}") from error
    copies: dict[str, Path] = {}
    ways_back = []
    for engine in engines:
        original = sqlite_file(engine)
        if original not in copies:
            copies[original] = _copy_file(Path(original), here / f"{len(copies)}.sqlite")
        ways_back.append(redirect(engine, partial(open_sqlite, copies[original])))

    def leave() -> None:
        for back in ways_back:
            back()
        shutil.rmtree(here, ignore_errors=True)

    return leave


def _copy_file(original: Path, copy: Path) -> Path:
    if not original.exists():
        raise NotReady(f"there is no database file {original}", hint="flask db init")
    size, free = original.stat().st_size, shutil.disk_usage(copy.parent).free
    if size * 1.2 > free:
        raise NotReady(f"a sandbox needs a copy of {size:,} bytes; {copy.parent} has {free:,}")
    copy.touch(mode=0o600)
    source, target = open_sqlite(original, "ro"), open_sqlite(copy)
    try:
        source.backup(target)
    except sqlite3.Error as error:
        raise NotReady(f"the database cannot be copied to {copy}: {text.safe(error)}") from error
    finally:
        source.close()
        target.close()
    return copy


# --- PostgreSQL --------------------------------------------------------------

_BROKEN_REFERENCE = (
    "CREATE TEMPORARY TABLE opsapp_sandbox (id integer PRIMARY KEY, other integer"
    " REFERENCES opsapp_sandbox (id) DEFERRABLE INITIALLY DEFERRED)",
    "INSERT INTO opsapp_sandbox VALUES (1, 2)",
)
"""A row with a broken reference: the server finds it at COMMIT and rolls back."""


class _Held:
    """The connection of the sandbox, which the pool gets again as long as it is open.

    SQLAlchemy drops a connection that Ctrl-C finds between the pool and a statement.
    """

    def __init__(self, own: sa.Pool, idle_seconds: float) -> None:
        self._own, self._idle_seconds = own, idle_seconds
        self._connection: Any = None
        self.is_new = False
        """True if it was opened after the first one, and :func:`settle` has not told so."""

    def connection(self) -> Any:
        """Return the connection; another one, with a sandbox of its own, if it was lost."""
        if self._connection is None or self._connection.closed:
            self.is_new = self._connection is not None
            self._connection = _open_transaction(self._own, self._idle_seconds)
        return self._connection

    def close(self) -> None:
        """End the transaction with the connection: the server rolls back."""
        self._connection.close()


_held: WeakKeyDictionary[sa.Dialect, _Held] = WeakKeyDictionary()


def _hold(engines: list[sa.Engine], idle_seconds: float) -> Callable[[], None]:
    holder = _Held(db.engine.pool, idle_seconds)
    holder.connection()
    pool = StaticPool(holder.connection, reset_on_return=None, dialect=db.engine.dialect)
    before = [(engine, engine.pool) for engine in engines]
    for engine in engines:
        engine.pool = pool
        _redirect(engine.dialect)
        _held[engine.dialect] = holder

    def leave() -> None:
        for engine, own in before:
            engine.pool = own
            del _held[engine.dialect]
            for name in _REDIRECTED:
                delattr(engine.dialect, name)
        holder.close()

    return leave


def settle() -> bool:
    """Return to the last commit in PostgreSQL's sandbox; return whether it begins anew.

    A cursor of the driver may have left the transaction in an error, or SQL have ended it.
    """
    holder = _held.get(db.engine.dialect)
    if holder is None:
        return False
    try:
        db.engine.dialect.do_rollback(holder.connection())
    except db.engine.dialect.loaded_dbapi.Error:
        holder.close()
        db.engine.pool.dispose()  # It has the old one.
        holder.connection()
    is_new, holder.is_new = holder.is_new, False
    return is_new


def _open_transaction(own: sa.Pool, idle_seconds: float) -> Any:
    """Return a connection in a transaction that cannot be committed."""
    pooled = own.connect()
    pooled.detach()
    connection: Any = pooled.dbapi_connection
    limit = int((idle_seconds + 60) * 1000) if idle_seconds else 0
    connection.autocommit = True
    connection.execute(f"SET idle_in_transaction_session_timeout = {limit}")
    # If SQL ends this transaction, those after it are not in the sandbox.
    connection.execute("SET default_transaction_read_only = on")
    connection.autocommit = False
    connection.execute("SET TRANSACTION READ WRITE")
    _break_reference(connection)
    connection.execute(f"SAVEPOINT {MARK}")
    return connection


def _break_reference(connection: Any) -> None:
    may = connection.execute("SELECT has_database_privilege(current_database(), 'TEMPORARY')")
    if may.fetchone()[0]:
        for statement in _BROKEN_REFERENCE:
            connection.execute(statement)


def _redirect(dialect: Any) -> None:
    """Let a commit move the savepoint, and a rollback return to it."""

    def do_commit(connection: Any) -> None:
        connection.execute(f"RELEASE SAVEPOINT {MARK}")
        connection.execute(f"SAVEPOINT {MARK}")

    def do_rollback(connection: Any) -> None:
        connection.execute(f"ROLLBACK TO SAVEPOINT {MARK}")

    dialect.do_begin = dialect.do_close = lambda connection: None
    dialect.do_commit = do_commit
    dialect.do_rollback = do_rollback


_REDIRECTED = ("do_begin", "do_close", "do_commit", "do_rollback")
