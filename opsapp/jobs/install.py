"""Installation of the schedule: lines for cron, a unit for systemd, and a check of either."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from .. import textfiles
from ..engine.connections import is_without_secret
from ..errors import Invalid, NotReady
from ..libpq import modern_url
from ..settings import IN_FILES, SETTINGS
from .schedule import Job

BEGIN = "# BEGIN opsapp jobs ("
END = "# END opsapp jobs"
UNIT = Path("/etc/systemd/system/opsapp-jobs.service")
SECRETS_FILE = "/etc/opsapp.env"
"""The file from which the unit reads secrets."""
GRACE = 5
"""Seconds that the unit's active runs have to end."""
CARRIED = ("FLASK_APP", "OPSAPP_ENV", "OPSAPP_INSTANCE", "OPSAPP_JOBS", "OPSAPP_URL")
"""The settings that identify the installation: printed even if ``.env`` has them."""
_URLS = (*(setting.name for setting in SETTINGS if setting.read is modern_url), "DATABASE_URL")
"""Secrets only if they hold a password."""
_PERSONAL = frozenset({"OPSAPP_FORMAT", "OPSAPP_PAGER", "OPSAPP_ACTOR"})
"""Settings of the user who types, and not of a job."""
_SECRET = tuple(
    setting.name for setting in SETTINGS if setting.secret and setting.name not in _URLS
)
_OPEN = (
    *CARRIED,
    *_URLS,
    *(
        setting.name
        for setting in SETTINGS
        if not setting.secret and setting.name not in (*CARRIED, *_PERSONAL)
    ),
    *IN_FILES,
    "PGPASSFILE",
    "PGSERVICEFILE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of the jobs: program, folder, settings, user, and the host's time zone.

    ``dotenv`` names the settings that the folder's ``.env`` has.
    """

    flask: str
    folder: str
    environ: Mapping[str, str]
    user: str
    timezone: str
    dotenv: frozenset[str] = frozenset()
    group: tuple[str, ...] = ()
    """The group that has ``jobs``: ``ops`` on an application that opsapp is attached to."""

    @property
    def carried_settings(self) -> dict[str, str]:
        """The settings to print: those that are set, are no secrets, and are not in ``.env``."""
        names = (name for name in _OPEN if name in CARRIED or name not in self.dotenv)
        return {name: self.environ[name] for name in names if self._is_open(name)}

    @property
    def missing_secrets(self) -> list[str]:
        """The secrets that are set here, and that the jobs would miss."""
        names = (name for name in (*_URLS, *_SECRET) if not self._is_open(name))
        return [name for name in names if self.environ.get(name) and name not in self.dotenv]

    def _is_open(self, name: str) -> bool:
        value = self.environ.get(name)
        return bool(value) and name not in _SECRET and not (name in _URLS and _has_password(value))


def _has_password(url: str | None) -> bool:
    try:
        return not is_without_secret(make_url(url or ""))
    except ArgumentError:
        return True  # Unknown, so it is treated as a secret.


def host_timezone(environ: Mapping[str, str] = os.environ) -> str:
    """Return the name of this host's time zone, as cron takes it."""
    if name := environ.get("TZ", "").removeprefix(":"):
        return name
    _, folder, name = os.path.realpath("/etc/localtime").partition("/zoneinfo/")
    return name if folder else "UTC"


def has_zone_of(job: Job, place: Place) -> bool:
    """Return whether the host's time zone is the job's."""
    return job.timezone == place.timezone or {job.timezone, place.timezone} <= _UTC


_UTC = {"UTC", "Etc/UTC", "Etc/UCT", "Zulu", "Universal", "Etc/Universal"}


def _refuse_control_characters(place: Place) -> None:
    """Refuse values that would begin a line of their own in cron's lines or in the unit.

    :raises Invalid: a setting or a path has a line break or another control character.
    """
    paths = {"the folder": place.folder, "the path of flask": place.flask, "TZ": place.timezone}
    for name, value in {**paths, **place.carried_settings}.items():
        if re.search(r"[\x00-\x1f\x7f\x85\u2028\u2029]", value):
            raise Invalid(
                f"{name} has a line break or a control character, which no installed line can hold"
            )


# --- crontab -----------------------------------------------------------------


def crontab(jobs: Iterable[Job], place: Place) -> str:
    """Return the lines for a user's crontab, between two marks.

    :raises Invalid: cron does not know a schedule, or a setting has a control character.
    """
    _refuse_control_characters(place)
    command = shlex.join(["flask", *place.group, "jobs", "install", "--format", "crontab"])
    lines = [f"{BEGIN}{command})"]
    for job in jobs:
        if job.is_scheduled:
            lines += _entry(job, place)
    return "\n".join([*lines, END]) + "\n"


def _entry(job: Job, place: Place) -> list[str]:
    fields = (job.schedule or "").upper()
    if re.search(r"[L#]", re.sub(r"[A-Z]{3}", "", fields)) and not fields.startswith("@"):
        raise Invalid(
            f"the schedule {job.schedule} of {job.name} is not known to cron",
            hint="flask jobs install --format systemd, or flask jobs serve",
        )
    settings = "".join(f"{k}={shlex.quote(v)} " for k, v in place.carried_settings.items())
    run = f"{shlex.join([place.flask, *place.group])} jobs run {job.name} --quiet"
    command = f"cd {shlex.quote(place.folder)} && {settings}{run}"
    expression = " ".join((job.schedule or "").split())
    # cron ends a command at a percent sign.
    line = f"{expression} {command}".replace("%", r"\%")
    if has_zone_of(job, place):
        return [line]
    return [f"CRON_TZ={job.timezone}", line, f"CRON_TZ={place.timezone}"]


def installed_crontab(file: Path | None) -> str:
    """Return our lines of the crontab; empty if it has none.

    :param file: a crontab file; None asks ``crontab -l``.
    :raises NotReady: it cannot be read.
    """
    content = _read(file) if file else _crontab_of_user()
    _, _, rest = content.partition(BEGIN)
    lines, end, _ = rest.partition(END)
    return f"{BEGIN}{lines}{END}\n" if end else ""


def _crontab_of_user() -> str:
    try:
        process = subprocess.run(["crontab", "-l"], capture_output=True, check=False)  # noqa: S607
    except FileNotFoundError as error:
        raise NotReady(
            "there is no crontab program here", hint="--file FILE names a crontab"
        ) from error
    return process.stdout.decode(errors="replace")


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


def unit(jobs: Iterable[Job], place: Place) -> str:
    """Return the unit of a service that runs the schedule: ``flask jobs serve``.

    Reason: docs/decisions/jobs.md#one-unit-for-systemd

    :raises Invalid: a setting has a control character.
    """
    _refuse_control_characters(place)
    settings = "".join(
        f"Environment={_quote(f'{k}={v}')}\n" for k, v in place.carried_settings.items()
    )
    program = " ".join(_quote(word) for word in (place.flask, *place.group)).replace("$", "$$")
    last = max((job.options.kill_after for job in jobs), default=timedelta()).total_seconds()
    return (
        "[Unit]\nDescription=opsapp jobs\nAfter=network-online.target\n"
        "Wants=network-online.target\n\n"
        f"[Service]\nUser={place.user}\nWorkingDirectory={_plain(place.folder)}\n"
        f"EnvironmentFile=-{SECRETS_FILE}\n{settings}"
        f"ExecStart={program} jobs serve --grace {GRACE}s\n"
        f"KillMode=mixed\nTimeoutStopSec={GRACE + last + 10:.0f}\n"
        "Restart=on-failure\nRestartSec=10\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def _plain(value: str) -> str:
    return value.replace("%", "%%")


def _quote(value: str) -> str:
    escaped = _plain(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"' if re.search(r"[^A-Za-z0-9_./:=@%+-]", value) else escaped


def installed_unit(file: Path | None) -> str:
    """Return the installed unit; empty if there is none.

    :param file: the unit's file; None is :data:`UNIT`.
    :raises NotReady: it cannot be read.
    """
    return _read(file or UNIT)


# --- comparing ---------------------------------------------------------------


def difference(schedule: str, installed: str) -> list[str]:
    """Return the lines that would have to change; empty if both match."""
    lines = difflib.unified_diff(
        installed.splitlines(), schedule.splitlines(), "installed", "schedule", lineterm=""
    )
    return list(lines)
