"""Masking: secret columns of a query that an input sends are hidden where they leave the driver.

The rows that a service, the application or the ORM reads stay whole, since they work with
them (docs/decisions/console.md#rows-are-masked-for-inputs-only).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from ..errors import Refused
from ..redaction import HIDDEN, looks_secret
from . import secret_columns
from .listeners import listen

_CONSOLE = ("opsapp.console", "opsapp.commands.shell")

Hide = Callable[[Sequence[Any]], tuple[Any, ...]]


def mask(engines: Iterable[sa.Engine], application: str) -> None:
    """Hide secrets in the rows that inputs read from these engines, from now on.

    :param application: the import name of the application, whose own queries are left alone.
    """
    trusted = {"opsapp", application.partition(".")[0]} - {"__main__"}

    def hide_results(
        connection: sa.Connection, cursor: Any, statement: str, _values: Any, context: Any, _: bool
    ) -> None:
        if cursor.description and not _loads_models(context):
            _hide_rows(cursor, statement, trusted)

    for engine in engines:
        listen(engine, "after_cursor_execute", hide_results)
        listen(engine, "before_cursor_execute", _refuse_hidden)
        listen(engine, "before_cursor_execute", _leave_to_engine)
        if engine.dialect.name == "sqlite":
            raw = partial(_hide_raw, WeakKeyDictionary(), trusted)
            listen(engine, "checkout", partial(_set_row_factory, raw))
        elif engine.dialect.name == "postgresql":
            listen(engine, "checkout", partial(_set_cursors, *_cursors(trusted)))


def _refuse_hidden(_connection: Any, _cursor: Any, _statement: str, values: Any, *_: Any) -> None:
    """Refuse to send a value that was masked: it would replace the real one.

    :raises Refused: the parameters have one.
    """
    for row in values if isinstance(values, list) else [values]:
        if HIDDEN in (row.values() if isinstance(row, dict) else row or ()):
            raise Refused(
                "a hidden value cannot be sent to the database",
                hint="load the model: its attributes are not hidden",
            )


def _hide_rows(cursor: Any, statement: str, trusted: Iterable[str]) -> None:
    """Hide the secrets of a result, if it has some and an input asks."""
    hide = _hider(cursor, statement)
    if hide is None or not _is_by_an_input(trusted):
        return
    is_sqlite = not hasattr(cursor, "pgresult")
    cursor.row_factory = (lambda _cursor, row: hide(row)) if is_sqlite else (lambda _cursor: hide)


def _hider(cursor: Any, statement: str) -> Hide | None:
    """Return the function that hides the secrets of a row; None if it has none."""
    names = [column[0] for column in cursor.description]
    secrets, derived = secret_columns.of_result(statement, names)
    if secret_columns.mentions(statement) and getattr(cursor, "pgresult", None) is not None:
        secrets |= secret_columns.by_origin(cursor.connection, cursor.pgresult)
    if secrets or derived or secret_columns.mentions(statement):
        return partial(_hide_values, secrets, derived)
    return None


def _hide_values(
    secrets: frozenset[int], derived: frozenset[int], row: Sequence[Any]
) -> tuple[Any, ...]:
    return tuple(
        HIDDEN
        if value is not None
        and (
            i in secrets or (i in derived and secret_columns.may_show(value)) or looks_secret(value)
        )
        else value
        for i, value in enumerate(row)
    )


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
    """Return whether an input asks, or a library for it, and not a service or the application.

    A thread of a library, such as that of an executor, works for an input.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  (inspect is slower by far)
    while frame is not None:
        module = str(frame.f_globals.get("__name__"))
        if module == "__main__":
            return True
        if module.partition(".")[0] in trusted and not module.startswith(_CONSOLE):
            return False
        frame = frame.f_back
    return True


# --- cursors of the driver -------------------------------------------------------


class Masked:
    """A cursor of psycopg that hides secrets, unless the engine's own event does."""

    trusted: Iterable[str] = ()
    is_of_engine = False

    def execute(self, query: Any, *args: Any, **how: Any) -> Any:
        """Execute a query as psycopg does."""
        parent: Any = super()
        cursor = parent.execute(query, *args, **how)
        if not self.is_of_engine and cursor.description:
            _hide_rows(cursor, _text(query, cursor), self.trusted)
        return cursor


def _leave_to_engine(_connection: Any, cursor: Any, *_statement: Any) -> None:
    """Leave a cursor of the engine to its event, which knows what the ORM loads."""
    if isinstance(cursor, Masked):
        cursor.is_of_engine = True
    elif not hasattr(cursor, "pgresult"):
        cursor.row_factory = None


def _set_row_factory(raw: Callable[..., Any], driver: Any, *_rest: Any) -> None:
    driver.row_factory = raw


def _hide_raw(
    hiders: WeakKeyDictionary[Any, tuple[Any, Hide | None]],
    trusted: Iterable[str],
    cursor: Any,
    row: tuple[Any, ...],
) -> tuple[Any, ...]:
    """Hide the secrets of a row of SQLite's driver, whose cursor does not tell the statement."""
    described, hide = hiders.get(cursor, (None, None))
    if described is not cursor.description:
        names = [column[0] for column in cursor.description]
        secrets = secret_columns.by_name(names) if _is_by_an_input(trusted) else frozenset()
        hide = partial(_hide_values, secrets, frozenset()) if secrets else None
        hiders[cursor] = cursor.description, hide
    return hide(row) if hide else row


def _cursors(trusted: Iterable[str]) -> tuple[type, type]:
    """Return psycopg's cursors, on the client and on the server, that hide secrets."""
    import psycopg

    own = {"trusted": trusted}
    client = type("Cursor", (Masked, psycopg.Cursor), own)
    return client, type("ServerCursor", (Masked, psycopg.ServerCursor), own)


def _text(query: Any, cursor: Any) -> str:
    """Return the words of a query of psycopg: a text, bytes, or composed."""
    if isinstance(query, bytes):
        return query.decode(errors="replace")
    return query if isinstance(query, str) else str(query.as_string(cursor))


def _set_cursors(client: type, server: type, driver: Any, *_rest: Any) -> None:
    driver.cursor_factory, driver.server_cursor_factory = client, server
