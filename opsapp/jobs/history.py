"""The history of jobs as it is read: runs, their output, how a job usually does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from statistics import median

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, damage, text
from ..errors import Invalid, NotFound
from ..extensions import db
from ..models import AuditEvent, JobOutput, JobRun
from ..models.jobs import RUNNING
from ..types import Record
from . import lock
from .runs import FAILED, STATUSES, lock_name

RECENT = 20
"""So many runs make the usual duration."""
TREND = 10
"""So many make the trend, which shall fit into a line."""
EVENTS = 100
PAGE = 1000
MISS = "×"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which runs are meant; all conditions must hold."""

    name: str | None = None
    status: str | None = None
    since: datetime | None = None

    def criteria(self) -> list[sa.ColumnElement[bool]]:
        """The conditions for a query.

        :raises Invalid: there is no such status.
        """
        chosen: list[sa.ColumnElement[bool]] = []
        if self.name is not None:
            chosen.append(JobRun.name == self.name)
        if self.since is not None:
            chosen.append(JobRun.started_at >= self.since)
        if self.status is not None:
            chosen.append(self._status(self.status))
        return chosen

    def _status(self, status: str) -> sa.ColumnElement[bool]:
        if status not in STATUSES:
            raise Invalid(f"status {text.shortened(status)} is none of {', '.join(STATUSES)}")
        # An open run may turn out to be one or the other.
        is_open = JobRun.finished_at.is_(None)
        return (JobRun.status == status) | (is_open if status in (RUNNING, "crashed") else False)


def history(
    chosen: Filter, *, before: int | None = None, limit: int | None = 50
) -> Iterator[Record]:
    """The newest runs that are meant, the newest first.

    :param before: only runs with a smaller id: the next page.
    :param limit: None streams all of them.
    """
    while limit is None or limit > 0:
        size = PAGE if limit is None else min(limit, PAGE)
        criteria = [*chosen.criteria(), *([JobRun.id < before] if before is not None else [])]
        query = sa.select(JobRun).where(*criteria).order_by(JobRun.id.desc()).limit(size)
        page = settled(db.session.scalars(query).all())
        meant = [run for run in page if chosen.status in (None, run.status)]
        yield from map(record, meant)
        if len(page) < size:
            return
        before, limit = page[-1].id, None if limit is None else limit - len(meant)
        db.session.expunge_all()


def get(run_id: int) -> JobRun:
    """The run of this id.

    :raises NotFound: there is none.
    """
    found = db.session.get(JobRun, run_id)
    if found is None:
        raise NotFound(f"no run {run_id}", hint="flask jobs history")
    return found


def recent(name: str, limit: int = RECENT) -> list[JobRun]:
    """The newest runs of a job, the newest first, their status settled."""
    newest = sa.select(JobRun).where(JobRun.name == name).order_by(JobRun.id.desc()).limit(limit)
    return settled(db.session.scalars(newest).all())


def settled(runs: Sequence[JobRun]) -> list[JobRun]:
    """The runs, where those that are open and that nobody runs are ``crashed``."""
    is_open = [run for run in runs if run.finished_at is None]
    if is_open:
        held = lock.held(db.engine, {lock_name(run.name) for run in is_open})
        suspects = [run for run in is_open if lock_name(run.name) not in held]
        suspects += _outlived([run for run in is_open if run not in suspects])
        _tell_crashed(suspects)
    return list(runs)


def _outlived(runs: Sequence[JobRun]) -> list[JobRun]:
    """Of several open runs of a job the newest one holds the lock."""
    newest: dict[str, int] = {}
    for run in runs:
        newest[run.name] = max(run.id, newest.get(run.name, 0))
    return [run for run in runs if run.id < newest[run.name]]


def _tell_crashed(suspects: Sequence[JobRun]) -> None:
    """Call them crashed, but for those that have ended since they were read."""
    db.session.rollback()
    for run in suspects:
        db.session.refresh(run)
        if run.finished_at is None:
            so.attributes.set_committed_value(run, "status", "crashed")


