"""The history of jobs, read: runs, their output, and usual durations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from statistics import median

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, text
from ..errors import Invalid, NotFound
from ..extensions import db
from ..models import AuditEvent, JobOutput, JobRun
from ..models.jobs import RUNNING
from ..types import Record
from ..values import damage
from . import lock
from .runs import FAILED, STATUSES, lock_name, names

RECENT = 20
"""Runs that make the usual duration."""
TREND = 10
"""Runs that make the trend, which must fit into a line."""
EVENTS = 100
PAGE = 1000
MISS = "×"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A filter of runs; all its conditions must hold."""

    name: str | None = None
    status: str | None = None
    since: datetime | None = None

    def criteria(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions for a query.

        :raises Invalid: there is no such status.
        """
        criteria: list[sa.ColumnElement[bool]] = []
        if self.name is not None:
            criteria.append(JobRun.name == self.name)
        if self.since is not None:
            criteria.append(JobRun.started_at >= self.since)
        if self.status is not None:
            criteria.append(self._status(self.status))
        return criteria

    def _status(self, status: str) -> sa.ColumnElement[bool]:
        if status not in STATUSES:
            raise Invalid(f"status {text.truncate(status)} is not one of {', '.join(STATUSES)}")
        # An open run may be either of the two.
        is_open = JobRun.finished_at.is_(None)
        return (JobRun.status == status) | (is_open if status in (RUNNING, "crashed") else False)


def history(
    filter: Filter, *, before: int | None = None, limit: int | None = 50
) -> Iterator[Record]:
    """Yield the matching runs, the newest first.

    :param before: only runs with a smaller id: the next page.
    :param limit: None streams all of them.
    """
    while limit is None or limit > 0:
        size = PAGE if limit is None else min(limit, PAGE)
        criteria = [*filter.criteria(), *([JobRun.id < before] if before is not None else [])]
        query = sa.select(JobRun).where(*criteria).order_by(JobRun.id.desc()).limit(size)
        page = settle_statuses(db.ours.scalars(query).all())
        matches = [run for run in page if filter.status in (None, run.status)]
        yield from map(record, matches)
        if len(page) < size:
            return
        before, limit = page[-1].id, None if limit is None else limit - len(matches)
        db.ours.expunge_all()


def get(run_id: int) -> JobRun:
    """Return the run of this id.

    :raises NotFound: there is none.
    """
    run = db.ours.get(JobRun, run_id)
    if run is None:
        raise NotFound(f"no run {run_id}", hint="flask jobs history")
    return run


def recent_runs(name: str, limit: int = RECENT) -> list[JobRun]:
    """Return a job's newest runs, the newest first, with settled statuses."""
    newest = sa.select(JobRun).where(JobRun.name == name).order_by(JobRun.id.desc()).limit(limit)
    return settle_statuses(db.ours.scalars(newest).all())


def outcomes() -> list[tuple[str, str, int, datetime]]:
    """Return how many runs of each job have each status, and when the newest of them began."""
    is_open = JobRun.finished_at.is_(None)
    columns = JobRun.name, JobRun.status, sa.func.count(), sa.func.max(JobRun.started_at)
    query = sa.select(*columns).where(~is_open).group_by(JobRun.name, JobRun.status)
    totals = {(row[0], row[1]): (row[2], row[3]) for row in db.session.execute(query)}
    for run in settle_statuses(db.session.scalars(sa.select(JobRun).where(is_open)).all()):
        count, began = totals.get((run.name, run.status), (0, run.started_at))
        totals[run.name, run.status] = (count + 1, max(began, run.started_at))
    return [(*key, *value) for key, value in sorted(totals.items())]


def settle_statuses(runs: Sequence[JobRun]) -> list[JobRun]:
    """Return the runs, with ``crashed`` for those that are open and whose lock is free."""
    is_open = [run for run in runs if run.finished_at is None]
    if is_open:
        locked = lock.locked_names(db.our_engine, {lock_name(run.name) for run in is_open})
        suspects = [run for run in is_open if lock_name(run.name) not in locked]
        suspects += _outlived_runs([run for run in is_open if run not in suspects])
        _mark_crashed(suspects)
    return list(runs)


def _outlived_runs(runs: Sequence[JobRun]) -> list[JobRun]:
    """Return all but the newest open run of each job: the newest one holds the lock."""
    newest: dict[str, int] = {}
    for run in runs:
        newest[run.name] = max(run.id, newest.get(run.name, 0))
    return [run for run in runs if run.id < newest[run.name]]


def _mark_crashed(suspects: Sequence[JobRun]) -> None:
    """Set ``crashed`` on the runs that have not ended since they were read."""
    db.ours.rollback()
    for run in suspects:
        db.ours.refresh(run)
        if run.finished_at is None:
            so.attributes.set_committed_value(run, "status", "crashed")


def record(run: JobRun) -> Record:
    """Return the public form of a run."""
    return {
        "id": run.id,
        "name": run.name,
        "status": run.status,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "seconds": run.seconds,
        "exit_code": run.exit_code,
        "peak_bytes": run.peak_bytes,
        "attempts": run.attempts,
        "reason": run.reason,
        "host": run.host,
        "pid": run.pid,
        "actor": run.actor,
        "slot": run.slot,
        "command": damage.display_items(run.command),
        "correlation": run.correlation,
    }


def detail(run_id: int, *, lines: int) -> Record:
    """Return a run with its last lines of output and its audit events.

    :raises NotFound: there is none.
    """
    run = settle_statuses([get(run_id)])[0]
    printed = [{"stream": row["stream"], "line": row["line"]} for row in output(run_id)]
    return {**record(run), "events": _events(run), "output": printed[-lines:] if lines else []}


def _events(run: JobRun) -> list[Record]:
    """Return the run's audit events; the times are in the query because they have an index."""
    caused = sa.select(AuditEvent.seq, AuditEvent.action, AuditEvent.subject).where(
        AuditEvent.correlation == run.correlation,
        AuditEvent.at >= run.started_at - timedelta(seconds=1),
        AuditEvent.at <= (run.finished_at or clock.now()) + timedelta(seconds=1),
    )
    rows = db.ours.execute(caused.order_by(AuditEvent.seq).limit(EVENTS))
    return [{"seq": seq, "action": action, "subject": subject} for seq, action, subject in rows]


def output(run_id: int) -> Iterator[Record]:
    """Yield the lines of a run's output, the end of each stream."""
    return _lines([JobOutput.run_id == run_id])


def tail(name: str, *, lines: int) -> list[Record]:
    """Return the last lines of a job's last run; ``piece`` is the place to go on.

    :raises NotFound: it has never run.
    """
    run_id = db.ours.scalar(_printing_runs(name).limit(1))
    if run_id is None:
        near = text.did_you_mean(name, names())
        raise NotFound(f"{text.truncate(name)} has never run", hint=near or "flask jobs list")
    printed = list(output(run_id))
    return printed[-lines:] if lines else []


def last_piece(name: str) -> int:
    """Return the number of a job's last piece of output."""
    last = sa.select(sa.func.max(JobOutput.id)).join(JobRun).where(JobRun.name == name)
    return db.ours.scalar(last) or 0


def lines_since(name: str, piece: int) -> Iterator[Record]:
    """Yield the lines of a job after this piece, in a transaction of their own."""
    db.ours.rollback()
    return _lines([JobOutput.run_id.in_(_printing_runs(name).limit(RECENT)), JobOutput.id > piece])


def last_run(name: str) -> int:
    """Return the id of the last run that may have output, or 0."""
    return db.session.scalar(_printing_runs(name).limit(1)) or 0


def finished_runs_since(name: str, run_id: int) -> list[Record]:
    """Return the runs of a job from this one on that have ended, up to the first open one.

    It reads them in a transaction of its own.
    """
    db.session.rollback()
    query = sa.select(JobRun).where(
        JobRun.name == name, JobRun.id >= run_id, JobRun.status != "skipped"
    )
    runs = settle_statuses(db.session.scalars(query.order_by(JobRun.id)).all())
    return [record(run) for run in takewhile(lambda run: run.status != RUNNING, runs)]


def _printing_runs(name: str) -> sa.Select[int]:
    """Return the query of a job's runs that may have output, the newest first.

    A skipped run has none, and may be younger than the active one.
    """
    ran = (JobRun.name == name, JobRun.status != "skipped")
    return sa.select(JobRun.id).where(*ran).order_by(JobRun.id.desc())


def _lines(criteria: list[sa.ColumnElement[bool]]) -> Iterator[Record]:
    pieces = sa.select(JobOutput.id, JobOutput.run_id, JobOutput.stream, JobOutput.text)
    for id, run_id, stream, printed in db.ours.execute(
        pieces.where(*criteria).order_by(JobOutput.id)
    ):
        for line in printed.removesuffix("\n").split("\n"):
            yield {"run_id": run_id, "stream": stream, "line": line, "piece": id}


# --- usual runs ------------------------------------------------------------


def failures(runs: Sequence[JobRun]) -> int:
    """Return how many of these runs, the newest first, failed in a row."""
    finals = [run for run in runs if run.status not in (RUNNING, "skipped")]
    return sum(1 for _ in takewhile(lambda run: run.status in FAILED, finals))


def usual_seconds(runs: Sequence[JobRun]) -> float | None:
    """Return the median duration of the successes."""
    durations = [
        run.seconds for run in runs if run.status == "succeeded" and run.seconds is not None
    ]
    return round(median(durations), 3) if durations else None


def trend(runs: Sequence[JobRun]) -> str:
    """Return a character for each run, the oldest first: its duration against the longest.

    A run that failed is a ×.
    """
    finals = [run for run in runs if run.status not in (RUNNING, "skipped")][TREND - 1 :: -1]
    return text.sparkline(
        [run.seconds or 0.0 if run.status == "succeeded" else None for run in finals], gap=MISS
    )
