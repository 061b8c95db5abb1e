"""Decorators that make a command of a function, with the options of the contract.

``@answers`` takes a function that returns rows or a record. ``@changes`` takes one
that calls a service with ``unit`` and returns its record. ``@works`` takes one with
``dry_run``. These functions do not print.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from ..errors import FINDINGS, Invalid, Refused
from ..types import Record
from . import outcome, output
from .base import application, command_words
from .confirm import agrees, is_interactive
from .display import Line, Look
from .messages import say
from .options import FIELDS, NEW_FILE, PERMISSION, Body, default_option, with_options
from .tables import is_terminal

if TYPE_CHECKING:
    from ..actors import Actor
    from ..unit.work import Unit


ANSWERS = "opsapp.answers"
WORKS = "opsapp.works"
CHANGES = "opsapp.changes"


def answers(
    *columns: str,
    fields: Sequence[str] | Callable[..., Sequence[str]] = (),
    app: bool = True,
    live: str | None = None,
    web: bool = False,
    to_file: Sequence[str] = (),
    noun: str = "",
    table: Sequence[str] = (),
    line: Line | None = None,
) -> Callable[[Body], Body]:
    """Make a command that reads; its function returns rows, one record, or a line.

    :param columns: the fields in table and plain; other formats have all fields.
    :param fields: all fields of a row, in order, if there are more than the columns.
        An empty list is checked against them, and has them as its header. A function
        returns them for the parameters of the command.
    :param app: False if the function loads the application itself.
    :param live: the flag that makes rows arrive until the command is stopped. They are
        printed one by one, in plain instead of a table.
    :param web: load the pages and the API too, for commands that send requests.
    :param to_file: the formats of a command whose answer goes into a file. Its function takes
        ``format`` and ``fields``, which may be None, and writes the answer itself.
    :param noun: the rows' name, for the remark on an empty list at a terminal.
    :param table: the fields of a terminal's table, where they are others than ``columns``.
    :param line: returns a row as a terminal shows it, in place of a table; or None for a table.
    """

    all_fields = fields or columns
    look = Look(table or columns, noun, line)

    def decorate(body: Body) -> Body:
        @_format_options(to_file or output.FORMATS)
        @functools.wraps(body)
        def command(*, format: str | None, fields: str | None, **params: Any) -> None:
            if to_file:
                params |= {"format": format, "fields": fields}
            format = output.format_of_answer(format)
            is_seen = format == "table" and is_terminal()
            is_live = bool(live and params[live])
            if is_live:
                format = output.live_format(format)
                is_seen = is_seen and fields is None
            name_connection()
            with application(web=web) if app else nullcontext():
                _remark_on_permissions()
                remark_on_audit()
                answer = body(**params)
                header = all_fields(**params) if callable(all_fields) else all_fields
                if to_file:
                    pass  # It is in the file already.
                elif is_seen and is_live and line:
                    look.follow(answer, line)
                elif is_seen and not is_live and not isinstance(answer, int | str):
                    look.show(answer, fields, header)
                else:
                    outcome.write(answer, format, fields, columns, header)
            _exit_with_findings()

        command.kind = ANSWERS  # type: ignore[attr-defined]
        command.fields = columns if callable(fields) else fields or columns  # type: ignore[attr-defined]
        return command

    return decorate


def works(*columns: str) -> Callable[[Body], Body]:
    """Make a command whose work has no audit event, such as sending mail.

    Its function takes ``dry_run`` and returns a row for each thing done or planned.
    """

    def decorate(body: Body) -> Body:
        command = click.option("--dry-run", is_flag=True, help="Print the work without doing it.")(
            answers(*columns)(body)
        )
        command.kind = WORKS  # type: ignore[attr-defined]
        return command

    return decorate


def page_options(limit: int = 50) -> Callable[[Body], Body]:
    """Add ``--limit`` and ``--all``; the function takes ``limit``, or None for all rows."""

    def decorate(command: Body) -> Body:
        @default_option("--limit", click.IntRange(1, 1_000_000), limit, "Maximum number of rows.")
        @click.option("--all", "everything", is_flag=True, help="All rows, streamed.")
        @functools.wraps(command)
        def run_with_limit(*, limit: int, everything: bool, **params: Any) -> None:
            command(limit=None if everything else limit, **params)

        return run_with_limit

    return decorate


def page(read: Callable[..., Iterable[Record]], limit: int | None, option: str) -> Iterable[Record]:
    """Return the rows of ``read(limit=)``; remark on ``option`` if there are more."""
    if limit is None:
        return read(limit=None)
    rows = list(read(limit=limit + 1))
    if len(rows) > limit:
        say_what_follows(f"{option} {rows[limit - 1]['id']}")
    return rows[:limit]


def say_what_follows(option: str) -> None:
    """Remark after the answer that there is another page."""
    say_afterwards(f"There are more: {option} shows the next page, --all everything.")


def say_afterwards(remark: str, *, in_json: bool = True) -> None:
    """Print a remark on stderr after the answer, where it stays visible.

    :param in_json: False for what the answer says itself, if it is JSON.
    """
    click.get_current_context().call_on_close(lambda: say(remark, in_json=in_json))


def changes(
    *columns: str, key: str = "id", destructive: bool = False, web: bool = False
) -> Callable[[Body], Body]:
    """Make a command that changes data; its function returns a record, or rows with ``changed``.

    :param columns: the fields in table and plain.
    :param key: the field of each changed row that ``-q`` prints.
    :param destructive: add ``--yes`` and ``--confirm``; the function calls
        :func:`~.confirm.approve`.
    :param web: load the pages and the API too, for links to them.
    """

    def decorate(body: Body) -> Body:
        @_format_options(output.FORMATS)
        @with_options(*((YES, CONFIRM) if destructive else ()), DRY_RUN, _PLAN, REASON, _QUIET)
        @functools.wraps(body)
        def command(
            *,
            format: str | None,
            fields: str | None,
            quiet: bool,
            dry_run: bool,
            plan: str | None,
            reason: str | None,
            yes: bool = False,
            confirm: str | None = None,
            **params: Any,
        ) -> None:
            format = output.format_of_answer(format)
            if plan is not None and not dry_run:
                raise Invalid("--plan requires --dry-run")
            output.check_fields(
                fields, outcome.PLAN if dry_run else ("changed", "audit_seq", *columns)
            )
            unit = unit_of_this_command(reason, dry_run=dry_run)
            _remark_on_address(reason)
            with application(web=web):
                _remark_on_permissions()
                result = body(unit=unit, **params)
                if unit.dry_run:
                    outcome.write_plan(unit, format, fields, plan)
                elif quiet:
                    output.write_lines(outcome.keys(result, key, unit))
                else:
                    outcome.write_change(result, unit, format, fields, columns)
            _exit_with_findings()

        command.kind = CHANGES  # type: ignore[attr-defined]
        command.fields = ("changed", "audit_seq", *columns)  # type: ignore[attr-defined]
        return command

    return decorate


_ADDRESS = re.compile(r"[^\s@<>()]+@[^\s@<>()]+\.\w+")


def _remark_on_address(reason: str | None) -> None:
    """Notice an e-mail address in a reason, which no erasure removes from the audit.

    :raises Refused: the user at the terminal would rather write another reason.
    """
    if reason is None or not _ADDRESS.search(reason):
        return
    warning = "--reason holds an e-mail address, and the audit log keeps reasons forever."
    ctx = click.get_current_context()
    is_decided = ctx.params.get("dry_run") or ctx.params.get("yes")
    if is_decided or not is_interactive():
        say(f"Warning: {warning}")
    elif not agrees(f"{warning} Continue?"):
        raise Refused("declined; nothing was changed")


def _remark_on_permissions() -> None:
    """Warn of permissions that look misspelled; roles may have ones that no code asks for yet."""
    from ..accounts import permissions

    ctx = click.get_current_context()
    for param in ctx.command.params:
        value = ctx.params.get(param.name or "") or ()
        if param.type is PERMISSION and (
            remark := permissions.remark((value,) if isinstance(value, str) else value)
        ):
            say(remark)


def remark_on_audit() -> None:
    """Say that an attached application is not audited yet; what changes something refuses."""
    from flask import current_app

    from ..state import attachment_of

    if current_app:
        attached = attachment_of(current_app)
        if attached is not None and not attached.has_tables:
            say("Nothing is audited until flask ops init.")


def unit_of_this_command(reason: str | None, *, dry_run: bool = False) -> Unit:
    """Return a unit of work by the user of this command, and register it for error messages."""
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
    """Name the command and its actor in PostgreSQL's ``application_name``; return the actor."""
    from ..actors import at_terminal
    from ..engine.connections import application_name

    actor = at_terminal()
    words = command_words(click.get_current_context())
    application_name.set(f"opsapp {words} {actor.label()}")
    return actor


