"""The recording of output while the command runs: `tail` can follow it, and it survives a crash."""

from __future__ import annotations

import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from ..errors import OpsError
from ..extensions import this_app
from .runs import Unwritten

FLUSH = 1.0
"""Seconds between two recordings of output."""

Pieces = list[tuple[str, str]]


class Recorder(threading.Thread):
    """A thread that records the output of a run.

    :param take: returns the output since the last call, by stream.
    :param write: records it.
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
            return  # The database is away; the output is recorded next time, or at the end.

    def stop(self) -> Unwritten:
        """Stop the thread, and return the output that may be unwritten."""
        self._ending.set()
        self.join()
        return self._unwritten
