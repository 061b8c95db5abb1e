"""Connections to PostgreSQL with a session of their own, for locks that outlive a transaction.

An advisory lock belongs to the server's session, and so does what ``pg_dump`` sets.
:envvar:`OPSAPP_DIRECT_DATABASE_URL` leads around a pooler in front.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from .. import settings
from ..errors import NotReady
from . import pooler
from .connections import check_url, options, prepare
from .pooler import DIRECT


def connect(engine: sa.Engine) -> sa.Connection:
    """Connect to the server of ``engine`` in AUTOCOMMIT, with a session until it is closed.

    :raises NotReady: a pooler in transaction mode is in front, or the direct URL leads to
        another database.
    """
    own = _own_engine(engine)
    connection = own.connect()
    try:
        if own.url != engine.url:
            _refuse_other_database(engine, connection)
        if pooler.is_pooled(connection):
            with own.connect() as other:
                pooler.refuse_shared(connection, other)
            pooler.set_for_session(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def url(engine: sa.Engine) -> URL:
    """Return the URL for a session of its own: around the pooler, if that is known.

    :raises NotReady: ``OPSAPP_DIRECT_DATABASE_URL`` is not a PostgreSQL URL.
    """
    url = settings.get(DIRECT)
    if url is None:
        return engine.url
    direct = check_url(url, DIRECT)
    if direct.get_backend_name() != "postgresql":
        raise NotReady(f"{DIRECT} is for {direct.drivername}, and the database is PostgreSQL")
    return direct


def _own_engine(engine: sa.Engine) -> sa.Engine:
    """Return an engine whose connections both ends give up soon after the other is gone."""
    goal = url(engine)
    own_options = options(goal)
    arguments: dict[str, Any] = own_options["connect_args"]
    arguments["options"] += "".join(f" -c {name}={value}" for name, value in _SERVER_LOOKS.items())
    del own_options["pool_timeout"]
    own = sa.create_engine(
        goal,
        **{**own_options, "connect_args": {**arguments, **_CLIENT_LOOKS}},
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
    )
    prepare(own)
    return own


# The heartbeat keeps a healthy connection from ever being asked.
_SERVER_LOOKS = {
    "tcp_keepalives_idle": 1,
    "tcp_keepalives_interval": 1,
    "tcp_keepalives_count": 1,
    "tcp_user_timeout": 2000,
    "idle_session_timeout": 0,
}
_CLIENT_LOOKS = {
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": 5000,
}

# A standby has the same name and number, and locks of its own.
_IDENTITY = sa.text(
    "SELECT oid, pg_postmaster_start_time() FROM pg_database WHERE datname = current_database()"
)


def _refuse_other_database(engine: sa.Engine, connection: sa.Connection) -> None:
    with engine.connect() as through:
        if through.execute(_IDENTITY).one() != connection.execute(_IDENTITY).one():
            raise NotReady(f"{DIRECT} points to a different database than OPSAPP_DATABASE_URL")
