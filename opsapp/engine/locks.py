"""Locks that no process outlives: advisory on PostgreSQL, ``flock`` beside a SQLite file.

Both are let go by the kernel or the server when their holder dies, so there is
nothing to clean up, and no stale file can block a process.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

from .. import clock, text
from ..errors import Busy, NotReady
from . import direct
from . import holders as naming
from .connections import sqlite_file
from .flock import try_lock

POLL_SECONDS = 0.05


@contextmanager
def hold_lock(engine: sa.Engine, name: str, *, wait: float) -> Iterator[None]:
    """Hold the lock ``name`` of this database, on every host that shares it.

    :param wait: seconds to wait for another holder.
    :raises Busy: it is still held then; says by whom.
    """
    hold = _flock if engine.dialect.name == "sqlite" else _advisory
    with contextmanager(hold)(engine, name, wait):
        yield


def _flock(engine: sa.Engine, name: str, wait: float) -> Iterator[None]:
    descriptor = open_file(engine, name)
    try:
        _take_flock(descriptor, name, wait)
        holder = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": clock.rfc3339(clock.now()),
            "user": naming.user(),
            "command": naming.command(sys.argv),
        }
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def open_file(engine: sa.Engine, name: str) -> int:
    """Return the descriptor of the file beside the SQLite database on which ``name`` is locked.

    :raises NotReady: it cannot be made.
    """
    path = Path(f"{sqlite_file(engine)}.{name}.lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise NotReady(f"the lock {path} cannot be created: {error.strerror}") from error


def _take_flock(descriptor: int, name: str, wait: float) -> None:
    deadline = time.monotonic() + wait
    while not try_lock(descriptor):
        if time.monotonic() >= deadline:
            raise _busy_error(name, *_written_holder(descriptor))
        time.sleep(POLL_SECONDS)


def _written_holder(descriptor: int) -> tuple[str, str]:
    """Return the holder of the lock, and the hint."""
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        name = (
            f"process {holder['pid']} of {holder['user']} on {holder['host']}"
            f" since {holder['since']}: {holder['command']}"
        )
        return text.safe(name), naming.end_of_process(int(holder["pid"]))
    except (ValueError, KeyError, TypeError):  # It holds the lock and has not written its name yet.
        return "another process", naming.WAIT


def _advisory(engine: sa.Engine, name: str, wait: float) -> Iterator[None]:
    # A connection of its own: the lock lives as long as this session does.
    with direct.connect(engine) as connection:
        key = number(connection, name)
        deadline = time.monotonic() + wait
        while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))):
            if time.monotonic() >= deadline:
                raise _busy_error(name, *_session(connection, key))
            time.sleep(POLL_SECONDS)
        unlock = sa.select(sa.func.pg_advisory_unlock(key))
        try:
            yield
        except BaseException:
            # A server that is gone has let go; what went wrong before is what counts.
            with suppress(sa.exc.DBAPIError):
                connection.execute(unlock)
            raise
        connection.execute(unlock)


def queue_up(connection: sa.Connection, name: str) -> None:
    """Wait until no other transaction holds ``name``, and hold it until this one ends.

    On SQLite a writing transaction is alone already.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(number(connection, name))))


def number(connection: sa.Connection, name: str) -> int:
    """Return the number under which PostgreSQL knows the lock ``name`` of this installation.

    Such numbers are a database's, and its schemas may hold an installation each.
    """
    schema = _schema(connection)
    lock = f"opsapp {name}" if schema == "public" else f"opsapp {schema} {name}"
    return int.from_bytes(hashlib.sha256(lock.encode()).digest()[:8], "big", signed=True)


# Two roles may share tables that only one of them would make there.
_SCHEMA = sa.text(
    "SELECT coalesce((SELECT nspname FROM pg_class c JOIN pg_namespace n"
    " ON n.oid = c.relnamespace WHERE c.oid = to_regclass('ops_audit_head')), current_schema())"
)


def _schema(connection: sa.Connection) -> str:
    """Return the schema of the tables, or of those to come; asked once a session."""
    if "opsapp_schema" not in connection.info:
        connection.info["opsapp_schema"] = connection.scalar(_SCHEMA)
    return str(connection.info["opsapp_schema"])


# The server's other databases have locks of the same numbers; a role that is none of ours
# sees little of who has them.
_HOLDERS = sa.text(
    "SELECT (classid::bigint << 32 | objid::bigint), pid,"
    " coalesce(client_hostname, client_addr::text, 'this host'), application_name, backend_start,"
    " usename"
    " FROM pg_locks JOIN pg_stat_activity USING (pid)"
    " WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def holders(connection: sa.Connection) -> dict[int, str]:
    """Return the holders of this PostgreSQL database's locks now, by the lock's number."""
    return {
        number: f"{text.safe(name)} (server process {pid} of {text.safe(user)}, from {host})"
        + (f" since {clock.rfc3339(since)}" if since else "")
        for number, pid, host, name, since, user in connection.execute(_HOLDERS)
    }


def _session(connection: sa.Connection, key: int) -> tuple[str, str]:
    """Return the holder of the lock of this number, and the hint."""
    name = holders(connection).get(key)
    if name is None:
        return "another process", naming.WAIT
    pid = connection.scalar(_PID, {"key": key})
    return name, naming.end_of_session(pid) if pid else naming.WAIT


_PID = sa.text(
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1"
    " AND (classid::bigint << 32 | objid::bigint) = :key"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def _busy_error(name: str, holder: str, hint: str) -> Busy:
    return Busy(f"the lock {name} is held by {holder}", hint=hint)