def _format_options(formats: Sequence[str]) -> Callable[[Body], Body]:
    def decorate(command: Body) -> Body:
        for option in (
            click.option(
                "--fields",
                type=FIELDS,
                metavar="A,B",
                help="Print only these fields, in this order.",
            ),
            click.option("--format", type=click.Choice(formats), help="Output format."),
        ):
            command = option(command)
        return command

    return decorate


REASON = click.Option(["--reason"], metavar="TEXT", help="Reason to record in the audit log.")
CONFIRM = click.Option(
    ["--confirm"],
    metavar="NAME",
    help="In production: confirm with the environment's name instead of a prompt.",
)
YES = click.Option(["--yes"], is_flag=True, help="Do not ask for confirmation.")
_QUIET = click.Option(["-q", "--quiet"], is_flag=True, help="Print only the keys of changed rows.")
_PLAN = click.Option(
    ["--plan"],
    type=NEW_FILE,
    metavar="FILE",
    help="With --dry-run: write each change to FILE, as JSON lines.",
)
DRY_RUN = click.Option(["--dry-run"], is_flag=True, help="Print the change without writing it.")


def findings(has_findings: bool, *, exit_code: int = FINDINGS) -> None:
    """End the command with exit code 6, after its answer, if a check has findings.

    :param exit_code: another code, for conventions such as that of Nagios.
    """
    click.get_current_context().meta["opsapp.findings"] = exit_code if has_findings else None


def _exit_with_findings() -> None:
    ctx = click.get_current_context()
    if code := ctx.meta.get("opsapp.findings"):
        ctx.exit(code)
