"""Tables of values: a model, a list of them, the rows of a statement; cut to the screen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, overload

import sqlalchemy as sa
from flask_sqlalchemy import model
from sqlalchemy import orm as so

from opsapp.cli import pager, tables
from opsapp.cli.tables import draw_table
from opsapp.console.query import parameters
from opsapp.console.query.statement import SINGLE
from opsapp.extensions import db
from opsapp.models.application import is_model
from opsapp.profiling.record import callers
from opsapp.redaction import HIDDEN, is_secret_column, looks_secret, mask
from opsapp.text import safe
from opsapp.types import Record
from opsapp.values import distinct, plain

callers.mark_sender(__file__)

ROWS = 30
"""The number of rows on the screen; the value itself has them all."""
LONGEST = 60
"""The number of characters of a cell on the screen."""
ALL_COLUMNS = "%sql -x or %sql --all prints them"


class Rows(Sequence[Record]):
    """Every row of a statement as a dictionary, which is made when it is read."""

    def __init__(self, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.names = names
        self._rows = rows

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Rows: ...
    def __getitem__(self, index: int | slice) -> Record | Rows:
        if isinstance(index, slice):
            return Rows(self.names, self._rows[index])
        return dict(zip(self.names, self._rows[index], strict=True))

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Record]:
        names = self.names
        return (dict(zip(names, row, strict=True)) for row in self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return table(self)


def sql(statement: str, /, **params: Any) -> Rows | int:
    """Return all rows of an SQL statement, or how many it changed; ``:name`` takes ``name=``."""
    text = sa.text(parameters.escape_colons(statement, params)).execution_options(**{SINGLE: True})
    result: Any = db.session.execute(text, params)
    if not result.returns_rows:
        return max(0, int(result.rowcount))  # A driver says -1 of what changes no rows.
    names = distinct(list(result.keys()))
    # The driver's own rows: SQLAlchemy would make each of them once more.
    with closing(result):
        return Rows(names, result.cursor.fetchall())


# --- tables ------------------------------------------------------------------


def table(
    rows: Sequence[Mapping[str, Any]],
    *,
    total: int | None = None,
    more: bool = False,
    longest: int = LONGEST,
) -> str:
    """Return rows as a table cut to the screen, with a remark on the rest."""
    total = len(rows) if total is None else total
    if not rows:
        return "No rows."
    cells = [
        {str(name): cell(str(name), row[name], longest) for name in row} for row in rows[:ROWS]
    ]
    names = list(dict.fromkeys(name for row in cells for name in row))
    hint = ALL_COLUMNS if isinstance(rows, Rows) else ""
    lines = draw_table([{name: row.get(name) for name in names} for row in cells], hint=hint)
    if more or total > len(cells):
        count = f"more than {total}" if more else str(total)
        lines += f"({len(cells)} of {count} rows)\n"
    return lines.rstrip("\n")


def format_vertically(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield each row as lines of names and values, whole."""
    for number, row in enumerate(rows, start=1):
        yield f"Row {number}\n{draw_table(_veil_row(row))}"


