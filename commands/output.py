"""The answer on stdout, in five formats. The only place that knows rich."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click

from opsapp.clock import rfc3339
from opsapp.errors import Invalid, OutputFailed
from opsapp.text import did_you_mean, safe, shortened

from .frame import leave_stdout, state_of_work

FORMATS = ("table", "plain", "json", "jsonl", "csv")
FEW = 20
"""Items of a list that a table shows; the other formats have them all."""

CHUNK = 1000
"""Rows of a table that are laid out together; a longer list is a table after the other."""

Record = Mapping[str, Any]


def chosen_format(given: str | None) -> str:
    """``--format``, else ``OPSAPP_FORMAT``, else a table on a terminal and plain in a pipe.

    :raises Invalid: ``OPSAPP_FORMAT`` is none of :data:`FORMATS`.
    """
    chosen = given or os.environ.get("OPSAPP_FORMAT")
    if not chosen:
        return "table" if _is_terminal() else "plain"
    if chosen not in FORMATS:
        raise Invalid(f"OPSAPP_FORMAT {shortened(chosen)} is none of {', '.join(FORMATS)}")
    return chosen


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def is_for_programs() -> bool:
    """Whether the running command answers with every field as it is: JSON, CSV, or ``--fields``."""
    params = click.get_current_context().params
    chosen = chosen_format(params.get("format"))
    return params.get("fields") is not None or chosen in ("json", "jsonl", "csv")


def width_of_table() -> int | None:
    """How many columns the terminal has that the answer is a table on; None if it is none."""
    is_table = chosen_format(click.get_current_context().params.get("format")) == "table"
    return int(_console().width) if is_table and _is_terminal() else None


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


def picked(rows: Iterable[Record], fields: str | None) -> Iterator[Record]:
    """Only the ``fields`` (comma separated) of each row, in that order; all without them.

    :raises Invalid: a row has no such field; names those it has.
    """
    names = [name.strip() for name in fields.split(",")] if fields else None
    for row in rows:
        yield row if names is None else {name: _field(row, name) for name in names}


def _field(row: Record, name: str) -> Any:
    if name not in row:
        near = did_you_mean(name, row)
        raise Invalid(f"no field {shortened(name)}; there are {', '.join(row)}", hint=near)
    return row[name]


# --- writing -----------------------------------------------------------------


def write_list(rows: Iterable[Record], format: str, columns: Sequence[str]) -> None:
    """A list: ``columns`` are those of the table and of plain, the others carry every field."""
    match format:
        case "json":
            _put(_json_array(rows))
        case "jsonl":
            _put(_json(row) + "\n" for row in rows)
        case "csv":
            _put(_csv_lines(rows))
        case "plain":
            _put(_plain_lines(rows, columns))
        case _:
            _put_tables(rows, columns)


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
            shown = _chosen(record, columns)
            _put(_plain_lines(({"field": k, "value": v} for k, v in shown.items()), ()))
        case _:
            _put([_laid_out(_record_table(record, columns))])


def _chosen(record: Record, columns: Sequence[str]) -> Record:
    """The fields to show, of those the record has."""
    return {name: record[name] for name in columns or record if name in record}


def write_scalar(value: int | str, format: str) -> None:
    """A number or a line, alone."""
    _put([(_json(value) if format in ("json", "jsonl") else _cell(value)) + "\n"])


def write_lines(lines: Iterable[str]) -> None:
    """Lines as they are: keys for ``-q``, a checkpoint, a completion script."""
    _put(line + "\n" for line in lines)


def _put(pieces: Iterable[str]) -> None:
    """Write and flush; what goes wrong is said with whether the work is done.

    :raises OutputFailed: the disk is full or the device failed.
    """
    out = sys.stdout
    if out is None:
        raise OutputFailed(f"stdout is closed; {state_of_work()}", hint=_what_was_lost())
    try:
        for piece in pieces:
            out.write(piece)
        out.flush()
    except BrokenPipeError:
        raise  # The reader has left, which is nobody's fault.
    except OSError as error:
        leave_stdout()
        raise OutputFailed(
            f"the answer could not be written ({error.strerror}); {state_of_work()}",
            hint=_what_was_lost(),
        ) from error


def _what_was_lost() -> str | None:
    """What to do about an answer that nobody can ask for again."""
    ctx = click.get_current_context(silent=True)
    return None if ctx is None else ctx.meta.get("opsapp.lost")


# --- machine formats ---------------------------------------------------------


def _typed(value: Any) -> Any:
    """``value`` as JSON knows it: times are RFC 3339 in UTC."""
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
        case bool():
            return "true" if value else "false"
        case datetime():
            return rfc3339(value)
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


def _csv_lines(rows: Iterable[Record]) -> Iterator[str]:
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


def _csv_cell(value: Any) -> str:
    cell = _cell(value)
    # A spreadsheet would run these as a formula (OWASP, CSV injection).
    is_text = not isinstance(value, int | float | datetime)
    return "'" + cell if is_text and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


# --- tables ------------------------------------------------------------------


def _human(value: Any) -> str:
    """``value`` as a person reads it in a table."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        case list() | tuple() if len(value) > FEW:
            return f"{', '.join(_human(item) for item in value[:FEW])}, … ({len(value)})"
        case list() | tuple():
            return ", ".join(_human(item) for item in value) or "–"
        case Mapping():
            return ", ".join(f"{safe(key)}={_human(item)}" for key, item in value.items()) or "–"
    return safe(value)


