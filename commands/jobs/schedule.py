"""`flask jobs check`, `schedule`, `missed`, `install` and `serve`: commands of the schedule."""

from __future__ import annotations

import os
import sys
from datetime import datetime, timedelta
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from opsapp import clock, settings, text
from opsapp.cli import output
from opsapp.cli.base import OpsCommand, application
from opsapp.cli.decorators import answers, findings
from opsapp.cli.help import OPS, is_in_ops
from opsapp.cli.messages import say
from opsapp.cli.options import DURATION, JOB, SINCE, default_option
from opsapp.errors import FINDINGS
from opsapp.types import Record

from .run import app_environ, load_attached_app

if TYPE_CHECKING:
    from opsapp.jobs.install import Place
    from opsapp.jobs.schedule import Job

UPCOMING = ("at", "local", "in", "name", "schedule")
CRITICAL = 2
"""The exit code of a monitoring plugin that has findings, by the rules of Nagios."""


@click.command("check", cls=OpsCommand)
@click.argument("name", type=JOB, required=False)
@click.option("--max-age", type=DURATION, help="Maximum age of the last success, such as 25h.")
@default_option(
    "--max-failures", click.IntRange(1, 1000), 1, "Failures in a row that count as a finding."
)
@click.option("--nagios", is_flag=True, help="Answer as a Nagios plugin: one line, exit 0 or 2.")
@answers(
    "state",
    "job",
    "says",
    fields=("state", "job", "says", "status", "run_id", "failures"),
    noun="jobs",
)
def check_cmd(
    name: str | None, max_age: timedelta | None, max_failures: int, nagios: bool
) -> list[Record] | str:
    """Report jobs that fail, crash or did not run.

    Exits 0 if all is well, and 6 with findings. A job of jobs.toml is late when it has
    not begun two minutes after its time; --max-age requires a success as well.

    \b
    Examples:
      flask jobs check
      flask jobs check backup --max-age 25h --nagios
    """
    from opsapp.jobs import health

    rows = health.check(name, max_age=max_age, max_failures=max_failures)
    if nagios:
        return _plugin(rows)
    findings(any(row["state"] != "ok" for row in rows))
    return rows


def _plugin(rows: list[Record]) -> str:
    from opsapp.jobs import health

    line, is_well = health.nagios(rows)
    if not is_well:
        findings(True, exit_code=CRITICAL)
    return line


@click.command("schedule", cls=OpsCommand)
@click.argument("name", type=JOB, required=False)
@default_option("--limit", click.IntRange(1, 1000), 1, "Maximum number of runs of each job.")
@answers(
    *UPCOMING, fields=(*UPCOMING, "command"), app=False, noun="scheduled jobs", table=UPCOMING[1:]
)
def schedule_cmd(name: str | None, limit: int) -> list[Record]:
    """List the next runs, in UTC and in local time.

    It reads jobs.toml, and no database.

    \b
    Example:
      flask jobs schedule backup --limit 5
    """
    from opsapp.jobs import health

    with load_attached_app():
        return health.upcoming_slots(count=limit, name=name)


@click.command("missed", cls=OpsCommand)
@default_option("--since", SINCE, "24h", "Start of the period, such as yesterday or 24h.")
@answers("name", "slot", "local", "schedule", noun="missed runs")
def missed_cmd(since: datetime) -> list[Record]:
    """List scheduled runs that did not happen.

    Exits 0 if there are none, and 6 with findings. A skipped run is not missed: the
    history has its reason.

    \b
    Example:
      flask jobs missed --since 7d
    """
    from opsapp.jobs import health

    rows = list(health.missed_slots(since=since))
    findings(bool(rows))
    return rows


# --- installing --------------------------------------------------------------


