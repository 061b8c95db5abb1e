"""The history of jobs as it is written: begun before the work, finished after it.

A row that is open while nobody holds its job's lock is a run that crashed: the
kernel or the server let the lock go, and nobody was left to write the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy import orm as so

from .. import clock, text
from ..actors import Actor
from ..engine.connections import BOOKKEEPING
from ..engine.rows import remove
from ..errors import NotFound
from ..extensions import db
from ..models import JobOutput, JobRun
from ..models.jobs import RUNNING
from ..types import Record
from ..unit.work import Unit, bookkeeping

STATUSES = {
    RUNNING: "its lock is held",
    "succeeded": "the command ended with 0",
    "failed": "the command ended with another code, or too soon",
    "timed-out": "it was ended after its --timeout",
    "skipped": "another run was going on",
    "terminated": "a signal to the runner ended it",
    "crashed": "the runner was killed, or its host; nobody wrote the end",
}
FAILED = frozenset({"failed", "timed-out", "terminated", "crashed"})
OUTPUT_BYTES = 64 * 1024
"""So much of each stream is kept."""


def lock_name(job: str) -> str:
    """The lock that a run of the job holds."""
    return f"job-{job}"


# --- writing -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What is known of a run before it begins."""

    name: str
    command: Sequence[str]
    actor: Actor
    pid: int
    correlation: str
    slot: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """What is known of a run when it has ended."""

    status: str
    exit_code: int | None
    seconds: float
    attempts: int
    peak_bytes: int | None = None
    reason: str | None = None


@dataclass(slots=True)
class Unwritten:
    """What a run has printed and is not known to be written.

    Where the answer to a COMMIT is lost, ``doubtful`` pieces may be written already. A run
    has one writer, so they are if there is any piece behind the one numbered ``after``.
    """

    pieces: list[tuple[str, str]] = field(default_factory=list)
    doubtful: int = 0
    after: int = 0

    def add(self, pieces: Iterable[tuple[str, str]]) -> None:
        """Add what was printed since, and forget the oldest that would not be kept anyway."""
        self.pieces += pieces
        size = sum(len(piece) for _, piece in self.pieces)
        while size > 3 * OUTPUT_BYTES:
            size -= len(self.pieces.pop(0)[1])
            self.doubtful = max(0, self.doubtful - 1)

    def written(self, after: int) -> None:
        """Forget what is known to be written, up to the piece of this number."""
        del self.pieces[: self.doubtful]
        self.doubtful, self.after = 0, after


def begin(start: Start) -> tuple[int, int] | None:
    """Write that a run begins; the caller holds the job's lock.

    :returns: its id, and how many runs before it are found to have crashed; None if
        another run has had the same slot.
    """
    try:
        with bookkeeping() as session:
            crashed = _settle(session, start.name)
            _replace_skipped(session, start)
            run = _row(start)
            session.add(run)
            session.flush()
            return run.id, crashed
    except exc.IntegrityError:
        return None
    finally:
        let_go()


def skip(start: Start, reason: str) -> bool:
    """Write that a run was skipped; False if its slot has been another run's."""
    now = clock.now()
    row = _row(start)
    row.status, row.finished_at, row.seconds, row.exit_code = "skipped", now, 0.0, 0
    row.reason = reason[:255]
    try:
        with bookkeeping() as session:
            session.add(row)
    except exc.IntegrityError:
        return False
    return True


def _row(start: Start) -> JobRun:
    return JobRun(
        name=start.name,
        slot=start.slot,
        started_at=clock.now(),
        command=list(start.command),
        host=text.safe(start.actor.host or "unknown")[:255],
        pid=start.pid,
        actor=start.actor.label(),
        correlation=start.correlation,
    )


def _settle(session: so.Session, name: str) -> int:
    """Write down the crash of runs that are still open, though we hold their lock."""
    now = clock.now()
    settled: Any = session.execute(
        sa.update(JobRun)
        .where(JobRun.name == name, JobRun.finished_at.is_(None))
        .values(
            status="crashed",
            finished_at=now,
            reason="its runner or its host died; finished_at is when that was noticed",
        ),
        execution_options={"synchronize_session": False},
    )
    return int(settled.rowcount)


def _replace_skipped(session: so.Session, start: Start) -> None:
    """Forget that another host skipped this slot, now that it can be run after all."""
    same = (JobRun.name == start.name, JobRun.slot == start.slot, JobRun.status == "skipped")
    if start.slot is not None:
        remove(session, JobRun, *same)


def finish(run_id: int, end: End, output: Unwritten) -> None:
    """Write how a run ended, and the rest of what it printed; again changes nothing.

    :raises NotFound: the run was removed.
    """
    with bookkeeping() as session:
        # Locked: a COMMIT whose answer was lost may still be under way.
        run = session.get(JobRun, run_id, with_for_update=True)
        if run is None:
            raise NotFound(f"run {run_id} was removed while it ran")
        if run.finished_at is not None and run.status == end.status:
            return
        run.status, run.exit_code = end.status, end.exit_code
        run.finished_at, run.seconds = clock.now(), round(end.seconds, 3)
        run.attempts, run.peak_bytes = end.attempts, end.peak_bytes
        run.reason = end.reason and end.reason[:255]
        _add_output(session, run_id, output)


