"""Listeners: those that a session adds to engines, and takes away at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import InvalidRequestError

_added: list[tuple[sa.Engine, str, Callable[..., Any]]] = []


def listen(engine: sa.Engine, name: str, function: Callable[..., Any]) -> None:
    """Call a function at each event of this name until the session ends."""
    event.listen(engine, name, function)
    _added.append((engine, name, function))


def remove_all(engines: Iterable[sa.Engine]) -> None:
    """Leave the engines as they were: connections in their pools have been changed too."""
    while _added:
        with suppress(InvalidRequestError):  # Its pool is gone.
            event.remove(*_added.pop())
    for engine in engines:
        if isinstance(engine.pool, _OF_MEMORY) and engine.dialect.name == "sqlite":
            _restore(engine)
        else:
            engine.dispose()


_OF_MEMORY = (sa.pool.SingletonThreadPool, sa.StaticPool)
"""The pools that may hold a database in memory, which is lost with its connection."""


def _restore(engine: sa.Engine) -> None:
    """Let a connection of SQLite's driver read as one that no session has changed."""
    with engine.connect() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.row_factory, driver.text_factory = None, str
        driver.set_progress_handler(None, 0)
