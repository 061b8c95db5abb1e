"""Schema: the tables and views of the database, and their columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from ... import text
from ...engine.connections import SANDBOX
from ...errors import NotFound
from ...extensions import db
from ...types import Record
from .. import readonly, secret_columns

LOOK = "flask query --tables"
"""The hint for a name that does not exist."""


def tables() -> list[Record]:
    """Return every table and view with the number of its columns."""
    with _inspecting() as inspector:
        return [
            {"name": label, "kind": kind, "columns": len(inspector.get_columns(name, schema))}
            for label, (kind, schema, name) in _relations(inspector).items()
        ]


def columns(table: str, *, look: str = LOOK) -> list[Record]:
    """Return the columns of a table or view.

    :param table: its name, behind its schema and a dot if that is not the connection's.
    :param look: the hint where there is no such table, and none of a similar name.
    :raises NotFound: there is no such table.
    """
    with _inspecting() as inspector:
        relations = _relations(inspector)
        if table not in relations:
            hint = text.did_you_mean(table, relations) or look
            raise NotFound(f"no table {text.truncate(table)}", hint=hint)
        _kind, schema, name = relations[table]
        keys = inspector.get_pk_constraint(name, schema)["constrained_columns"]
        refers = {
            referring: _label(key["referred_schema"], f"{key['referred_table']}.{referred}")
            for key in inspector.get_foreign_keys(name, schema)
            for referring, referred in zip(
                key["constrained_columns"], key["referred_columns"], strict=False
            )
        }
        return [
            {
                "column": column["name"],
                "type": str(column["type"]),
                "nullable": column["nullable"],
                "key": column["name"] in keys,
                "refers_to": refers.get(column["name"]),
                "secret": secret_columns.is_secret(column["name"], name),
            }
            for column in inspector.get_columns(name, schema)
        ]


Relation = tuple[str, str | None, str]
"""The kind of a table or view, its schema unless it is the connection's, and its name."""


def _relations(inspector: sa.Inspector) -> dict[str, Relation]:
    """Return every table and view by its label, those of a schema together."""
    schemas: list[str | None] = [None]
    kinds = {"table": inspector.get_table_names, "view": inspector.get_view_names}
    if inspector.dialect.name == "postgresql":
        own = {inspector.default_schema_name, "information_schema"}
        schemas += sorted(set(inspector.get_schema_names()) - own)
        kinds["materialized view"] = inspector.get_materialized_view_names
    return {
        _label(schema, name): (kind, schema, name)
        for schema in schemas
        for kind, names in kinds.items()
        for name in sorted(names(schema))
    }


def _label(schema: str | None, name: str) -> str:
    return f"{schema}.{name}" if schema else name


@contextmanager
def _inspecting() -> Iterator[sa.Inspector]:
    if db.engine.get_execution_options().get(SANDBOX):
        yield sa.inspect(db.session.connection())
        return
    engine = sa.create_engine(db.engine.url, creator=lambda: readonly.connect(db.engine))
    try:
        yield sa.inspect(engine)
    finally:
        engine.dispose()
