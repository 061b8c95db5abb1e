"""Storage: windows, which are written whole, and the traces worth keeping.

See docs/decisions/profiling.md#a-minute-is-written-whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from operator import attrgetter
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import orm as so

from ... import clock
from ...engine.rows import remove
from ...extensions import db, this_app
from ...models import ProfileSeries, ProfileTrace, ProfileWindow, sketches
from ...models.application import application_tables
from ...models.profiles import MINUTE
from ...unit.work import bookkeeping
from .. import ddsketch

Series = tuple[str, str, str, str]
"""Kind, name, calling line, and the statement of a repeat or the endpoint of a query."""
Trace = dict[str, Any]
Own = Callable[[], AbstractContextManager[so.Session]]

FORGOTTEN_AFTER = timedelta(days=7)
"""The age at which even the slowest trace is replaced."""
_AT_ONCE = 400
_IDS = "opsapp-profile-series"


class Counted(Protocol):
    """The figures that a total adds up."""

    @property
    def count(self) -> int: ...

    errors: int
    seconds: float
    most: float
    queries: int
    query_seconds: float
    bins: ddsketch.Bins


@dataclass(slots=True, kw_only=True)
class Total:
    """The sum of many recordings."""

    count: int = 0
    errors: int = 0
    seconds: float = 0.0
    most: float = 0.0
    queries: int = 0
    query_seconds: float = 0.0
    bins: ddsketch.Bins = field(default_factory=dict)

    def add(self, other: Counted) -> None:
        """Add the figures and the sketch of another."""
        self.add_figures(*_figures(other))
        ddsketch.add(self.bins, other.bins)

    def add_row(self, row: Any) -> None:
        """Add a row of :class:`~opsapp.models.ProfileWindow`, with its packed sketch."""
        self.add_figures(*_figures(row))
        ddsketch.unpack_into(self.bins, row.bins)

    def add_figures(
        self,
        count: int,
        errors: int,
        seconds: float,
        most: float,
        queries: int,
        query_seconds: float,
    ) -> None:
        """Add figures without a sketch."""
        self.count += count
        self.errors += errors
        self.seconds += seconds
        self.most = max(self.most, most)
        self.queries += queries
        self.query_seconds += query_seconds


_figures = attrgetter("count", "errors", "seconds", "most", "queries", "query_seconds")


@dataclass(slots=True)
class Window(Total):
    """The sum of a series in the minute that starts at ``starts_at``, in seconds since 1970."""

    series: Series
    starts_at: int
    width: int = MINUTE

    def row(self, series_id: int, process: str) -> dict[str, Any]:
        """Return the row of the window."""
        return {
            "series_id": series_id,
            "width": self.width,
            "starts_at": self.starts_at,
            "process": process,
            "count": self.count,
            "errors": self.errors,
            "seconds": self.seconds,
            "most": self.most,
            "queries": self.queries,
            "query_seconds": self.query_seconds,
            "bins": sketches.pack(self.bins),
        }


def store(
    process: str,
    windows: Sequence[Window],
    traces: Sequence[Trace],
    *,
    limit: int,
    own: Own | None = None,
) -> dict[str, float]:
    """Write the windows of a process over its earlier ones, and its traces.

    :param limit: the number of traces of each kind that stay for each name.
    :param own: opens the transaction; one of :func:`~opsapp.unit.bookkeeping` if None.
    :returns: for each name with slow traces, the seconds above which the next one is kept.
    """
    try:
        with (own or bookkeeping)() as session:
            ids = _ids(session, {window.series for window in windows})
            rows = [window.row(ids[window.series], process) for window in windows]
            put(session, rows)
            if traces:
                session.execute(sa.insert(ProfileTrace), list(traces))
            return _trim(session, {(trace["kind"], trace["name"]) for trace in traces}, limit)
    except BaseException:
        # A cached series may have been pruned.
        _cached_ids().clear()
        raise


def put(session: so.Session, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of windows, over those of the same window and process."""
    if not rows:
        return
    insert = _insert(session)(ProfileWindow)
    keys = ("series_id", "width", "starts_at", "process")
    others = {name: insert.excluded[name] for name in rows[0] if name not in keys}
    ordered = sorted(rows, key=lambda row: [row[key] for key in keys])
    session.execute(insert.on_conflict_do_update(index_elements=keys, set_=others), ordered)


