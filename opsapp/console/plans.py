"""Plans: the database's plan of a statement, with the times of a run if it is wanted."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import ClauseElement, Executable

from .. import text
from ..engine.connections import SANDBOX
from ..engine.plans import tree
from ..extensions import db
from .query import parameters
from .query.statement import SINGLE

_OPTIONS = re.compile(
    r"""
    \s* (?:explain\b\s*)? (?:query\s+plan\b\s*)?
    (?P<options>
        \(\s* (?: analy[sz]e | verbose | costs | settings | generic_plan | buffers | serialize
            | wal | timing | summary | memory | format ) \b[^()]*\)
        | (?:analy[sz]e\b)? \s* (?:verbose\b)?
    ) \s*
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""The words between EXPLAIN and the statement, of both databases."""


def split_options(words: str) -> tuple[str, str]:
    """Return the options of EXPLAIN, such as ``(analyze, buffers)``, and the statement."""
    match = _OPTIONS.match(words)
    return (match["options"].strip(), words[match.end() :]) if match else ("", words)


def of_text(statement: str, values: Mapping[str, Any]) -> sa.TextClause:
    """Return SQL with the values of its parameters."""
    return sa.text(parameters.escape_colons(statement, values)).bindparams(**values)


def plan(statement: Executable, options: str = "") -> list[str]:
    """Return the plan of a statement as a tree, a line for each step.

    :param options: those of PostgreSQL. ``analyze`` runs the statement and undoes it, for the
        times and rows that it took; SQLite has no other.
    """
    with _connect_for_rollback() as connection:
        if connection.dialect.name != "sqlite":
            explained = _Explained(f"EXPLAIN {options}", statement)
            return [line for (step,) in _rows(connection, explained) for line in _lines(step)]
        steps = _rows(connection, _Explained("EXPLAIN QUERY PLAN", statement))
        lines = tree((number, parent, detail) for number, parent, _unused, detail in steps)
        is_run = re.search(r"(?i)\banaly[sz]e\b", options)
        return [*lines, _run(connection, statement)] if is_run else lines


class _Explained(Executable, ClauseElement):
    """``EXPLAIN`` and a statement with its parameters."""

    inherit_cache = False

    def __init__(self, words: str, statement: Executable) -> None:
        self.words, self.statement = words, statement


@compiles(_Explained)
def _compile(element: _Explained, compiler: Any, **options: Any) -> str:
    clause = compiler.process(element.statement, **options)
    # The answer is the plan, not the keys of new rows.
    compiler.isinsert = compiler.isupdate = compiler.isdelete = False
    return f"{element.words} {clause}"


def _rows(connection: sa.Connection, explained: _Explained) -> Sequence[Sequence[Any]]:
    """Return the driver's rows: SQLAlchemy would read them as those of the statement."""
    result: Any = connection.execute(explained, execution_options={SINGLE: True})
    with closing(result):
        return list(result.cursor.fetchall())


def _lines(step: Any) -> list[str]:
    """Return a step of PostgreSQL as lines; in ``FORMAT json`` the driver has read it."""
    words = step if isinstance(step, str) else json.dumps(step, indent=2)
    return words.splitlines()


def _run(connection: sa.Connection, statement: Executable) -> str:
    """Run a statement; return its rows and time, since SQLite has no times."""
    start = time.perf_counter()
    result = connection.execute(statement)
    count = len(result.fetchall()) if result.returns_rows else result.rowcount
    milliseconds = (time.perf_counter() - start) * 1000
    return f"Run: {text.pluralize(max(0, count), 'row')}, {milliseconds:.1f} ms"


@contextmanager
def _connect_for_rollback() -> Iterator[sa.Connection]:
    """Yield a connection whose changes are rolled back."""
    if db.engine.get_execution_options().get(SANDBOX):
        with db.session.begin_nested() as savepoint:  # Its only connection is the session's.
            yield db.session.connection()
            savepoint.rollback()
    else:
        with db.engine.connect() as connection:
            yield connection
