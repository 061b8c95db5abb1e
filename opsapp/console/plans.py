"""Plans: the database's plan of a statement, with the times of a run if it is wanted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from ..engine.connections import SANDBOX
from ..engine.plans import VERBS, tree
from ..extensions import db
from .query import parameters
from .query.statement import first_word


def is_statement(text: str) -> bool:
    """Return whether ``text`` is SQL, and not a Python expression."""
    return first_word(text) in VERBS and len(text.split()) > 1


def plan(statement: str, values: Mapping[str, Any], *, analyze: bool = False) -> list[str]:
    """Return the plan of a statement as a tree, a line for each step.

    :param values: the parameters of the statement.
    :param analyze: run the statement and undo it, for the times and rows that it took.
    """
    clause = parameters.escaped(statement, values)
    if db.engine.dialect.name != "sqlite":
        return _of_server(clause, values, analyze=analyze)
    result = db.session.execute(sa.text(f"EXPLAIN QUERY PLAN {clause}"), values)
    lines = tree((row.id, row.parent, row.detail) for row in result)
    return [*lines, _run(clause, values)] if analyze else lines


def _of_server(clause: str, values: Mapping[str, Any], *, analyze: bool) -> list[str]:
    if not analyze:
        return list(db.session.scalars(sa.text(f"EXPLAIN {clause}"), values))
    with _undone() as connection:
        return list(connection.scalars(sa.text(f"EXPLAIN (ANALYZE, BUFFERS) {clause}"), values))


def _run(clause: str, values: Mapping[str, Any]) -> str:
    """Run a statement and undo it; return its rows and time, since SQLite has no times."""
    with _undone() as connection:
        started = time.perf_counter()
        result = connection.execute(sa.text(clause), values)
        count = len(result.fetchall()) if result.returns_rows else result.rowcount
        milliseconds = (time.perf_counter() - started) * 1000
    return f"Run: {count} rows, {milliseconds:.1f} ms"


@contextmanager
def _undone() -> Iterator[sa.Connection]:
    """Yield a connection whose changes are rolled back."""
    if db.engine.get_execution_options().get(SANDBOX):
        with db.session.begin_nested() as savepoint:  # Its only connection is the session's.
            yield db.session.connection()
            savepoint.rollback()
    else:
        with db.engine.connect() as connection:
            yield connection
