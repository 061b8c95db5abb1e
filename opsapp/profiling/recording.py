"""One request or command while it runs: what it sent to the database, and when."""

from __future__ import annotations

from contextvars import ContextVar
from threading import get_ident
from time import perf_counter

MOST_STATEMENTS = 500
"""So many statements of a recording are kept one by one; the others are counted."""

Sent = tuple[str, str, int, float, float]
"""A statement, the place and line that sent it, when (seconds from the start), and for how long."""
Sample = tuple[float, tuple[str, ...]]
"""For how many seconds the stack was like this, its outermost function first."""


class Recording:
    """What is noticed of one request or command."""

    __slots__ = (
        "ended",
        "error",
        "headers",
        "is_asked",
        "is_looked_at",
        "kind",
        "name",
        "next_sample",
        "queries",
        "query_seconds",
        "samples",
        "seconds",
        "sent",
        "started",
        "status",
        "thread",
    )

    def __init__(self, kind: str, name: str = "") -> None:
        self.kind = kind
        self.name = name
        self.status: int | None = None
        self.sent: list[Sent] = []
        self.queries = 0
        self.query_seconds = 0.0
        self.error: dict[str, object] | None = None
        self.samples: list[Sample] | None = None
        self.next_sample = 0.0
        self.is_looked_at = False
        self.is_asked: dict[str, object] | None = None
        """What a profile that was asked for found."""
        self.headers: list[tuple[str, str]] = []
        """Of the answer; only its number is ever kept."""
        self.thread = get_ident()
        self.seconds = self.ended = 0.0
        self.started = perf_counter()

    @property
    def number(self) -> str | None:
        """The id under which the log and the audit know the request."""
        return next((value for name, value in self.headers if name == "X-Request-ID"), None)

    def note(self, statement: str, place: str, line: int, started: float, seconds: float) -> None:
        """A statement has come back."""
        self.queries += 1
        self.query_seconds += seconds
        if len(self.sent) < MOST_STATEMENTS:
            self.sent.append((statement, place, line, started - self.started, seconds))


current: ContextVar[Recording | None] = ContextVar("recording", default=None)
"""What runs in this thread now, if it is recorded."""
