"""Schema: the tables and views of the database, and their columns."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from ... import text
from ...errors import NotFound
from ...extensions import db
from ...redaction import is_secret_name
from ...types import Record
from .. import readonly

LOOK = "flask query --tables"
"""The hint for a name that does not exist."""


def tables() -> list[Record]:
    """Return every table and view with the number of its columns."""
    with _inspecting() as inspector:
        kinds = {"table": inspector.get_table_names(), "view": inspector.get_view_names()}
        return [
            {"name": name, "kind": kind, "columns": len(inspector.get_columns(name))}
            for kind, names in kinds.items()
            for name in sorted(names)
        ]


def columns(table: str) -> list[Record]:
    """Return the columns of a table or view.

    :raises NotFound: there is no such table.
    """
    with _inspecting() as inspector:
        relations = [*inspector.get_table_names(), *inspector.get_view_names()]
        if table not in relations:
            hint = text.did_you_mean(table, relations) or LOOK
            raise NotFound(f"no table {text.shortened(table)}", hint=hint)
        keys = inspector.get_pk_constraint(table)["constrained_columns"]
        refers = {
            name: f"{key['referred_table']}.{referred}"
            for key in inspector.get_foreign_keys(table)
            for name, referred in zip(
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
                "secret": is_secret_name(column["name"]),
            }
            for column in inspector.get_columns(table)
        ]


@contextmanager
def _inspecting() -> Iterator[sa.Inspector]:
    engine = sa.create_engine(db.engine.url, creator=lambda: readonly.connect(db.engine))
    try:
        yield sa.inspect(engine)
    finally:
        engine.dispose()
