"""Rows of csv and jsonl files, with the names of our columns in place of theirs."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain
from typing import Any

from ... import text
from ...errors import Invalid
from .sources import LONGEST_LINE, Source

COLUMNS = ("email", "username", "active", "confirmed", "password", "roles", "until")
PASSWORD = "password"  # noqa: S105  (the name of a column)
REASONS = ("rejected_line", "rejected_column", "rejected_because")
"""The columns that a file of rejects has beside those of its source."""
_INFORMATIVE = frozenset({"id", "two_factor", "created_at", "last_seen_at", *REASONS})
"""Columns of exports and rejects that an import reads over."""
ALL_OTHERS = "*"
_DELIMITERS = ",;\t"
FIRST_OF_QUOTED = frozenset("'=+-@\t\r")
"""The first characters of the cells that :func:`quote_formula` changes."""
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_UNREADABLE = re.compile("[\0\udc80-\udcff]")
_QUOTED = re.compile(r"'+[=+\-@\t\r]")


@dataclass(slots=True)
class Record:
    """A row as it is in its file."""

    number: int
    """From 1, without the header and empty lines."""
    line: int
    original: Any
    """The cells, or the object, under the names of the file."""
    values: dict[str, Any]
    """The values that are there, by our columns."""
    problem: tuple[str, str] | None = None
    """The column and the reason of a row that cannot be told apart."""


def quote_formula(cell: str) -> str:
    """Return the cell with a quote before it, if a spreadsheet would run it as a formula.

    One that begins with quotes and then as a formula gets one more, for :func:`unquote_formula`.
    """
    return "'" + cell if _FORMULA.match(cell) else cell


def unquote_formula(cell: str) -> str:
    """Return the cell without the quote that keeps a spreadsheet from running it."""
    return cell[1:] if _QUOTED.match(cell) else cell


class Columns:
    """The columns of a file, and which of ours each one is.

    :param mapping: ours by theirs; an empty one leaves the column out, and :data:`ALL_OTHERS`
        every one that is not ours.
    :raises Invalid: one of them is not ours.
    """

    def __init__(self, mapping: Mapping[str, str]) -> None:
        for header, column in mapping.items():
            if column and (column not in COLUMNS or header == ALL_OTHERS):
                near = text.did_you_mean(column, COLUMNS)
                names = ", ".join(COLUMNS)
                raise Invalid(
                    f"--map {header}={text.truncate(column)}: columns are {names}", hint=near
                )
        self._mapping = dict(mapping)

    def target(self, name: str) -> str | None:
        """Return our column; None for one that is left out.

        :raises KeyError: it is not one of ours.
        """
        name = name.strip()
        if name in self._mapping:
            return self._mapping[name] or None
        name = name.lower()
        if name in _INFORMATIVE:
            return None
        if name in COLUMNS:
            return name
        if ALL_OTHERS in self._mapping:
            return None
        raise KeyError(name)

    def of_header(self, header: Sequence[str]) -> list[str | None]:
        """Return our column for each name of a header.

        :raises Invalid: a name is unknown, and which one is nearest; or e-mail is missing, or
            there twice.
        """
        targets: list[str | None] = []
        unknown = []
        for name in header:
            try:
                targets.append(self.target(name))
            except KeyError:
                unknown.append(name.strip())
        if any(map(_UNREADABLE.search, unknown)):
            raise Invalid("the header has bytes of another encoding", hint="--encoding NAME")
        if unknown:
            names = ", ".join(text.truncate(name) or "an empty name" for name in unknown)
            raise Invalid(f"no such column: {names}", hint=" ".join(map(_map_hint, unknown)))
        for name in self._mapping:
            if name != ALL_OTHERS and name not in map(str.strip, header):
                raise Invalid(f"--map {text.truncate(name)}: the file has no such column")
        for name in COLUMNS:
            if targets.count(name) > 1:
                raise Invalid(f"two columns are {name}", hint="--map 'NAME=' leaves one out")
        if "email" not in targets:
            raise Invalid("no column is email", hint="--map 'NAME=email'")
        return targets


def _map_hint(name: str) -> str:
    near = get_close_matches(name.lower(), COLUMNS, n=1)
    return f"--map '{text.truncate(name)}={near[0] if near else ''}'"


def records_of(source: Source, columns: Columns) -> tuple[list[str], Iterator[Record]]:
    """Return the header of a source, which jsonl has not, and its rows.

    :raises Invalid: it is empty, or its header is not understood. The rows raise it where they
        can no longer be told apart.
    """
    if source.format == "jsonl":
        return [], _json_records(source, columns)
    lines = source.lines()
    first = next(lines, None)
    if first is None:
        raise Invalid(f"{source.name} is empty", hint=f"its first line names columns: {_HEADER}")
    delimiter = max(_DELIMITERS, key=first.count)
    bounded = _BoundedLines(source, chain([first], lines))
    reader = csv.reader(bounded, delimiter=delimiter, strict=True)
    try:
        header = next(reader)
    except csv.Error as error:
        raise Invalid(f"{source.name} line 1: {text.safe(error)}") from error
    return header, _csv_records(source, reader, bounded, header, columns.of_header(header))


_HEADER = ",".join(COLUMNS[:3])


class _BoundedLines:
    """The lines of a csv file, of which a record must not have too many characters.

    A quoted cell goes on over lines, and one that nothing closes over the whole file.
    """

    def __init__(self, source: Source, lines: Iterator[str]) -> None:
        self._source, self._lines = source, lines
        self._read = self._room = 0
        self.end_record()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._read += 1
        self._room -= len(line)
        if self._room < 0:
            limit = f"{LONGEST_LINE:,} characters"
            raise Invalid(f"{self._source.name} line {self._read}: a row is longer than {limit}")
        return line

    def end_record(self) -> None:
        """Begin to count anew."""
        self._room = LONGEST_LINE


def _csv_records(
    source: Source,
    reader: Any,
    lines: _BoundedLines,
    header: list[str],
    targets: list[str | None],
) -> Iterator[Record]:
    number, line, width = 0, reader.line_num, len(header)
    # A password may begin as a formula, and no export has one.
    columns = [(i, name, name != PASSWORD) for i, name in enumerate(targets) if name]
    try:
        for cells in reader:
            lines.end_record()
            line, start = reader.line_num, line + 1
            if not cells:
                continue
            number += 1
            if len(cells) == width:
                values = {
                    name: unquote_formula(cell) if may_be_quoted and cell[0] == "'" else cell
                    for i, name, may_be_quoted in columns
                    if (cell := cells[i])
                }
                yield Record(number, start, cells, values)
            else:
                count = text.pluralize(len(cells), "cell")
                problem = ("", f"has {count}, and the header has {width}")
                yield Record(number, start, cells, {}, problem)
    except csv.Error as error:
        words = f"{source.name} line {line + 1}: {text.safe(error)}"
        raise Invalid(words, hint="the rows after it cannot be parsed: fix the file") from error


def _json_records(source: Source, columns: Columns) -> Iterator[Record]:
    number = 0
    for line, words in enumerate(source.lines(), start=1):
        if not words.strip():
            continue
        number += 1
        try:
            original = json.loads(words, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            problem = ("", f"is no JSON: {text.first_line(error)}")
            yield Record(number, line, words.rstrip("\r\n"), {}, problem)
            continue
        if isinstance(original, dict):
            yield _of_object(number, line, original, columns)
        else:
            yield Record(number, line, words.rstrip("\r\n"), {}, ("", "is no JSON object"))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; of two values of one name it would silently have the last.

    :raises ValueError: a name is there twice.
    """
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is there twice")
    return values


def _of_object(number: int, line: int, original: dict[str, Any], columns: Columns) -> Record:
    values: dict[str, Any] = {}
    for name, value in original.items():
        try:
            target = columns.target(name)
        except KeyError:
            problem = (text.truncate(name), f"is not a column of ours: {_map_hint(name)}")
            return Record(number, line, original, {}, problem)
        if target in values:
            return Record(number, line, original, {}, (target or "", "is there twice"))
        if target is not None and value is not None:
            values[target] = value
    return Record(number, line, original, values)
