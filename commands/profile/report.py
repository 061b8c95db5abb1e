"""`flask profile`: reports, traces, tokens, metrics and their upkeep."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from opsapp.cli import output
from opsapp.cli.base import OpsGroup
from opsapp.cli.decorators import answers, findings, page_options, works
from opsapp.cli.messages import say
from opsapp.cli.options import (
    DURATION,
    ID,
    RECORDED_SINCE,
    RECORDED_UNTIL,
    default_option,
    older_than_option,
    with_options,
)
from opsapp.errors import Invalid
from opsapp.types import Record

from . import measure

if TYPE_CHECKING:
    from opsapp.profiling.record.prof_files import Folder

BY = ("endpoint", "query", "command")
SORTS = ("total", "p50", "p95", "p99", "max", "count", "errors", "queries")


TRACE = (
    "id", "at", "kind", "name", "ms", "status", "queries", "query_ms", "samples", "error",
)  # fmt: skip
REPEAT = (
    "endpoint", "line", "requests", "times", "to_win_ms", "total_to_win_ms", "advice",
    "statement",
)  # fmt: skip
METRIC = (
    "metric", "labels", "value", "kind", "help",
)  # fmt: skip


@click.group(cls=OpsGroup)
def cli() -> None:
    """Report and profile slow requests, commands and queries.

    Each request and command is counted, with its SQL; the slowest and the failed ones are
    kept as traces. No header, form, body or SQL literal is ever recorded.
    """


# --- reports and traces ------------------------------------------------------


def _report_fields(by: str | None, endpoint: str | None, **_params: Any) -> list[str]:
    """Return the fields of an empty report for programs; people read a remark."""
    from opsapp.profiling.reports import totals

    return totals.fields(_by(by, endpoint)) if output.is_for_programs() else []


@cli.command("report")
@click.option("--by", type=click.Choice(BY), help="Group rows by this. Default: endpoint.")
@click.option("--endpoint", metavar="NAME", help="The queries of this endpoint or command only.")
@with_options(RECORDED_SINCE, RECORDED_UNTIL)
@default_option("--sort", click.Choice(SORTS), "total", "Sort by this, largest first.")
@default_option("--limit", click.IntRange(1, 1_000_000), 20, "Maximum number of rows.")
@click.option("--html", metavar="FILE", help="Write the report as an HTML page with charts.")
@answers(fields=_report_fields)
def report_cmd(
    by: str | None,
    endpoint: str | None,
    since: datetime,
    until: datetime | None,
    sort: str,
    limit: int,
    html: str | None,
) -> Any:
    """Report times by endpoint, query or command.

    Count, error rate, percentiles, the share of all time, and the SQL of each request, with
    the trend of the mean. A ~ marks a figure of fewer than 100 samples. Percentiles are
    within 1 % of the exact ones. An endpoint without its method stands for all of them.

    \b
    Examples:
      flask profile report --since 24h --sort p95 --limit 20
      flask profile report --endpoint "GET users.Users" --by query
      flask profile report --since 7d --html report.html
    """
    from opsapp.profiling.reports import totals

    if html is not None:
        from opsapp.profiling.views import html as pages

        return pages.write_report(html, since=since, until=until)
    by = _by(by, endpoint)
    rows = totals.report(by, since=since, until=until, sort=sort, top=limit, endpoint=endpoint)
    return _format_rows(rows, by)


def _by(by: str | None, endpoint: str | None) -> str:
    """Return the kind of the rows, which are queries for a single endpoint."""
    if endpoint is not None and by not in (None, "query"):
        raise Invalid(f"--endpoint lists queries, and --by is {by}")
    return "query" if endpoint is not None else by or "endpoint"


def _format_rows(rows: list[Record], by: str) -> list[Record]:
    """Return the rows for a reader; programs get every field."""
    from opsapp.profiling.views import text

    if output.is_for_programs():
        return rows
    if rows:
        say("Times are in ms; percentiles within 1 %; ~ marks fewer than 100 samples.")
    else:
        say("Nothing was recorded in that time: flask profile report --since 7d")
    width = output.width_of_table()
    if rows and by == "query" and width is not None and width < text.NARROW:
        say(f"A terminal of {text.NARROW} columns has these too: {text.LEFT_OUT}.")
    return text.of_report(rows, by, width)


@cli.command("traces")
@click.argument("name", required=False)
@click.option(
    "--kind", type=click.Choice(["slow", "error", "asked"]), help="Only traces of this kind."
)
@page_options()
@answers(*TRACE, fields=(*TRACE, "file"), noun="traces")
def traces_cmd(name: str | None, kind: str | None, limit: int | None) -> list[Record]:
    """List traces of requests and commands, slowest first.

    NAME is an endpoint, with its method or for all of them, or a command.

    \b
    Example:
      flask profile traces "GET users.Users"
    """
    from opsapp.profiling.reports import traces

    return traces.listing(name, kind=kind, limit=limit)


@cli.command("show")
@click.argument("trace")
@answers()
def show_cmd(trace: str) -> Record:
    """Show a trace: the timeline of a request and its SQL.

    Includes the sampled stacks, and the place of a failure. TRACE is its id, or the
    X-Profile-Trace of an answer. People read equal statements in one line.

    \b
    Example:
      flask profile show 12
    """
    from opsapp.profiling.reports import traces
    from opsapp.profiling.views import text

    detail = traces.detail(traces.find(trace))
    return detail if output.is_for_programs() else text.of_trace(detail, output.width_of_table())


@cli.command("explain")
@click.argument("trace")
@answers()
def explain_cmd(trace: str) -> Record:
    """Show the plan of the slowest statement of a trace.

    That is the one that took most of its time, with all repetitions. Values are never
    recorded, so the plan is the one for any values. TRACE is as for `flask profile show`.

    \b
    Example:
      flask profile explain 12
    """
    from opsapp.profiling.reports import traces
    from opsapp.profiling.views import text

    plan = traces.explain(traces.find(trace))
    return plan if output.is_for_programs() else text.of_plan(plan, output.width_of_table())


@cli.command("flame")
@click.argument("id", type=ID)
@click.option("-o", "--output", "file", required=True, metavar="FILE", help="HTML file to write.")
@answers()
def flame_cmd(id: int, file: str) -> Record:
    """Write a flame graph of a trace as an HTML page.

    The page needs no other file. A trace has stacks if it took long, or was profiled by
    X-Profile: sample.

    \b
    Example:
      flask profile flame 12 -o page.html
    """
    from opsapp.profiling.views import html as pages

    return pages.write_flame(id, file)


@cli.command("repeats")
@with_options(RECORDED_SINCE)
@click.option(
    "--allow",
    multiple=True,
    metavar="'FILE in FUNCTION=N'",
    help="Allowed repeats, in addition to OPSAPP_REPEATS_ALLOWED.",
)
@default_option("--limit", click.IntRange(1, 1_000_000), 20, "Maximum number of rows.")
@click.option("--requests", is_flag=True, help="Leave out commands.")
@click.option("--check", is_flag=True, help="Exit 6 if any are found.")
@answers(
    *REPEAT[:5],
    *REPEAT[6:],
    fields=REPEAT,
    noun="repeated statements",
    table=("line", "times", "statement", "endpoint", "to_win_ms", "advice", "requests"),
)
def repeats_cmd(
    since: datetime, allow: tuple[str, ...], limit: int, requests: bool, check: bool
) -> list[Record]:
    """List repeated SQL statements of requests and commands.

    For each: the line that sends it, how often, the time a request would save, and the
    loader option to add. --allow takes a pattern of file and function, and =N times.

    \b
    Example:
      flask profile repeats --since 7d --allow 'shop/feed.py in *=20' --check
    """
    from opsapp.profiling.reports import n_plus_one

    rows = n_plus_one.listing(since=since, allow=allow, top=limit, requests=requests)
    findings(check and bool(rows))
    return rows if output.width_of_table() is None else [_brief(row) for row in rows]


def _brief(row: Record) -> Record:
    from opsapp.engine.fingerprint import brief

    return {**row, "statement": brief(row["statement"])}


# --- on request ---------------------------------------------------------------


@cli.command("token")
@click.option(
    "--for", "for_", type=DURATION, default="10m", show_default=True, help="Lifetime of the token."
)
@answers()
def token_cmd(for_: timedelta) -> Record:
    """Create a token to profile requests with.

    A request with this token in X-Profile-Token, and with X-Profile: 1 or sample, is
    profiled. The token is valid on every host of the application until it ends.

    \b
    Example:
      flask profile token --for 10m --fields token --format csv
    """
    from opsapp.extensions import this_app
    from opsapp.profiling.record import tokens

    token, ends = tokens.make(this_app(), for_)
    output.say_if_lost("the token is lost: flask profile token makes another")
    return {"token": token, "valid_until": ends}


@cli.command("files")
@answers("file", "bytes", noun="files")
def files_cmd() -> list[Record]:
    """List the .prof files of this host, newest first.

    X-Profile writes them; each process of this host puts them into the instance folder.

    \b
    Example:
      flask profile files
    """
    return _folder().listing()


@cli.command("top")
@click.argument("file")
@default_option("--limit", click.IntRange(1, 1000), 30, "Maximum number of rows.")
@default_option(
    "--sort", click.Choice(["self", "total", "calls"]), "self", "Sort by this, largest first."
)
@answers("calls", "self_ms", "total_ms", "function")
def top_cmd(file: str, limit: int, sort: str) -> list[Record]:
    """Show the most expensive functions of a .prof file.

    FILE is one of `flask profile files`, or a path. It is read in another process, with
    limited memory and time, and only if it is yours.

    \b
    Example:
      flask profile top 20261231T235959Z-0a1b2c3d.prof --sort total
    """
    from opsapp.profiling.record import prof_files

    return prof_files.read(_folder().find(file), count=limit, sort=sort)


def _folder() -> Folder:
    from opsapp.extensions import this_app
    from opsapp.profiling.record import prof_files

    return prof_files.folder_of(this_app())


@cli.command("metrics")
@answers(*METRIC[:3], fields=METRIC, noun="metrics")
def metrics_cmd() -> list[Record]:
    """Print the metrics of this host.

    Requests, jobs and the application's own. They are those of /metrics, which is off
    unless OPSAPP_METRICS is on, and needs the permission profile:read.

    \b
    Example:
      flask profile metrics --format jsonl
    """
    from opsapp.extensions import this_app
    from opsapp.jobs.metrics import Runs
    from opsapp.profiling import metrics

    return metrics.rows(this_app(), Runs())


for command in measure.COMMANDS:
    cli.add_command(command)


# --- upkeep ------------------------------------------------------------------


@cli.command("compact")
@works("step", "windows", "became")
def compact_cmd(dry_run: bool) -> list[Record]:
    """Roll up minutes into hours, and hours into days.

    Minutes stay two hours, hours three days. Sums and percentiles do not change.

    \b
    Example:
      flask profile compact
    """
    from opsapp.profiling.reports import retention

    return retention.compact(dry_run=dry_run)


@cli.command("prune")
@older_than_option("400d")
@default_option(
    "--traces", click.IntRange(0, 1_000_000), 5, "Number of traces to keep of each endpoint."
)
@works("what", "removed")
def prune_cmd(older_than: timedelta, traces: int, dry_run: bool) -> list[Record]:
    """Delete old rows, and traces beyond a number.

    The slowest traces of each endpoint stay, and the newest failed and profiled ones.

    \b
    Example:
      flask profile prune --older-than 90d
    """
    from opsapp.profiling.reports import retention

    rows = retention.prune(older_than=older_than, limit=traces, dry_run=dry_run)
    return [*rows, {"what": "files", "removed": _folder().make_room(dry_run=dry_run)}]