def record(run: JobRun) -> Record:
    """The public form of a run."""
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
        "command": damage.listed(run.command),
        "correlation": run.correlation,
    }


def detail(run_id: int, *, lines: int) -> Record:
    """A run with the last lines that it printed and the audit events that it caused.

    :raises NotFound: there is none.
    """
    run = settled([get(run_id)])[0]
    printed = [{"stream": one["stream"], "line": one["line"]} for one in output(run_id)]
    return {**record(run), "events": _events(run), "output": printed[-lines:] if lines else []}


def _events(run: JobRun) -> list[Record]:
    """What the audit holds of it; the times are asked for because they have an index."""
    caused = sa.select(AuditEvent.seq, AuditEvent.action, AuditEvent.subject).where(
        AuditEvent.correlation == run.correlation,
        AuditEvent.at >= run.started_at - timedelta(seconds=1),
        AuditEvent.at <= (run.finished_at or clock.now()) + timedelta(seconds=1),
    )
    found = db.session.execute(caused.order_by(AuditEvent.seq).limit(EVENTS))
    return [{"seq": seq, "action": action, "subject": subject} for seq, action, subject in found]


def output(run_id: int) -> Iterator[Record]:
    """The lines that a run printed, the end of each stream."""
    return _lines([JobOutput.run_id == run_id])


def tail(name: str, *, lines: int) -> list[Record]:
    """The last lines that the last run of a job printed; ``piece`` is where to go on.

    :raises NotFound: it has never run.
    """
    run_id = db.session.scalar(_printing(name).limit(1))
    if run_id is None:
        raise NotFound(f"{text.shortened(name)} has never run", hint="flask jobs list")
    printed = list(output(run_id))
    return printed[-lines:] if lines else []


def last_piece(name: str) -> int:
    """The number of the last piece of output of a job."""
    found = sa.select(sa.func.max(JobOutput.id)).join(JobRun).where(JobRun.name == name)
    return db.session.scalar(found) or 0


def printed_since(name: str, piece: int) -> Iterator[Record]:
    """The lines that runs of a job printed after this piece; reads what is committed now."""
    db.session.rollback()
    return _lines([JobOutput.run_id.in_(_printing(name).limit(RECENT)), JobOutput.id > piece])


def _printing(name: str) -> sa.Select[int]:
    """The runs of a job that may have printed something, the newest first.

    One that was skipped has not, and may be younger than the one that goes on.
    """
    ran = (JobRun.name == name, JobRun.status != "skipped")
    return sa.select(JobRun.id).where(*ran).order_by(JobRun.id.desc())


def _lines(criteria: list[sa.ColumnElement[bool]]) -> Iterator[Record]:
    pieces = sa.select(JobOutput.id, JobOutput.run_id, JobOutput.stream, JobOutput.text)
    for id, run_id, stream, printed in db.session.execute(
        pieces.where(*criteria).order_by(JobOutput.id)
    ):
        for line in printed.removesuffix("\n").split("\n"):
            yield {"run_id": run_id, "stream": stream, "line": line, "piece": id}


# --- how a job does ----------------------------------------------------------


def failures(runs: Sequence[JobRun]) -> int:
    """How many of these, the newest first, failed in a row."""
    counted = [run for run in runs if run.status not in (RUNNING, "skipped")]
    return sum(1 for _ in takewhile(lambda run: run.status in FAILED, counted))


def usual_seconds(runs: Sequence[JobRun]) -> float | None:
    """How long a success takes, usually: the median."""
    took = [run.seconds for run in runs if run.status == "succeeded" and run.seconds is not None]
    return round(median(took), 3) if took else None


def trend(runs: Sequence[JobRun]) -> str:
    """A character a run, the oldest first: how long it took against the longest.

    A run that failed is a ×.
    """
    ended = [run for run in runs if run.status not in (RUNNING, "skipped")][TREND - 1 :: -1]
    points = [(run.seconds or 0) if run.status == "succeeded" else None for run in ended]
    return text.sparkline(points, gap=MISS)