@click.command("install", cls=OpsCommand)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["crontab", "systemd"]),
    required=True,
    help="Scheduler of this host.",
)
@click.option("--check", is_flag=True, help="Compare with the installed lines; exit 0 or 6.")
@click.option(
    "--file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Crontab or unit to check. [crontab -l, or the unit in /etc/systemd/system]",
)
def install_cmd(kind: str, check: bool, file: Path | None) -> None:
    """Print lines for a crontab, or a systemd unit.

    Nothing is installed by this. The unit runs `flask jobs serve`. --check prints the
    lines that would have to change, and exits 6 if there are any.

    \b
    Examples:
      flask jobs install --format crontab
      flask jobs install --format systemd
      flask jobs install --format systemd --check
    """
    from opsapp.jobs import install

    with load_attached_app():
        jobs, place = _scheduled_jobs(), _place()
    if kind == "crontab":
        _warn_of_secrets(place, f"{place.folder}/.env")
        _warn_of_zones(jobs, place)
        lines, installed = install.crontab(jobs, place), install.installed_crontab
    else:
        _warn_of_secrets(place, install.SECRETS_FILE)
        lines, installed = install.unit(jobs, place), install.installed_unit
    if check:
        _print_difference(install.difference(lines, installed(file)))
    else:
        output.write_lines(lines.splitlines())


def _scheduled_jobs() -> list[Job]:
    from opsapp.jobs import schedule

    return [job for _name, job in sorted(schedule.load().items()) if job.is_scheduled]


def _place() -> Place:
    from opsapp.engine import holders
    from opsapp.jobs.install import Place, host_timezone

    return Place(
        flask=str(Path(sys.executable).with_name("flask")),
        folder=str(Path.cwd()),
        environ={**os.environ, **app_environ()},
        user=holders.user(),
        timezone=host_timezone(),
        dotenv=_dotenv(),
        group=_group(),
    )


def _group() -> tuple[str, ...]:
    return (OPS,) if is_in_ops(click.get_current_context()) else ()


def _dotenv() -> frozenset[str]:
    """Return the names of the settings that come from ``.env``."""
    try:
        from dotenv import dotenv_values, find_dotenv
    except ModuleNotFoundError:  # Flask does not read it.
        return frozenset()
    file = find_dotenv(".env", usecwd=True)
    settings = dotenv_values(file) if file else {}
    return frozenset(name for name, value in settings.items() if os.environ.get(name) == value)


def _warn_of_secrets(place: Place, file: str) -> None:
    if names := place.missing_secrets:
        is_unread = file.endswith("/.env") and find_spec("dotenv") is None
        needs = " Flask reads it if python-dotenv is installed." if is_unread else ""
        verb, pronoun = ("is a secret", "it") if len(names) == 1 else ("are secrets", "them")
        say(
            f"{', '.join(names)} {verb} and not printed. Put {pronoun} into {file}, readable by"
            f" {place.user} alone.{needs}"
        )


def _warn_of_zones(jobs: list[Job], place: Place) -> None:
    from opsapp.jobs.install import has_zone_of

    others = [job.name for job in jobs if not has_zone_of(job, place)]
    if others:
        say(
            f"{', '.join(others)}: another time zone than this host's. cronie reads CRON_TZ,"
            " Debian's cron ignores it. flask jobs serve, which --format systemd runs, does not"
            " need it."
        )


def _print_difference(lines: list[str]) -> None:
    if not lines:
        say("The installed lines match the schedule.")
        return
    output.write_lines(map(text.safe, lines))
    say("The installed lines do not match the schedule.")
    click.get_current_context().exit(FINDINGS)


# --- serving -----------------------------------------------------------------


@click.command("serve", cls=OpsCommand)
@default_option("--grace", DURATION, "5s", "Time for runs to end after SIGTERM.")
def serve_cmd(grace: timedelta) -> None:
    """Run scheduled jobs in the foreground, for containers.

    Several hosts may serve at once: each slot runs exactly once. SIGTERM stops it with
    exit code 0: active runs get --grace to end, then SIGTERM themselves.

    \b
    Example:
      flask jobs serve --grace 20s
    """
    from opsapp.jobs.scheduler import Server

    if _group():
        with application():  # The server itself goes on without the application.
            for name in ("OPSAPP_INSTANCE", "OPSAPP_JOBS"):
                os.environ.setdefault(name, str(settings.get(name)))
    Server(partial(_command, _group()), {**os.environ, **app_environ()}, say).serve(grace=grace)


def _command(group: tuple[str, ...], job: Job, slot: datetime, file: Path) -> list[str]:
    words = (*group, "jobs", "run", job.name, "--slot", clock.rfc3339(slot), "--file", str(file))
    return [sys.executable, "-P", "-m", "flask", *words]
