"""Interrupts: Ctrl-C during a statement cancels the statement and keeps the connection."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from .readonly import OPCODES, hear_signals


def hear(engines: Iterable[sa.Engine]) -> None:
    """Let Ctrl-C interrupt the statements of these engines from now on."""
    for engine in engines:
        event.listen(engine, "handle_error", _keep_connection)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "checkout", _look_for_signals)


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
