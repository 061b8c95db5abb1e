"""What every command promises: formats and fields; dry run, reason and one unit of work.

``@answers`` makes a command of a function that returns rows or a record;
``@changes`` one of a function that takes ``unit``, calls one service with it and
returns what the service says; ``@works`` one of a function that takes ``dry_run``.
No function prints.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from ..errors import FINDINGS
from ..types import Record
from . import output
from .base import application, command_words
from .errors import say
from .options import PERMISSION, with_options

if TYPE_CHECKING:
    from ..actors import Actor
    from ..unit.work import Unit

Body = Callable[..., Any]

ANSWERS = "opsapp.answers"
WORKS = "opsapp.works"
CHANGES = "opsapp.changes"


def answers(
    *columns: str,
    fields: Sequence[str] = (),
    app: bool = True,
    live: str | None = None,
    web: bool = False,
) -> Callable[[Body], Body]:
    """A command that reads: its function returns rows, one record, or a line.

    :param columns: the fields of the table and of plain; the others show them all.
    :param fields: all fields of a row, in their order; without them the columns are all.
        An empty list is checked and headed by them.
    :param app: False where the function loads the application itself.
    :param live: the flag with which rows come until somebody stops it; each is then
        shown as it comes, so a table is not possible and plain stands in for it.
    :param web: the application with its web floor, for what sends requests.
    """

    known = fields

    def decorate(body: Body) -> Body:
        @_format_options
        @functools.wraps(body)
        def command(*, format: str | None, fields: str | None, **given: Any) -> None:
            picked, chosen = fields, output.chosen_format(format)
            if live and given[live]:
                chosen = output.live_format(chosen)
            name_connection()
            with application(web=web) if app else nullcontext():
                _remark_on_permissions()
                _write(body(**given), chosen, picked, columns, known or columns)
            _exit_with_findings()

        command.kind = ANSWERS  # type: ignore[attr-defined]
        return command

    return decorate


def works(*columns: str) -> Callable[[Body], Body]:
    """A command that does what no audit event is kept of, such as sending mail.

    Its function takes ``dry_run`` and returns rows of what was done, or would be.
    """

    def decorate(body: Body) -> Body:
        command = click.option("--dry-run", is_flag=True, help="Show the work and do nothing.")(
            answers(*columns)(body)
        )
        command.kind = WORKS  # type: ignore[attr-defined]
        return command

    return decorate


def page_options(limit: int = 50) -> Callable[[Body], Body]:
    """Add ``--limit`` and ``--all``; the function takes ``limit``, None for all of them."""

    def decorate(command: Body) -> Body:
        @click.option(
            "--limit",
            type=click.IntRange(min=1, max=1_000_000),
            default=limit,
            show_default=True,
            help="At most this many.",
        )
        @click.option("--all", "everything", is_flag=True, help="All of them, streamed.")
        @functools.wraps(command)
        def paged(*, limit: int, everything: bool, **given: Any) -> None:
            command(limit=None if everything else limit, **given)

        return paged

    return decorate


def page(read: Callable[..., Iterable[Record]], limit: int | None, option: str) -> Iterable[Record]:
    """What ``read(limit=)`` finds; if that is not all, ``option`` with the last id goes on."""
    if limit is None:
        return read(limit=None)
    found = list(read(limit=limit + 1))
    if len(found) > limit:
        say_what_follows(f"{option} {found[limit - 1]['id']}")
    return found[:limit]


def say_what_follows(option: str) -> None:
    """Tell, on stderr and after the answer, that there is another page."""
    say_afterwards(f"There are more: {option} shows the next page, --all everything.")


def say_afterwards(remark: str) -> None:
    """Say it on stderr below the answer, where it does not scroll away and tears no line."""
    click.get_current_context().call_on_close(lambda: say(remark))


def changes(*columns: str, key: str = "id", destructive: bool = False) -> Callable[[Body], Body]:
    """A command that changes something: its function returns one record, or rows with ``changed``.

    :param columns: the fields of the table and of plain.
    :param key: the field that ``-q`` prints, of each thing that was changed.
    :param destructive: the command asks through :func:`~.frame.approve`, and has ``--yes``.
    """

    def decorate(body: Body) -> Body:
        @_format_options
        @with_options(*((YES, CONFIRM) if destructive else ()), _DRY_RUN, REASON, _QUIET)
        @functools.wraps(body)
        def command(
            *,
            format: str | None,
            fields: str | None,
            quiet: bool,
            dry_run: bool,
            reason: str | None,
            yes: bool = False,
            confirm: str | None = None,
            **given: Any,
        ) -> None:
            chosen = output.chosen_format(format)
            output.check_fields(fields, ("changed", "audit_seq", *columns))
            unit = unit_of_this_command(reason, dry_run=dry_run)
            with application():
                _remark_on_permissions()
                result = body(unit=unit, **given)
                if dry_run:
                    _write_plan(unit, chosen)
                elif quiet:
                    output.write_lines(_keys(result, key, unit))
                else:
                    _write_change(result, unit, chosen, fields, columns)

        command.kind = CHANGES  # type: ignore[attr-defined]
        return command

    return decorate


def _remark_on_permissions() -> None:
    """Say when a permission looks misspelled: it may be held before code asks for it."""
    from .. import permissions

    ctx = click.get_current_context()
    for param in ctx.command.params:
        given = ctx.params.get(param.name or "") or ()
        if param.type is PERMISSION and (
            remark := permissions.remark((given,) if isinstance(given, str) else given)
        ):
            say(remark)


def unit_of_this_command(reason: str | None, *, dry_run: bool = False) -> Unit:
    """A unit of work by whoever runs this command; the frame knows it from now on."""
    from ..actors import correlation_of_job
    from ..unit.work import Unit

    job = correlation_of_job()
    unit = Unit(
        actor=name_connection(),
        door="job" if job else "cli",
        reason=reason,
        dry_run=dry_run,
        correlation=job,
    )
    click.get_current_context().find_root().meta["opsapp.unit"] = unit
    return unit


def name_connection() -> Actor:
    from ..actors import at_terminal
    from ..engine.connections import application_name

    actor = at_terminal()
    words = command_words(click.get_current_context())
    application_name.set(f"opsapp {words} {actor.label()}")
    return actor


def _format_options(command: Body) -> Body:
    for option in (
        click.option("--fields", metavar="A,B", help="Show these fields only, in this order."),
        click.option(
            "--format", type=click.Choice(output.FORMATS), help="How to print the answer."
        ),
    ):
        command = option(command)
    return command


REASON = click.Option(["--reason"], metavar="TEXT", help="Why; kept in the audit.")
CONFIRM = click.Option(
    ["--confirm"],
    metavar="NAME",
    help="In production: the environment's name, instead of typing it.",
)
YES = click.Option(["--yes"], is_flag=True, help="Do not ask.")
_QUIET = click.Option(
    ["-q", "--quiet"], is_flag=True, help="Print only the key of what was changed."
)
_DRY_RUN = click.Option(["--dry-run"], is_flag=True, help="Show the change and write nothing.")


# --- writing the answer ------------------------------------------------------


def _write(
    found: Any,
    format: str,
    fields: str | None,
    columns: tuple[str, ...],
    known: Sequence[str] = (),
) -> None:
    """Write an answer.

    :param known: all fields of a row, for a list that may be empty; none if they differ.
    """
    shown = () if fields else columns
    if isinstance(found, int | str):
        output.write_scalar(found, format)
    elif isinstance(found, Mapping):
        output.write_record(next(output.picked([found], fields)), format, shown)
    else:
        # Without rows there is nothing to pick from: what was asked for is the header.
        head = output.field_names(fields) if fields else known
        output.write_list(output.picked(found, fields, known), format, shown, head)


def _write_plan(unit: Any, format: str) -> None:
    """What a dry run would have done: the events it would have written."""
    from ..unit.ledger import in_batches

    plan = [change.record() for change in in_batches(unit.recorded)]
    if format == "json":
        record = {"changed": unit.changed, "dry_run": True, "plan": plan}
        output.write_record(record, format, ())
    else:
        output.write_list(plan, format, ("action", "subject", "before", "after"))
    say("Dry run: nothing was written." if plan else "Dry run: nothing would change.")


def _write_change(
    result: Any, unit: Any, format: str, fields: str | None, columns: tuple[str, ...]
) -> None:
    outcome = {"changed": _has_changed(result, unit), "audit_seq": unit.seq}
    if result is None:
        pass  # The answer is on stdout already.
    elif isinstance(result, Mapping):
        shown = ("changed", *columns) if columns else ()
        _write({**outcome, **result}, format, fields, shown)
    elif format == "json":
        rows = list(output.picked(result, fields))
        output.write_record({**outcome, "results": rows}, format, ())
    else:
        _write(result, format, fields, columns)
    if unit.seq is not None:
        say(f"Done, audit event {unit.seq}.")
    elif not outcome["changed"]:
        say("Already so: nothing was changed.")


def _has_changed(result: Any, unit: Any) -> bool:
    """What the service says, which may have done more than its unit: a migration commits itself."""
    said = result.get("changed") if isinstance(result, Mapping) else None
    return bool(unit.changed if said is None else said)


def _keys(result: Any, key: str, unit: Any) -> list[str]:
    if isinstance(result, Mapping):
        return [str(result[key])] if _has_changed(result, unit) else []
    return [str(row[key]) for row in result or () if row["changed"]]


def findings(found: bool, *, exit_code: int = FINDINGS) -> None:
    """End with exit code 6 if a check found something, once the answer is printed.

    :param exit_code: another one, where somebody else's rules say so.
    """
    click.get_current_context().meta["opsapp.findings"] = exit_code if found else None


def _exit_with_findings() -> None:
    ctx = click.get_current_context()
    if code := ctx.meta.get("opsapp.findings"):
        ctx.exit(code)
