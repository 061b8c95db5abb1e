"""Masking: secret columns of a query that an input sends are hidden where they leave the driver.

The rows that a service, the application or the ORM reads stay whole, since they work with
them (docs/decisions/console.md#rows-are-masked-for-inputs-only).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Sequence
from types import FrameType
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from ..errors import Refused
from ..redaction import HIDDEN, is_secret_name, looks_secret

_WORD = re.compile(r"\w+")
_CONSOLE = ("opsapp.console", "opsapp.commands.shell")

Hide = Callable[[Sequence[Any]], tuple[Any, ...]]


def mask(engines: Iterable[sa.Engine], application: str) -> None:
    """Hide secrets in the rows that inputs read from these engines, from now on.

    :param application: the import name of the application, whose own queries are left alone.
    """
    trusted = {"opsapp", application.partition(".")[0]} - {"__main__"}

    def executed(
        connection: sa.Connection, cursor: Any, statement: str, _values: Any, context: Any, _: bool
    ) -> None:
        hide = _hider(cursor.description, statement)
        if hide and not _loads_models(context) and _is_by_an_input(trusted):
            _hide_rows(connection, cursor, hide)

    for engine in engines:
        event.listen(engine, "after_cursor_execute", executed)
        event.listen(engine, "before_cursor_execute", _refuse_hidden)


def _refuse_hidden(_connection: Any, _cursor: Any, _statement: str, values: Any, *_: Any) -> None:
    """Refuse to send a value that was masked: it would replace the real one.

    :raises Refused: the parameters have one.
    """
    for row in values if isinstance(values, list) else [values]:
        if HIDDEN in (row.values() if isinstance(row, dict) else row or ()):
            raise Refused(
                "a hidden value cannot be sent to the database",
                hint="load the model: its attributes are whole",
            )


def _hider(description: Sequence[Any] | None, statement: str) -> Hide | None:
    """Return the function that hides the secrets of a row; None if it has none."""
    secret = {i for i, column in enumerate(description or ()) if is_secret_name(column[0])}
    if secret:
        return lambda row: tuple(
            HIDDEN if value is not None and (i in secret or looks_secret(value)) else value
            for i, value in enumerate(row)
        )
    if description and any(map(is_secret_name, _WORD.findall(statement))):
        # The column has another name here, so only its content shows what it is.
        return lambda row: tuple(HIDDEN if looks_secret(value) else value for value in row)
    return None


def _loads_models(context: Any) -> bool:
    """Return whether the ORM loads or writes objects, which it must know whole."""
    # Only a session has these options; a connection makes rows of the same statement.
    if context is None or "_sa_orm_load_options" not in context.execution_options:
        return False
    described = getattr(context.invoked_statement, "column_descriptions", ())
    return any(_is_entity(column.get("expr")) for column in described)


def _is_entity(expression: Any) -> bool:
    inspected = sa.inspect(expression, raiseerr=False)
    return bool(
        getattr(inspected, "is_mapper", False) or getattr(inspected, "is_aliased_class", False)
    )


def _is_by_an_input(trusted: Iterable[str]) -> bool:
    """Return whether an input asks, or a library for it, and not a service or the application."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  (inspect is slower by far)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module == "__main__":
            return True
        if module.partition(".")[0] in trusted and not module.startswith(_CONSOLE):
            return False
        frame = frame.f_back
    return False


def _hide_rows(connection: sa.Connection, cursor: Any, hide: Hide) -> None:
    is_sqlite = connection.dialect.name == "sqlite"
    cursor.row_factory = (lambda _cursor, row: hide(row)) if is_sqlite else (lambda _cursor: hide)
