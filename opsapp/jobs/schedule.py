"""The schedule: `jobs.toml`, and the slots of its cron expressions.

The expressions are those of Debian's cron, also when the clocks change (see :func:`slots`).
Every moment that leaves this module is aware UTC.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim

from .. import settings, text, textfiles
from ..errors import Invalid, NotFound, NotReady
from .fields import FAIL, MACROS, OF_JOB, OF_OPTIONS, SKIP, OnBusy

LONGEST = 2**20
"""Bytes of a jobs.toml."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of a run."""

    timeout: timedelta | None = None
    """An attempt is ended after this time, with its whole process group."""
    kill_after: timedelta = timedelta(seconds=30)
    """Processes that have not ended this long after SIGTERM are killed."""
    on_busy: OnBusy = FAIL
    retries: int = 0
    retry_delay: timedelta = timedelta(seconds=10)
    min_duration: timedelta | None = None
    """A command that succeeds sooner than this has failed."""
    quiet: bool = False
    """Print nothing for a success, and everything for a failure."""
    env: Mapping[str, str] = field(default_factory=dict)
    notify: tuple[str, ...] | None = None
    """Addresses and URLs; None means those of ``OPSAPP_JOBS_NOTIFY``."""
    notify_after: int | None = None
    """Failures in a row before an alert; None means ``OPSAPP_JOBS_NOTIFY_AFTER``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job of `jobs.toml`."""

    name: str
    command: tuple[str, ...]
    schedule: str | None = None
    timezone: str = "UTC"
    description: str = ""
    enabled: bool = True
    max_age: timedelta | None = None
    """A job whose last success is older is a finding of ``flask jobs check``."""
    options: Options = Options(on_busy=SKIP)

    @property
    def zone(self) -> ZoneInfo:
        """The time zone of the schedule."""
        return ZoneInfo(self.timezone)

    @property
    def is_scheduled(self) -> bool:
        """True if it runs by itself."""
        return self.enabled and self.schedule is not None


def check_name(name: str) -> str:
    """Return ``name`` if a job may have it: it becomes part of a file's name and of messages.

    :raises Invalid: it has other characters than letters, digits, dot, dash, underscore.
    """
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"{text.truncate(name)} cannot be a job's name: up to 64 letters, digits, . - _"
        )
    return name


# --- the moments -------------------------------------------------------------


def slots(job: Job, after: datetime, until: datetime | None = None) -> Iterator[datetime]:
    """Yield the job's slots after ``after`` and up to ``until``, in UTC.

    When clocks go forward, a job at a fixed time that does not exist runs at the first
    minute after the gap. When they go back, it runs once, the first time its time
    comes. An expression whose minute or hour begins with ``*`` follows real time: it
    skips the gap and runs in both of the repeated hours.
    """
    if job.schedule is None:
        return
    last = after
    for moment in CronSim(MACROS.get(job.schedule, job.schedule), after.astimezone(job.zone)):
        slot = moment.astimezone(UTC)
        if until is not None and slot > until:
            return
        # From inside the repeated hour, the first moment may lie in the past.
        if slot > last:
            last = slot
            yield slot


def next_slot(job: Job, after: datetime) -> datetime | None:
    """Return the first slot after ``after``; None if there is none."""
    return next(slots(job, after), None)


def last_slot(job: Job, before: datetime) -> datetime | None:
    """Return the last slot up to ``before``; None if the last five years had none."""
    for days in (1, 8, 32, 366, 5 * 366):
        recent = list(slots(job, before - timedelta(days=days), before))
        if recent:
            return recent[-1]
    return None


# --- jobs.toml ---------------------------------------------------------------


def path() -> Path:
    """Return the path of the schedule, ``OPSAPP_JOBS``."""
    return Path(settings.get("OPSAPP_JOBS"))


def is_shipped() -> bool:
    """Return whether the schedule is the shipped one, which no operator may have asked for."""
    return path() in (settings.SHIPPED_JOBS, settings.SHIPPED_JOBS_ATTACHED)


