"""Answers on stdout, in five formats."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, BinaryIO

import click

from .. import settings
from ..clock import rfc3339
from ..errors import Invalid, OutputFailed
from ..settings.parsers import FORMATS as FORMATS
from ..text import did_you_mean, safe, truncate
from ..types import Fields
from ..values import Array, Document
from ..values.damage import Damaged
from . import tables
from .errors import loss_hint, state_of_work
from .streams import Unwritten, leave_stdout


def format_of_answer(option: str | None) -> str:
    """Return ``--format``, else ``OPSAPP_FORMAT``, else table on a terminal and plain in a pipe.

    :raises Invalid: ``OPSAPP_FORMAT`` is not one of :data:`FORMATS`.
    """
    default = "table" if tables.is_terminal() else "plain"
    return option or settings.get("OPSAPP_FORMAT") or default


def is_for_programs() -> bool:
    """Return true if the command prints all fields unabridged: JSON, CSV, or ``--fields``."""
    params = click.get_current_context().params
    format = format_of_answer(params.get("format"))
    return params.get("fields") is not None or format in ("json", "jsonl", "csv")


def width_of_table() -> int | None:
    """Return the columns of the terminal if the answer is a table on one, else None."""
    is_table = format_of_answer(click.get_current_context().params.get("format")) == "table"
    return tables.width() if is_table and tables.is_terminal() else None


def live_format(format: str) -> str:
    """Return the format for rows without an end, and make stdout print each at once.

    :raises Invalid: the format needs an end.
    """
    if format == "json":
        raise Invalid("a JSON array cannot be followed; use --format jsonl")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return "plain" if format == "table" else format


def check_fields(fields: str | None, all_fields: Sequence[str]) -> None:
    """Refuse an unknown field of an answer before the change is made.

    :raises Invalid: there is no such field; names all fields.
    """
    next(select([dict.fromkeys(all_fields)], fields))


def select(
    rows: Iterable[Fields], fields: str | None, all_fields: Sequence[str] = ()
) -> Iterator[Fields]:
    """Yield the ``fields`` (comma separated) of each row, in that order; without them, all.

    :param all_fields: the fields of a row, to check the names of an empty list.
    :raises Invalid: a row has no such field; names those it has.
    """
    names = field_names(fields) if fields else None
    row: Fields | None = None
    for row in rows:
        yield row if names is None else {name: _field(row, name) for name in names}
    if row is None and all_fields:
        for name in names or ():
            _field(dict.fromkeys(all_fields), name)


def field_names(fields: str) -> list[str]:
    """Return the names that ``--fields`` lists."""
    return [name.strip() for name in fields.split(",")]


def _field(row: Fields, name: str) -> Any:
    if name not in row:
        near = did_you_mean(name, row)
        raise Invalid(f"no field {truncate(name)}; there are {', '.join(row)}", hint=near)
    return row[name]


# --- writing -----------------------------------------------------------------


def write_list(
    rows: Iterable[Fields], format: str, columns: Sequence[str], header: Sequence[str] = ()
) -> None:
    """Write a list; ``columns`` are the fields in table and plain, other formats have all.

    A table has times in full.

    :param header: the fields of an empty list; may be filled while the rows are read.
    """
    match format:
        case "json":
            put(_json_array(rows))
        case "jsonl":
            put(_json(row) + "\n" for row in rows)
        case "csv":
            put(_csv_lines(rows, header))
        case "plain":
            put(_plain_lines(rows, columns or header))
        case _:
            put(tables.of_rows(rows, columns or header, full=True))


def write_record(record: Fields, format: str, columns: Sequence[str]) -> None:
    """Write a record: a line for each field, or an object."""
    match format:
        case "json":
            put([json.dumps(_json_value(record), indent=2) + "\n"])
        case "jsonl":
            put([_json(record) + "\n"])
        case "csv":
            put(_csv_lines([record]))
        case "plain":
            items = tables.only(record, columns).items()
            put(_plain_lines(({"field": name, "value": value} for name, value in items), ()))
        case _:
            put([tables.of_record(record, columns)])


def write_scalar(value: int | str, format: str) -> None:
    """Write a number or a line."""
    put([(_json(value) if format in ("json", "jsonl") else _cell(value)) + "\n"])


def write_lines(lines: Iterable[str]) -> None:
    """Write lines as they are: keys for ``-q``, a checkpoint, a completion script."""
    put(line + "\n" for line in lines)


def write_difference(lines: Sequence[str]) -> None:
    """Write the lines of a plan that begin with ``+`` or ``-``, which then stand for its rows.

    Programs get the rows, and ``-q`` the keys.
    """
    ctx = click.get_current_context()
    if not is_for_programs() and not ctx.params.get("quiet"):
        ctx.meta["opsapp.plan"] = True
        put([tables.of_difference(lines)] if lines else [])


def write_bytes(chunks: Iterable[bytes]) -> None:
    """Write bytes as they are: a copy of the database.

    :raises Invalid: stdout is a terminal.
    :raises OutputFailed: stdout is closed, or cannot take them.
    """
    if sys.stdout.isatty():
        raise Invalid(
            "a backup is binary and is not written to a terminal", hint="write it to a FILE"
        )
    with _report_loss():
        for chunk in chunks:
            _put_bytes(chunk)


@contextmanager
def binary_stdout() -> Iterator[BinaryIO]:
    """Give stdout to write bytes into.

    :raises OutputFailed: stdout is closed, or cannot take them.
    """
    with _report_loss():
        try:
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Unwritten(error) from error


def _put_bytes(chunk: bytes) -> None:
    try:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # The reader has closed the pipe, which is not an error.
    except OSError as error:
        raise Unwritten(error) from error


def put(pieces: Iterable[str], write: Callable[[Iterable[str]], None] | None = None) -> None:
    """Write and flush.

    :param write: writes the pieces; default to stdout.
    :raises OutputFailed: the disk is full or the device failed.
    """
    with _report_loss():
        (write or sys.stdout.writelines)(pieces)
        sys.stdout.flush()


@contextmanager
def _report_loss() -> Iterator[None]:
    """Add to the error of an answer that cannot be written whether the change is made."""
    try:
        yield
    except Unwritten as error:
        leave_stdout()
        raise OutputFailed(f"{error.message}; {state_of_work()}", hint=loss_hint()) from error


def say_if_lost(hint: str) -> None:
    """Print ``hint`` if this answer, which is printed only once, cannot be written."""
    click.get_current_context().meta["opsapp.lost"] = hint


# --- machine formats ---------------------------------------------------------


def _json_value(value: Any) -> Any:
    """Return ``value`` in JSON's types; times are RFC 3339 in UTC."""
    if isinstance(value, Damaged):
        return str(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return value


def _json(value: Any) -> str:
    return json.dumps(_json_value(value))


def _json_array(rows: Iterable[Fields]) -> Iterator[str]:
    start = "[\n"
    for row in rows:
        yield start + "  " + _json(row)
        start = ",\n"
    yield "[]\n" if start == "[\n" else "\n]\n"


def _cell(value: Any) -> str:
    """Return ``value`` as text for plain and CSV: exact, and on one line."""
    match value:
        case None:
            return ""
        case Damaged():
            return safe(value)
        case bool():
            return "true" if value else "false"
        case datetime():
            return rfc3339(value)
        case Array() | Document():
            return safe(_json(value))
        case list() | tuple() if not any(isinstance(item, Mapping) for item in value):
            return ",".join(_cell(item) for item in value)
        case Mapping() | list() | tuple():
            return _json(value)
    return safe(value)


def _plain_lines(rows: Iterable[Fields], columns: Sequence[str]) -> Iterator[str]:
    names: Sequence[str] | None = None
    for row in rows:
        if names is None:
            names = columns or list(row)
            yield "\t".join(safe(name) for name in names) + "\n"
        yield "\t".join(_cell(row[name]) for name in names) + "\n"
    if names is None and columns:
        yield "\t".join(map(safe, columns)) + "\n"


def _csv_lines(rows: Iterable[Fields], header: Sequence[str] = ()) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\r\n")
    names: Sequence[str] = ()
    for row in rows:
        if not names:
            names = list(row)
            writer.writerow(map(_csv_cell, names))
        writer.writerow(_csv_cell(row.get(name)) for name in names)
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    if header and not names:
        writer.writerow(map(_csv_cell, header))
        yield line.getvalue()


_QUANTITY = re.compile(
    r"[-+](?:infinity|[\d.:]+(?:E[-+]?\d+)?(?: (?:[-+]?[\d.:]+|years?|mons?|days?))*)",
    re.IGNORECASE,
)
"""A number or a time that only text holds exactly; it is not a formula."""


def _csv_cell(value: Any) -> str:
    cell = _cell(value)
    # A spreadsheet would run these as a formula (OWASP, CSV injection).
    is_text = not isinstance(value, int | float | datetime) and not _QUANTITY.fullmatch(cell)
    return "'" + cell if is_text and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
