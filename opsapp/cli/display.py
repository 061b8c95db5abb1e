"""Answers as people see them on a terminal: tables, lines, the pager, and empty lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from ..types import Fields
from . import output, pager, tables
from .messages import say

Line = Callable[[Fields], str | None]
"""A function that returns a row as a line; None for rows that a table shows better."""


@dataclass(frozen=True, slots=True)
class Look:
    """How a terminal shows the answer of a command."""

    columns: Sequence[str] = ()
    """The fields of a table; empty means all."""
    noun: str = ""
    """The rows' name, for the remark on an empty list; without it, the header is shown."""
    line: Line | None = None
    """A function that returns a row as a line, in place of a table."""

    def show(self, answer: Any, fields: str | None, all_fields: Sequence[str]) -> None:
        """Show a record, or rows; what is longer than the screen goes to the pager.

        :param fields: the fields that the user chose, which make it a table.
        :param all_fields: the fields of a row, to check the names of an empty list.
        """
        columns = output.field_names(fields) if fields else self.columns
        if isinstance(answer, Mapping):
            record = next(output.select([answer], fields))
            output.put([tables.of_record(record, columns)], pager.write)
            return
        rows = iter(output.select(answer, fields, all_fields))
        head = list(islice(rows, 1))
        has_lines = self.line is not None and not fields and head and self.line(head[0])
        if self.noun and not head:
            say(f"No {self.noun}.")
        elif self.line is None or not has_lines:
            names = columns if head else all_fields
            if head or names:
                output.put(tables.of_rows(chain(head, rows), names), pager.write)
        else:
            output.put(_lines(chain(head, rows), self.line), pager.write)

    def follow(self, rows: Iterable[Fields], line: Line) -> None:
        """Show rows as they come, a line each."""
        output.put(_lines(rows, line))


def _lines(rows: Iterable[Fields], line: Line) -> Iterator[str]:
    return (f"{line(row)}\n" for row in rows)
