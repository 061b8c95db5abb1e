"""Transactions: none stays open between two inputs, and objects that were changed wait.

The reason is in docs/decisions/console.md#between-inputs-no-transaction-stays-open.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..engine.connections import SANDBOX
from ..extensions import db
from .change_log import Writes, in_words
from .pending import Pending


@dataclass(frozen=True, slots=True)
class Remains:
    """The changes that an input left without a commit."""

    lost: dict[str, str]
    """Statements that were rolled back, by table."""
    waiting: int
    """Objects that wait in memory."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.waiting)

    def remarks(self, *, may_commit: bool) -> list[str]:
        """Return lines for the user at the prompt."""
        remarks = []
        if self.lost:
            remarks.append(f"Rolled back, because no transaction stays open: {self._lost_words()}.")
        if self.waiting:
            next_step = "commit() writes" if may_commit else "this session is read-only"
            verb = "waits" if self.waiting == 1 else "wait"
            remarks.append(f"{_changes(self.waiting)} {verb}: {next_step}, rollback() forgets.")
        return remarks

    def uncommitted(self) -> str:
        """Return the changes in words, for a program that ends without a commit."""
        words = [_changes(self.waiting)] if self.waiting else []
        return "; ".join([*words, self._lost_words()] if self.lost else words)

    def _lost_words(self) -> str:
        return ", ".join(f"{table} ({words})" for table, words in self.lost.items())


def _changes(count: int) -> str:
    return f"{count} change" if count == 1 else f"{count} changes"


def settle(writes: Writes, pending: Pending) -> Remains:
    """End every transaction that an input left open; return its uncommitted changes.

    Loaded values stay loaded. Objects that were added, changed or deleted wait in
    memory, also when a query has flushed them or their connection was lost. Other
    threads, such as the one that sends mail, end their transactions themselves.
    """
    session = db.session()
    lost = writes.uncommitted(flushed=False)
    if lost or writes.has_flushed() or _is_broken(session, writes):
        waiting = _roll_back(writes, pending)
    else:
        waiting = pending.count()
    for connection in writes.open():
        _let_go(connection)
    if not waiting:
        if (transaction := session.get_transaction()) is not None:
            transaction.close()  # The session's own rollback would forget the loaded values.
        for connection in writes.open():  # Those that the user opened.
            connection.rollback()
    # A query in the next input would flush the objects that wait, which may be incomplete.
    session.autoflush = not waiting
    return Remains(in_words(lost), waiting)


def _roll_back(writes: Writes, pending: Pending) -> int:
    intents = pending.intents()
    db.session.rollback()
    for connection in writes.open():  # Those that the user opened.
        connection.rollback()
    return pending.restore(intents)


def _is_broken(session: so.Session, writes: Writes) -> bool:
    """Return whether a connection was lost or a flush failed, so that only a rollback helps."""
    return not session.is_active or any(each.invalidated for each in writes.open())


def _let_go(connection: sa.Connection) -> None:
    """End the transaction in the database, while SQLAlchemy's goes on with its objects.

    It has only read. The next statement begins a new one, as SQLAlchemy expects of a driver.
    """
    if connection.get_execution_options().get(SANDBOX):
        return
    driver = connection.connection.dbapi_connection
    if driver is None:
        return
    if connection.dialect.name == "sqlite":
        cursor = driver.cursor()
        cursor.execute("ROLLBACK")
        cursor.execute("BEGIN")  # It holds nothing before its first statement.
    else:
        driver.rollback()


def forget(pending: Pending) -> int:
    """Undo every uncommitted change; return how many objects were changed."""
    count = pending.count()
    session = db.session()
    session.rollback()
    session.autoflush = True
    return count
