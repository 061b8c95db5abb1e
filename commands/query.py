"""`flask query`: one read-only statement."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from math import isfinite
from typing import Any, NoReturn

import click

from opsapp.cli.base import OpsCommand
from opsapp.cli.confirm import is_interactive
from opsapp.cli.decorators import REASON, answers, page_options, say_afterwards
from opsapp.cli.options import (
    DURATION,
    PROGRAM,
    TEXT_FILE,
    default_option,
    each_once,
    stdin_text,
    validate_utf8,
    with_options,
)
from opsapp.errors import Invalid
from opsapp.text import truncate
from opsapp.types import Record


def _columns(**_params: Any) -> list[str]:
    """Return the list of the statement's columns, which is filled before its first row."""
    columns: list[str] = click.get_current_context().meta.setdefault("opsapp.columns", [])
    return columns


@click.command("query", cls=OpsCommand)
@click.argument("statement", metavar="[SQL]", required=False, type=PROGRAM)
@click.option("--file", type=TEXT_FILE, help="Read the statement from this file; - is stdin.")
@click.option(
    "--param",
    "params",
    metavar="NAME=VALUE",
    multiple=True,
    help="Value of :NAME: a number, true, false or null; anything else is text. Repeatable.",
)
@page_options(100)
@default_option("--timeout", DURATION, "30s", "Time limit of the statement.")
@click.option("--tables", is_flag=True, help="List the tables.")
@click.option("--schema", metavar="TABLE", help="List the columns of a table.")
@answers(fields=_columns, noun="rows")
@with_options(REASON)
def cli(
    statement: str | None,
    file: str | None,
    params: tuple[str, ...],
    limit: int | None,
    timeout: timedelta,
    tables: bool,
    schema: str | None,
    reason: str | None,
) -> Iterable[Record]:
    """Run a read-only SQL statement.

    The database is opened read-only, so a statement that would write is refused
    (exit 5). Columns that hold secrets are hidden. Without SQL, or with - for it,
    the statement comes from stdin.

    \b
    Examples:
      flask query "SELECT id, email FROM ops_users WHERE active = :on" --param on=true
      flask query --file report.sql --format csv --all > report.csv
      flask query --schema ops_users
    """
    from opsapp.console.query import statement as query

    if tables or schema:
        if statement is not None or file is not None or (tables and schema):
            raise Invalid("give exactly one of SQL, --tables and --schema")
        return _what_there_is(schema)
    values = each_once("--param", map(_param, params))
    sql = _put_on_record(_statement(statement, file), values, reason)
    return query.rows(
        sql,
        values,
        limit=limit,
        seconds=timeout.total_seconds(),
        say_names=_columns().extend,
        say_more=lambda: say_afterwards(
            f"There are more than {limit}: --limit N or --all shows them."
        ),
    )


def _what_there_is(table: str | None) -> list[Record]:
    from opsapp.console.query import schema

    return schema.tables() if table is None else schema.columns(table)


def _statement(sql: str | None, file: str | None) -> str:
    if sql not in (None, "-"):
        if file is not None:
            raise Invalid("SQL and --file cannot be combined")
        return validate_utf8(str(sql), "the statement")
    if file is not None:
        return file
    if sql is None and is_interactive():
        raise Invalid("there is no statement", hint='flask query "SELECT …"')
    return stdin_text()


def _param(assignment: str) -> tuple[str, Any]:
    name, equals, value = assignment.partition("=")
    if not equals or not name.isidentifier():
        raise Invalid(f"--param {truncate(assignment)} is not of the form NAME=VALUE")
    try:
        literal = json.loads(value, parse_constant=_no_number)
    except (json.JSONDecodeError, RecursionError, _NoNumber):
        return name, value
    except ValueError as error:
        raise Invalid(
            f"--param {truncate(assignment)} has more digits than a number may"
        ) from error
    if isinstance(literal, float) and not isfinite(literal):
        raise Invalid(f"--param {truncate(assignment)} is larger than a number may be")
    return name, value if isinstance(literal, list | dict) else literal


class _NoNumber(Exception):
    """``NaN`` or ``Infinity``, which JSON has not."""


def _no_number(word: str) -> NoReturn:
    raise _NoNumber(word)


def _put_on_record(statement: str, values: dict[str, Any], reason: str | None) -> str:
    """Return the statement to run, once its event is in the audit log."""
    from opsapp.actors import at_terminal
    from opsapp.console import sessions
    from opsapp.console.query import statement as query
    from opsapp.unit.work import Unit

    unit = Unit(actor=at_terminal(), door="cli", reason=reason)
    sessions.record_query(statement, sorted(values), unit=unit)
    return query.check_statement(statement)
