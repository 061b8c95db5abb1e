"""Recordings: one request or command while it runs, with its statements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from threading import get_ident
from time import perf_counter
from types import MappingProxyType
from typing import Any

from ...errors import DONE, FINDINGS
from .callers import Statement

MOST_STATEMENTS = 500
"""The most statements of a recording; further ones are only counted."""

Sent = tuple[Statement, float, float]
"""A statement, its moment (by the clock of ``started``), and its seconds."""
Sample = tuple[float, tuple[str, ...]]
"""The seconds of a stack, and its functions, the outermost first."""


class Recording:
    """The figures of one request or command.

    Attributes that most recordings lack are in the class, where they cost nothing.
    """

    status: int | None = None
    """The HTTP status or the exit code; None without a whole answer."""
    error: dict[str, object] | None = None
    samples: list[Sample] | None = None
    next_sample = 0.0
    is_waiting = False
    is_profiled = False
    """True if a profile was asked for."""
    has_profiler = False
    """True if its profile is kept; another request may have the profiler."""
    environ: Mapping[str, Any] = MappingProxyType({})
    """The environment of a request that is under way."""
    profile_detail: dict[str, object] | None = None
    """The result of a profile on request."""
    headers: Sequence[tuple[str, str]] = ()
    """The headers of the answer, of which only the request's id is stored."""
    queries = 0
    """The count beyond :data:`MOST_STATEMENTS`; below it, the length of ``sent`` counts."""
    seconds = 0.0
    ended = 0.0
    """Seconds since 1970."""

    def __init__(self, kind: str, name: str = "") -> None:
        self.kind = kind
        self.name = name
        self.sent: list[Sent] = []
        self.thread = get_ident()
        self.started = perf_counter()

    @property
    def number(self) -> str | None:
        """Return the request's id in the log and the audit."""
        return next((value for name, value in self.headers if name == "X-Request-ID"), None)


@contextmanager
def waiting() -> Iterator[None]:
    """Leave the time inside out of the recording of this thread: a user thinks.

    The statements before it move on by that time.
    """
    recording = current.get()
    if recording is None or recording.is_waiting:  # The time counts once.
        yield
        return
    recording.is_waiting = True
    start = perf_counter()
    try:
        yield
    finally:
        recording.is_waiting = False
        seconds = perf_counter() - start
        recording.started += seconds
        recording.sent[:] = [(key, at + seconds, took) for key, at, took in recording.sent]


def has_failed(kind: str, status: int | None) -> bool:
    """Tell whether this status is a failure; a command with findings has not failed."""
    if kind == "command":
        return status not in (DONE, FINDINGS)
    return status is None or status >= 500


current: ContextVar[Recording | None] = ContextVar("recording", default=None)
"""The recording of this thread, if there is one."""
