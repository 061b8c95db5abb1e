"""Totals: the windows of a span of time, added up by endpoint, command or query."""

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
from . import names
from .storage import Total

KINDS = ("endpoint", "query", "command")
SORTS = {
    **{name: f"{name}_ms" for name in ("total", "p50", "p95", "p99", "max")},
    "count": "count",
    "errors": "error_rate",
    "queries": "queries",
}
"""The sort orders, and the field of each."""
FIELDS = (
    "count", "error_rate", "p50_ms", "p95_ms", "p99_ms", "max_ms", "total_ms", "share",
    "queries", "query_ms", "few", "error_bound", "trend",
)  # fmt: skip
NOT_OF_QUERIES = ("error_rate", "queries", "query_ms")
"""The fields that a query lacks."""
SHARES = (0.5, 0.95, 0.99)
FEW = 100
"""The number of samples below which p99 says little."""
SLOTS = 24
"""The number of points of a trend."""


@dataclass(slots=True)
class Sum(Total):
    """The total of one series in the span."""

    name: str
    caller: str
    statement: str
    slots: dict[int, tuple[int, float]] = field(default_factory=dict)
    """The count and the seconds of each point of the trend."""


def report(
    by: str = "endpoint",
    *,
    since: datetime,
    until: datetime | None = None,
    sort: str = "total",
    top: int | None = 20,
    endpoint: str | None = None,
) -> list[Record]:
    """Return the total of each series, the largest first. Times are in milliseconds.

    ``share`` is the share of the time of this kind. ``error_bound`` is the largest error of a
    percentile, as a share of it. ``few`` marks rows with too few samples for p95 and p99.
    ``trend`` has the mean of each of 24 slots, or None for an empty slot.

    :param endpoint: only the queries of this endpoint or command.
    :raises Invalid: the kind or the sort order is unknown.
    :raises NotFound: the endpoint is not on record.
    """
    if by not in KINDS:
        raise Invalid(f"by {by} is not one of {', '.join(KINDS)}")
    if sort not in SORTS:
        raise Invalid(f"sort {sort} is not one of {', '.join(SORTS)}")
    key = SORTS[sort]
    if by == "query" and key in NOT_OF_QUERIES:
        raise Invalid(f"a query has no {sort} to sort by")
    endpoints = names.resolve_names(endpoint) if endpoint is not None else None
    sums = add_up(by, since, until or clock.now(), endpoints=endpoints)
    seconds = sum(series.seconds for series in sums)
    rows = [_row(by, series, seconds) for series in sums]
    rows.sort(key=lambda row: (-(row[key] or 0), row[by]))
    return rows[:top]


def fields(by: str) -> list[str]:
    """Return the fields of a row of the report."""
    if by == "query":
        return [by, *(name for name in FIELDS if name not in NOT_OF_QUERIES), "caller"]
    return [by, *FIELDS]


def _row(by: str, series: Sum, total: float) -> Record:
    p50, p95, p99 = (_ms(value) for value in ddsketch.quantiles(series.bins, SHARES))
    row: Record = {
        by: series.name,
        "count": series.count,
        "error_rate": round(series.errors / series.count, 4),
        # A bucket may end above its slowest request.
        "p50_ms": _least(p50, series.most),
        "p95_ms": _least(p95, series.most),
        "p99_ms": _least(p99, series.most),
        "max_ms": _ms(series.most),
        "total_ms": _ms(series.seconds),
        "share": round(series.seconds / total, 4) if total else 0.0,
        "queries": round(series.queries / series.count, 2),
        "query_ms": _ms(series.query_seconds / series.count),
        "few": series.count < FEW,
        "error_bound": ddsketch.ACCURACY,
        "trend": _trend(series),
    }
    if by == "query":
        return {
            **{name: value for name, value in row.items() if name not in NOT_OF_QUERIES},
            "caller": series.caller,
        }
    return row


def _least(ms: float | None, most: float) -> float | None:
    return None if ms is None else min(ms, _ms(most) or ms)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _trend(series: Sum) -> list[float | None]:
    points = [series.slots.get(number) for number in range(SLOTS)]
    return [_ms(point[1] / point[0]) if point and point[0] else None for point in points]