def last_change() -> datetime:
    """Return the moment of the file's last change.

    :raises NotReady: it is not there.
    """
    try:
        return datetime.fromtimestamp(path().stat().st_mtime, UTC)
    except OSError as error:
        raise NotReady(f"{path()} cannot be read: {error.strerror}", hint=_HINT) from error


def load(file: Path | None = None) -> dict[str, Job]:
    """Return the jobs of ``file`` (default: :func:`path`), by name, in the file's order.

    :raises NotReady: it cannot be read, or is wrong; names the job and the key.
    """
    file = file or path()
    return parse(read(file), file)


def read(file: Path) -> str:
    """Return the content of the file.

    :raises NotReady: it cannot be read.
    """
    try:
        return textfiles.read(file, longest=LONGEST)
    except OSError as error:
        raise NotReady(f"{file} cannot be read: {error}", hint=_HINT) from error
    except textfiles.NotText as error:
        raise NotReady(f"{file} cannot be read: it {error}", hint=_HINT) from error


def parse(content: str, file: Path) -> dict[str, Job]:
    """Parse the content of ``file``.

    :raises NotReady: it is wrong; names the job and the key.
    """
    try:
        return _jobs(tomllib.loads(content))
    except _Wrong as error:
        raise NotReady(f"{file}: {error}", hint=_HINT) from error
    except RecursionError as error:
        raise NotReady(f"{file} cannot be read: it is nested too deeply", hint=_HINT) from error
    except ValueError as error:  # Of TOML, or of a number with too many digits.
        raise NotReady(f"{file} cannot be read: {error}", hint=_HINT) from error


def get_job(name: str, file: Path | None = None) -> Job:
    """Return the job of this name.

    :raises NotFound: there is none in ``file`` (default: :func:`path`).
    """
    file = file or path()
    jobs = load(file)
    if name not in jobs:
        near = text.did_you_mean(name, jobs)
        raise NotFound(f"no job {text.truncate(name)} in {file}", hint=near or "flask jobs list")
    return jobs[name]


_HINT = "docs/jobs.md lists the keys"


class _Wrong(ValueError):
    """A fault of the file."""


def _jobs(content: Mapping[str, Any]) -> dict[str, Job]:
    _refuse_unknown(content, ("timezone", "jobs"), "the file")
    tables = content.get("jobs", {})
    if not isinstance(tables, dict):
        raise _Wrong("[jobs] is not a table")
    zone = _check_value("timezone", content.get("timezone", "UTC"), OF_JOB["timezone"], "the file")
    return {name: _job(name, table, zone) for name, table in tables.items()}


def _job(name: str, table: Any, zone: str) -> Job:
    where = f"[jobs.{text.truncate(name)}]"
    if not _NAME.fullmatch(name) or not isinstance(table, dict):
        raise _Wrong(f"{where} is not a job: a table named with letters, digits, . - _")
    _refuse_unknown(table, (*OF_JOB, *OF_OPTIONS), where)
    if "command" not in table:
        raise _Wrong(f"{where} has no command")

    def values(readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
        return {
            key.replace("-", "_"): _check_value(key, table[key], read, where)
            for key, read in readers.items()
            if key in table
        }

    options = Options(**{"on_busy": SKIP, **values(OF_OPTIONS)})
    return Job(name=name, **{"timezone": zone, **values(OF_JOB)}, options=options)


def _refuse_unknown(table: Mapping[str, Any], keys: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in keys:
            near = text.did_you_mean(key, keys)
            raise _Wrong(
                f"unknown key {text.truncate(key)} in {where}" + (f"; {near}" if near else "")
            )


def _check_value(key: str, value: Any, read: Callable[[Any], Any], where: str) -> Any:
    try:
        return read(value)
    except ValueError as error:
        raise _Wrong(f"{where} {key}: {error}") from error


def seconds(length: timedelta | None) -> float | None:
    """Return the length in seconds."""
    return None if length is None else length.total_seconds()
