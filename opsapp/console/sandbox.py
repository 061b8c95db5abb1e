"""Sandbox: everything works, nothing is kept, and no other process notices.

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
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.pool import StaticPool

from .. import config, text
from ..engine.connections import SANDBOX, open_sqlite, redirect, sqlite_file
from ..errors import NotReady, Refused
from ..extensions import db
from . import transcript

MARK = "opsapp_sandbox"
"""The savepoint of every rollback."""


def enter(session: str, *, idle_seconds: float) -> Callable[[], None]:
    """Let the application's engines work in a sandbox; return a function that ends that.

    :param session: the id of the console's session.
    :param idle_seconds: the time that the session may be idle; 0 is no limit.
    :raises NotReady: there is no room for a copy.
    :raises Refused: opsapp's tables are in a database of their own, and one is a server's.
    """
    engines = list(db.engines.values())
    kinds = {engine.dialect.name for engine in engines}
    is_sqlite = kinds == {"sqlite"}
    if not is_sqlite and (kinds != {"postgresql"} or db.our_engine is not db.engine):
        raise Refused(
            "a sandbox is one PostgreSQL database, or copies of SQLite files",
            hint="flask shell --read-only, or --write",
        )
    for engine in engines:
        engine.dispose()
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
        raise NotReady(f"the folder {here} cannot be made: {error.strerror}") from error
    copies: dict[str, Path] = {}
    ways_back = []
    for engine in engines:
        original = sqlite_file(engine)
        if original not in copies:
            copies[original] = _copied(Path(original), here / f"{len(copies)}.sqlite")
        ways_back.append(redirect(engine, partial(open_sqlite, copies[original])))

    def leave() -> None:
        for back in ways_back:
            back()
        shutil.rmtree(here, ignore_errors=True)

    return leave


def _copied(original: Path, copy: Path) -> Path:
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


def _hold(engines: list[sa.Engine], idle_seconds: float) -> Callable[[], None]:
    pooled = db.engine.raw_connection()
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
    before = [(engine, engine.pool) for engine in engines]
    pool = StaticPool(lambda: connection, reset_on_return=None)
    for engine in engines:
        engine.pool = pool
        _redirect(engine.dialect)

    def leave() -> None:
        for engine, own in before:
            engine.pool = own
            for name in ("do_begin", "do_commit", "do_rollback"):
                delattr(engine.dialect, name)
        with suppress(Exception):  # The server may have ended it; nothing of it stays anyway.
            connection.rollback()
        connection.close()

    return leave


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

    dialect.do_begin = lambda connection: None
    dialect.do_commit = do_commit
    dialect.do_rollback = do_rollback