# --- adding up ---------------------------------------------------------------

# The database adds up the figures, in a tenth of the time; the sketches are ours to add.
# A window written between the two queries is in the second only, until the next report.


def add_up(
    kind: str, since: datetime, until: datetime, *, endpoints: Sequence[str] | None = None
) -> list[Sum]:
    """Return the total of each series of a kind; the memory depends on the series only.

    A query is one series, whichever endpoints send it.

    :param endpoints: only the queries of these endpoints and commands.
    """
    span = Span.of(since, until)
    sums = _sums(kind, endpoints)
    for series, slot, *figures in span.figures(kind, _COLUMNS.series_id, span.slot()):
        # A series that is missing began after the names were read.
        if (total := sums.get(series)) is not None:
            total.add_figures(*figures)
            count, seconds = total.slots.get(slot, (0, 0.0))
            total.slots[slot] = (count + figures[0], seconds + figures[2])
    for series, packed in span.sketches(kind, _COLUMNS.series_id):
        if (total := sums.get(series)) is not None:
            ddsketch.unpack_into(total.bins, packed)
    return [total for total in {id(total): total for total in sums.values()}.values()
            if total.count]  # fmt: skip


def _sums(kind: str, endpoints: Sequence[str] | None) -> dict[int, Sum]:
    """Return an empty total for each series by its id; those of one query share theirs."""
    query = sa.select(
        ProfileSeries.id, ProfileSeries.name, ProfileSeries.caller, ProfileSeries.statement
    ).where(ProfileSeries.kind == kind)
    if endpoints is not None:
        query = query.where(ProfileSeries.statement.in_(endpoints))
    totals: dict[tuple[str, str, str], Sum] = {}
    sums: dict[int, Sum] = {}
    for id, name, caller, statement in db.ours.execute(query):
        key = (name, caller, "" if kind == "query" else statement)
        sums[id] = totals.setdefault(key, Sum(*key))
    return sums


def over_time(since: datetime, until: datetime) -> list[Total]:
    """Return the total of all requests in each slot of a span."""
    span = Span.of(since, until)
    totals = [Total() for _ in range(SLOTS)]
    for slot, *figures in span.figures("endpoint", span.slot()):
        totals[slot].add_figures(*figures)
    for slot, packed in span.sketches("endpoint", span.slot()):
        ddsketch.unpack_into(totals[slot].bins, packed)
    return totals


def sum_totals(totals: Iterable[Total]) -> Total:
    """Return the sum of the totals."""
    grand_total = Total()
    for total in totals:
        grand_total.add(total)
    return grand_total


_COLUMNS = ProfileWindow.__table__.c


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time, in seconds since 1970, and its windows."""

    begin: int
    end: int

    @classmethod
    def of(cls, since: datetime, until: datetime) -> Span:
        """Return the span, including the second in which it ends."""
        return cls(int(since.timestamp()), int(until.timestamp()) + 1)

    def slot(self) -> sa.Label[int]:
        """Return the slot with the middle of a window, which may be after the end."""
        slot = (_MIDDLE - self.begin) * SLOTS // max(1, self.end - self.begin)
        return sa.case((slot < SLOTS, slot), else_=SLOTS - 1).label("slot")

    def figures(self, kind: str, *by: Any) -> Iterator[Sequence[Any]]:
        """Yield ``by`` and the figures for :meth:`Total.add_figures` of each group."""
        add, columns = sa.func.sum, _COLUMNS
        figures = (
            add(columns.count), add(columns.errors), add(columns.seconds),
            sa.func.max(columns.most), add(columns.queries), add(columns.query_seconds),
        )  # fmt: skip
        # By name: to PostgreSQL the same expression with other parameters is another one.
        query = self._windows(kind, *by, *(sa.cast(column, column.type) for column in figures))
        return _some_at_a_time(query.group_by(*(column.name for column in by)))

    def sketches(self, kind: str, by: Any) -> Iterator[Sequence[Any]]:
        """Yield ``by`` and the packed sketch of each window."""
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
    connection = db.ours.connection().execution_options(yield_per=1000)
    with connection.execute(query) as rows:
        yield from rows
