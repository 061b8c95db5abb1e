"""`flask profile request`, `run`, `saved` and `diff`: measure now, and compare."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from opsapp import text, textfiles
from opsapp.cli.base import OpsCommand, approve
from opsapp.cli.decorators import ANSWERS, YES, answers, findings
from opsapp.cli.messages import say
from opsapp.cli.options import DURATION, PROGRAM, USER, default_option, with_options
from opsapp.errors import Invalid
from opsapp.text import truncate
from opsapp.types import Record

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
FIGURES = (
    "saved", "subject", "count", "p50_ms", "p95_ms", "p99_ms", "max_ms", "cpu_ms", "queries",
    "query_ms", "outcomes",
)  # fmt: skip
SAVED = (
    "name", "mode", "subject", "made_at", "made_by", "python", "environment",
)  # fmt: skip

_measuring = with_options(
    click.Option(
        ["--timeout"],
        type=DURATION,
        default="1m",
        show_default=True,
        help="Time limit of each repetition.",
    ),
    click.Option(
        ["--deep", "mode"],
        flag_value="1",
        default=None,
        help="Profile one more repetition, call by call.",
    ),
    click.Option(
        ["--sample", "mode"],
        flag_value="sample",
        help="Sample the stacks of one more repetition.",
    ),
    click.Option(["--name"], help="Name of the measurement. Default: a generated one."),
    click.Option(["--replace"], is_flag=True, help="Replace the measurement of this name."),
    YES,
)


@click.command("request", cls=OpsCommand)
@click.argument("method", type=click.Choice(METHODS, case_sensitive=False))
@click.argument("path")
@click.option("--as", "user", type=USER, metavar="USER", help="Send the request as this account.")
@default_option("--repeat", click.IntRange(1, 10_000), 20, "Number of repetitions.")
@click.option("--data", type=PROGRAM, metavar="TEXT", help="Send this body; @FILE sends a file.")
@click.option(
    "--json", "document", type=PROGRAM, metavar="JSON", help="Send this JSON; @FILE sends a file."
)
@click.option(
    "--header", "headers", metavar="'NAME: VALUE'", multiple=True, help="Also send this header."
)
@click.option("--cold", is_flag=True, help="Skip the warm-up.")
@_measuring
@answers(*FIGURES, web=True)
def request_cmd(
    method: str,
    path: str,
    user: str | None,
    repeat: int,
    data: str | None,
    document: str | None,
    headers: tuple[str, ...],
    cold: bool,
    timeout: timedelta,
    mode: str | None,
    name: str | None,
    replace: bool,
    yes: bool,
) -> Record:
    """Measure a request inside this process.

    Exact percentiles of the repetitions, after a warm-up, with the SQL of each. An answer
    is read to its end; one that breaks off has failed. Reports do not count it. A request
    that changes data really changes it, each time, so the command asks first.

    \b
    Examples:
      flask profile request GET /api/users --as ada@example.com --repeat 50
      flask profile request GET / --name before --replace --sample
      flask profile request POST /api/users --as ada --json '{"username": "eve"}' --yes
    """
    from opsapp.extensions import this_app
    from opsapp.profiling import measure

    method = method.upper()
    if not path.startswith("/"):
        raise Invalid("a path begins with a slash")
    account = _account(user) if user is not None else None
    content = _content(data, document, headers)
    if method not in measure.SAFE:
        approve(f"Send {method} {path} for real, {text.pluralize(repeat, 'time')}?")
    measured = measure.request(
        this_app(),
        method,
        path,
        user=account,
        repeat=repeat,
        cold=cold,
        timeout=timeout,
        mode=mode,
        content=content,
    )
    subject = f"{method} {path.partition('?')[0]}"
    return _save("request", subject, measured, name, replace)


def _account(reference: str) -> Any:
    """Return the account, ours or the application's."""
    from opsapp.accounts.lookup import get_user
    from opsapp.extensions import db, this_app
    from opsapp.state import attachment_of

    attached = attachment_of(this_app())
    if attached is None:
        return get_user(reference)
    from opsapp.ops.subjects import this_identity

    return this_identity().get(db.session(), reference)


def _content(data: str | None, document: str | None, headers: tuple[str, ...]) -> Any:
    """Return the body and the headers of the request.

    :raises Invalid: there are two bodies, the JSON is none, or a header has another form.
    """
    import json

    from werkzeug.datastructures import Headers

    from opsapp.profiling.measure import Content

    if data is not None and document is not None:
        raise Invalid("--data and --json cannot be combined")
    fields = Headers(map(_header, headers))
    if document is not None:
        body = _body(document)
        try:
            json.loads(body)
        except ValueError as error:
            raise Invalid(f"--json is not valid JSON: {error}") from error
        fields.setdefault("Content-Type", "application/json")
        return Content(body, fields)
    if data is not None:
        fields.setdefault("Content-Type", "application/x-www-form-urlencoded")  # As curl does.
        return Content(_body(data), fields)
    return Content(headers=fields)


def _body(words: str) -> bytes:
    if not words.startswith("@"):
        return words.encode()
    try:
        return textfiles.read_bytes(words[1:])
    except (OSError, textfiles.NotText) as error:
        raise Invalid(f"{truncate(words[1:])}{textfiles.why(error)}") from error