def format_whole(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield tables of every row, with every column."""
    return tables.full_tables(map(_veil_row, rows))


def _veil_row(row: Mapping[str, Any]) -> Record:
    return {name: mask(name, plain(row[name])) for name in row}


def page(parts: Iterable[str]) -> None:
    """Print text, by the pager where it is longer or wider than the terminal."""
    pager.write(parts, is_wide=True)


def cell(name: str, value: Any, longest: int = LONGEST) -> Any:
    value = mask(name, plain(value))
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    return value


def of_model(instance: Any) -> Record:
    """Return the columns of a mapped object; unloaded ones are loaded now."""
    mapper = sa.inspect(instance).mapper
    record: Record = {}
    for attribute in mapper.column_attrs:
        value = getattr(instance, attribute.key)
        hide = value is not None and is_secret_column(attribute.columns[0])
        record[attribute.key] = HIDDEN if hide else value
    return record


def model_table(instance: Any) -> str:
    """Return a mapped object as a small table."""
    kind = type(instance).__name__
    state = sa.inspect(instance)
    mark = " (new)" if state.pending or state.transient else " (changed)" if state.modified else ""
    record = of_model(instance)
    cells = {name: cell(name, value) for name, value in record.items() if value is not None}
    empty = [name for name in record if name not in cells]
    if empty:
        cells["empty"] = ", ".join(empty)
    return f"{kind}{mark}\n{draw_table(cells).rstrip()}"


def columns_table(kind: type) -> str | None:
    """Return the columns and relations of a model as tables; None for any other class."""
    if not is_model(kind):
        return None
    mapper: so.Mapper[Any] = sa.inspect(kind)
    columns = [
        {
            "column": attribute.key,
            "type": str(column.type),
            "null": "null" if column.nullable else "",
            "key": "primary" if column.primary_key else "unique" if column.unique else "",
            "refers to": ", ".join(sorted(key.target_fullname for key in column.foreign_keys)),
            "secret": "secret" if is_secret_column(column) else "",
        }
        for attribute in mapper.column_attrs
        for column in attribute.columns[:1]
        if isinstance(column, sa.Column)
    ]
    relations = [
        {"relation": each.key, "to": each.mapper.class_.__name__, "many": each.uselist or False}
        for each in mapper.relationships
    ]
    head = f"{kind.__name__}: table {mapper.local_table.description}"
    return "\n".join([head, *(draw_table(rows).rstrip() for rows in (columns, relations) if rows)])


def _as_row(item: Any) -> Record | None:
    """Return an item of a list as a row of a table, if it has columns."""
    if isinstance(item, sa.Row):
        return _of_row(item)
    return of_model(item) if is_model(type(item)) else None


def _of_row(row: Any) -> Record:
    if len(row) == 1 and is_model(type(row[0])):
        return of_model(row[0])
    names = distinct([str(name) for name in row._fields])
    return dict(zip(names, map(_short, row), strict=True))


def _short(value: Any) -> Any:
    return short_repr(value) if is_model(type(value)) else value


def list_table(items: Sequence[Any]) -> str | None:
    """Return a list of items with columns as a table; None for any other list."""
    if not items:
        return None
    rows = [_as_row(item) for item in items[:ROWS]]
    records = [row for row in rows if row is not None]
    if len(records) < len(rows):
        return None
    return table(records, total=len(items))


def result_table(result: Iterable[Any]) -> str:
    """Return the rows of a query as a table, as far as the screen holds them."""
    items = list(islice(result, ROWS + 1))
    rows = [row for row in map(_as_row, items) if row is not None]
    if len(rows) < len(items):
        rows = [{"value": item} for item in items]
    return table(rows[:ROWS], total=min(len(rows), ROWS), more=len(items) > ROWS)


def select_table(statement: Any) -> str:
    """Return the rows of a SELECT as a table; it is sent when it is displayed."""
    with db.session.execute(statement.limit(ROWS + 1) if _may_limit(statement) else statement) as r:
        return result_table(r)


def _may_limit(statement: Any) -> bool:
    # A limit of its own stays as it is.
    return statement._limit_clause is None  # noqa: SLF001  (there is no public name)


def query_table(query: Any) -> str:
    """Return the rows of a legacy query as a table."""
    return select_table(query.statement)


def text_of(value: str) -> str:
    """Return a text as Python writes it, hostile characters escaped; a hash is hidden."""
    return HIDDEN if looks_secret(value) else safe(repr(value))


def short_repr(value: Any) -> str:
    """Return the short form of a value inside of another, ``<User 1>``, without a statement."""
    # A representation of the application's own may show a secret, or load what has expired.
    short = model.Model.__repr__ if is_model(type(value)) else object.__repr__
    return safe(short(value))
