"""How values look: a model as a small table, a list or a query as a table with a limit."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from opsapp.cli.tables import drawn
from opsapp.console.query import parameters
from opsapp.extensions import Model, db
from opsapp.redaction import HIDDEN, is_secret_column, looks_secret, veiled
from opsapp.text import safe
from opsapp.types import Record
from opsapp.values import distinct, plain

ROWS = 30
"""Rows of a table on the screen; the value itself has them all."""
LONGEST = 60
"""Characters of a cell on the screen."""
SQL_ROWS = 1000


class Rows(list[Record]):
    """The rows of ``sql()``: a list of dictionaries that prints as a table."""

    more = False
    """Whether the statement had more rows than were fetched."""

    def __repr__(self) -> str:
        return table(self, more=self.more)

    __str__ = __repr__


def sql(statement: str, limit: int = SQL_ROWS, **params: Any) -> Rows | int:
    """The rows of an SQL statement, or how many it changed; ``:name`` takes ``name=``."""
    result: Any = db.session.execute(sa.text(parameters.escaped(statement, params)), params)
    if not result.returns_rows:
        return int(result.rowcount)
    names = distinct(list(result.keys()))
    found = Rows(dict(zip(names, row, strict=True)) for row in result.fetchmany(limit))
    found.more = result.fetchone() is not None
    result.close()
    return found


# --- tables ------------------------------------------------------------------


def table(
    rows: Sequence[Mapping[str, Any]],
    *,
    total: int | None = None,
    more: bool = False,
    longest: int = LONGEST,
) -> str:
    """Rows as a table, cut to what a screen holds; says what it leaves out."""
    total = len(rows) if total is None else total
    if not rows:
        return "No rows."
    shown = [
        {str(name): _cell(str(name), row[name], longest) for name in row} for row in rows[:ROWS]
    ]
    names, left_out = _fitting(shown)
    lines = drawn([{name: row.get(name) for name in names} for row in shown])
    if more or total > len(shown):
        count = f"more than {total}" if more else str(total)
        lines += f"({len(shown)} of {count} rows)\n"
    if left_out:
        rest = f"(not shown: {', '.join(map(safe, left_out))})"
        lines += textwrap.fill(rest, shutil.get_terminal_size().columns, break_long_words=False)
    return lines.rstrip("\n")


def _fitting(rows: Sequence[Record]) -> tuple[list[str], list[str]]:
    """The columns that a screen has room for, and those that it has not.

    Empty ones go first; without a terminal there is room for all of them.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    if sys.stdout is None or not sys.stdout.isatty():
        return names, []
    used = [name for name in names if any(row.get(name) not in (None, "") for row in rows)]
    room = shutil.get_terminal_size().columns
    kept: list[str] = []
    for name in used or names:
        wide = max(len(name), *(len(str(row.get(name))) for row in rows))
        if room < min(wide, LONGEST) and kept:
            break
        kept.append(name)
        room -= wide + 2
    return kept, [name for name in names if name not in kept]


def _cell(name: str, value: Any, longest: int = LONGEST) -> Any:
    value = veiled(name, plain(value))
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    return value


def of_model(thing: Any) -> Record:
    """The columns of a mapped object; those that were never loaded are loaded now."""
    mapper = sa.inspect(thing).mapper
    found: Record = {}
    for attribute in mapper.column_attrs:
        value = getattr(thing, attribute.key)
        hide = value is not None and is_secret_column(attribute.columns[0])
        found[attribute.key] = HIDDEN if hide else value
    return found


def model_table(thing: Any) -> str:
    """A mapped object as a small table."""
    kind = type(thing).__name__
    state = sa.inspect(thing)
    mark = " (new)" if state.pending or state.transient else " (changed)" if state.modified else ""
    found = of_model(thing)
    shown = {name: _cell(name, value) for name, value in found.items() if value is not None}
    empty = [name for name in found if name not in shown]
    if empty:
        shown["empty"] = ", ".join(empty)
    return f"{kind}{mark}\n{drawn(shown).rstrip()}"


