"""A temporary database of this process: a SQLite file without a name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import OpsError


class Scratch(sqlite3.Connection):
    """A connection to a private file, which no other process can open and which goes with it.

    :raises OpsError: the file cannot be written. It is not the database of the application.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("", **options)

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """Execute a statement."""
        with _explain_failure():
            return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        """Execute a statement for each row."""
        with _explain_failure():
            return super().executemany(*args)


@contextmanager
def _explain_failure() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        hint = "TMPDIR=FOLDER names another place"
        raise OpsError(f"a temporary file cannot be written: {error}", hint=hint) from error
