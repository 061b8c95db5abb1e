"""What a command prints: passed on at once, its end kept, made safe and without secrets."""

from __future__ import annotations

import os
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO

from .. import text
from ..redaction import redacted
from .runs import OUTPUT_BYTES

CHUNK = 64 * 1024
IN_MEMORY = 1024 * 1024
"""What more than this a quiet command prints waits on the disk."""
MARGIN = 8 * 1024
"""So much more than is kept is looked at, so that no secret is cut in two unseen."""
SILENCE = 1.0
"""Seconds after which the output of a command that has ended is taken to be complete."""
REST = 2.0
"""Seconds after which it is, though something goes on printing."""

Sink = Callable[[bytes], None]


class Tail:
    """The end of one stream, in bounded memory, until it is taken to be written down."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._longest = max(map(len, secrets), default=0)
        self._bytes = bytearray()
        self._is_cut = False
        self._lock = threading.Lock()

    def add(self, chunk: bytes) -> None:
        """Remember the chunk, and forget what lies too far back."""
        with self._lock:
            self._bytes += chunk
            if len(self._bytes) > 2 * (OUTPUT_BYTES + MARGIN):
                self._cut()

    def _cut(self) -> None:
        del self._bytes[: -(OUTPUT_BYTES + MARGIN)]
        newline = self._bytes.find(b"\n")
        self._is_cut = newline < 0
        del self._bytes[: newline + 1]

    def take(self, *, everything: bool = False) -> str:
        """The whole lines (or everything) since the last time, as it may be shown."""
        with self._lock:
            end = len(self._bytes) if everything else self._bytes.rfind(b"\n") + 1
            taken, is_cut = bytes(self._bytes[:end]), self._is_cut
            del self._bytes[:end]
            if end:
                self._is_cut = False
        shown = redacted(taken.decode(errors="backslashreplace"), self._secrets)
        if is_cut:
            shown = shown[self._longest :]  # It may begin with the rest of a secret.
        return safe_lines(shown)[-OUTPUT_BYTES:]


def safe_lines(value: str) -> str:
    """``value`` as lines that no terminal obeys."""
    lines = (text.safe(line.removesuffix("\r").expandtabs()) for line in value.split("\n"))
    return "\n".join(lines)


class Pump(threading.Thread):
    """Reads one pipe to its end; what it reads goes to the tail and to a sink."""

    def __init__(self, pipe: IO[bytes], tail: Tail, sink: Sink) -> None:
        super().__init__(daemon=True)
        self.pipe = pipe
        self.error: OSError | None = None
        """Why the sink could take no more; the command goes on without it."""
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
        """Whether all is passed on that a command printed which ended at the moment ``since``.

        A process that it left behind may have the pipe open for ever: so it is when nothing
        more has come for a while, or when for longer only such a process can have printed.
        """
        reading = self._reading_since
        if not self.is_alive() or reading is None:
            return not self.is_alive()
        now = time.monotonic()
        return now - reading > SILENCE or now - since > REST

    @property
    def is_held_up(self) -> bool:
        """Whether the sink has not taken yet what was read."""
        return self.is_alive() and self._reading_since is None


class Spool:
    """What a quiet command printed, in the order in which it came, in case that it fails."""

    _HEAD = struct.Struct("!BI")

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._lock = threading.Lock()

    def sink(self, stream: int) -> Sink:
        """A sink that keeps what comes as of this stream."""

        def write(chunk: bytes) -> None:
            with self._lock:
                self._file.write(self._HEAD.pack(stream, len(chunk)) + chunk)

        return write

    def replay(self) -> Iterator[tuple[int, bytes]]:
        """Every chunk with its stream."""
        self._file.seek(0)
        while head := self._file.read(self._HEAD.size):
            stream, length = self._HEAD.unpack(head)
            yield stream, self._file.read(length)

    def close(self) -> None:
        """Forget it all."""
        self._file.close()
