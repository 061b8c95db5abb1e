"""The answer on stdout, in five formats."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from .. import settings
from ..clock import rfc3339
from ..damage import Damaged
from ..errors import Invalid, OutputFailed
from ..parsers import FORMATS as FORMATS
from ..text import did_you_mean, safe, shortened
from ..values import Array, Document
from . import tables
from .errors import state_of_work, what_was_lost
from .streams import Unwritten, leave_stdout

Record = Mapping[str, Any]


def chosen_format(given: str | None) -> str:
    """``--format``, else ``OPSAPP_FORMAT``, else a table on a terminal and plain in a pipe.

    :raises Invalid: ``OPSAPP_FORMAT`` is none of :data:`FORMATS`.
    """
    default = "table" if tables.is_terminal() else "plain"
    return given or settings.get("OPSAPP_FORMAT") or default


def is_for_programs() -> bool:
    """Whether the running command answers with every field as it is: JSON, CSV, or ``--fields``."""
    params = click.get_current_context().params
    chosen = chosen_format(params.get("format"))
    return params.get("fields") is not None or chosen in ("json", "jsonl", "csv")


def width_of_table() -> int | None:
    """How many columns the terminal has that the answer is a table on; None if it is none."""
    is_table = chosen_format(click.get_current_context().params.get("format")) == "table"
    return tables.width() if is_table and tables.is_terminal() else None


def live_format(chosen: str) -> str:
    """The format for rows that come one by one and for ever; each is shown at once.

    :raises Invalid: the format needs an end.
    """
    if chosen == "json":
        raise Invalid("an array that goes on has no end; --format jsonl has one object a line")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return "plain" if chosen == "table" else chosen


def check_fields(fields: str | None, there: Sequence[str]) -> None:
    """Refuse a field that a change does not answer with, before it is made.

    :raises Invalid: there is no such field; names those there are.
    """
    next(picked([dict.fromkeys(there)], fields))


def picked(
    rows: Iterable[Record], fields: str | None, known: Sequence[str] = ()
) -> Iterator[Record]:
    """Only the ``fields`` (comma separated) of each row, in that order; all without them.

    :param known: the fields of a row, where there is none to ask.
    :raises Invalid: a row has no such field; names those it has.
    """
    names = field_names(fields) if fields else None
    row: Record | None = None
    for row in rows:
        yield row if names is None else {name: _field(row, name) for name in names}
    if row is None and known:
        for name in names or ():
            _field(dict.fromkeys(known), name)


def field_names(fields: str) -> list[str]:
    """The names that ``--fields`` lists."""
    return [name.strip() for name in fields.split(",")]


def _field(row: Record, name: str) -> Any:
    if name not in row:
        near = did_you_mean(name, row)
        raise Invalid(f"no field {shortened(name)}; there are {', '.join(row)}", hint=near)
    return row[name]


# --- writing -----------------------------------------------------------------


def write_list(
    rows: Iterable[Record], format: str, columns: Sequence[str], known: Sequence[str] = ()
) -> None:
    """A list: ``columns`` are those of the table and of plain, the others carry every field.

    :param known: the fields that head an empty list.
    """
    match format:
        case "json":
            _put(_json_array(rows))
        case "jsonl":
            _put(_json(row) + "\n" for row in rows)
        case "csv":
            _put(_csv_lines(rows, known))
        case "plain":
            _put(_plain_lines(rows, columns or known))
        case _:
            _put(tables.of_rows(rows, columns))


def write_record(record: Record, format: str, columns: Sequence[str]) -> None:
    """One thing: a line for each field, or an object."""
    match format:
        case "json":
            _put([json.dumps(_typed(record), indent=2) + "\n"])
        case "jsonl":
            _put([_json(record) + "\n"])
        case "csv":
            _put(_csv_lines([record]))
        case "plain":
            shown = tables.chosen(record, columns)
            _put(_plain_lines(({"field": k, "value": v} for k, v in shown.items()), ()))
        case _:
            _put([tables.of_record(record, columns)])


def write_scalar(value: int | str, format: str) -> None:
    """A number or a line, alone."""
    _put([(_json(value) if format in ("json", "jsonl") else _cell(value)) + "\n"])


def write_lines(lines: Iterable[str]) -> None:
    """Lines as they are: keys for ``-q``, a checkpoint, a completion script."""
    _put(line + "\n" for line in lines)


def write_bytes(chunks: Iterable[bytes]) -> None:
    """Bytes as they are: a copy of the database.

    :raises Invalid: stdout is a terminal.
    :raises OutputFailed: stdout is closed, or cannot take them.
    """
    if sys.stdout.isatty():
        raise Invalid("the copy is bytes, which no terminal shows", hint="write it to a FILE")
    with _loss_is_said():
        for chunk in chunks:
            _put_bytes(chunk)


def _put_bytes(chunk: bytes) -> None:
    try:
        sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise  # The reader has left, which is no fault.
    except OSError as error:
        raise Unwritten(error) from error


def _put(pieces: Iterable[str]) -> None:
    """Write and flush.

    :raises OutputFailed: the disk is full or the device failed.
    """
    with _loss_is_said():
        for piece in pieces:
            sys.stdout.write(piece)
        sys.stdout.flush()


@contextmanager
def _loss_is_said() -> Iterator[None]:
    """Say of an answer that cannot be written whether the work is done."""
    try:
        yield
    except Unwritten as error:
        leave_stdout()
        raise OutputFailed(f"{error.message}; {state_of_work()}", hint=what_was_lost()) from error


def say_if_lost(hint: str) -> None:
    """Let ``hint`` be given if this answer, which is shown once, cannot be written."""
    click.get_current_context().meta["opsapp.lost"] = hint


# --- machine formats ---------------------------------------------------------


def _typed(value: Any) -> Any:
    """``value`` as JSON knows it: times are RFC 3339 in UTC."""
    if isinstance(value, Damaged):
        return str(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, Mapping):
        return {str(key): _typed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_typed(item) for item in value]
    return value


def _json(value: Any) -> str:
    return json.dumps(_typed(value))


def _json_array(rows: Iterable[Record]) -> Iterator[str]:
    start = "[\n"
    for row in rows:
        yield start + "  " + _json(row)
        start = ",\n"
    yield "[]\n" if start == "[\n" else "\n]\n"


def _cell(value: Any) -> str:
    """``value`` as text for plain and CSV: exact, and on one line."""
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


def _plain_lines(rows: Iterable[Record], columns: Sequence[str]) -> Iterator[str]:
    names: Sequence[str] | None = None
    for row in rows:
        if names is None:
            names = columns or list(row)
            yield "\t".join(safe(name) for name in names) + "\n"
        yield "\t".join(_cell(row[name]) for name in names) + "\n"
    if names is None and columns:
        yield "\t".join(columns) + "\n"


def _csv_lines(rows: Iterable[Record], known: Sequence[str] = ()) -> Iterator[str]:
    line = io.StringIO()
    writer = None
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(line, list(row), lineterminator="\r\n")
            writer.writerow({name: _csv_cell(name) for name in row})
        writer.writerow({name: _csv_cell(value) for name, value in row.items()})
        yield line.getvalue()
        line.seek(0)
        line.truncate()
    if writer is None and known:
        yield ",".join(known) + "\r\n"


_QUANTITY = re.compile(
    r"[-+](?:infinity|[\d.:]+(?:E[-+]?\d+)?(?: (?:[-+]?[\d.:]+|years?|mons?|days?))*)",
    re.IGNORECASE,
)
"""A number or a time that only a text holds exactly; it is no formula."""


def _csv_cell(value: Any) -> str:
    cell = _cell(value)
    # A spreadsheet would run these as a formula (OWASP, CSV injection).
    is_text = not isinstance(value, int | float | datetime) and not _QUANTITY.fullmatch(cell)
    return "'" + cell if is_text and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell
