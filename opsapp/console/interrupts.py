"""Ctrl-C while the database works: the statement is cancelled, and its connection stays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from .readonly import OPCODES, hear_signals


def hear(engines: Iterable[sa.Engine]) -> None:
    """Let these engines hear Ctrl-C from now on, within a statement."""
    for engine in engines:
        event.listen(engine, "handle_error", _keep_connection)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "checkout", _look_for_signals)


def is_interruption(error: BaseException) -> bool:
    """Whether it says that Ctrl-C was pressed: SQLite says it in words of its own."""
    name = getattr(getattr(error, "orig", None), "sqlite_errorname", "")
    return isinstance(error, KeyboardInterrupt) or name == "SQLITE_INTERRUPT"


def _keep_connection(context: sa.engine.ExceptionContext) -> None:
    """Keep the connection: psycopg has cancelled the statement, and it is whole."""
    if isinstance(context.original_exception, KeyboardInterrupt):
        context.is_disconnect = False


def _look_for_signals(driver: Any, *_rest: Any) -> None:
    driver.set_progress_handler(hear_signals, OPCODES)
