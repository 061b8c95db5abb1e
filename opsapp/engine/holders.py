"""Lock holders: the processes that another waits for, since when, and how to end them."""

from __future__ import annotations

import os
import pwd
import re
import shlex
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from .. import clock, text
from . import fingerprint

LOCK_TIMEOUT = "55P03"
WAIT = "try again when it has finished"
_WRITE_LOCK = "120"
"""The byte of SQLite's ``-shm`` file that the one who writes has locked."""

# --- PostgreSQL --------------------------------------------------------------

_SERVER = sa.text(
    "SELECT pid, usename, application_name, coalesce(client_addr::text, 'this host'), xact_start,"
    " query FROM pg_stat_activity JOIN pg_locks USING (pid)"
    " WHERE granted AND locktype = 'relation' AND pid NOT IN (:own, pg_backend_pid())"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND relation IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')"
    "  AND relname = coalesce(:relation, relname) AND relnamespace <> 'pg_catalog'::regnamespace)"
    " ORDER BY (wait_event_type = 'Lock') IS TRUE, xact_start LIMIT 1"
)


def watch(engine: sa.Engine) -> None:
    """Ask the server at each lock timeout of ``engine`` who holds the lock.

    The driver's error then has the answer as ``holder``, with the number to end it by.
    """
    event.listen(engine, "handle_error", _ask)


def _ask(context: Any) -> None:
    error: Any = context.original_exception
    if getattr(error, "sqlstate", None) != LOCK_TIMEOUT or context.engine is None:
        return
    relation = re.search(r'in relation "(.*)"', error.diag.context or "")
    own = getattr(getattr(error, "pgconn", None), "backend_pid", 0)
    values = {"relation": relation[1] if relation else None, "own": own}
    with suppress(SQLAlchemyError), context.engine.connect() as connection:
        row = connection.execute(_SERVER, values).one_or_none()
        error.holder = row and (_describe(*row), row.pid)


def _describe(pid: int, user: str, name: str, host: str, since: Any, query: str) -> str:
    """Return one line for the holder; its statement has no values, which may be secret."""
    began = f" since {clock.rfc3339(since)}" if since else ""
    statement = text.truncate(fingerprint.fingerprint(query)) if query else "nothing yet"
    return (
        f"{text.safe(name) or 'a session'} (server process {pid} of {text.safe(user)},"
        f" from {host}){began}: {statement}"
    )


def end_of_session(pid: int) -> str:
    """Return the hint of who waits for a session of the server."""
    return f'{WAIT}; to end it: psql -c "SELECT pg_terminate_backend({pid})"'


# --- files -------------------------------------------------------------------


def writer(database: Path) -> int | None:
    """Return the process of this host that writes into the SQLite file; None where it is not known.

    Opening the file to ask for its locks would drop those of this process.
    """
    with suppress(OSError):
        inode = str(Path(f"{database}-shm").stat().st_ino)
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if words[-3].endswith(f":{inode}") and words[-2] == _WRITE_LOCK and "->" not in words:
                return int(words[-4]) if int(words[-4]) > 0 else None
    return None


def process(pid: int) -> str:
    """Return the process of this host: its number, its user, its start, its command."""
    folder = Path(f"/proc/{pid}")
    try:
        entry = folder.stat()
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return f"process {pid}"
    since = clock.rfc3339(datetime.fromtimestamp(int(entry.st_mtime), UTC))
    return f"process {pid} of {_user(entry.st_uid)} since {since}: {command(words)}"


def command(words: list[str]) -> str:
    """Return a command as it may be shown, its program without the folder."""
    plain = [Path(word).name for word in words[:2]] + words[2:]
    line = shlex.join(word for word in plain if word)
    return text.truncate(text.safe(line))


def user() -> str:
    """Return the user of this process."""
    return _user(os.getuid())


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def end_of_process(pid: int) -> str:
    """Return the hint of who waits for a process of this host."""
    return f"{WAIT}; to end it: kill {pid}"
