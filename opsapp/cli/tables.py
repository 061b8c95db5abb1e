"""Tables for a terminal, laid out by rich."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from ..damage import Damaged
from ..text import safe
from ..values import Array, Document

NARROWEST = 20
WIDEST = 10_000
"""Most characters of a line, whatever ``COLUMNS`` says."""
GAP = 2
"""Spaces between two columns of a table."""
FEW = 20
"""Items of a list that a table shows; other formats have all."""
CHUNK = 1000
"""Rows of a table; a longer list is several tables."""

Record = Mapping[str, Any]


def is_terminal() -> bool:
    """Return true if stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def width() -> int:
    """Return the characters of a line."""
    return int(_console().width)


def of_rows(rows: Iterable[Record], columns: Sequence[str]) -> Iterator[str]:
    """Yield tables of up to :data:`CHUNK` rows.

    :param columns: the fields to show, in this order; empty means every field.
    """
    iterator = iter(rows)
    chunk = list(islice(iterator, CHUNK))
    while True:
        names = columns or (list(chunk[0]) if chunk else [])
        yield _fitting(chunk, names)
        chunk = list(islice(iterator, CHUNK))
        if not chunk:
            return


def drawn(answer: Record | Sequence[Record]) -> str:
    """Return a record or rows as a table that fits the terminal."""
    if isinstance(answer, Mapping):
        return of_record(answer)
    return _fitting(answer, list(answer[0]) if answer else [])


def of_record(record: Record, columns: Sequence[str] = ()) -> str:
    """Return a record as a table with a line for each of the ``columns`` that it has."""
    return _laid_out(_record_table(record, columns))


def of_difference(lines: Sequence[str]) -> str:
    """Return lines that begin with ``+`` or ``-``, in green and red."""
    from rich.text import Text

    colours = {"+": "green", "-": "red"}
    return _laid_out(
        Text("\n").join(Text(safe(line), style=colours.get(line[:1], "bold")) for line in lines)
    )


def human(value: Any) -> str:
    """Return ``value`` as people read it in a table."""
    match value:
        case None:
            return "–"
        case Damaged():
            return safe(value)
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        case Array() | Document():
            return safe(json.dumps(value))
        case list() | tuple() if len(value) > FEW:
            return f"{', '.join(human(item) for item in value[:FEW])}, … ({len(value)})"
        case list() | tuple():
            return ", ".join(human(item) for item in value) or "–"
        case Mapping():
            return ", ".join(f"{safe(key)}={human(item)}" for key, item in value.items()) or "–"
    return safe(value)


def _fitting(rows: Sequence[Record], columns: Sequence[str]) -> str:
    """Return the rows as a table, or as a record each where the terminal is too narrow.

    Records leave out empty fields.
    """
    measured = [_measured(name, rows) for name in columns]
    if sum(column.least + GAP for column in measured) - GAP <= width() or not is_terminal():
        return _laid_out(_table(rows, columns, width()))
    records = ({name: row[name] for name in columns if row[name] is not None} for row in rows)
    return "\n".join(_laid_out(_record_table(record, ())) for record in records)


@dataclass(frozen=True, slots=True)
class _Column:
    """The width of a column, in characters."""

    whole: int
    least: int
    """Width without breaking a word. Numbers and times are never broken."""
    is_number: bool


def _measured(name: str, rows: Sequence[Record]) -> _Column:
    from rich.cells import cell_len

    values = [row[name] for row in rows if row[name] is not None]
    is_number = bool(values) and all(map(_is_number, values))
    is_fixed = all(_is_number(value) or isinstance(value, datetime) for value in values)
    cells = [safe(name), *map(human, values)]
    pieces = cells if is_fixed else [word for cell in cells for word in cell.split()]
    return _Column(
        max(map(cell_len, cells)), max(map(cell_len, pieces), default=1), is_number=is_number
    )


def _widths(columns: Sequence[_Column], room: int) -> list[int]:
    """Return widths of the columns that fit ``room``; the widest columns shrink first.

    rich's own widths sometimes exceed the terminal, and the table is cut off.
    """
    room = max(room - GAP * (len(columns) - 1), len(columns))
    widths = [min(column.whole, room) for column in columns]
    for floors in ([column.least for column in columns], [1] * len(columns)):
        while sum(widths) > room:
            spare = [i for i, width in enumerate(widths) if width > floors[i]]
            if not spare:
                break
            widths[max(spare, key=widths.__getitem__)] -= 1
    return widths


def _table(rows: Sequence[Record], columns: Sequence[str], room: int) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    measured = [_measured(name, rows) for name in columns]
    for name, column, width in zip(columns, measured, _widths(measured, room), strict=True):
        table.add_column(
            Text(safe(name)),
            justify="right" if column.is_number else "left",
            overflow="fold",
            width=width,
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
    "succeeded": "green",
    "skipped": "yellow",
    "inactive": "yellow",
    "locked": "yellow",
    "warn": "yellow",
    "expired": "yellow",
    "deleted": "red",
    "revoked": "red",
    "fail": "red",
    "failed": "red",
    "timed-out": "red",
    "terminated": "red",
    "crashed": "red",
}
"""Colours of words. They add no meaning, since pipes have none."""


def _text(value: Any) -> Any:
    from rich.text import Text

    style = "dim" if value is None else _STYLES.get(value, "") if isinstance(value, str) else ""
    return Text(human(value), style=style)


def _record_table(record: Record, columns: Sequence[str]) -> Any:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    below: list[Any] = []
    for name, value in only(record, columns).items():
        if _is_rows(value):
            below += [
                Text(""),
                Text(safe(name), style="bold"),
                Padding(_table(value, list(value[0]), width() - 2), (0, 0, 0, 2)),
            ]
        else:
            table.add_row(Text(safe(name)), _text(value))
    return Group(table, *below)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _laid_out(renderable: Any) -> str:
    """Return ``renderable`` as text, as wide as the terminal; in a pipe, as wide as its content."""
    console = _console()
    with console.capture() as captured:
        console.print(renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def _console() -> Any:
    from rich.console import Console

    on_terminal = is_terminal()
    return Console(
        file=io.StringIO(),
        force_terminal=on_terminal or bool(os.environ.get("FORCE_COLOR")),
        # rich's own no_color would leave bold text.
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        width=_columns() if on_terminal else WIDEST,
        height=100,
        markup=False,
        emoji=False,
        highlight=False,
    )


def _columns() -> int:
    """Return the columns of the terminal, or of ``COLUMNS``, within sensible bounds."""
    return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)


def only(record: Record, columns: Sequence[str]) -> Record:
    """Return the ``columns`` that the record has; all without ``columns``."""
    return {name: record[name] for name in columns or record if name in record}
