"""What a disturbed command may leave: whole transactions, and a database that works."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from contextlib import closing

from tests.faults import tally
from tests.faults.reader import broken_promises, reading
from tests.support import Database, run


def assert_promises_kept(database: Database, where: str = "") -> None:
    """Let the independent reader find nothing.

    :param where: the fault, for the message.
    """
    assert broken_promises(database.url, database.instance) == [], where


def actions(database: Database) -> list[str]:
    """Return the action of every event."""
    with reading(database.url, database.instance) as reader:
        return reader.actions()


def assert_copy_is_whole(database: Database) -> None:
    """Read the copy that ``db backup`` made, if it made one."""
    copy = database.instance / "copy"
    if not copy.exists():
        return
    if database.is_sqlite:
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    else:
        subprocess.run(["pg_restore", "--list", copy], check=True, stdout=subprocess.DEVNULL)


def assert_next_command_works(database: Database, where: str) -> None:
    """Change something, without a repair by hand."""
    begun = time.monotonic()
    after = run(database, "roles", "create", "after")
    seconds = time.monotonic() - begun
    assert after.exit_code == 0, (where, after)
    assert_promises_kept(database, where)
    tally.slowest("next command", "SQLite" if database.is_sqlite else "PostgreSQL", seconds)
