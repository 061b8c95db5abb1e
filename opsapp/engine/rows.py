"""Bulk statements: many rows removed by a condition, or inserted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..extensions import Model, db


def remove(
    session: so.Session,
    model: type[Model],
    *criteria: sa.ColumnElement[bool],
    dry_run: bool = False,
) -> int:
    """Remove the rows that meet every criterion; how many there were.

    Objects of them that the session holds stay as they are.

    :param dry_run: only count them.
    """
    if dry_run:
        count = sa.select(sa.func.count()).select_from(model).where(*criteria)
        return session.scalar(count) or 0
    result: Any = session.execute(
        sa.delete(model).where(*criteria), execution_options={"synchronize_session": False}
    )
    return int(result.rowcount)


def among(column: Any, values: Sequence[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that a column has one of these values, which are one parameter.

    A parameter for each of thousands has limits, and takes longer to pass than to look up.
    """
    # SQLAlchemy's any_() and table-valued functions are cycles of objects: they would keep the
    # values until collected.
    listed: sa.BindParameter[Any]
    if db.engine.dialect.name == "postgresql":
        kind = sa.Integer if isinstance(column.type, sa.Integer) else sa.Text
        listed = sa.bindparam("listed", list(values), sa.ARRAY(kind), unique=True)
        operator, members = "= ANY", "(:listed)"
    else:
        listed = sa.bindparam("listed", json.dumps(list(values)), unique=True)
        operator, members = "IN", "(SELECT value FROM json_each(:listed))"
    condition: sa.ColumnElement[bool] = column.bool_op(operator)(
        sa.text(members).bindparams(listed)
    )
    return condition


def reserve_ids(connection: sa.Connection, model: type[Model], count: int) -> Sequence[int]:
    """Return ``count`` new ids of a table. On SQLite its transaction must be writing already."""
    table = model.__tablename__
    if connection.dialect.name == "sqlite":
        last = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :table")
        start = (connection.scalar(last, {"table": table}) or 0) + 1
        return range(start, start + count)
    sequence = sa.func.nextval(sa.func.pg_get_serial_sequence(table, "id"))
    many = sa.func.generate_series(1, count).table_valued("number")
    return connection.scalars(sa.select(sequence).select_from(many)).all()


def insert_many(
    connection: sa.Connection,
    model: type[Model],
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    **same: Any,
) -> None:
    """Insert rows with every column that has no default in the database; on PostgreSQL by COPY.

    It goes around the guard, so only a service inside of its unit calls it.

    :param names: the columns of the rows, which have a value for each.
    :param same: the columns that have one value in all the rows.
    """
    quote = connection.dialect.identifier_preparer.quote
    table, columns = quote(model.__tablename__), ", ".join(map(quote, (*names, *same)))
    if connection.dialect.name == "sqlite":
        places = ", ".join("?" for _name in (*names, *same))
        statement = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608  (our names)
        connection.exec_driver_sql(statement, _convert_rows(connection, model, names, rows, same))
        return
    rest = tuple(same.values())
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row((*row, *rest))


def _convert_rows(
    connection: sa.Connection,
    model: type[Model],
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    same: Mapping[str, Any],
) -> list[tuple[Any, ...]]:
    """Return the rows as the driver takes them.

    SQLAlchemy would convert each time of each row, which takes longer than to insert it.
    """
    table = model.metadata.tables[model.__tablename__]
    writers = {}
    for name in (*names, *same):
        process = (
            table.c[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect)
        )
        if process is not None:
            writers[name] = lru_cache(1000)(process)
    rest = tuple(writers[name](value) if name in writers else value for name, value in same.items())
    places = [(place, writers[name]) for place, name in enumerate(names) if name in writers]
    converted = []
    for row in rows:
        values = list(row)
        for place, write in places:
            values[place] = write(values[place])
        converted.append((*values, *rest))
    return converted
