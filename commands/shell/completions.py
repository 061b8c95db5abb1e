"""Completions: tables and columns in SQL, columns of models, accounts and roles."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from typing import Any

from opsapp.console import readonly
from opsapp.extensions import Model, db

_CALL = re.compile(r"(\w+)\([^()]*$")
_NAMES = {
    "U": "SELECT username FROM ops_users WHERE deleted_at IS NULL ORDER BY 1 LIMIT 1000",
    "R": "SELECT name FROM ops_roles ORDER BY 1 LIMIT 1000",
}


Complete = Callable[[Any, Any], list[str]]


def teach(shell: Any, inside: Callable[[Complete], Complete] = lambda complete: complete) -> None:
    """Let the shell complete these.

    :param inside: makes a function that completes inside of the session's context.
    """
    for magic in ("%sql", "%explain", "%schema", "%tables"):
        shell.set_hook("complete_command", _in_sql, str_key=magic)
    for pattern, complete in _PATTERNS.items():
        shell.set_hook("complete_command", inside(complete), re_key=pattern)


def _in_sql(_shell: Any, event: Any) -> list[str]:
    """Return tables, and the columns of those that the statement has."""
    tables = db.metadata.tables
    words = set(re.findall(r"\w+", event.line))
    columns = {c.name for name, table in tables.items() if name in words for c in table.columns}
    return sorted({*tables, *columns})


def _column_of_call(shell: Any, event: Any) -> list[str]:
    """Return the attributes of a model as keywords: ``User(``, ``User.query.filter_by(``."""
    call = _CALL.search(event.text_until_cursor)
    name = call[1] if call else ""
    if name == "filter_by":
        match = re.search(r"(\w+)\.query\.filter_by\([^()]*$", event.text_until_cursor)
        name = match[1] if match else ""
    model = shell.user_ns.get(name)
    if not (isinstance(model, type) and issubclass(model, Model)):
        return []
    return [f"{attribute.key}=" for attribute in model.__mapper__.attrs]


def _account_or_role(_shell: Any, event: Any) -> list[str]:
    match = re.search(r"\b([UR])\(['\"]\w*$", event.text_until_cursor)
    if match is None:
        return []
    # A connection of its own: the session's transaction is not for the prompt to begin.
    with closing(readonly.connect(db.engine)) as connection:
        return [row[0] for row in connection.execute(_NAMES[match[1]]).fetchall() if row[0]]


_PATTERNS = {
    r"%%sql|.*\bsql\(['\"]": _in_sql,
    r".*\b[UR]\(['\"]\w*$": _account_or_role,
    r".*\b(?:[A-Z]\w*|filter_by)\([^()'\"]*$": _column_of_call,
}
"""The beginnings of lines, up to the cursor."""