def _insert(session: so.Session) -> Any:
    if session.get_bind().dialect.name == "sqlite":
        from sqlalchemy.dialects.sqlite import insert

        return insert
    from sqlalchemy.dialects.postgresql import insert as insert_pg

    return insert_pg


def _cached_ids() -> dict[Series, int]:
    ids: dict[Series, int] = this_app().extensions.setdefault(_IDS, {})
    return ids


def _ids(session: so.Session, all_series: set[Series]) -> dict[Series, int]:
    """Return the ids of these series, and insert the new ones."""
    cache = _cached_ids()
    if len(cache) > 20_000:
        cache.clear()
    missing = {digest(series): series for series in all_series if series not in cache}
    id_of = _find(session, missing)
    if new := sorted(missing.keys() - id_of.keys()):
        names = ("kind", "name", "caller", "statement")
        rows = [{"digest": key, **dict(zip(names, missing[key], strict=True))} for key in new]
        # Sorted, so that two processes do not deadlock.
        session.execute(_insert(session)(ProfileSeries).on_conflict_do_nothing(), rows)
        id_of |= _find(session, new)
    ids = {missing[key]: id for key, id in id_of.items()}
    cache.update(ids)
    return {series: cache[series] for series in all_series}


def _find(session: so.Session, digests: Iterable[str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for batch in _in_batches(digests):
        query = sa.select(ProfileSeries.digest, ProfileSeries.id).where(
            ProfileSeries.digest.in_(batch)
        )
        ids.update({row[0]: row[1] for row in session.execute(query)})
    return ids


def _in_batches(items: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _AT_ONCE)):
        yield batch


def digest(series: Series) -> str:
    """Return the digest of a series, which is short enough for an index."""
    return hashlib.sha256("\0".join(series).encode("utf-8", "surrogatepass")).hexdigest()


# --- traces ------------------------------------------------------------------


def _trim(session: so.Session, touched: set[tuple[str, str]], limit: int) -> dict[str, float]:
    floors: dict[str, float] = {}
    for kind, name in sorted(touched):
        trim(session, kind, name, limit)
        if kind == "slow":
            slowest = sa.select(ProfileTrace.seconds).where(*_same(kind, name))
            seconds = session.scalars(slowest).all()
            floors[name] = min(seconds) if len(seconds) >= limit else 0.0
    return floors


def trim(session: so.Session, kind: str, name: str, limit: int, *, dry_run: bool = False) -> int:
    """Keep the slowest traces of ``slow``, the newest of other kinds; return the number removed."""
    recent = ProfileTrace.at >= clock.now() - FORGOTTEN_AFTER
    first = ProfileTrace.seconds if kind == "slow" else ProfileTrace.id
    stay = sa.select(ProfileTrace.id).where(*_same(kind, name), recent).order_by(first.desc())
    staying = session.scalars(stay.limit(limit)).all()
    over = (*_same(kind, name), ProfileTrace.id.not_in(staying))
    return remove(session, ProfileTrace, *over, dry_run=dry_run)


def _same(kind: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return ProfileTrace.kind == kind, ProfileTrace.name == name


# --- names -------------------------------------------------------------------


def shown_names() -> set[str] | None:
    """Return the names that a fingerprint may show in double quotes, or None for all.

    SQLite may take another name in double quotes for a string.
    """
    if db.engine.dialect.name == "postgresql":
        return None
    return {name for table in application_tables() for name in (table.name, *table.columns.keys())}
