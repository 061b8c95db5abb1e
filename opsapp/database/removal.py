"""Removal of our tables from the database of an application that opsapp is attached to."""

from __future__ import annotations

import sqlalchemy as sa

from .. import models as models  # the tables join the metadata
from ..extensions import db
from ..migrations import VERSION_TABLE
from ..types import Record
from . import migration_run

_AS_NAMED = {"schema_translate_map": None}
"""The option of a connection on which an application's map of schemas does not hold."""


def tables() -> list[Record]:
    """Return our tables that are in the database, each with the number of its rows."""
    with db.our_engine.connect().execution_options(**_AS_NAMED) as connection:
        return [
            {"table": table.name, "rows": connection.scalar(_count(table))}
            for table in _present_tables(connection)
        ]


def drop() -> None:
    """Drop our tables, in one transaction, while nothing else migrates.

    :raises Busy: another process is migrating.
    """
    with migration_run.lock(), db.our_engine.connect() as connection:
        writing = connection.execution_options(writing=True, **_AS_NAMED)
        with writing.begin():
            for table in reversed(_present_tables(writing)):
                writing.execute(sa.schema.DropTable(table))
            if writing.dialect.name == "postgresql":
                # Its triggers have gone with their table.
                writing.execute(sa.text("DROP FUNCTION IF EXISTS ops_audit_events_refuse()"))


def _present_tables(connection: sa.Connection) -> list[sa.Table]:
    """Return our tables in the database, each after those that it refers to."""
    names = set(sa.inspect(connection).get_table_names())
    versions = sa.Table(VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String))
    return [table for table in (*db.metadata.sorted_tables, versions) if table.name in names]


def _count(table: sa.Table) -> sa.Select[int]:
    return sa.select(sa.func.count()).select_from(table)
