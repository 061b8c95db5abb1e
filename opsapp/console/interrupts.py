"""Interrupts: Ctrl-C during a statement cancels the statement and keeps the connection."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import sqlalchemy as sa

from ..engine.connections import TURN_SECONDS
from ..profiling.record import callers
from .listeners import listen
from .query.statement import first_word
from .readonly import OPCODES, hear_signals

callers.mark_sender(__file__)


def hear(engines: Iterable[sa.Engine]) -> None:
    """Let Ctrl-C interrupt the statements of these engines from now on."""
    for engine in engines:
        listen(engine, "handle_error", _keep_connection)
        if engine.dialect.name == "sqlite":
            listen(engine, "checkout", _look_for_signals)
            _wait_in_python(engine)


def is_interruption(error: BaseException) -> bool:
    """Return whether ``error`` means that Ctrl-C was pressed; SQLite has an error of its own."""
    name = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
    return isinstance(error, KeyboardInterrupt) or name == "SQLITE_INTERRUPT"


def _keep_connection(context: sa.engine.ExceptionContext) -> None:
    """Keep the connection: psycopg has cancelled the statement, and it is whole."""
    if isinstance(context.original_exception, KeyboardInterrupt):
        context.is_disconnect = False


def _look_for_signals(driver: Any, *_rest: Any) -> None:
    driver.set_progress_handler(hear_signals, OPCODES)


def _wait_in_python(engine: sa.Engine) -> None:
    """Let statements of SQLite wait for a lock where a signal is heard, as it is not in C."""
    dialect: Any = engine.dialect  # It takes no more of a cursor than its two methods.

    def one(cursor: Any, statement: str, *rest: Any) -> bool:
        if first_word(statement) == "pragma":
            return False  # It may be about the time to wait.
        dialect.do_execute(_Patient(cursor), statement, *rest)
        return True

    def many(cursor: Any, statement: str, *rest: Any) -> bool:
        if not cursor.connection.in_transaction:
            return False  # Each row is a transaction, and those before a lock would come twice.
        dialect.do_executemany(_Patient(cursor), statement, *rest)
        return True

    listen(engine, "do_execute", one)
    listen(engine, "do_executemany", many)


class _Patient:
    """A cursor that sends a statement again while another connection locks it out."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def execute(self, *args: Any) -> None:
        """Send a statement."""
        self._send(partial(self._cursor.execute, *args))

    def executemany(self, *args: Any) -> None:
        """Send a statement for many rows."""
        self._send(partial(self._cursor.executemany, *args))

    def _send(self, send: Callable[[], object]) -> None:
        driver = self._cursor.connection
        patience = driver.execute("PRAGMA busy_timeout").fetchone()[0]
        deadline = time.monotonic() + patience / 1000
        driver.execute("PRAGMA busy_timeout=0")
        try:
            while not _is_sent(send, deadline):
                time.sleep(random.uniform(*TURN_SECONDS))  # noqa: S311  (a lot, not a secret)
        finally:
            driver.execute(f"PRAGMA busy_timeout={patience}")


def _is_sent(send: Callable[[], object], deadline: float) -> bool:
    try:
        send()
    except sqlite3.OperationalError as error:
        # An older snapshot (SQLITE_BUSY_SNAPSHOT) stays locked out.
        if error.sqlite_errorname != "SQLITE_BUSY" or time.monotonic() > deadline:
            raise
        return False
    return True
