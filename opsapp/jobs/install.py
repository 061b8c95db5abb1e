"""What to install so that cron or systemd runs the schedule, and whether it is installed."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cronsim import CronSim
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .. import textfiles
from ..engine.connections import is_without_secret
from ..errors import Invalid, NotReady
from ..settings import IN_FILES, SETTINGS
from .fields import MACROS
from .schedule import Job

BEGIN = "# BEGIN opsapp jobs (flask jobs install --format crontab)"
END = "# END opsapp jobs"
UNITS = "opsapp-job-"
CARRIED = ("FLASK_APP", "OPSAPP_ENV", "OPSAPP_INSTANCE", "OPSAPP_JOBS", "OPSAPP_URL")
"""Which installation this is: what is installed says so even where ``.env`` does."""
_URLS = (
    "OPSAPP_DATABASE_URL",
    "DATABASE_URL",
    "OPSAPP_DIRECT_DATABASE_URL",
    "OPSAPP_READONLY_DATABASE_URL",
)
"""Secrets only if they hold a password."""
_PERSONAL = frozenset({"OPSAPP_FORMAT", "OPSAPP_ACTOR"})
"""Of whoever types; a job is nobody's."""
_SECRET = tuple(one.name for one in SETTINGS if one.secret and one.name not in _URLS)
_OPEN = (
    *CARRIED,
    *_URLS,
    *(one.name for one in SETTINGS if not one.secret and one.name not in (*CARRIED, *_PERSONAL)),
    *IN_FILES,
    "PGPASSFILE",
    "PGSERVICEFILE",
)
_DAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the jobs run: the program, the folder, the settings, the user, the host's zone.

    ``written`` names the settings that the folder's ``.env`` says.
    """

    flask: str
    folder: str
    environ: Mapping[str, str]
    user: str
    timezone: str
    written: frozenset[str] = frozenset()

    @property
    def carried(self) -> dict[str, str]:
        """The settings to carry over: those that are set, are no secrets, and not in ``.env``."""
        names = (name for name in _OPEN if name in CARRIED or name not in self.written)
        return {name: self.environ[name] for name in names if self._is_open(name)}

    @property
    def left_out(self) -> list[str]:
        """The secrets that are set here, and that what is installed would not find."""
        closed = (name for name in (*_URLS, *_SECRET) if not self._is_open(name))
        return [name for name in closed if self.environ.get(name) and name not in self.written]

    def _is_open(self, name: str) -> bool:
        value = self.environ.get(name)
        return bool(value) and name not in _SECRET and not (name in _URLS and _has_password(value))


def _has_password(url: str | None) -> bool:
    try:
        return not is_without_secret(make_url(url or ""))
    except ArgumentError:
        return True  # It cannot be told.


def host_timezone(environ: Mapping[str, str] = os.environ) -> str:
    """The name of this host's time zone, as cron takes it."""
    if named := environ.get("TZ", "").removeprefix(":"):
        return named
    _, found, name = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    return name if found else "UTC"


def has_zone_of(job: Job, place: Place) -> bool:
    """Whether the host's clock is the job's."""
    return job.timezone == place.timezone or {job.timezone, place.timezone} <= _UTC


_UTC = {"UTC", "Etc/UTC", "Etc/UCT", "Zulu", "Universal", "Etc/Universal"}


# --- crontab -----------------------------------------------------------------


def crontab(jobs: Iterable[Job], place: Place) -> str:
    """The lines for a user's crontab, between two marks.

    :raises Invalid: a schedule says what cron does not know.
    """
    _refuse_breaks(place)
    lines = [BEGIN]
    for job in jobs:
        if job.is_scheduled:
            lines += _entry(job, place)
    return "\n".join([*lines, END]) + "\n"


def _refuse_breaks(place: Place) -> None:
    """Refuse what would begin a line of its own in what is printed.

    :raises Invalid: a setting or a path has a line break or another control character.
    """
    paths = {"the folder": place.folder, "the path of flask": place.flask, "TZ": place.timezone}
    for name, value in {**paths, **place.carried}.items():
        if re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", value):
            raise Invalid(
                f"{name} has a line break or a control character, which no installed line can hold"
            )


def _on_one_line(value: str) -> str:
    return " ".join(value.split())


def _entry(job: Job, place: Place) -> list[str]:
    fields = (job.schedule or "").upper()
    if re.search(r"[L#]", re.sub(r"[A-Z]{3}", "", fields)) and not fields.startswith("@"):
        raise Invalid(
            f"the schedule {job.schedule} of {job.name} is not known to cron",
            hint="flask jobs install --format systemd, or flask jobs serve",
        )
    settings = "".join(f"{k}={shlex.quote(v)} " for k, v in place.carried.items())
    run = f"{shlex.quote(place.flask)} jobs run {job.name} --quiet"
    command = f"cd {shlex.quote(place.folder)} && {settings}{run}"
    # cron ends a command at a percent sign.
    line = f"{_on_one_line(job.schedule or '')} {command}".replace("%", r"\%")
    if has_zone_of(job, place):
        return [line]
    return [f"CRON_TZ={job.timezone}", line, f"CRON_TZ={place.timezone}"]


def installed_crontab(file: str | None) -> str:
    """Our lines of the crontab; empty where there are none.

    :param file: a crontab file; None asks ``crontab -l``.
    :raises NotReady: it cannot be read.
    """
    found = _read(Path(file)) if file else _crontab_of_user()
    _, _, rest = found.partition(BEGIN)
    inside, end, _ = rest.partition(END)
    return f"{BEGIN}{inside}{END}\n" if end else ""


