"""Changes that wait: an application's own code wrote them, and the next unit chains them.

An application's transaction takes no gate, since it must not wait for an operator. It
leaves each change as a row, which is committed if and only if the change is. The holder
of the gate moves the rows into the chain. See docs/decisions/observer.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock
from ..models import PendingEvent, PersonalValue
from ..types import Record
from ..values.damage import Damaged
from . import ledger

BATCH = 1000
"""The most rows that one unit chains: an operator waits for them."""
DELETE = "user:account:delete"
KEY = "key"
"""The action of a row that is no event: its ``after`` is what stands beside the chain for an
account whose key is personal data."""


_PERSONAL = "personal"
_TABLE: Any = PendingEvent.__table__
_COLUMNS = ("at", "actor", "door", "action", "subject", "before", "after", "correlation")


def mark(value: str) -> dict[str, str]:
    """Return a personal value as it waits; it gets a token with its event."""
    return {_PERSONAL: value}


def unmark(side: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return one side of a waiting change with its personal values readable."""
    if side is None:
        return None
    return {name: value[_PERSONAL] if _is_mark(value) else value for name, value in side.items()}


def _is_mark(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {_PERSONAL}


def add(connection: sa.Connection, rows: Sequence[Record]) -> None:
    """Write changes that wait, without the gate.

    It goes straight to the driver: an application's commit would notice SQLAlchemy's part.

    :param rows: every column but ``id``.
    """
    insert = _insert_of(connection.dialect)
    cursor = connection.connection.cursor()
    try:
        if len(rows) == 1:
            cursor.execute(insert.statement, insert.values(rows[0]))
        else:
            cursor.executemany(insert.statement, [insert.values(row) for row in rows])
    finally:
        cursor.close()


def add_in_savepoint(
    connection: sa.Connection, rows: Sequence[Record], name: str, seconds: float
) -> bool:
    """Write changes inside of a savepoint, in one message; return whether the driver can.

    Three messages would cost an application's commit more than the change itself. An error
    leaves the transaction as it was before.

    :param seconds: the longest wait for a lock on the table.
    """
    cursor = _merging_cursor(connection)
    if cursor is None:
        return False
    insert = _insert_of(connection.dialect)
    with closing(cursor):
        parts = [cursor.mogrify(insert.statement, insert.values(row)) for row in rows]
        words = [part.decode() if isinstance(part, bytes) else part for part in parts]
        begin, end = patience(seconds)
        words = [begin, *words, end]
        if is_autocommit(connection):  # Each message is a transaction of its own.
            cursor.execute(";".join(words))
            return True
        try:
            cursor.execute(";".join([f"SAVEPOINT {name}", *words, f"RELEASE SAVEPOINT {name}"]))
        except Exception:
            cursor.execute(f"ROLLBACK TO SAVEPOINT {name}")
            raise
    return True


def patience(seconds: float) -> tuple[str, str]:
    """Return the statements of PostgreSQL that bound a wait for locks, and that end the bound.

    The application's own bound is kept beside it, since a released savepoint keeps settings.
    """
    return _PATIENCE.format(milliseconds=int(seconds * 1000)), _USUAL


_PATIENCE = (
    "SELECT set_config('opsapp.lock_timeout', current_setting('lock_timeout'), true),"
    " set_config('lock_timeout', '{milliseconds}', true)"
)
_USUAL = "SELECT set_config('lock_timeout', current_setting('opsapp.lock_timeout'), true)"


def is_autocommit(connection: sa.Connection) -> bool:
    """Return whether each statement is committed at once, so that there are no savepoints."""
    driver: Any = connection.connection.dbapi_connection
    return getattr(driver, "autocommit", False) is True


def _merging_cursor(connection: sa.Connection) -> Any:
    """Return a cursor that writes values into its statements; None where the driver has none."""
    driver: Any = connection.connection.dbapi_connection
    if connection.dialect.driver == "psycopg":
        from psycopg import ClientCursor

        return ClientCursor(driver)
    return driver.cursor() if connection.dialect.driver == "psycopg2" else None


class _Insert:
    """The statement of one driver, and what its values are to the driver."""

    def __init__(self, dialect: sa.Dialect) -> None:
        values: Record = {name: sa.bindparam(name) for name in _COLUMNS}
        compiled: Any = sa.insert(_TABLE).values(values).inline().compile(dialect=dialect)
        self.statement = str(compiled)
        self._order: Sequence[str] | None = compiled.positiontup
        self._processors = {
            name: _TABLE.c[name].type.dialect_impl(dialect).bind_processor(dialect)
            for name in _COLUMNS
        }

    def values(self, row: Record) -> Any:
        """Return the parameters of a row, by position or by name."""
        processed = {
            name: row[name] if process is None else process(row[name])
            for name, process in self._processors.items()
        }
        return processed if self._order is None else [processed[name] for name in self._order]


def _insert_of(dialect: sa.Dialect) -> _Insert:
    insert = _inserts.get(dialect)
    if insert is None:
        insert = _inserts[dialect] = _Insert(dialect)
    return insert


_inserts: WeakKeyDictionary[sa.Dialect, _Insert] = WeakKeyDictionary()


def waiting(session: so.Session) -> tuple[int, datetime | None]:
    """Return how many changes wait, and since when the oldest of them does."""
    count, since = session.execute(
        sa.select(sa.func.count(), sa.func.min(PendingEvent.at)).where(PendingEvent.action != KEY)
    ).one()
    return count, since


# --- chaining ----------------------------------------------------------------


def seal(connection: sa.Connection, head: ledger.Head, *, limit: int = BATCH) -> int:
    """Move waiting changes into the chain, the oldest first; return how many.

    The caller holds the gate. The personal values of an account that was deleted are
    erased beside the chain.
    """
    rows = connection.execute(sa.select(_TABLE).order_by(_TABLE.c.id).limit(limit)).all()
    if not rows:
        return 0
    beside: list[Record] = []
    events: list[Record] = []
    erased: list[str] = []
    for row in rows:
        if row.action == KEY:
            if row.after not in beside and not ledger.has_name(connection, row.after["token"]):
                beside.append(row.after)
            continue
        events.append(_event(row, beside))
        if row.action == DELETE:
            # Later rows of this subject are of another account, which has the key now.
            beside = [name for name in beside if name["subject"] != row.subject]
            erased.append(row.subject)
    _erase(connection, erased)
    if events:
        ledger.append(connection, head, events)
    ledger.add_names(connection, beside)
    connection.execute(sa.delete(_TABLE).where(_TABLE.c.id.in_([row.id for row in rows])))
    return len(rows)


def _event(row: Any, beside: list[Record]) -> Record:
    values = {name: getattr(row, name) for name in _COLUMNS}
    damaged = sorted(name for name, value in values.items() if isinstance(value, Damaged))
    if damaged:
        # Not what was written, and yet no reason to stop every unit.
        return {**_REPLACEMENT, "at": clock.now(), "after": {"row": row.id, "damaged": damaged}}
    for side in ledger.SIDES:
        values[side] = _tokenize(row.subject, values[side], beside)
    return {**values, "reason": None}


_REPLACEMENT = {
    "actor": {"kind": "stranger", "name": "unknown"},
    "door": "code",
    "action": "audit:pending:damaged",
    "subject": "audit",
    "reason": None,
    "before": None,
    "correlation": "",
}


def _tokenize(subject: str, side: Record | None, beside: list[Record]) -> Record | None:
    return side and {
        name: ledger.token(subject, value[_PERSONAL], beside) if _is_mark(value) else value
        for name, value in side.items()
    }


def _erase(connection: sa.Connection, subjects: Sequence[str]) -> None:
    if subjects:
        connection.execute(sa.delete(PersonalValue).where(PersonalValue.subject.in_(subjects)))
