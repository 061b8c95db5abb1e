"""One request or command while it runs: what it sent to the database, and when."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from threading import get_ident
from time import perf_counter

from ...errors import DONE, FINDINGS
from .callers import Statement

MOST_STATEMENTS = 500
"""So many statements of a recording are kept one by one; the others are counted."""

Sent = tuple[Statement, float, float]
"""A statement, when it was sent (by the clock of ``started``), and how many seconds it took."""
Sample = tuple[float, tuple[str, ...]]
"""For how many seconds the stack was like this, its outermost function first."""


class Recording:
    """What is noticed of one request or command.

    What most of them do not have stands in the class, and costs a request nothing.
    """

    status: int | None = None
    """The HTTP status or the exit code; None where there was no answer, or half of one."""
    error: dict[str, object] | None = None
    samples: list[Sample] | None = None
    next_sample = 0.0
    is_looked_at = False
    """Whether it runs under a profiler."""
    is_asked: dict[str, object] | None = None
    """What a profile that was asked for found."""
    headers: Sequence[tuple[str, str]] = ()
    """Of the answer; only its number is ever kept."""
    queries = 0
    """Only if there were more than :data:`MOST_STATEMENTS`; else as many as in ``sent``."""
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
        """The id under which the log and the audit know the request."""
        return next((value for name, value in self.headers if name == "X-Request-ID"), None)


def has_failed(kind: str, status: int | None) -> bool:
    """Whether a request or a command that ended so has; one that found something has not."""
    if kind == "command":
        return status not in (DONE, FINDINGS)
    return status is None or status >= 500


current: ContextVar[Recording | None] = ContextVar("recording", default=None)
"""What runs in this thread now, if it is recorded."""
