"""Tables for a terminal.

A table that is too wide for the terminal leaves out empty columns, then breaks lines between
words, then leaves out the columns for which the room is not enough, and says which. If not even
its first columns fit without breaking an address, each row is a record, a line for each field.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

import click

from .. import clock
from ..text import pluralize, safe
from ..types import Fields
from .cells import EMPTY, human, on_terminal, style_of
from .streams import force_style, wants_colour

NARROWEST = 20
WIDEST = 10_000
"""Most characters of a line, whatever ``COLUMNS`` says."""
GAP = 2
"""Spaces between two columns of a table."""
LONGEST_WORD = 64
"""Letters of the longest word that hides other columns before it is broken."""
ALWAYS = 2
"""Columns that a table always has: the first ones name the thing."""
CHUNK = 1000
"""Rows of a table; a longer list is several tables."""
HINT = "--format json, or a wider terminal"
_SPACE = " " * GAP
_ADDRESS = re.compile(r"[^@]@[^@]+\.[^@]")
"""An e-mail address, or the account at a host of an actor, in a word."""

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
    return terminal_width()


def terminal_width() -> int:
    """Return the characters of a line of the terminal."""
    return min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)


def of_rows(rows: Iterable[Fields], columns: Sequence[str], *, full: bool = False) -> Iterator[str]:
    """Yield tables of up to :data:`CHUNK` rows, and at the end the columns that did not fit.

    :param columns: the fields to show, in this order; empty means every field.
    :param full: times are in full, with their distance.
    """
    iterator = iter(rows)
    chunk = list(islice(iterator, CHUNK))
    omissions: dict[str, None] = {}
    cell = _cell(full=full)
    while True:
        table = _Table.of(chunk, columns or (list(chunk[0]) if chunk else []), cell, width())
        omissions |= dict.fromkeys(table.hidden)
        yield table.draw()
        chunk = list(islice(iterator, CHUNK))
        if not chunk:
            break
    if omissions:
        yield _note(list(omissions), width(), HINT)


def draw_table(answer: Fields | Sequence[Fields], *, hint: str = "") -> str:
    """Return a record or rows as a table that fits the terminal, with times in full.

    :param hint: how to see the columns that do not fit.
    """
    if isinstance(answer, Mapping):
        return of_record(answer)
    table = _Table.of(answer, list(answer[0]) if answer else [], _exact, width())
    return table.draw() + (_note(table.hidden, table.room, hint) if table.hidden else "")


def full_tables(rows: Iterable[Fields]) -> Iterator[str]:
    """Yield tables of up to :data:`CHUNK` rows with every column, however wide they are."""
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK)):
        yield _Table.of(chunk, list(chunk[0]), _exact, WIDEST).draw()


def of_record(record: Fields, columns: Sequence[str] = ()) -> str:
    """Return a record with a line or more for each of the ``columns`` that it has."""
    cell = _cell(full=True)
    fields: list[tuple[str, str]] = []
    below: list[str] = []
    for name, value in only(record, columns).items():
        if _is_rows(value):
            below += ["", _painter()(safe(name), "bold"), *_nested_lines(value)]
        else:
            fields.append((safe(name), cell(name, value)))
    return "".join(f"{line}\n" for line in [*_record_lines(fields, width()), *below])


def of_difference(lines: Sequence[str]) -> str:
    """Return lines that begin with ``+`` or ``-``, in green and red; they fit the terminal."""
    paint, colours = _painter(), {"+": "green", "-": "red"}
    return "".join(
        f"{paint(part, colours.get(line[:1], 'bold'))}\n"
        for line in lines
        for part in hanging(safe(line)).split("\n")
    )


def _cell(*, full: bool) -> Cell:
    return partial(on_terminal, now=clock.now(), full=full) if is_terminal() else _exact


def _exact(_name: str, value: Any) -> str:
    return human(value)


def _note(omissions: Sequence[str], room: int, hint: str = "") -> str:
    """Return the remark on columns that a table leaves out."""
    count = pluralize(len(omissions), "column")
    words = f"({count} hidden: {', '.join(map(safe, omissions))}{f'; {hint}' if hint else ''})"
    paint = _painter()
    lines = hanging(words, room=room, indent="").split("\n")
    return "".join(f"{paint(line, 'dim')}\n" for line in lines)


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
    has_addresses: bool = False

    @classmethod
    def of(cls, name: str, values: list[Any], cell: Cell) -> _Column:
        texts = [cell(name, value) for value in values]
        values = [value for value in values if value is not None]
        is_number = bool(values) and all(map(_is_number, values))
        is_fixed = all(_is_number(value) or isinstance(value, datetime) for value in values)
        column = cls(safe(name), texts, is_number, is_fixed, 0)
        column.width = max(map(length, (column.name, *texts)))
        return column

    @property
    def is_empty(self) -> bool:
        return all(cell in (EMPTY, "") for cell in self.cells)

    def measure(self, room: int) -> None:
        """Find the width without breaking a word, and whether some are addresses."""
        cells = (self.name, *self.cells)
        words = cells if self.is_fixed else {word for cell in cells for word in cell.split()}
        addresses = list(filter(_ADDRESS.search, words))
        self.has_addresses = bool(addresses)
        longest = min(max(map(length, words), default=1), LONGEST_WORD, room)
        self.least = max([longest, *map(length, addresses)])

    def wide_rows(self) -> set[int]:
        """Return the rows whose cell needs more than one line."""
        return {n for n, text in enumerate(self.cells) if length(text) > self.width}

    def pad(self, text: str, paint: Paint, style: str | None = None) -> str:
        """Return a text in the width of the column, and in colour."""
        space = " " * (self.width - length(text))
        cell = paint(text, style_of(self.name, text) if style is None else style)
        return space + cell if self.is_number else cell + space


@dataclass(slots=True)
class _Table:
    """The columns that fit, and the names of those that do not."""

    columns: list[_Column]
    hidden: list[str]
    room: int
    is_upright: bool
    """True if each row is a record."""

    @classmethod
    def of(cls, rows: Sequence[Fields], names: Sequence[str], cell: Cell, room: int) -> _Table:
        columns = [_Column.of(name, [row[name] for row in rows], cell) for name in names]
        fitting = _fitting(columns, room)
        if fitting is None:
            return cls(columns, [], room, is_upright=True)
        omissions = [column.name for column in columns if column not in fitting]
        return cls(fitting, omissions, room, is_upright=False)

    def draw(self) -> str:
        """Return the header and the rows, a line or more each; or the rows as records."""
        return self._records() if self.is_upright else self._list()

    def _records(self) -> str:
        names = [column.name for column in self.columns]
        rows = zip(*(column.cells for column in self.columns), strict=True)
        records = (_record_lines(list(zip(names, row, strict=True)), self.room) for row in rows)
        return "".join("".join(f"{line}\n" for line in lines) + "\n" for lines in records)

    def _list(self) -> str:
        paint = _painter()
        names = [column.name for column in self.columns]
        lines = self._lines(names, paint, "bold")
        wide = set().union(*(column.wide_rows() for column in self.columns))
        texts = zip(*(column.cells for column in self.columns), strict=True)
        padded = zip(
            *([column.pad(text, paint) for text in column.cells] for column in self.columns),
            strict=True,
        )
        for number, (row, cells) in enumerate(zip(texts, padded, strict=True)):
            lines += self._lines(row, paint) if number in wide else [_SPACE.join(cells).rstrip()]
        return "\n".join(lines) + "\n"

    def _lines(self, row: Sequence[str], paint: Paint, style: str | None = None) -> list[str]:
        """Return the lines of a row whose cells may need several."""
        wrapped = [_wrap(text, c.width) for c, text in zip(self.columns, row, strict=True)]
        return [
            _SPACE.join(
                column.pad(lines[n] if n < len(lines) else "", paint, style)
                for column, lines in zip(self.columns, wrapped, strict=True)
            ).rstrip()
            for n in range(max(map(len, wrapped), default=1))
        ]


def _fitting(columns: Sequence[_Column], room: int) -> list[_Column] | None:
    """Return the columns that fit ``room``, with their widths; the widest shrink first.

    None is for first columns that would break an address.
    """
    fitting = list(columns)
    if _breadth(column.width for column in fitting) <= room:
        return fitting
    for column in [column for column in columns[: ALWAYS - 1 : -1] if column.is_empty]:
        fitting.remove(column)
        if _breadth(column.width for column in fitting) <= room:
            return fitting
    visible: list[_Column] = []
    for column in fitting:
        column.measure(room)
        if len(visible) < ALWAYS or _breadth(c.least for c in [*visible, column]) <= room:
            visible.append(column)
    is_too_wide = len(visible) > 1 and _breadth(column.least for column in visible) > room
    if is_too_wide and any(column.has_addresses for column in visible):
        return None
    _shrink(visible, room)
    return visible


def _breadth(widths: Iterable[int]) -> int:
    return sum(width + GAP for width in widths) - GAP


def _shrink(columns: Sequence[_Column], room: int) -> None:
    for column in columns:
        column.width = min(column.width, max(room, column.least))
    for floor in ([column.least for column in columns], [1] * len(columns)):
        while len(columns) > 1 and _breadth(column.width for column in columns) > room:
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


def _wrap(text: str, width: int) -> list[str]:
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


INDENT = 6 * " "
"""Before each line but the first of :func:`hanging`."""


def hanging(line: str, *, room: int | None = None, indent: str = INDENT) -> str:
    """Return a line as several that fit the terminal, broken between words.

    A word that is wider than the terminal, such as an address, stays whole.

    :param line: may have colours.
    :param room: characters of a line; None is the width of stdout.
    :param indent: goes before each line but the first, as far as its first word leaves room.
    """
    room = room or width()
    lines: list[str] = []
    for word in line.split(" "):
        if lines and _visible(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(indent[: max(room - _visible(word), 0)] + word if lines else word)
    return "\n".join(lines)


def _visible(text: str) -> int:
    """Return the width of a text without its colours."""
    return length(click.unstyle(text))


def _painter() -> Paint:
    """Return a function that colours a text, or leaves it."""
    return force_style if wants_colour() else lambda text, _style: text


# --- records -----------------------------------------------------------------


def _record_lines(fields: Sequence[tuple[str, str]], room: int) -> list[str]:
    """Return a line or more for each field; no word is broken, since it may be a token to copy.

    A value with a word that does not fit beside the names begins below its own.
    """
    paint = _painter()
    margin = max((length(name) for name, _ in fields), default=0) + GAP
    lines: list[str] = []
    for name, cell in fields:
        label, value = paint(name, "bold"), paint(cell, style_of(name, cell))
        widest = max(map(length, cell.split(" ")))
        if widest <= room - margin:
            space = " " * (margin - length(name))
            lines.append(hanging(f"{label}{space}{value}", room=room, indent=" " * margin))
        else:
            indent = _SPACE if widest <= room - GAP else ""
            lines += [label, hanging(indent + value, room=room, indent=indent)]
    return [line.rstrip() for line in lines]


def _nested_lines(rows: Sequence[Fields]) -> list[str]:
    table = _Table.of(rows, list(rows[0]), _cell(full=False), width() - GAP)
    note = _note(table.hidden, table.room, HINT) if table.hidden else ""
    return [f"{_SPACE}{line}".rstrip() for line in (table.draw() + note).splitlines()]


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def only(record: Fields, columns: Sequence[str]) -> Fields:
    """Return the ``columns`` that the record has; all without ``columns``."""
    return {name: record[name] for name in columns or record if name in record}
