"""The output of a command: passed on at once; its end is kept, redacted and escaped."""

from __future__ import annotations

import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from sqlalchemy.exc import SQLAlchemyError

from .. import text
from ..errors import OpsError
from ..extensions import this_app
from ..redaction import redact
from .runs import OUTPUT_BYTES, Unwritten

CHUNK = 64 * 1024
IN_MEMORY = 1024 * 1024
"""Bytes of a quiet command's output in memory; the rest is on the disk."""
MARGIN = 8 * 1024
"""Bytes searched beyond those that are kept, so that no secret is cut in two unseen."""
SILENCE = 1.0
"""Seconds without output after which an ended command's output is complete."""
REST = 2.0
"""Seconds after which it is complete, although a process goes on printing."""

RECORD_SECONDS = 1.0
"""Seconds between two recordings of output."""

Sink = Callable[[bytes], None]
Pieces = list[tuple[str, str]]


class Tail:
    """The end of one stream, in bounded memory, until it is recorded."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._longest = max(map(len, secrets), default=0)
        self._bytes = bytearray()
        self._is_cut = False
        self._lock = threading.Lock()

    def add(self, chunk: bytes) -> None:
        """Add the chunk, and drop bytes that are too old."""
        with self._lock:
            self._bytes += chunk
            if len(self._bytes) > 2 * (OUTPUT_BYTES + MARGIN):
                self._trim()

    def _trim(self) -> None:
        del self._bytes[: -(OUTPUT_BYTES + MARGIN)]
        newline = self._bytes.find(b"\n")
        self._is_cut = newline < 0
        del self._bytes[: newline + 1]

    def take(self, *, everything: bool = False) -> str:
        """Take the whole lines (or everything) since the last call, redacted and escaped."""
        with self._lock:
            end = len(self._bytes) if everything else self._bytes.rfind(b"\n") + 1
            chunk, is_cut = bytes(self._bytes[:end]), self._is_cut
            del self._bytes[:end]
            if end:
                self._is_cut = False
        lines = redact(chunk.decode(errors="backslashreplace"), self._secrets)
        if is_cut:
            lines = lines[self._longest :]  # They may begin with the rest of a secret.
        return safe_lines(lines)[-OUTPUT_BYTES:]


def safe_lines(value: str) -> str:
    """Return ``value`` as lines without control characters."""
    lines = (text.safe(line.removesuffix("\r").expandtabs()) for line in value.split("\n"))
    return "\n".join(lines)


class Pump(threading.Thread):
    """A thread that reads one pipe to its end, and passes it to the tail and to a sink."""

    def __init__(self, pipe: IO[bytes], tail: Tail, sink: Sink) -> None:
        super().__init__(daemon=True)
        self.pipe = pipe
        self.error: OSError | None = None
        """The error of the sink; the command goes on without it."""
        self._tail = tail
        self._sink = sink
        self._reading_since: float | None = None

    def run(self) -> None:
        with self.pipe:
            while chunk := self._read():
                self._tail.add(chunk)
                self._pass_on(chunk)

    def _read(self) -> bytes:
        self._reading_since = time.monotonic()
        try:
            return os.read(self.pipe.fileno(), CHUNK)
        finally:
            self._reading_since = None

    def _pass_on(self, chunk: bytes) -> None:
        if self.error is None:
            try:
                self._sink(chunk)
            except (OSError, ValueError) as error:
                self.error = error if isinstance(error, OSError) else OSError(0, str(error))

    def is_through(self, since: float) -> bool:
        """Return whether the output of a command that ended at ``since`` is complete.

        A process that the command left behind may have the pipe open forever. So the output
        is complete after a silence, or after a longer time in any case.
        """
        reading = self._reading_since
        if not self.is_alive() or reading is None:
            return not self.is_alive()
        now = time.monotonic()
        # The last words may wait in the pipe for this thread to be woken.
        return now - max(reading, since) > SILENCE or now - since > REST

    @property
    def is_held_up(self) -> bool:
        """True while the sink has not taken the last chunk."""
        return self.is_alive() and self._reading_since is None


class Recorder(threading.Thread):
    """A thread that records the output of a run: `tail` can follow it, and it survives a crash.

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
        while not self._ending.wait(RECORD_SECONDS):
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


class Spool:
    """The output of a quiet command, in order, for the case that it fails."""

    _HEAD = struct.Struct("!BI")

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._lock = threading.Lock()

    def sink(self, stream: int) -> Sink:
        """Return a sink that keeps the chunks of this stream."""

        def write(chunk: bytes) -> None:
            with self._lock:
                self._file.write(self._HEAD.pack(stream, len(chunk)) + chunk)

        return write

    def replay(self) -> Iterator[tuple[int, bytes]]:
        """Yield every chunk with its stream."""
        self._file.seek(0)
        while head := self._file.read(self._HEAD.size):
            stream, length = self._HEAD.unpack(head)
            yield stream, self._file.read(length)

    def close(self) -> None:
        """Delete the output."""
        self._file.close()
