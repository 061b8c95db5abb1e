"""`flask jobs list`, `history`, `show`, `tail` and `prune`: the runs of jobs."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from opsapp import clock, text
from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes, page, page_options
from opsapp.cli.messages import say
from opsapp.cli.options import DURATION, JOB, SINCE, default_option, older_than_option
from opsapp.cli.streams import style_text
from opsapp.types import Record

from .run import run_cmd
from .schedule import check_cmd, install_cmd, missed_cmd, schedule_cmd, serve_cmd

if TYPE_CHECKING:
    from opsapp.unit.work import Unit

STATUSES = ("running", "succeeded", "failed", "timed-out", "skipped", "terminated", "crashed")
LISTED = ("name", "status", "started_at", "seconds", "usual", "trend")
SEEN = ("name", "status", "started_at", "next_at", "schedule", "trend", "usual", "seconds")
"""The columns of a terminal's table."""
RUN_SHOWN = ("id", "name", "status", "started_at", "seconds", "exit_code", "host", "reason")
JOB_FIELDS = (
    "name", "status", "started_at", "seconds", "usual", "trend", "failures", "run_id", "next_at",
    "schedule", "timezone", "enabled", "description",
)  # fmt: skip
RUN_FIELDS = (
    "id", "name", "status", "started_at", "finished_at", "seconds", "exit_code", "peak_bytes",
    "attempts", "reason", "host", "pid", "actor", "slot", "command", "correlation",
)  # fmt: skip
POLL_SECONDS = 1.0


class RunId(click.IntRange):
    """A run's number; a job's name is answered with the command that lists its runs."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            message = f"'{text.truncate(str(value))}' is no run's number"
            self.fail(f"{message}; flask jobs history [NAME] lists them", param, ctx)


RUN_ID = RunId(min=0, max=2**31 - 1)


@click.group(cls=OpsGroup)
def cli() -> None:
    """Run cron jobs one at a time, with a history.

    A crontab calls `flask jobs run NAME -- COMMAND`; jobs.toml holds whole schedules.
    """


for command in (run_cmd, check_cmd, schedule_cmd, missed_cmd, install_cmd, serve_cmd):
    cli.add_command(command)


# --- the history -------------------------------------------------------------


@cli.command("list")
@answers(*LISTED, fields=JOB_FIELDS, noun="jobs", table=SEEN)
def list_cmd() -> list[Record]:
    """List jobs with their last run and usual duration.

    It lists every job of jobs.toml and every job that has ever run. Usual is the median
    of the last successes, in seconds. The trend has a bar for each of the last runs, the
    highest for the longest, and × for a failure.

    \b
    Example:
      flask jobs list
    """
    from opsapp.jobs import health

    return health.listing()


@cli.command("history")
@click.argument("name", type=JOB, required=False)
@click.option("--status", type=click.Choice(STATUSES), help="Only runs with this outcome.")
@click.option("--since", type=SINCE, help="Start of the period, such as yesterday or 24h.")
@click.option("--before", type=RUN_ID, metavar="ID", help="Runs older than this one.")
@page_options()
@answers(*RUN_SHOWN, fields=RUN_FIELDS, noun="runs")
def history_cmd(
    name: str | None,
    status: str | None,
    since: datetime | None,
    before: int | None,
    limit: int | None,
) -> Iterable[Record]:
    """List the newest runs of one job or of all.

    A slot at which no run began is not listed: see `flask jobs missed`.

    \b
    Example:
      flask jobs history backup --status failed --since 7d
    """
    from opsapp.jobs import health, history

    if name is not None:
        health.require(name)
    filter = history.Filter(name=name, status=status, since=since)
    return page(partial(history.history, filter, before=before), limit, "--before")


@cli.command("show")
@click.argument("id", type=RUN_ID)
@default_option("--lines", click.IntRange(0, 100_000), 200, "Number of last lines of output.")
@answers()
def show_cmd(id: int, lines: int) -> Record:
    """Show a run: its outcome, output and changes.

    The audit events are those that its commands wrote.

    \b
    Example:
      flask jobs show 12
    """
    from opsapp.jobs import history

    return history.detail(id, lines=lines)


def _line(row: Mapping[str, Any]) -> str:
    return style_text(text.safe(row["line"]), "yellow" if row["stream"] == "stderr" else "")


@cli.command("tail")
@click.argument("name", type=JOB)
@default_option("--lines", click.IntRange(0, 100_000), 50, "Number of lines to begin with.")
@click.option("--follow", is_flag=True, help="Print new output until Ctrl-C.")
@answers(
    "stream",
    "line",
    fields=("run_id", "stream", "line", "piece"),
    live="follow",
    noun="output",
    line=_line,
)
def tail_cmd(name: str, lines: int, follow: bool) -> Iterator[Record]:
    """Print the output of the last run of a job.

    The run may still be active, on any host. --follow prints its output as it is
    recorded, once a second, and then that of the next runs, and says how each run ended.
    A terminal has the lines as they are, with those of stderr in another colour.

    \b
    Example:
      flask jobs tail backup --follow
    """
    from opsapp.jobs import history

    last = history.last_piece(name)
    for line in history.tail(name, lines=lines):
        yield line
        last = max(last, line["piece"])
    run = history.last_run(name)
    while follow:
        # Before the output is read: what a run printed comes before its end.
        ends = history.finished_runs_since(name, run)
        for line in history.lines_since(name, last):
            yield line
            last = line["piece"]
        for end in ends:
            say(f"{name} {end['status']} (run {end['id']}){_details(end)}.")
            run = end["id"] + 1
        time.sleep(POLL_SECONDS)


def _details(run: Record) -> str:
    """Return the time that a run took, and the reason of its end."""
    took = "" if run["seconds"] is None else f" after {clock.format_duration(run['seconds'])}"
    return f"{took}: {run['reason']}" if run["reason"] else took


@cli.command("prune")
@older_than_option("365d")
@default_option("--output-older-than", DURATION, "30d", "Keep the output of younger runs.")
@default_option("--keep", click.IntRange(1, 1_000_000), 20, "Keep this number of runs of each job.")
@changes("runs", "outputs", key="runs", destructive=True)
def prune_cmd(older_than: timedelta, output_older_than: timedelta, keep: int, unit: Unit) -> Record:
    """Delete old runs, and their output sooner.

    The newest runs of each job stay, however old.

    \b
    Example:
      flask jobs prune --older-than 180d --output-older-than 14d --yes
    """
    from opsapp.jobs import runs

    approve("Delete old runs and their output?")
    return runs.prune(
        older_than=older_than, output_older_than=output_older_than, keep=keep, unit=unit
    )
