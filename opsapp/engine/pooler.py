"""Poolers such as PgBouncer: recognised at connect, with no setting or lock that they would lose.

A pooler hands out the sessions of a server. Each transaction may get another session, and
the settings that a connection asks for at its start are dropped. So every transaction sets
them again, nothing is prepared on the server, and what needs a session for longer than a
transaction is refused: see :mod:`opsapp.engine.direct`.
"""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import event

from ..errors import NotReady

DIRECT = "OPSAPP_DIRECT_DATABASE_URL"

_pooled: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()
"""The driver's connections that a pooler answers, with the settings that each asked for."""

_ASKED = re.compile(r"(?:^|\s)(?:-c\s*|--)([\w.-]+)=((?:\\.|[^\s\\])*)")
_SERVER = """
SELECT pg_backend_pid(), (SELECT count(*) FROM pg_settings
 WHERE source = 'client' AND lower(name) = ANY(%s))
"""
_SET = "SELECT set_config(name, value, %s) FROM unnest(%s::text[], %s::text[]) AS s (name, value)"


def watch(engine: sa.Engine) -> None:
    """Recognise a pooler behind each connection of ``engine``, and make up for it."""
    event.listen(engine, "connect", recognise)
    event.listen(engine, "begin", _set_for_transaction)


def recognise(connection: Any, _record: Any = None) -> None:
    """Compare the session behind the driver's connection with the one that was asked for.

    A pooler invents the process id that it tells a client, and drops the settings.
    """
    if connection in _pooled:
        return
    settings = _settings(connection.info.options)
    is_autocommit, connection.autocommit = connection.autocommit, True
    try:
        pid, count = connection.execute(_SERVER, [list(settings)]).fetchone()
    except BaseException:  # Ctrl-C, too: what it leaves half done is of no use.
        connection.close()
        raise
    connection.autocommit = is_autocommit
    if pid != connection.info.backend_pid or count < len(settings):
        # A statement that one client prepares fails the next client.
        connection.prepare_threshold = None
        _pooled[connection] = settings


def _settings(options: str) -> dict[str, str]:
    """Return the settings of libpq's ``options``, such as ``-c lock_timeout=5s``, by name."""
    return {
        name.replace("-", "_").lower(): re.sub(r"\\(.)", r"\1", value)
        for name, value in _ASKED.findall(options)
    }


def is_behind(connection: Any) -> bool:
    """Return whether a pooler answers the driver's connection."""
    return connection in _pooled


def is_pooled(connection: sa.Connection) -> bool:
    """Return whether a pooler answers this connection."""
    return is_behind(connection.connection.dbapi_connection)


def _set_for_transaction(connection: sa.Connection) -> None:
    _set(connection, is_local=True)


def set_for_session(connection: sa.Connection) -> None:
    """Set for good what the connection asked for, where a pooler keeps its session."""
    _set(connection, is_local=False)


def _set(connection: sa.Connection, *, is_local: bool) -> None:
    settings = _pooled.get(connection.connection.dbapi_connection)
    if settings:
        connection.exec_driver_sql(_SET, (is_local, list(settings), list(settings.values())))


def refuse_shared(connection: sa.Connection, other: sa.Connection) -> None:
    """Refuse a pooler that gives one session to two connections, or two to one.

    It shows itself in whose turn it is, on whatever rule sessions are handed out. Outside of
    transactions each statement may meet another session.

    :param other: a second connection, as open and as idle as the first.
    :raises NotReady: it does, as PgBouncer in transaction mode.
    """
    turns = (connection, other, connection, connection, other, other, connection)
    sessions = {(turn is other, turn.scalar(sa.func.pg_backend_pid())) for turn in turns}
    if len(sessions) > 2 or len({pid for _, pid in sessions}) < 2:
        raise NotReady(
            "the pooler in front of PostgreSQL is in transaction mode, which keeps no lock",
            hint=f"{DIRECT}=postgresql://USER@HOST/NAME, without the pooler: docs/deploying.md",
        )


def refusal(message: str) -> NotReady | None:
    """Return the error of a pooler that refuses opsapp's settings; None for other messages."""
    if "unsupported startup parameter" in message:
        return NotReady(
            f"the pooler in front of PostgreSQL refuses a setting: {message}",
            hint="ignore_startup_parameters = options in pgbouncer.ini: docs/deploying.md",
        )
    if "statement pooling mode" in message:
        return NotReady(
            "the pooler in front of PostgreSQL is in statement mode, which has no transactions",
            hint="pool_mode = transaction in pgbouncer.ini: docs/deploying.md",
        )
    return None
