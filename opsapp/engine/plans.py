"""Plans: how the database would run a statement, without running it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count
from typing import Any

from sqlalchemy import orm as so

from .. import text
from ..errors import Invalid
from .fingerprint import CAST

VERBS = frozenset({"select", "with", "values", "table", "insert", "update", "delete", "merge"})
"""The first words of the statements that have a plan."""
GENERIC = (16,)
"""The first version of PostgreSQL that plans a statement for any values."""
NO_STEPS = "No steps: the statement searches no table."
_FURTHER_ROWS = "), …"
"""The end of the fingerprint of an INSERT of several rows."""
_TYPED = re.compile(
    r"\b((?:timestamp|time)(?:\s+with(?:out)?\s+time\s+zone)?|timestamptz|timetz|date|interval)"
    r"\s+\?",
    re.IGNORECASE,
)
"""A constant with its type before it, such as ``interval ?``, where no parameter may be."""
_VERB = re.compile(r"[\s(]*(\w+)")
_HOLE = re.compile(rf'"[^"]*"|\?({CAST})(, …)?')
"""A hole that a literal has left in a fingerprint, or a list of them; not in a quoted name."""


def has_plan(fingerprint: str) -> bool:
    """Return whether the database can plan a statement of this fingerprint."""
    verb = _VERB.match(fingerprint)
    return verb is not None and verb[1].lower() in VERBS and not is_cut(fingerprint)


def is_cut(fingerprint: str) -> bool:
    """Return whether the end of the statement is missing, as of one that is too long."""
    return fingerprint.endswith("…") and not fingerprint.endswith(_FURTHER_ROWS)


def of_fingerprint(session: so.Session, fingerprint: str) -> list[str]:
    """Return the plan for any values, a line for each step.

    PostgreSQL makes the plan that it would keep for a prepared statement; SQLite takes
    NULL for each value.

    :raises Invalid: the statement cannot be planned without its values.
    """
    connection = session.connection()
    is_sqlite = connection.dialect.name == "sqlite"
    version = connection.dialect.server_version_info or ()
    if not is_sqlite and version < GENERIC:
        raise Invalid(
            f"PostgreSQL {version[0]} plans no statement without its values",
            hint="%explain in flask shell takes values; PostgreSQL 16 needs none",
        )
    holes = count(1)

    def fill(match: re.Match[str]) -> str:
        if match[0].startswith('"'):
            return match[0]
        return ", ".join(f"${next(holes)}{match[1]}" for _ in range(2 if match[2] else 1))

    statement = _TYPED.sub(r"?::\1", fingerprint.replace(_FURTHER_ROWS, ")"))
    statement = _HOLE.sub(fill, statement)
    explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN (GENERIC_PLAN)"
    driver: Any = connection.connection.dbapi_connection
    cursor = driver.cursor()  # SQLAlchemy would ask for the values of $1.
    try:
        if is_sqlite:
            nulls = {str(number): None for number in range(1, next(holes))}
            cursor.execute(f"{explain} {statement}", nulls)
        else:
            cursor.execute(f"{explain} {statement}")
        rows = cursor.fetchall()
    except connection.dialect.loaded_dbapi.Error as error:
        session.rollback()
        why = text.first_line(error)
        raise Invalid(f"the statement has no plan without its values: {why}") from error
    if is_sqlite:
        return tree((id, parent, detail) for id, parent, _, detail in rows)
    return [row[0] for row in rows]


def tree(steps: Iterable[tuple[int, int, str]]) -> list[str]:
    """Return the steps of SQLite (id, parent, detail), indented by their parents.

    An INSERT of values has no step there, which a line says.
    """
    depths = {0: -1}
    lines = []
    for id, parent, detail in steps:
        depths[id] = depth = depths[parent] + 1
        lines.append(f"{'   ' * (depth - 1)}└─ {detail}" if depth else detail)
    return lines or [NO_STEPS]
