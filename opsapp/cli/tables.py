"""Tables for a terminal: our layout of lists, and rich's of records.

A table that is too wide for the terminal leaves out empty columns, then breaks lines between
words, then leaves out the columns for which the room is not enough, and says which.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from .. import clock
from ..text import safe
from .cells import EMPTY, human, on_terminal, style_of
from .streams import painted, wants_colour

NARROWEST = 20
WIDEST = 10_000
"""Most characters of a line, whatever ``COLUMNS`` says."""
GAP = 2
"""Spaces between two columns of a table."""
LONGEST_WORD = 64
"""Letters of the longest word that is never broken, as an address."""
ALWAYS = 2
"""Columns that a table always has: the first ones name the thing."""
CHUNK = 1000
"""Rows of a table; a longer list is several tables."""
HINT = "--format json, or a wider terminal"
_SPACE = " " * GAP

Record = Mapping[str, Any]
Cell = Callable[[str, Any], str]
"""A function that returns a field's value as people read it."""
Paint = Callable[[str, str], str]
"""A function that returns a text in a style."""


def is_terminal() -> bool:
    """Return true if stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def width() -> int:
    """Return the characters of a line: as wide as its content where there is no terminal."""
    if not is_terminal():
        return WIDEST
    return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)


def of_rows(
    rows: Iterable[Record], columns: Sequence[str], *, whole: bool = False
) -> Iterator[str]:
    """Yield tables of up to :data:`CHUNK` rows, and at the end the columns that did not fit.

    :param columns: the fields to show, in this order; empty means every field.
    :param whole: times are in full, with their distance.
    """
    iterator = iter(rows)
    chunk = list(islice(iterator, CHUNK))
    hidden: dict[str, None] = {}
    cell = _cell(whole=whole)
    while True:
        table = _Table.of(chunk, columns or (list(chunk[0]) if chunk else []), cell, width())
        hidden |= dict.fromkeys(table.hidden)
        yield table.drawn()
        chunk = list(islice(iterator, CHUNK))
        if not chunk:
            break
    if hidden:
        yield _note(list(hidden), HINT)


def drawn(answer: Record | Sequence[Record], *, hint: str = "") -> str:
    """Return a record or rows as a table that fits the terminal, with times in full.

    :param hint: how to see the columns that do not fit.
    """
    if isinstance(answer, Mapping):
        return of_record(answer)
    table = _Table.of(answer, list(answer[0]) if answer else [], _exact, width())
    return table.drawn() + (_note(table.hidden, hint) if table.hidden else "")


def whole(rows: Iterable[Record]) -> Iterator[str]:
    """Yield tables of up to :data:`CHUNK` rows with every column, however wide they are."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK)):
        yield _Table.of(chunk, list(chunk[0]), _exact, WIDEST).drawn()


def of_record(record: Record, columns: Sequence[str] = ()) -> str:
    """Return a record as a table with a line for each of the ``columns`` that it has."""
    console = _console()
    with console.capture() as captured:
        console.print(_record_table(record, columns))
    return "\n".join(line.rstrip() for line in captured.get().splitlines()) + "\n"


def of_difference(lines: Sequence[str]) -> str:
    """Return lines that begin with ``+`` or ``-``, in green and red."""
    paint, colours = _painter(), {"+": "green", "-": "red"}
    return "".join(f"{paint(safe(line), colours.get(line[:1], 'bold'))}\n" for line in lines)


def _cell(*, whole: bool) -> Cell:
    return partial(on_terminal, now=clock.now(), whole=whole) if is_terminal() else _exact


def _exact(_name: str, value: Any) -> str:
    return human(value)


def _note(hidden: Sequence[str], hint: str = "") -> str:
    """Return the remark on columns that a table leaves out."""
    count = "1 column" if len(hidden) == 1 else f"{len(hidden)} columns"
    words = f"({count} hidden: {', '.join(map(safe, hidden))}{f'; {hint}' if hint else ''})"
    paint = _painter()
    return "".join(f"{paint(line, 'dim')}\n" for line in _wrapped(words, width()))


# --- lists -------------------------------------------------------------------


@dataclass(slots=True)
class _Column:
    """A column of a table: its header and cells, and its width in characters."""

    name: str
    cells: list[str]
    is_number: bool
    is_fixed: bool
    """Numbers and times are never broken."""
    width: int
    least: int = 0
    """Width without breaking a word."""

    @classmethod
    def of(cls, name: str, values: list[Any], cell: Cell) -> _Column:
        shown = [cell(name, value) for value in values]
        values = [value for value in values if value is not None]
        is_number = bool(values) and all(map(_is_number, values))
        is_fixed = all(_is_number(value) or isinstance(value, datetime) for value in values)
        column = cls(safe(name), shown, is_number, is_fixed, 0)
        column.width = max(map(length, (column.name, *shown)))
        return column

    @property
    def is_empty(self) -> bool:
        return all(cell in (EMPTY, "") for cell in self.cells)

    def measure(self, room: int) -> None:
        """Find the width without breaking a word."""
        cells = (self.name, *self.cells)
        words = cells if self.is_fixed else {word for cell in cells for word in cell.split()}
        self.least = min(max(map(length, words), default=1), LONGEST_WORD, room)

    def wide_rows(self) -> set[int]:
        """Return the rows whose cell needs more than one line."""
        return {n for n, text in enumerate(self.cells) if length(text) > self.width}

    def padded(self, text: str, paint: Paint, style: str | None = None) -> str:
        """Return a text in the width of the column, and in colour."""
        space = " " * (self.width - length(text))
        cell = paint(text, style_of(self.name, text) if style is None else style)
        return space + cell if self.is_number else cell + space


