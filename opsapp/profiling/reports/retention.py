"""Retention: minutes become hours, hours become days, and old days are removed.

See docs/decisions/profiling.md#a-minute-is-written-whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from ... import clock
from ...engine import locks
from ...engine.rows import remove
from ...extensions import db
from ...models import ProfileSave, ProfileSeries, ProfileTrace, ProfileWindow
from ...models.profiles import DAY, HOUR, MINUTE
from ...types import Record
from ...unit.work import bookkeeping
from . import storage

SETTLED = 15 * MINUTE
"""The age at which no process writes a minute: a writer gives up after a third of it."""
LOCK_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One step: windows of one width become those of another at an age in seconds."""

    name: str
    width: int
    into: int
    age: int


STEPS = (
    Step("processes", MINUTE, MINUTE, SETTLED),
    Step("minutes", MINUTE, HOUR, 2 * HOUR),
    Step("hours", HOUR, DAY, 3 * DAY),
)
"""The steps, in order. A report over a month reads some seventy windows of an endpoint."""


def compact(*, dry_run: bool = False) -> list[Record]:
    """Add up the windows that are old enough; repeated or concurrent runs are harmless.

    :returns: for each step the number of windows before and after.
    :raises Busy: another process is compacting for longer than a moment.
    """
    if dry_run:
        return [_plan(step) for step in STEPS]
    with locks.hold_lock(db.our_engine, "profiles", wait=LOCK_SECONDS):
        return [_compact(step) for step in STEPS]


def oldest_minute() -> datetime | None:
    """Return the start of the oldest window of a minute; compacting leaves none for long."""
    oldest = sa.select(sa.func.min(ProfileWindow.starts_at)).where(ProfileWindow.width == MINUTE)
    starts_at = db.ours.scalar(oldest)
    return None if starts_at is None else datetime.fromtimestamp(starts_at, UTC)


def _due_criteria(step: Step) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the criteria of the windows that a step adds up; the last slot must be over."""
    before = (int(clock.now().timestamp()) - step.age) // step.into * step.into
    due = (ProfileWindow.width == step.width, ProfileWindow.starts_at < before)
    return (*due, ProfileWindow.process != "") if step.width == step.into else due


def _plan(step: Step) -> Record:
    due = sa.select(sa.func.count()).select_from(ProfileWindow).where(*_due_criteria(step))
    return {"step": step.name, "windows": db.ours.scalar(due), "became": None}


def _compact(step: Step) -> Record:
    window_count = sum_count = 0
    while (first := db.ours.scalar(_first(step))) is not None:
        db.ours.rollback()
        slot = first // step.into * step.into
        with bookkeeping() as session:
            count, sums = _add_up(session, step, slot)
        window_count, sum_count = window_count + count, sum_count + sums
    db.ours.rollback()
    return {"step": step.name, "windows": window_count, "became": sum_count}


def _first(step: Step) -> sa.Select[Any]:
    return sa.select(sa.func.min(ProfileWindow.starts_at)).where(*_due_criteria(step))


def _add_up(session: so.Session, step: Step, slot: int) -> tuple[int, int]:
    """Replace the windows of a slot by one window of each series, in one transaction."""
    inside = sa.and_(
        ProfileWindow.width == step.width,
        ProfileWindow.starts_at >= slot,
        ProfileWindow.starts_at < slot + step.into,
    )
    target = sa.and_(ProfileWindow.width == step.into, ProfileWindow.starts_at == slot)
    rows = session.scalars(
        sa.select(ProfileWindow).where(inside | target).execution_options(yield_per=500)
    )
    sums: dict[int, storage.Window] = {}
    read = 0
    for row in rows:
        read += row.width == step.width
        window = sums.setdefault(
            row.series_id, storage.Window(("", "", "", ""), slot, width=step.into)
        )
        window.add_row(row)
        session.expunge(row)
    remove(session, ProfileWindow, inside | target)
    storage.put(session, [window.row(series, "") for series, window in sums.items()])
    return read, len(sums)


# --- pruning -----------------------------------------------------------------


def prune(*, older_than: timedelta, limit: int, dry_run: bool = False) -> list[Record]:
    """Delete old windows, old measurements without a name of their own, and surplus traces.

    :param limit: the number of traces of each kind that stay for each endpoint.
    """
    before = clock.now() - older_than
    with bookkeeping() as session:
        counts = {
            "windows": remove(session, ProfileWindow, _is_over(before), dry_run=dry_run),
            "saves": remove(session, ProfileSave, *_automatic(before), dry_run=dry_run),
            "traces": _trim_all(session, limit, dry_run),
        }
        # Series without windows; a dry run cannot know those that lose their last window.
        counts["series"] = remove(session, ProfileSeries, _is_empty(), dry_run=dry_run)
    return [{"what": what, "removed": count} for what, count in counts.items()]


def _is_over(before: datetime) -> sa.ColumnElement[bool]:
    # A day that is not over goes the next time.
    return ProfileWindow.starts_at + ProfileWindow.width <= int(before.timestamp())


def _automatic(before: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return ProfileSave.is_automatic.is_(True), ProfileSave.made_at < before


def _is_empty() -> sa.ColumnElement[bool]:
    return ~sa.exists().where(ProfileWindow.series_id == ProfileSeries.id)


def _trim_all(session: so.Session, limit: int, dry_run: bool) -> int:
    groups = sa.select(ProfileTrace.kind, ProfileTrace.name).distinct()
    names = session.execute(groups.order_by(ProfileTrace.kind, ProfileTrace.name)).all()
    return sum(storage.trim(session, kind, name, limit, dry_run=dry_run) for kind, name in names)