def _as_row(item: Any) -> Record | None:
    """An item of a list as a row of a table, if it is something that has columns."""
    if isinstance(item, Mapping):
        return {str(name): value for name, value in item.items()} if item else None
    if isinstance(item, sa.Row):
        return _of_row(item)
    return of_model(item) if isinstance(item, Model) else None


def _of_row(row: Any) -> Record:
    if len(row) == 1 and isinstance(row[0], Model):
        return of_model(row[0])
    names = distinct([str(name) for name in row._fields])
    return dict(zip(names, map(_short, row), strict=True))


def _short(value: Any) -> Any:
    return named(value) if isinstance(value, Model) else value


def list_table(items: Sequence[Any]) -> str | None:
    """A list of things with columns as a table; None for any other list."""
    if not items:
        return None
    rows = [_as_row(item) for item in items[:ROWS]]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows):
        return None
    return table(known, total=len(items), more=getattr(items, "more", False))


def result_table(found: Iterable[Any]) -> str:
    """What a query finds, as far as a screen holds it."""
    items = list(islice(found, ROWS + 1))
    rows = [row for row in map(_as_row, items) if row is not None]
    if len(rows) < len(items):
        rows = [{"value": item} for item in items]
    return table(rows[:ROWS], total=min(len(rows), ROWS), more=len(items) > ROWS)


def select_table(statement: Any) -> str:
    """A SELECT by its rows: it is sent when it is looked at."""
    with db.session.execute(statement.limit(ROWS + 1) if _may_limit(statement) else statement) as r:
        return result_table(r)


def _may_limit(statement: Any) -> bool:
    # A limit of its own is part of what the person asked.
    return statement._limit_clause is None  # noqa: SLF001  (there is no public name)


def query_table(query: Any) -> str:
    """A legacy query by its rows."""
    return select_table(query.statement)


def text_of(value: str) -> str:
    """A text as Python writes it, hostile characters escaped; hidden if it is a hash."""
    return HIDDEN if looks_secret(value) else safe(repr(value))


def named(value: Any) -> str:
    """What stands for a value inside of another: ``<User 1>``; a statement is not sent for it."""
    return safe(repr(value) if isinstance(value, Model) else object.__repr__(value))


# --- for IPython -------------------------------------------------------------


def teach(formatter: Any) -> None:
    """Let IPython's plain-text formatter show our values so."""
    as_list, as_dictionary = formatter.for_type(list), formatter.for_type(dict)
    for kind, draw in _DRAWN.items():
        formatter.for_type(kind, _printer(draw))
    formatter.for_type(str, lambda value, printer, _cycle: printer.text(text_of(value)))
    formatter.for_type(Rows, _printer(str, otherwise=as_list))
    formatter.for_type(list, _printer(list_table, otherwise=as_list))
    formatter.for_type(
        dict,
        _printer(_dictionary, otherwise=lambda it, *to: as_dictionary(veiled("", it), *to)),
    )


def _printer(
    draw: Callable[[Any], str | None], otherwise: Callable[..., None] | None = None
) -> Callable[..., None]:
    def show(value: Any, printer: Any, cycle: bool) -> None:
        # Inside of another value a table would tear its lines.
        is_outermost = len(printer.stack) <= 1
        drawing = draw(value) if is_outermost and not cycle else None
        if drawing is not None:
            printer.text(drawing)
        elif otherwise is not None:
            otherwise(value, printer, cycle)
        else:
            printer.text(named(value))

    return show


def _dictionary(value: dict[Any, Any]) -> str | None:
    """A record of a service, such as ``users.create`` returns one."""
    if not value or not all(isinstance(name, str) and name.isidentifier() for name in value):
        return None
    return drawn({name: _cell(name, item) for name, item in value.items()}).rstrip()


_DRAWN: dict[Any, Callable[[Any], str | None]] = {
    Model: model_table,
    sa.Select: select_table,
    sa.CompoundSelect: select_table,
    so.Query: query_table,
    sa.Result: result_table,
    sa.ScalarResult: result_table,
}
