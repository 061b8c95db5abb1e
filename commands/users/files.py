"""`flask users import` and `export`: accounts by the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from opsapp import text
from opsapp.cli import output
from opsapp.cli.base import OpsCommand
from opsapp.cli.decorators import answers, changes, findings
from opsapp.cli.filters import account_filter
from opsapp.cli.messages import say
from opsapp.cli.options import NEW_FILE, PROGRAM
from opsapp.cli.outcome import ALREADY_SO, say_if_unchanged
from opsapp.cli.progress import Progress
from opsapp.errors import Invalid
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.accounts.listing import Filter
    from opsapp.accounts.transfer.importing import Report
    from opsapp.unit.work import Unit

FORMATS = ("csv", "jsonl")
EXPORTED = (
    "id", "email", "username", "active", "confirmed", "roles", "two_factor", "created_at",
    "last_seen_at",
)  # fmt: skip
COUNTS = ("rows", "created", "updated", "unchanged", "skipped", "rejected", "resumed_after")
STDOUT = "-"
MOST_PROBLEMS = 20
"""Bad rows that an import prints; --check prints them all."""


@click.command("import", cls=OpsCommand)
@click.argument("file", type=NEW_FILE)
@click.option("--check", is_flag=True, help="Report every bad row, and write nothing.")
@click.option(
    "--on-conflict",
    type=click.Choice(["fail", "skip", "update"]),
    default="fail",
    show_default=True,
    help="Action if an account exists and differs from its row.",
)
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="On a bad row: stop before its batch, or skip the row.",
)
@click.option(
    "--rejects", type=NEW_FILE, metavar="FILE", help="Write the rows that are left out to FILE."
)
@click.option(
    "--map",
    "mapping",
    type=PROGRAM,
    multiple=True,
    metavar="THEIRS=OURS",
    help="Import column THEIRS as OURS; an empty OURS ignores it, '*=' ignores all others.",
)
@click.option("--hash-passwords", is_flag=True, help="The passwords are plain: hash them.")
@click.option("--invite", is_flag=True, help="Mail each new user a link to choose a password.")
@click.option(
    "--input-format", type=click.Choice(FORMATS), help="Format of FILE, if its suffix does not say."
)
@click.option(
    "--encoding", default="utf-8", show_default=True, metavar="NAME", help="Encoding of FILE."
)
@click.option(
    "--again", is_flag=True, help="Import a file again that was already imported completely."
)
@changes(*COUNTS, key="created")
def import_cmd(file: str, mapping: tuple[str, ...], check: bool, unit: Unit, **how: Any) -> Record:
    """Import accounts from a csv or jsonl file.

    The columns are email, username, active, confirmed, password (an argon2 hash), roles
    (such as "support, auditor until 2026-12-31") and until (the end of roles without one).
    Only email is needed. Files may be gzip (.gz) or zstd (.zst); - is stdin.

    Each batch of rows is one change. An import that was stopped goes on where it ended when
    it is run again. Accounts that already match their rows are not changed.

    \b
    Examples:
      flask users import people.csv --check
      flask users import staff.csv --map 'E-Mail=email' --rejects rejects.csv
    """
    from opsapp.accounts.transfer.importing import Options, import_file

    how["format"] = how.pop("input_format")
    options = Options(mapping=_mapping(mapping), check=check, **how)
    with Progress("row") as progress:
        problems = _Problems(progress, most=None if check else MOST_PROBLEMS)
        answer = import_file(file, options, report=_report(progress, problems), unit=unit)
    problems.say_rest(options.rejects)
    if answer["rejected"] and options.rejects:
        say(f"Correct the rows in {options.rejects}, and import that file.")
    say_if_unchanged(_explain_no_change(answer, check))
    findings(answer["rejected"] > 0)
    return answer


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    mapping = {}
    for pair in pairs:
        header, equals, column = pair.rpartition("=")
        if not equals or not header.strip() or header.strip() in mapping:
            raise Invalid(f"--map {pair} is not of the form THEIRS=OURS, each once")
        mapping[header.strip()] = column.strip()
    return mapping


def _report(progress: Progress, problem: Callable[[Any], None]) -> Report:
    from opsapp.accounts.transfer.importing import Report

    def say_resumed(row: int) -> None:
        say(f"Resumed after row {row:,}, which an earlier run has imported.")

    return Report(problem=problem, progress=progress.show, resumed=say_resumed)


class _Problems:
    """Bad rows, printed as they come, up to a number.

    :param most: the most that are printed; None is all.
    """

    def __init__(self, progress: Progress, *, most: int | None) -> None:
        self._progress, self._most, self._count = progress, most, 0

    def __call__(self, reject: Any) -> None:
        self._count += 1
        if self._most is None or self._count <= self._most:
            self._progress.hide()
            say(str(reject)[:1].upper() + str(reject)[1:])

    def say_rest(self, file: str | None) -> None:
        """Say how many more there were."""
        if self._most is not None and self._count > self._most:
            where = f"{file} has them" if file else "--rejects FILE keeps them"
            say(f"{self._count - self._most:,} more bad rows; {where}.")


def _explain_no_change(answer: Record, check: bool) -> str:
    if check:
        return f"Checked {text.pluralize(answer['rows'], 'row')}: nothing was written."
    if not answer["rows"]:
        return "The file has no rows: nothing was changed."
    if answer["resumed_after"]:
        return "This file was imported before: nothing was changed. --again imports it anew."
    return "Nothing was changed." if answer["skipped"] or answer["rejected"] else ALREADY_SO


@click.command("export", cls=OpsCommand)
@click.argument("file", type=NEW_FILE)
@answers(*EXPORTED, to_file=FORMATS)
@account_filter
def export_cmd(file: str, format: str | None, fields: str | None, filter: Filter) -> None:
    """Export accounts to a csv or jsonl file.

    `flask users import` takes the file. It has no passwords and no hashes; a backup has
    those. Files may be gzip (.gz) or zstd (.zst); - is stdout.

    \b
    Examples:
      flask users export users.csv
      flask users export support.jsonl.gz --role support
    """
    from opsapp.accounts.transfer import exporting

    names = output.field_names(fields) if fields else exporting.DEFAULT
    with Progress("account") as progress:
        if file == STDOUT:
            with output.binary_stdout() as stdout:
                exporting.export(
                    filter, stdout, format=format, fields=names, progress=progress.show
                )
            return
        count = exporting.export(filter, file, format=format, fields=names, progress=progress.show)
    say(f"{file} has {text.pluralize(count, 'account')}.")
