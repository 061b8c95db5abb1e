"""Reports: the windows of a span of time, added up by endpoint, command or query."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ... import clock
from ...errors import Invalid
from ...extensions import db
from ...models import ProfileSeries, ProfileWindow
from ...models.profiles import DAY, HOUR, MINUTE
from ...types import Record
from .. import ddsketch
from .storage import Total

KINDS = ("endpoint", "query", "command")
SORTS = {
    **{name: f"{name}_ms" for name in ("total", "p50", "p95", "p99", "max")},
    "count": "count",
    "errors": "error_rate",
    "queries": "queries",
}
"""What to sort by, and the field that has it."""
FIELDS = (
    "count", "error_rate", "p50_ms", "p95_ms", "p99_ms", "max_ms", "total_ms", "share",
    "queries", "query_ms", "few", "error_bound", "trend",
)  # fmt: skip
NOT_OF_QUERIES = ("error_rate", "queries", "query_ms")
"""The fields that a query has none of."""
SHARES = (0.5, 0.95, 0.99)
FEW = 100
"""Fewer samples than this say little about the slowest hundredth."""
SLOTS = 24
"""Points of a trend."""


@dataclass(slots=True)
class Sum(Total):
    """Everything that happened to one series in the span."""

    name: str
    caller: str
    statement: str
    slots: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Of each point of the trend the count and the seconds."""


def report(
    by: str = "endpoint",
    *,
    since: datetime,
    until: datetime | None = None,
    sort: str = "total",
    top: int | None = 20,
) -> list[Record]:
    """What took the time, the worst first. Times are in milliseconds.

    ``share`` is of the time of all of this kind; ``error_bound`` says how far a percentile
    may be from the exact one, as a share of it; ``few`` marks rows with too few samples for
    their p95 and p99 to mean much. ``trend`` has the mean of each of 24 slots, None where
    nothing happened.

    :raises Invalid: there is nothing of that name to report or to sort by.
    """
    if by not in KINDS:
        raise Invalid(f"by {by} is none of {', '.join(KINDS)}")
    if sort not in SORTS:
        raise Invalid(f"sort {sort} is none of {', '.join(SORTS)}")
    key = SORTS[sort]
    if by == "query" and key in NOT_OF_QUERIES:
        raise Invalid(f"a query has no {sort} to sort by")
    sums = add_up(by, since, until or clock.now())
    total = sum(one.seconds for one in sums)
    rows = [_row(by, one, total) for one in sums]
    rows.sort(key=lambda row: (-(row[key] or 0), row[by]))
    return rows[:top]


def fields(by: str) -> list[str]:
    """Return the fields of a row of the report."""
    if by == "query":
        return [by, *(name for name in FIELDS if name not in NOT_OF_QUERIES), "caller"]
    return [by, *FIELDS]


def _row(by: str, one: Sum, total: float) -> Record:
    p50, p95, p99 = (_ms(value) for value in ddsketch.quantiles(one.bins, SHARES))
    row: Record = {
        by: one.name,
        "count": one.count,
        "error_rate": round(one.errors / one.count, 4),
        # A bucket reaches further than the slowest that is in it.
        "p50_ms": _least(p50, one.most),
        "p95_ms": _least(p95, one.most),
        "p99_ms": _least(p99, one.most),
        "max_ms": _ms(one.most),
        "total_ms": _ms(one.seconds),
        "share": round(one.seconds / total, 4) if total else 0.0,
        "queries": round(one.queries / one.count, 2),
        "query_ms": _ms(one.query_seconds / one.count),
        "few": one.count < FEW,
        "error_bound": ddsketch.ACCURACY,
        "trend": _trend(one),
    }
    if by == "query":
        return {
            **{name: value for name, value in row.items() if name not in NOT_OF_QUERIES},
            "caller": one.caller,
        }
    return row


def _least(ms: float | None, most: float) -> float | None:
    return None if ms is None else min(ms, _ms(most) or ms)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _trend(one: Sum) -> list[float | None]:
    points = [one.slots.get(number) for number in range(SLOTS)]
    return [_ms(point[1] / point[0]) if point and point[0] else None for point in points]


