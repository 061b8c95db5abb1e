"""The connections of this process to its SQLite files, which are closed together.

SQLite has one table of the locks of a process on a file, for all of its connections. If the
kernel fails to release a lock, SQLite goes on as if it had: the lock stays in the table, and later
transactions answer ``SQLITE_PROTOCOL`` after ten seconds, or are locked out by their own process.
The table and the locks go when the last of the connections is closed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from weakref import WeakSet

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from ..errors import Busy, OpsError
from . import holders

_engines: WeakSet[sa.Engine] = WeakSet()
_ROUND = "opsapp_round"
_round = 0
"""The number of times that all were closed; a connection has that of its opening."""


def watch(engine: sa.Engine) -> None:
    """From now on close the connections of ``engine`` with the others of this process."""
    _engines.add(engine)
    event.listen(engine, "connect", _number)
    event.listen(engine, "checkin", _close_old)
    event.listen(engine, "handle_error", _close_after_error)


def renew(connection: sa.Connection) -> None:
    """Give ``connection`` another connection of the driver, and close those that are not in use.

    It has no transaction yet, and no cursor: one that begins by its first statement has, so a
    transaction that writes is begun explicitly. Connections in use by other threads are closed
    as soon as they are returned.
    """
    _close_idle()
    connection.invalidate()


def is_stuck(error: DBAPIError | OpsError, file: str) -> bool:
    """Return whether ``error``, at the beginning of a transaction, may come of a lock that stays.

    :param file: the path of the database.
    """
    if isinstance(error, DBAPIError):
        return _is_protocol(error.orig)
    return isinstance(error, Busy) and holders.writer(Path(file)) == os.getpid()


def _is_protocol(error: BaseException | None) -> bool:
    name: str = getattr(error, "sqlite_errorname", "")
    return name.startswith("SQLITE_PROTOCOL")


def _close_idle() -> None:
    global _round
    _round += 1
    for engine in list(_engines):
        engine.dispose()


def _number(_driver: object, record: Any) -> None:
    record.info[_ROUND] = _round


def _close_old(_driver: object, record: Any) -> None:
    if record.info.get(_ROUND) != _round:
        record.invalidate()


def _close_after_error(context: sa.engine.ExceptionContext) -> None:
    """Have all closed, so that the next transaction begins on new ones; this one when it ends.

    The connection is not broken: a COMMIT that answers so has not happened, and is not in doubt.
    """
    if _is_protocol(context.original_exception):
        _close_idle()
