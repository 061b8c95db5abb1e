"""Processes that race, wait or are killed: started with their pipes open, and seen to their end."""

from __future__ import annotations

import contextlib
import inspect
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from tests.support import Database, Result
from tests.support.forks import PATIENCE


def start(database: Database, *command: str) -> subprocess.Popen[str]:
    """Start a process that finds the database."""
    return subprocess.Popen(
        command,
        env=database.environ,
        cwd=database.instance,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_work(
    database: Database, work: Callable[..., None], *args: object
) -> subprocess.Popen[str]:
    """Run the function ``work`` in a process of its own; its arguments arrive as strings."""
    script = f"import sys\n{inspect.getsource(work)}\n{work.__name__}(*sys.argv[1:])"
    return start(database, sys.executable, "-c", script, *map(str, args))


def ended(process: subprocess.Popen[str]) -> Result:
    """Close its stdin, wait for its end, and say how it ended."""
    with process:  # Its pipes are closed, whatever happens, so that no other test trips over them.
        try:
            stdout, stderr = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    return Result(process.returncode, stdout, stderr)


def until(condition: Callable[[], object]) -> None:
    """Return once ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{condition} never held"
        time.sleep(0.005)


@contextmanager
def gate_held(database: Database) -> Iterator[sa.Connection]:
    """Hold what every writing unit takes first."""
    engine = sa.create_engine(
        database.url.replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    hold = (
        ["BEGIN IMMEDIATE"]
        if database.is_sqlite
        else ["BEGIN", "SELECT * FROM ops_audit_head FOR UPDATE"]
    )
    with engine.connect() as connection:
        for statement in hold:
            connection.exec_driver_sql(statement)
        try:
            yield connection
        finally:
            with contextlib.suppress(sa.exc.DBAPIError):  # The test let go of it.
                connection.exec_driver_sql("ROLLBACK")
    engine.dispose()