@dataclass(slots=True)
class _Table:
    """The columns that fit, and the names of those that do not."""

    columns: list[_Column]
    hidden: list[str]

    @classmethod
    def of(cls, rows: Sequence[Record], names: Sequence[str], cell: Cell, room: int) -> _Table:
        columns = [_Column.of(name, [row[name] for row in rows], cell) for name in names]
        fitting = _fitting(columns, room)
        return cls(fitting, [column.name for column in columns if column not in fitting])

    def drawn(self) -> str:
        """Return the header and the rows, a line or more each."""
        paint = _painter()
        names = [column.name for column in self.columns]
        lines = self._lines(names, paint, "bold")
        wide = set().union(*(column.wide_rows() for column in self.columns))
        texts = zip(*(column.cells for column in self.columns), strict=True)
        padded = zip(
            *([column.padded(text, paint) for text in column.cells] for column in self.columns),
            strict=True,
        )
        for number, (row, whole) in enumerate(zip(texts, padded, strict=True)):
            lines += self._lines(row, paint) if number in wide else [_SPACE.join(whole).rstrip()]
        return "\n".join(lines) + "\n"

    def _lines(self, row: Sequence[str], paint: Paint, style: str | None = None) -> list[str]:
        """Return the lines of a row whose cells may need several."""
        wrapped = [_wrapped(text, c.width) for c, text in zip(self.columns, row, strict=True)]
        return [
            _SPACE.join(
                column.padded(lines[n] if n < len(lines) else "", paint, style)
                for column, lines in zip(self.columns, wrapped, strict=True)
            ).rstrip()
            for n in range(max(map(len, wrapped), default=1))
        ]


def _fitting(columns: Sequence[_Column], room: int) -> list[_Column]:
    """Return the columns that fit ``room``, with their widths; the widest shrink first."""
    fitting = list(columns)
    if _breadth(column.width for column in fitting) <= room:
        return fitting
    for column in [column for column in columns[: ALWAYS - 1 : -1] if column.is_empty]:
        fitting.remove(column)
        if _breadth(column.width for column in fitting) <= room:
            return fitting
    chosen: list[_Column] = []
    for column in fitting:
        column.measure(room)
        if len(chosen) < ALWAYS or _breadth(c.least for c in [*chosen, column]) <= room:
            chosen.append(column)
    _shrink(chosen, room)
    return chosen


def _breadth(widths: Iterable[int]) -> int:
    return sum(width + GAP for width in widths) - GAP


def _shrink(columns: Sequence[_Column], room: int) -> None:
    for column in columns:
        column.width = min(column.width, room)
    for floor in ([column.least for column in columns], [1] * len(columns)):
        while _breadth(column.width for column in columns) > room:
            spare = [c for c, least in zip(columns, floor, strict=True) if c.width > least]
            if not spare:
                break
            max(spare, key=lambda column: column.width).width -= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def length(text: str) -> int:
    """Return the width of a text, in characters of the terminal."""
    if text.isascii() or text == EMPTY:
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _wrapped(text: str, width: int) -> list[str]:
    """Return the lines of a text, broken between words and inside words wider than ``width``."""
    if length(text) <= width:
        return [text]
    from rich.cells import chop_cells

    lines: list[str] = []
    for word in text.split(" "):
        if lines and length(lines[-1]) + 1 + length(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines += chop_cells(word, width) or [""]
    return lines


def _painter() -> Paint:
    """Return a function that colours a text, or leaves it."""
    return painted if wants_colour() else lambda text, _style: text


# --- records -----------------------------------------------------------------


def _record_table(record: Record, columns: Sequence[str]) -> Any:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False, show_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    cell = _cell(whole=True)
    below: list[Any] = []
    for name, value in only(record, columns).items():
        if _is_rows(value):
            below += [Text(f"\n{safe(name)}", style="bold"), _nested(value)]
        else:
            shown = cell(name, value)
            table.add_row(Text(safe(name)), Text(shown, style=style_of(name, shown)))
    return Group(table, *below)


def _nested(rows: Sequence[Record]) -> Any:
    from rich.padding import Padding
    from rich.text import Text

    table = _Table.of(rows, list(rows[0]), _cell(whole=False), width() - GAP)
    note = _note(table.hidden, HINT) if table.hidden else ""
    return Padding(Text.from_ansi((table.drawn() + note).rstrip()), (0, 0, 0, GAP))


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _console() -> Any:
    from rich.console import Console

    is_coloured = wants_colour()
    return Console(
        file=io.StringIO(),
        force_terminal=is_coloured,
        # rich's own no_color would leave bold text.
        color_system="auto" if is_coloured else None,
        width=width(),
        height=100,
        markup=False,
        emoji=False,
        highlight=False,
    )


def only(record: Record, columns: Sequence[str]) -> Record:
    """Return the ``columns`` that the record has; all without ``columns``."""
    return {name: record[name] for name in columns or record if name in record}
