"""A disturbed command leaves whole transactions, and a database that works."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing

from tests.faults import tally
from tests.faults.commands import Command
from tests.faults.reader import broken_promises, reading
from tests.support import Database, run

IMPORT = "user:account:import"
DONE_OR_DONE_BEFORE = {0, 3, 4, 5}
"""Of a command that is repeated: what it makes, removes or writes is there or gone already."""


def assert_promises_kept(database: Database, where: str = "") -> None:
    """Let the independent reader find nothing.

    :param where: the fault, for the message.
    """
    broken = broken_promises(database.url, database.instance)
    # As a message: pytest shows no values of an assertion outside of a test's own file.
    assert not broken, (where, broken)


def actions(database: Database) -> list[str]:
    """Return the action of every event."""
    with reading(database.url, database.instance) as reader:
        return reader.actions()


def assert_files_are_whole(database: Database) -> None:
    """Read what ``db backup`` and ``users export`` wrote, if they did."""
    copy, export = database.instance / "copy", database.instance / "out.csv"
    if export.exists():
        addresses = [line.split(",")[0] for line in export.read_text().splitlines()]
        assert addresses == ["email", "ada@example.com", "bob@example.com"]
    if not copy.exists():
        return
    if database.is_sqlite:
        with closing(sqlite3.connect(copy)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    else:
        subprocess.run(["pg_restore", "--list", copy], check=True, stdout=subprocess.DEVNULL)


def assert_again_completes(database: Database, command: Command, before: int, where: str) -> None:
    """Run the command again: all that it changes is there, once, whatever the first one did.

    :param before: the number of events before the first one.
    """
    again = run(database, *command.words, stdin=command.stdin)
    assert again.exit_code in DONE_OR_DONE_BEFORE, (where, again)
    there = Counter(actions(database)[before:])
    assert there >= Counter(command.events), (where, again)
    assert there[IMPORT] == command.events.count(IMPORT), (where, again)
    assert_promises_kept(database, where)


def assert_next_command_works(database: Database, where: str) -> None:
    """Change something, without a repair by hand."""
    begun = time.monotonic()
    after = run(database, "roles", "create", "after")
    seconds = time.monotonic() - begun
    assert after.exit_code == 0, (where, after)
    assert_promises_kept(database, where)
    tally.slowest("next command", "SQLite" if database.is_sqlite else "PostgreSQL", seconds)
