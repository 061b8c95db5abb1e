"""Writes output down while the command runs: it can be followed, and outlives a crash."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from ..errors import OpsError
from ..extensions import this_app
from .runs import Unwritten

FLUSH = 1.0
"""Seconds between two looks whether there is output to write down."""

Pieces = list[tuple[str, str]]


class Recorder(threading.Thread):
    """The thread of a run that does it.

    :param take: what was printed since the last time, by stream.
    :param write: write the output down.
    """

    def __init__(self, take: Callable[[], Pieces], write: Callable[[Unwritten], None]) -> None:
        super().__init__(daemon=True)
        self._take = take
        self._write = write
        self._app = this_app()
        self._ending = threading.Event()
        self._unwritten = Unwritten()

    def run(self) -> None:
        while not self._ending.wait(FLUSH):
            self._unwritten.add(self._take())
            if self._unwritten.pieces:
                self._flush()

    def _flush(self) -> None:
        try:
            with self._app.app_context():
                self._write(self._unwritten)
        except (SQLAlchemyError, OpsError):
            return  # The database is away; what is left is written next time, or at the end.

    def stop(self) -> Unwritten:
        """End, and hand back what is not known to be written."""
        self._ending.set()
        self.join()
        return self._unwritten