def _put_tables(rows: Iterable[Record], columns: Sequence[str]) -> None:
    iterator = iter(rows)
    chunk = list(islice(iterator, CHUNK))
    while True:
        names = columns or (list(chunk[0]) if chunk else [])
        _put([_fitting(chunk, names)])
        chunk = list(islice(iterator, CHUNK))
        if not chunk:
            return


def _fitting(rows: Sequence[Record], columns: Sequence[str]) -> str:
    """The rows as a table, or one below the other where the words would not fit beside."""
    table = _table(rows, columns)
    if not _is_terminal() or _least_width(table) <= _console().width:
        return _laid_out(table)
    return "\n".join(_laid_out(_record_table(row, columns)) for row in rows)


def _least_width(table: Any) -> int:
    """How wide the table is when no word is broken."""
    from rich.measure import Measurement

    console = _console()
    endless = console.options.update(max_width=sys.maxsize)
    return int(Measurement.get(console, endless, table).minimum)


def _table(rows: Sequence[Record], columns: Sequence[str]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    for name in columns:
        values = [row[name] for row in rows if row[name] is not None]
        # Text gives way before numbers and times, which are read by their columns.
        fixed = all(_is_number(value) or isinstance(value, datetime) for value in values)
        table.add_column(
            Text(safe(name)),
            justify="right" if values and all(map(_is_number, values)) else "left",
            overflow="fold",
            min_width=max((len(_human(value)) for value in values), default=0) if fixed else None,
        )
    for row in rows:
        table.add_row(*(_text(row[name]) for name in columns))
    return table


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_STYLES = {
    "active": "green",
    "live": "green",
    "ok": "green",
    "inactive": "yellow",
    "locked": "yellow",
    "warn": "yellow",
    "expired": "yellow",
    "deleted": "red",
    "revoked": "red",
    "fail": "red",
}
"""Colour repeats what the word says, never more: it is lost in a pipe."""


def _text(value: Any) -> Any:
    from rich.text import Text

    shown = _human(value)
    style = "dim" if value is None else _STYLES.get(value, "") if isinstance(value, str) else ""
    return Text(shown, style=style)


def _record_table(record: Record, columns: Sequence[str]) -> Any:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    shown = _chosen(record, columns)
    table = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    below: list[Any] = []
    for name, value in shown.items():
        if _is_rows(value):
            below += [
                Text(""),
                Text(safe(name), style="bold"),
                Padding(_table(value, list(value[0])), (0, 0, 0, 2)),
            ]
        else:
            table.add_row(Text(safe(name)), _text(value))
    return Group(table, *below)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _laid_out(renderable: Any) -> str:
    """``renderable`` as text: as wide as the terminal, or as wide as it likes in a pipe."""
    console = _console()
    with console.capture() as captured:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _console() -> Any:
    from rich.console import Console

    on_terminal = _is_terminal()
    return Console(
        file=io.StringIO(),
        force_terminal=on_terminal or bool(os.environ.get("FORCE_COLOR")),
        # Bold would stay with rich's own no_color; who declines colour wants plain text.
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=None if on_terminal else 10_000,
        height=None if on_terminal else 100,
        markup=False,
        emoji=False,
        highlight=False,
    )
