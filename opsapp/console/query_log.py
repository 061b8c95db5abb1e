"""What SQL an input sent: each statement with its time, and those that repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import orm as so

AT_MOST = 1000
"""Statements that are kept of one input; the others are counted."""
REPEATED = 5
"""So many times the same statement in one input is worth a hint."""


@dataclass(slots=True)
class Sent:
    """One statement that was sent."""

    statement: str
    milliseconds: float
    relationship: str | None
    """The relationship whose lazy loading sent it: ``Order.items``."""


@dataclass(slots=True)
class Report:
    """What one input sent."""

    sent: list[Sent] = field(default_factory=list)
    count: int = 0
    milliseconds: float = 0.0
    """How long the database took, the way there and back included."""

    def hints(self) -> list[str]:
        """A line for every statement that the input sent again and again."""
        times: dict[tuple[str, str | None], list[float]] = {}
        for one in self.sent:
            times.setdefault((one.statement, one.relationship), []).append(one.milliseconds)
        repeated = [item for item in times.items() if len(item[1]) >= REPEATED]
        repeated.sort(key=lambda item: -len(item[1]))
        return [_hint(*key, found) for key, found in repeated]


def _hint(statement: str, relationship: str | None, times: list[float]) -> str:
    advice = (
        f"load it with the others: .options(selectinload({relationship}))"
        if relationship
        else "ask once, with a join or an IN"
    )
    short = " ".join(statement.split())[:60]
    return f"{len(times)} times, {sum(times):.1f} ms: {short}… {advice}"


class Queries:
    """Listens to engines and a session: what the inputs send."""

    def __init__(self, engines: Iterable[sa.Engine], session: Any) -> None:
        self.current = Report()
        self.last = Report()
        """What the input before the running one sent."""
        self.echo: Callable[[str], None] | None = None
        """Where each statement goes as it is sent; None keeps them quiet."""
        self._loading: str | None = None
        for engine in engines:
            event.listen(engine, "before_cursor_execute", self._before)
            event.listen(engine, "after_cursor_execute", self._after)
            event.listen(engine, "handle_error", self._failed)
        event.listen(session, "do_orm_execute", self._asked)

    def begin(self) -> None:
        """The next input begins."""
        self.last, self.current, self._loading = self.current, Report(), None

    def _asked(self, state: so.ORMExecuteState) -> None:
        self._loading = None
        path: Any = state.loader_strategy_path if state.is_relationship_load else None
        if path is not None:
            relation = path.path[-1] if hasattr(path.path[-1], "key") else path.path[-2]
            self._loading = f"{relation.parent.class_.__name__}.{relation.key}"

    def _before(self, connection: sa.Connection, *_rest: Any) -> None:
        connection.info["opsapp_sent_at"] = time.perf_counter()

    def _after(self, connection: sa.Connection, _cursor: Any, statement: str, *_rest: Any) -> None:
        self._keep(connection, statement)

    def _failed(self, context: sa.engine.ExceptionContext) -> None:
        if context.connection is not None and context.statement:
            self._keep(context.connection, context.statement)

    def _keep(self, connection: sa.Connection, statement: str) -> None:
        started = connection.info.pop("opsapp_sent_at", None) or time.perf_counter()
        if statement == "BEGIN":
            return  # SQLite's listener sends it, and nobody asked.
        milliseconds = (time.perf_counter() - started) * 1000
        self.current.count += 1
        self.current.milliseconds += milliseconds
        if self.current.count <= AT_MOST:
            self.current.sent.append(Sent(statement, milliseconds, self._loading))
        if self.echo is not None:
            self.echo(f"{milliseconds:.1f} ms  {statement}")
        self._loading = None
