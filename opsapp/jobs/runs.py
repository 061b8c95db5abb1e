"""The history of jobs, written: a row before the work, finished after it.

An open row whose lock is free is a run that crashed: the kernel or the server released
the lock, and no process was left to record the end.
Reasons: docs/decisions/jobs.md#a-lock-is-not-a-row
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
    "crashed": "the runner or its host died; no end was recorded",
}
FAILED = frozenset({"failed", "timed-out", "terminated", "crashed"})
OUTPUT_BYTES = 64 * 1024
"""Bytes of each stream that are kept."""


def lock_name(job: str) -> str:
    """Return the name of the lock that a run of the job holds."""
    return f"job-{job}"


# --- writing -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The beginning of a run, as it is recorded."""

    name: str
    command: Sequence[str]
    actor: Actor
    pid: int
    correlation: str
    slot: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The end of a run, as it is recorded."""

    status: str
    exit_code: int | None
    seconds: float
    attempts: int
    peak_bytes: int | None = None
    reason: str | None = None


@dataclass(slots=True)
class Unwritten:
    """The output of a run that may be unwritten.

    If the answer to a COMMIT is lost, ``doubtful`` pieces may be written already. A run has
    one writer, so they are written if any piece follows the one numbered ``after``.
    """

    pieces: list[tuple[str, str]] = field(default_factory=list)
    doubtful: int = 0
    after: int = 0

    def add(self, pieces: Iterable[tuple[str, str]]) -> None:
        """Add new output, and drop the oldest, which would not be kept anyway."""
        self.pieces += pieces
        size = sum(len(piece) for _, piece in self.pieces)
        while size > 3 * OUTPUT_BYTES:
            size -= len(self.pieces.pop(0)[1])
            self.doubtful = max(0, self.doubtful - 1)

    def drop_written_pieces(self, after: int) -> None:
        """Drop the written pieces, up to the one of this number."""
        del self.pieces[: self.doubtful]
        self.doubtful, self.after = 0, after


def begin(start: Start) -> tuple[int, int] | None:
    """Record that a run begins; the caller holds the job's lock.

    :returns: its id, and the number of earlier runs that turn out to have crashed; None if
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
    """Record that a run was skipped; return False if another run had its slot."""
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
    """Record the crash of open runs, whose lock this process holds; return their number."""
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
    """Delete the row of a host that skipped this slot, now that it runs after all."""
    same = (JobRun.name == start.name, JobRun.slot == start.slot, JobRun.status == "skipped")
    if start.slot is not None:
        remove(session, JobRun, *same)


def finish(run_id: int, end: End, output: Unwritten) -> None:
    """Record the end of a run and the rest of its output; a second call changes nothing.

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
    """Record the output of a run so far."""
    with bookkeeping() as session:
        # It waits for a COMMIT whose answer was lost.
        session.execute(sa.update(JobRun).where(JobRun.id == run_id).values(attempts=attempts))
        newest = _add_output(session, run_id, output)
    output.drop_written_pieces(newest)
    let_go()


def _add_output(session: so.Session, run_id: int, output: Unwritten) -> int:
    """Add the pieces that are not in the table yet; return the number of the newest one."""
    newest = sa.select(sa.func.max(JobOutput.id)).where(JobOutput.run_id == run_id)
    if (last := session.scalar(newest) or 0) > output.after:
        output.drop_written_pieces(last)
    output.doubtful = len(output.pieces)
    rows = (JobOutput(run_id=run_id, stream=stream, text=piece) for stream, piece in output.pieces)
    session.add_all(rows)
    session.flush()
    for stream in ("stdout", "stderr"):
        _trim(session, run_id, stream)
    return session.scalar(newest) or 0


def _trim(session: so.Session, run_id: int, stream: str) -> None:
    """Delete the oldest pieces beyond the size that is kept."""
    of_stream = (JobOutput.run_id == run_id, JobOutput.stream == stream)
    sizes = sa.select(JobOutput.id, sa.func.length(JobOutput.text)).where(*of_stream)
    total = 0
    for id, size in session.execute(sizes.order_by(JobOutput.id.desc())):
        if total >= OUTPUT_BYTES:
            remove(session, JobOutput, *of_stream, JobOutput.id <= id)
            return
        total += size


def let_go() -> None:
    """Close the pooled connections: a job may take hours, and its lock has a connection."""
    if db.our_engine.dialect.name != "sqlite":
        db.engines[BOOKKEEPING].dispose()
        db.our_engine.dispose()


def is_replaced(run_id: int) -> sa.Select[bool]:
    """Return the query that tells if another run took this one for crashed and has begun."""
    return sa.select(JobRun.finished_at.is_not(None)).where(JobRun.id == run_id)


# --- the active run -------------------------------------------------------


def find_open_run(name: str) -> JobRun | None:
    """Return the open run of a job: it is active or has crashed."""
    is_open = (JobRun.name == name, JobRun.finished_at.is_(None))
    query = sa.select(JobRun).where(*is_open).order_by(JobRun.id.desc()).limit(1)
    # A session of its own: no transaction may stay open while a job runs.
    try:
        with db.our_engine.connect() as connection, so.Session(connection) as session:
            return session.scalar(query)
    finally:
        let_go()  # Waiting processes must leave a connection for the active one.


def holder(run: JobRun) -> str:
    """Return the process, host and start of a run, for a message."""
    since = clock.rfc3339(run.started_at.replace(microsecond=0))
    return f"process {run.pid} on {run.host} since {since} (run {run.id}, {run.actor})"


def names() -> list[str]:
    """Return the name of every job that has ever run; it reads one row for each name."""
    first = sa.select(sa.func.min(JobRun.name).label("name")).cte("names", recursive=True)
    following = (
        sa.select(sa.func.min(JobRun.name)).where(JobRun.name > first.c.name).scalar_subquery()
    )
    every = first.union_all(sa.select(following).where(first.c.name.is_not(None)))
    rows = db.ours.scalars(sa.select(every.c.name).where(every.c.name.is_not(None)))
    return [str(name) for name in rows]


# --- pruning -----------------------------------------------------------------


def prune(*, older_than: timedelta, output_older_than: timedelta, keep: int, unit: Unit) -> Record:
    """Delete old runs, except the last ``keep`` of each job, and old output."""
    now = clock.now()
    with unit:
        counts = {"runs": 0, "outputs": 0}
        old_output = sa.select(JobRun.id).where(_has_ended_before(now - output_older_than))
        counts["outputs"] = remove(unit.ours, JobOutput, JobOutput.run_id.in_(old_output))
        for name in names():
            counts["runs"] += _prune(unit, name, _has_ended_before(now - older_than), keep)
        if any(counts.values()):
            unit.record("job:history:prune", "jobs", after=counts)
        return counts


def _has_ended_before(moment: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(JobRun.started_at < moment, JobRun.finished_at.is_not(None))


def _prune(unit: Unit, name: str, old: sa.ColumnElement[bool], keep: int) -> int:
    ids = sa.select(JobRun.id).where(JobRun.name == name).order_by(JobRun.id.desc())
    oldest_kept = unit.ours.scalar(ids.offset(keep - 1).limit(1))
    if oldest_kept is None:
        return 0
    removed = (JobRun.name == name, JobRun.id < oldest_kept, old)
    remove(unit.ours, JobOutput, JobOutput.run_id.in_(sa.select(JobRun.id).where(*removed)))
    return remove(unit.ours, JobRun, *removed)