def _header(words: str) -> tuple[str, str]:
    name, colon, value = words.partition(":")
    if not colon or not name.strip():
        raise Invalid(f"--header {truncate(words)} is not of the form 'NAME: VALUE'")
    return name.strip(), value.strip()


@click.command("run", cls=OpsCommand)
@click.argument("words", nargs=-1, required=True, metavar="-- COMMAND…")
@click.option(
    "--repeat",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Number of repetitions. Default: 5 for reading commands, else 1.",
)
@_measuring
@answers(*FIGURES, "peak_mib")
def run_cmd(
    words: tuple[str, ...],
    repeat: int | None,
    timeout: timedelta,
    mode: str | None,
    name: str | None,
    replace: bool,
    yes: bool,
) -> Record:
    """Measure a command in its own process.

    A command that changes data really changes it, each time, so this asks first. Exit
    code 6 says that the command failed.

    \b
    Example:
      flask profile run --repeat 10 -- users list --limit 5
    """
    from opsapp.profiling import measure

    reading = _is_reading(words)
    repeat = repeat or (5 if reading else 1)
    if not reading:
        times = "once" if repeat == 1 else f"{repeat} times"
        approve(f"Run flask {' '.join(words)} for real, {times}?")
    warm_up = 1 if reading else 0
    measured = measure.command(words, repeat=repeat, warm_up=warm_up, timeout=timeout, mode=mode)
    findings(any(measured.outcomes))
    return _save("run", _subject(words), measured, name, replace)


def _save(mode: str, subject: str, measured: Any, name: str | None, replace: bool) -> Record:
    from opsapp.actors import at_terminal
    from opsapp.profiling.reports import baselines

    save = baselines.save(
        mode,
        subject,
        measured.detail(subject),
        name=name,
        replace=replace,
        actor=at_terminal(),
    )
    if measured.errors:
        say(f"{measured.errors} of {len(measured.samples)} failed.")
    return {"saved": save["name"], "subject": subject, **measured.record()}


def _resolve_command(words: tuple[str, ...]) -> tuple[click.Command | None, list[str]]:
    """Return the command that these words call, if there is one, and its name."""
    ctx = click.get_current_context().find_root()
    root = ctx.command
    entry = root.get_command(ctx, words[0]) if isinstance(root, click.Group) else None
    # An entry of `flask` is lazy: its target is the real command.
    command: click.Command | None = getattr(entry, "target", entry)
    path = [words[0]]
    for word in words[1:]:
        if not isinstance(command, click.Group):
            break
        below = command.commands.get(word)
        if below is None:
            return None, path
        command, path = below, [*path, word]
    return command, path


def _is_reading(words: tuple[str, ...]) -> bool:
    command, _path = _resolve_command(words)
    return getattr(getattr(command, "callback", None), "kind", None) == ANSWERS


def _subject(words: tuple[str, ...]) -> str:
    """Return the words of the command without its arguments."""
    return " ".join(_resolve_command(words)[1])


# --- saved measurements ----------------------------------------------------------


@click.command("saved", cls=OpsCommand)
@answers(*SAVED[:-1], fields=SAVED, noun="saved measurements")
def saved_cmd() -> list[Record]:
    """List saved measurements.

    `flask profile request` and `flask profile run` save them.

    \b
    Example:
      flask profile saved
    """
    from opsapp.profiling.reports import baselines

    return baselines.listing()


@click.command("diff", cls=OpsCommand)
@click.argument("base")
@click.argument("new", required=False)
@click.option(
    "--fail-on",
    multiple=True,
    metavar="CHANGE",
    help="Exit 6 on this change, such as 'p95>+10%'; can be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="Also print unchanged metrics.")
@answers("name", "metric", "before", "after", "change", "low", "high", "verdict", "failed")
def diff_cmd(
    base: str, new: str | None, fail_on: tuple[str, ...], everything: bool
) -> list[Record]:
    """Compare two saved measurements.

    NEW is the newest measurement of the same subject by default. Both need 20 samples. A
    difference is a change if 99 of 100 resamplings agree on its sign; else it is noise.
    The metrics are p50, p95, p99, mean, cpu, queries and errors; times are in ms. Another
    kind of measurement, or another Python, is refused.

    \b
    Example:
      flask profile diff before after --fail-on 'p95>+10%' --fail-on 'queries>0'
    """
    from opsapp.profiling.reports import baselines

    rules = [baselines.Rule.parse(rule) for rule in fail_on]
    first = baselines.get(base)
    second = baselines.newest_like(first) if new is None else baselines.get(new)
    changes, breaches = baselines.compare(first, second, rules)
    findings(breaches)
    rows = [row for row in changes if everything or row["verdict"] != "no change"]
    say(f"{first.name} → {second.name}: {_summary(changes)}")
    return rows


def _summary(changes: list[Record]) -> str:
    counts: dict[str, int] = {}
    for row in changes:
        counts[row["verdict"]] = counts.get(row["verdict"], 0) + 1
    return ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "nothing"


COMMANDS = (request_cmd, run_cmd, saved_cmd, diff_cmd)
