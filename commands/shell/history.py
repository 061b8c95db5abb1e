"""The console's history: in a file of the instance folder, or in memory where that fails."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from IPython.core.history import HistoryManager
from traitlets import Int

from opsapp import text
from opsapp.cli.messages import say

MEMORY = ":memory:"
PATIENCE = 1
"""Seconds to wait for another process that holds the file."""


class History(HistoryManager):
    """IPython's history; when its file fails it goes on in memory, and says so once."""

    most = Int(10_000, help="Inputs to keep.").tag(config=True)

    def __init__(self, shell: Any, **traits: Any) -> None:
        self.connection_options = {"check_same_thread": False, "timeout": PATIENCE}
        super().__init__(shell=shell, **traits)

    def init_db(self) -> None:
        """Open the file; IPython's own would move a file away that is only locked."""
        if self.enabled and self.hist_file != MEMORY:
            try:
                _check(Path(self.hist_file))
            except (OSError, sqlite3.Error) as error:
                self._leave_file(error)
        super().init_db()

    def new_session(self, conn: sqlite3.Connection | None = None) -> None:
        """Begin the history of this session."""
        try:
            super().new_session(conn)
            if self.hist_file != MEMORY:
                _forget(self.db, self.most)
        except sqlite3.Error as error:
            self._go_on_in_memory(error)

    def writeout_cache(self, conn: sqlite3.Connection | None = None) -> None:
        """Write the inputs that wait; the thread that saves them has a connection of its own."""
        try:
            super().writeout_cache(None if self.hist_file == MEMORY else conn)
        except sqlite3.Error as error:
            self._go_on_in_memory(error)

    def end_session(self) -> None:
        """Write when this session ended."""
        try:
            super().end_session()
        except sqlite3.Error as error:
            self._go_on_in_memory(error)

    def _run_sql(self, *args: Any, **options: Any) -> Iterable[Any]:
        try:
            return list(super()._run_sql(*args, **options))
        except sqlite3.Error as error:
            self._go_on_in_memory(error)
            return []

    def _go_on_in_memory(self, error: sqlite3.Error) -> None:
        if self.hist_file == MEMORY:
            raise error
        self._leave_file(error)
        self.db.close()
        self.init_db()
        self.new_session()

    def _leave_file(self, error: Exception) -> None:
        why = text.reason(error)
        say(
            f"Warning: {self.hist_file} cannot be used ({why}); the history ends with this session."
        )
        self.hist_file = MEMORY


def _forget(connection: sqlite3.Connection, most: int) -> None:
    """Remove all but the newest inputs, and the sessions that have none of them."""
    with connection:
        newest = "SELECT rowid FROM history ORDER BY session DESC, line DESC LIMIT ?"
        connection.execute(f"DELETE FROM history WHERE rowid NOT IN ({newest})", (most,))  # noqa: S608  (our own words)
        connection.execute(
            "DELETE FROM sessions WHERE end IS NOT NULL"
            " AND session NOT IN (SELECT session FROM history)"
        )


def _check(path: Path) -> None:
    """See that the file is an ordinary one of this user's, whole, and can be written.

    :raises OSError: it cannot be opened, or is a link, a pipe or a folder.
    :raises sqlite3.Error: it is damaged, locked, or finds no room.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW
    descriptor = os.open(path, flags, 0o600)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
        remark = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if remark != "ok":
            raise sqlite3.DatabaseError("it is damaged")
        connection.execute("PRAGMA user_version = 1")  # Only a write finds out about the rest.
