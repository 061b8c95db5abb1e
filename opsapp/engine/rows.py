"""Many rows at once: removed by what they have in common, or inserted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..extensions import Model


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
    connection: sa.Connection, model: type[Model], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows that all have the same columns; on PostgreSQL by COPY."""
    if connection.dialect.name == "sqlite":
        connection.execute(sa.insert(model), rows)
        return
    names = list(rows[0])
    quote = connection.dialect.identifier_preparer.quote
    columns = ", ".join(map(quote, names))
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {quote(model.__tablename__)} ({columns}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(list(row.values()))