# --- adding up ---------------------------------------------------------------

# The database adds up the figures, in a tenth of the time; the sketches are ours to add.
# What is written between the two questions is in the second only, until the next report.


def add_up(kind: str, since: datetime, until: datetime) -> list[Sum]:
    """The sums of every series of a kind in this span. Memory follows the series, not the span."""
    span = Span.of(since, until)
    named = sa.select(
        ProfileSeries.id, ProfileSeries.name, ProfileSeries.caller, ProfileSeries.statement
    ).where(ProfileSeries.kind == kind)
    sums = {row[0]: Sum(*row[1:]) for row in db.session.execute(named)}
    for series, slot, *figures in span.figures(kind, _COLUMNS.series_id, span.slot()):
        # Else it began after the names were read.
        if (one := sums.get(series)) is not None:
            one.add_figures(*figures)
            one.slots[slot] = (figures[0], figures[2])
    for series, packed in span.sketches(kind, _COLUMNS.series_id):
        if (one := sums.get(series)) is not None:
            ddsketch.unpack_into(one.bins, packed)
    return [one for one in sums.values() if one.count]


def over_time(since: datetime, until: datetime) -> list[Total]:
    """All requests of each slot of a span."""
    span = Span.of(since, until)
    totals = [Total() for _ in range(SLOTS)]
    for slot, *figures in span.figures("endpoint", span.slot()):
        totals[slot].add_figures(*figures)
    for slot, packed in span.sketches("endpoint", span.slot()):
        ddsketch.unpack_into(totals[slot].bins, packed)
    return totals


def together(totals: Iterable[Total]) -> Total:
    """All of them as one."""
    whole = Total()
    for one in totals:
        whole.add(one)
    return whole


_COLUMNS = ProfileWindow.__table__.c


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time, in seconds since 1970, and what was recorded in it."""

    begin: int
    end: int

    @classmethod
    def of(cls, since: datetime, until: datetime) -> Span:
        """The span, with the second that it ends in."""
        return cls(int(since.timestamp()), int(until.timestamp()) + 1)

    def slot(self) -> sa.Label[int]:
        """In which of the slots the middle of a window is; it may be after the end."""
        slot = (_MIDDLE - self.begin) * SLOTS // max(1, self.end - self.begin)
        return sa.case((slot < SLOTS, slot), else_=SLOTS - 1).label("slot")

    def figures(self, kind: str, *by: Any) -> Iterator[Sequence[Any]]:
        """What ``by`` is, and the figures of :meth:`Total.add_figures` of all that it is of."""
        of = _COLUMNS
        figures = (
            sa.func.sum(of.count), sa.func.sum(of.errors), sa.func.sum(of.seconds),
            sa.func.max(of.most), sa.func.sum(of.queries), sa.func.sum(of.query_seconds),
        )  # fmt: skip
        # By name: PostgreSQL takes the same expression with other parameters for another one.
        query = self._windows(kind, *by, *(sa.cast(one, one.type) for one in figures))
        return _some_at_a_time(query.group_by(*(one.name for one in by)))

    def sketches(self, kind: str, by: Any) -> Iterator[Sequence[Any]]:
        """What ``by`` is, and the packed sketch, of each window."""
        return _some_at_a_time(self._windows(kind, by, _COLUMNS.bins))

    def _windows(self, kind: str, *columns: Any) -> sa.Select[Any]:
        of_kind = sa.select(ProfileSeries.id).where(ProfileSeries.kind == kind)
        return (
            sa.select(*columns)
            # A window counts if most of it is inside; a day may have begun before.
            .where(_COLUMNS.width.in_((MINUTE, HOUR, DAY)))
            .where(_COLUMNS.starts_at >= self.begin - DAY, _COLUMNS.starts_at < self.end)
            .where(self.begin <= _MIDDLE)
            .where(_COLUMNS.series_id.in_(of_kind))
        )


_MIDDLE = _COLUMNS.starts_at + _COLUMNS.width // 2


def _some_at_a_time(query: sa.Select[Any]) -> Iterator[Sequence[Any]]:
    connection = db.session.connection().execution_options(yield_per=1000)
    with connection.execute(query) as rows:
        yield from rows