def _crontab_of_user() -> str:
    try:
        done = subprocess.run(["crontab", "-l"], capture_output=True, check=False)  # noqa: S607
    except FileNotFoundError as error:
        raise NotReady(
            "there is no crontab program here", hint="--file FILE names a crontab"
        ) from error
    return done.stdout.decode(errors="replace")


def _read(path: Path) -> str:
    try:
        return textfiles.read(path)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise NotReady(f"{path} cannot be read: {error}") from error
    except textfiles.NotText as error:
        raise NotReady(f"{path} cannot be read: it {error}") from error


# --- systemd -----------------------------------------------------------------


def units(jobs: Iterable[Job], place: Place) -> dict[str, str]:
    """The timer and the service of each job, by file name.

    :raises Invalid: a schedule says what systemd does not know.
    """
    _refuse_breaks(place)
    found = {}
    for job in jobs:
        if job.is_scheduled:
            found[f"{UNITS}{job.name}.service"] = _service(job, place)
            found[f"{UNITS}{job.name}.timer"] = _timer(job)
    return found


def _service(job: Job, place: Place) -> str:
    settings = "".join(f"Environment={_quoted(f'{k}={v}')}\n" for k, v in place.carried.items())
    stop = job.options.kill_after.total_seconds() + 10
    command = " ".join(map(_word, (place.flask, "jobs", "run", job.name, "--quiet")))
    title = _on_one_line(f"opsapp job {job.name}: {job.description}").removesuffix(":")
    return (
        f"[Unit]\nDescription={_plain(title)}\n\n"
        f"[Service]\nType=oneshot\nUser={place.user}\nWorkingDirectory={_plain(place.folder)}\n"
        f"EnvironmentFile=-/etc/opsapp.env\n{settings}"
        f"ExecStart={command}\nKillMode=mixed\nTimeoutStopSec={stop:.0f}\n"
    )


def _timer(job: Job) -> str:
    moments = "".join(f"OnCalendar={moment}\n" for moment in on_calendar(job))
    return (
        f"[Unit]\nDescription=opsapp job {job.name}\n\n"
        f"[Timer]\n{moments}AccuracySec=1s\n\n[Install]\nWantedBy=timers.target\n"
    )


def _plain(value: str) -> str:
    return value.replace("%", "%%")


def _quoted(value: str) -> str:
    escaped = _plain(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if re.search(r"[^A-Za-z0-9_./:=@%+-]", value) else escaped


def _word(value: str) -> str:
    return _quoted(value).replace("$", "$$")  # Variables are put into command lines only.


def on_calendar(job: Job) -> list[str]:
    """The schedule in systemd's terms; several lines where cron means either of two days.

    :raises Invalid: it names the last weekday of the month, which systemd cannot say.
    """
    fields = MACROS.get(job.schedule or "", job.schedule or "")
    parsed = CronSim(fields, datetime(2000, 1, 1, tzinfo=UTC))
    if CronSim.LAST_WEEKDAY in parsed.days:
        raise Invalid(
            f"the schedule {job.schedule} of {job.name} cannot be said to systemd",
            hint="flask jobs serve",
        )
    clock = f"{_listed(parsed.hours, range(24))}:{_listed(parsed.minutes, range(60))}:00"
    months = _listed(parsed.months, range(1, 13))
    return [f"{day} {clock} {job.timezone}".lstrip() for day in _days(parsed, months)]


def _days(parsed: CronSim, months: str) -> list[str]:
    dates = _dates(parsed.days)
    weekdays = _weekdays(parsed)
    if not parsed.day_and:
        # With neither a star, cron means the one or the other.
        either = [("", date) for date in dates] + [(name, date or "-*") for name, date in weekdays]
        return [f"{name} *-{months}{date}".strip() for name, date in either]
    return [
        f"{name} *-{months}{nth if nth and date == '-*' else date}".strip()
        for date in dates
        for name, nth in weekdays
    ]


def _dates(days: set[int]) -> list[str]:
    numbers = {day for day in days if day > 0}
    found = [f"-{_listed(numbers, range(1, 32))}"] if numbers else []
    return [*found, "~01"] if CronSim.LAST in days else found


def _weekdays(parsed: CronSim) -> list[tuple[str, str]]:
    """The names of the days, and for the nth of a month the days it may fall on."""
    plain = {day % 7 for day in parsed.weekdays if isinstance(day, int)}
    found = []
    if len(plain) == 7:
        found.append(("", ""))
    elif plain:
        found.append((",".join(_DAYS[day] for day in sorted(plain)), ""))
    for item in sorted(day for day in parsed.weekdays if isinstance(day, tuple)):
        day, nth = item
        dates = "~07/1" if nth == CronSim.LAST else f"-{7 * nth - 6:02d}..{min(7 * nth, 31):02d}"
        found.append((_DAYS[day % 7], dates))
    return found


def _listed(numbers: set[int], every: range) -> str:
    chosen = sorted(numbers)
    return "*" if chosen == list(every) else ",".join(f"{number:02d}" for number in chosen)


def installed_units(folder: Path) -> dict[str, str]:
    """Our units that are in the folder.

    :raises NotReady: one cannot be read.
    """
    found = sorted([*folder.glob(f"{UNITS}*.service"), *folder.glob(f"{UNITS}*.timer")])
    return {path.name: _read(path) for path in found}


# --- comparing ---------------------------------------------------------------


def shown(files: Mapping[str, str], folder: Path) -> str:
    """The units one after the other, each under its path."""
    return "\n".join(f"# {folder / name}\n{content}" for name, content in files.items())


def difference(wanted: str, installed: str) -> list[str]:
    """What would have to change, line by line; empty where it matches."""
    lines = difflib.unified_diff(
        installed.splitlines(), wanted.splitlines(), "installed", "wanted", lineterm=""
    )
    return list(lines)
