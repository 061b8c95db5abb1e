"""The health of jobs: usual runs, findings, and slots at which no run began."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from .. import clock, text
from ..errors import NotFound
from ..extensions import db
from ..models import JobRun
from ..models.jobs import RUNNING
from ..types import Record
from . import history, schedule
from .runs import FAILED, names
from .schedule import Job

GRACE = timedelta(minutes=2)
"""The delay after which a slot without a run counts as missed."""


def listing(now: datetime | None = None) -> list[Record]:
    """Return each job of the schedule and the history: its last, usual and next run."""
    now = now or clock.now()
    scheduled = schedule.load()
    every = dict.fromkeys([*scheduled, *names()])
    return [_describe_job(name, scheduled.get(name), now) for name in every]


def _describe_job(name: str, job: Job | None, now: datetime) -> Record:
    runs = history.recent_runs(name)
    # A skipped run is younger than the active one, and less informative.
    running = next((run for run in runs if run.status == RUNNING), None)
    last = running or next(iter(runs), None)
    return {
        "name": name,
        "status": last.status if last else None,
        "started_at": last.started_at if last else None,
        "seconds": last.seconds if last else None,
        "usual": history.usual_seconds(runs),
        "trend": history.trend(runs),
        "failures": history.failures(runs),
        "run_id": last.id if last else None,
        "next_at": schedule.next_slot(job, now) if job and job.is_scheduled else None,
        "schedule": job.schedule if job else None,
        "timezone": job.timezone if job and job.schedule else None,
        "enabled": job.enabled if job else None,
        "description": job.description if job else None,
    }


# --- check -------------------------------------------------------------------


def check(
    name: str | None = None,
    *,
    max_age: timedelta | None = None,
    max_failures: int = 1,
    now: datetime | None = None,
) -> list[Record]:
    """Return a row for each job: ``ok`` or ``fail``, and the reason.

    :param max_age: the longest time since the last success; None means the job's own
        ``max-age``, or its schedule.
    :param max_failures: so many failures in a row are a finding.
    :raises NotFound: there is no such job, neither in the schedule nor in the history.
    """
    now = now or clock.now()
    scheduled = schedule.load()
    every = dict.fromkeys([*(n for n, job in scheduled.items() if job.enabled), *names()])
    if name is not None and name not in every:
        raise _unknown_job(name, every, "enabled")
    in_use = in_use_since(scheduled)
    bounds = _Bounds(max_age, max_failures, in_use, now)
    return [
        _check_job(job, scheduled.get(job), bounds) for job in (every if name is None else [name])
    ]


def require(name: str) -> None:
    """Return if there is a job of this name, in the schedule or in the history.

    :raises NotFound: there is none; suggests the nearest name.
    """
    every = [*schedule.load(), *names()]
    if name not in every:
        raise _unknown_job(name, every, "in the schedule")


def _unknown_job(name: str, names: Iterable[str], place: str) -> NotFound:
    message = f"no job {text.truncate(name)} is {place} or has ever run"
    return NotFound(message, hint=text.did_you_mean(name, names) or "flask jobs list")


def in_use_since(scheduled: Mapping[str, Job]) -> datetime | None:
    """Return the moment from which the schedule is in use; None if the shipped one is not.

    A job that has never run is expected from then on.
    """
    changed = schedule.last_change()
    if not schedule.is_shipped():
        return changed
    # A run without a slot says nothing of the other jobs: an operator may have started it.
    first = [slot for name in scheduled if (slot := _first_slot(name)) is not None]
    return max(changed, min(first)) if first else None


def _first_slot(name: str) -> datetime | None:
    served = (JobRun.name == name, JobRun.slot.is_not(None))
    return db.ours.scalar(sa.select(JobRun.slot).where(*served).order_by(JobRun.slot).limit(1))


def _first_run(name: str) -> datetime | None:
    first = sa.select(JobRun.started_at).where(JobRun.name == name).order_by(JobRun.id).limit(1)
    return db.ours.scalar(first)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """The limits between ``ok`` and ``fail``."""

    max_age: timedelta | None
    max_failures: int
    in_use: datetime | None
    now: datetime


def _check_job(name: str, job: Job | None, bounds: _Bounds) -> Record:
    runs = history.recent_runs(name, limit=max(history.RECENT, bounds.max_failures))
    findings = [*_check_failures(runs, bounds.max_failures)]
    since = (_first_run(name) if runs else None) or bounds.in_use
    age = bounds.max_age or (job.max_age if job else None)
    if bounds.max_age or (age and since and since < bounds.now - age):
        findings += _check_age(name, age or timedelta(), bounds.now)
    elif since is not None:
        findings += _check_slot(job, since, bounds.now)
    last = runs[0] if runs else None
    return {
        "state": "fail" if findings else "ok",
        "job": name,
        "says": "; ".join(findings) or _summary(last, history.usual_seconds(runs)),
        "status": last.status if last else None,
        "run_id": last.id if last else None,
        "failures": history.failures(runs),
    }


def _check_failures(runs: list[JobRun], max_failures: int) -> Iterator[str]:
    count = history.failures(runs)
    if count >= max_failures:
        last = next(run for run in runs if run.status in FAILED)
        reason = f" ({last.reason})" if last.reason else ""
        times = "" if count == 1 else f", {count} times in a row"
        yield f"{last.status}{times}: run {last.id} at {_moment(last.started_at)}{reason}"


def _check_age(name: str, age: timedelta, now: datetime) -> Iterator[str]:
    success = sa.select(sa.func.max(JobRun.started_at)).where(
        JobRun.name == name, JobRun.status == "succeeded", JobRun.started_at > now - age
    )
    if db.ours.scalar(success) is None:
        yield f"no success in {clock.format_duration(age.total_seconds())}"


def _check_slot(job: Job | None, since: datetime, now: datetime) -> Iterator[str]:
    if job is None or not job.is_scheduled:
        return
    slot = schedule.last_slot(job, now - GRACE)
    if slot is not None and slot > since and not _has_begun(job.name, slot):
        yield f"it was due at {_moment(slot)} and did not run"


def _has_begun(name: str, slot: datetime) -> bool:
    since = sa.select(JobRun.id).where(
        JobRun.name == name, (JobRun.started_at >= slot) | (JobRun.slot == slot)
    )
    return db.ours.scalar(since.limit(1)) is not None


def _summary(last: JobRun | None, usual: float | None) -> str:
    if last is None:
        return "has not run yet"
    took = f", usually {clock.format_duration(usual)}" if usual is not None else ""
    verb = "running since" if last.status == RUNNING else f"{last.status} at"
    return f"{verb} {_moment(last.started_at)}{took}"


def _moment(moment: datetime) -> str:
    return clock.rfc3339(moment.replace(microsecond=0))


def nagios(rows: Sequence[Record]) -> tuple[str, bool]:
    """Return the line of a monitoring plugin, and whether all jobs are well."""
    bad = [row for row in rows if row["state"] != "ok"]
    word = "CRITICAL" if bad else "OK"
    well = f"{text.pluralize(len(rows), 'job')} {'is' if len(rows) == 1 else 'are'} well"
    summary = f"{len(bad)} of {text.pluralize(len(rows), 'job')}: " if bad else well
    first = "; ".join(f"{row['job']} {row['says']}" for row in bad)
    figures = f"jobs={len(rows)} failing={len(bad)}"
    # Nagios reads the text after a bar as figures.
    return f"JOBS {word} - {summary}{first}".replace("|", "/") + f" | {figures}", not bad


# --- missed ------------------------------------------------------------------


def missed_slots(*, since: datetime, now: datetime | None = None) -> Iterator[Record]:
    """Yield the slots since then at which no run began, the oldest of a job first.

    A job is expected from its first run on, or from when the schedule is in use.
    """
    until = (now or clock.now()) - GRACE
    scheduled = schedule.load()
    in_use = in_use_since(scheduled)
    for job in scheduled.values():
        begins = _first_run(job.name) or in_use
        if job.is_scheduled and begins is not None:
            yield from _missed_slots(job, max(since, begins), until)


def _missed_slots(job: Job, after: datetime, until: datetime) -> Iterator[Record]:
    starts = _Begun(job.name, after)
    slots = schedule.slots(job, after, until)
    slot = next(slots, None)
    while slot is not None:
        following = next(slots, None)
        if not starts.between(slot, following or until + GRACE):
            yield {
                "name": job.name,
                "slot": slot,
                "local": local(slot, job),
                "schedule": job.schedule,
            }
        slot = following


class _Begun:
    """The beginnings of a job's runs: read once, and asked in order."""

    def __init__(self, name: str, after: datetime) -> None:
        query = sa.select(JobRun.started_at, JobRun.slot).where(
            JobRun.name == name, (JobRun.started_at >= after) | (JobRun.slot >= after)
        )
        rows = db.ours.execute(query).all()
        self._slots = {slot for _start, slot in rows if slot is not None}
        self._times = iter(sorted(start for start, slot in rows if slot is None))
        self._next = next(self._times, None)

    def between(self, slot: datetime, following: datetime) -> bool:
        """Return whether a run began for this slot, or between it and the next one."""
        while self._next is not None and self._next < slot:
            self._next = next(self._times, None)
        return slot in self._slots or (self._next is not None and self._next < following)


def local(moment: datetime, job: Job) -> str:
    """Return the moment in the job's time zone: ``2026-12-31 03:30 +01:00 Europe/Berlin``."""
    zoned = moment.astimezone(job.zone)
    offset = zoned.strftime("%z")
    return f"{zoned:%Y-%m-%d %H:%M} {offset[:3]}:{offset[3:5]} {job.timezone}"


def upcoming_slots(
    *, count: int, name: str | None = None, now: datetime | None = None
) -> list[Record]:
    """Return the next slots of every job, the earliest first.

    :raises NotFound: there is no such job.
    """
    now = now or clock.now()
    jobs = [schedule.get_job(name)] if name else list(schedule.load().values())
    rows = [
        {
            "at": slot,
            "local": local(slot, job),
            "in": clock.format_duration((slot - now).total_seconds()),
            "name": job.name,
            "schedule": job.schedule,
            "command": list(job.command),
        }
        for job in jobs
        if job.is_scheduled
        for slot, _number in zip(schedule.slots(job, now), range(count), strict=False)
    ]
    return sorted(rows, key=lambda row: str(row["at"]))