def add_output(run_id: int, output: Unwritten, *, attempts: int) -> None:
    """Write what a run has printed so far, so that it can be followed and outlives a crash."""
    with bookkeeping() as session:
        # It waits for a COMMIT whose answer was lost.
        session.execute(sa.update(JobRun).where(JobRun.id == run_id).values(attempts=attempts))
        newest = _add_output(session, run_id, output)
    output.written(newest)
    let_go()


def _add_output(session: so.Session, run_id: int, output: Unwritten) -> int:
    """Add the pieces, but those that are there after all; the newest one's number."""
    newest = sa.select(sa.func.max(JobOutput.id)).where(JobOutput.run_id == run_id)
    if (there := session.scalar(newest) or 0) > output.after:
        output.written(there)
    output.doubtful = len(output.pieces)
    rows = (JobOutput(run_id=run_id, stream=stream, text=piece) for stream, piece in output.pieces)
    session.add_all(rows)
    session.flush()
    for stream in ("stdout", "stderr"):
        _trim(session, run_id, stream)
    return session.scalar(newest) or 0


def _trim(session: so.Session, run_id: int, stream: str) -> None:
    """Forget the oldest pieces without which there is still enough."""
    of_stream = (JobOutput.run_id == run_id, JobOutput.stream == stream)
    sizes = sa.select(JobOutput.id, sa.func.length(JobOutput.text)).where(*of_stream)
    kept = 0
    for id, size in session.execute(sizes.order_by(JobOutput.id.desc())):
        if kept >= OUTPUT_BYTES:
            remove(session, JobOutput, *of_stream, JobOutput.id <= id)
            return
        kept += size


def let_go() -> None:
    """Keep no connection for the hours that a job may take; its lock has one already."""
    if db.engine.dialect.name != "sqlite":
        db.engines[BOOKKEEPING].dispose()
        db.engine.dispose()


def is_replaced(run_id: int) -> sa.Select[bool]:
    """The question whether somebody has taken this run for crashed and begun another."""
    return sa.select(JobRun.finished_at.is_not(None)).where(JobRun.id == run_id)


# --- who runs it now ---------------------------------------------------------


def open_run(name: str) -> JobRun | None:
    """The run that is going on, or that was when it crashed."""
    is_open = (JobRun.name == name, JobRun.finished_at.is_(None))
    query = sa.select(JobRun).where(*is_open).order_by(JobRun.id.desc()).limit(1)
    # A session of its own: nothing may stay open for as long as a job runs.
    try:
        with db.engine.connect() as connection, so.Session(connection) as session:
            return session.scalar(query)
    finally:
        let_go()  # Else a crowd of those who wait would leave the one that runs no connection.


def holder(run: JobRun) -> str:
    """Who runs it, where and since when, for a message."""
    since = clock.rfc3339(run.started_at.replace(microsecond=0))
    return f"process {run.pid} on {run.host} since {since} (run {run.id}, {run.actor})"


def names() -> list[str]:
    """The name of every job that has ever run; reads one row a name, however many runs."""
    first = sa.select(sa.func.min(JobRun.name).label("name")).cte("names", recursive=True)
    following = (
        sa.select(sa.func.min(JobRun.name)).where(JobRun.name > first.c.name).scalar_subquery()
    )
    every = first.union_all(sa.select(following).where(first.c.name.is_not(None)))
    found = db.session.scalars(sa.select(every.c.name).where(every.c.name.is_not(None)))
    return [str(name) for name in found]


# --- forgetting --------------------------------------------------------------


def prune(*, older_than: timedelta, output_older_than: timedelta, keep: int, unit: Unit) -> Record:
    """Remove old runs but the last ``keep`` of each job, and old output."""
    now = clock.now()
    with unit:
        counts = {"runs": 0, "outputs": 0}
        old_output = sa.select(JobRun.id).where(_ended_before(now - output_older_than))
        counts["outputs"] = remove(unit.session, JobOutput, JobOutput.run_id.in_(old_output))
        for name in names():
            counts["runs"] += _prune(unit, name, _ended_before(now - older_than), keep)
        if any(counts.values()):
            unit.record("job:history:prune", "jobs", after=counts)
        return counts


def _ended_before(moment: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(JobRun.started_at < moment, JobRun.finished_at.is_not(None))


def _prune(unit: Unit, name: str, old: sa.ColumnElement[bool], keep: int) -> int:
    ids = sa.select(JobRun.id).where(JobRun.name == name).order_by(JobRun.id.desc())
    oldest_kept = unit.session.scalar(ids.offset(keep - 1).limit(1))
    if oldest_kept is None:
        return 0
    removed = (JobRun.name == name, JobRun.id < oldest_kept, old)
    remove(unit.session, JobOutput, JobOutput.run_id.in_(sa.select(JobRun.id).where(*removed)))
    return remove(unit.session, JobRun, *removed)
