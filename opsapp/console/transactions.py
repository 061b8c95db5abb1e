"""Transactions: none stays open between two inputs, and objects that were changed wait.

The reason is in docs/decisions/console.md#between-inputs-no-transaction-stays-open.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from sqlalchemy import orm as so
from sqlalchemy.exc import DBAPIError

from .. import text
from ..extensions import db
from . import sandbox
from .change_log import Writes, in_words
from .pending import Pending

ANEW = "The sandbox was ended, and its changes with it: it begins anew."
COMMIT_EARLIER = "Commit before the context, session or connection ends."


@dataclass(frozen=True, slots=True)
class Remains:
    """The changes that an input left without a commit."""

    lost: dict[str, str]
    """Statements that were rolled back, by table."""
    waiting: int
    """Objects that wait in memory."""
    is_anew: bool = False
    """True if the sandbox was lost with its connection or ended by SQL, and begins anew."""
    abandoned: dict[str, str] = field(default_factory=dict)
    """The changes of sessions and connections that were closed before a commit, by table."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.waiting or self.abandoned)

    def remarks(self, *, may_commit: bool) -> list[str]:
        """Return lines for the user at the prompt."""
        remarks = [ANEW] if self.is_anew else []
        if self.abandoned:
            remarks.append(self.abandoned_line(may_commit=may_commit))
        if self.lost:
            remarks.append(
                f"Rolled back, because no transaction stays open: {_join_tables(self.lost)}."
            )
        if self.waiting:
            next_step = "commit() writes" if may_commit else "this session is read-only"
            verb = "waits" if self.waiting == 1 else "wait"
            changes = text.pluralize(self.waiting, "change")
            remarks.append(f"{changes} {verb}: {next_step}, rollback() forgets.")
        return remarks

    def describe_changes(self) -> str:
        """Return the changes in words, for a program that ends without a commit."""
        words = [text.pluralize(self.waiting, "change")] if self.waiting else []
        return "; ".join([*words, _join_tables(self.lost)] if self.lost else words)

    def abandoned_line(self, *, may_commit: bool) -> str:
        """Return the line about abandoned changes."""
        line = f"Not committed: {_join_tables(self.abandoned)}."
        return f"{line} {COMMIT_EARLIER}" if may_commit else line


def _join_tables(changes: dict[str, str]) -> str:
    return ", ".join(f"{table} ({words})" for table, words in changes.items())


def settle(writes: Writes, pending: Pending) -> Remains:
    """End every transaction that an input left open; return its uncommitted changes.

    Loaded values stay loaded. Objects that were added, changed or deleted wait in
    memory, also when a query has flushed them or their connection was lost. Other
    threads, such as the one that sends mail, end their transactions themselves.
    """
    session = db.session()
    losses = writes.uncommitted_changes(flushed=False)
    if losses or writes.has_flushed() or not session.is_active:
        snapshot = pending.keep()
        _roll_back(session)
        waiting = pending.restore(snapshot)
    else:
        waiting = pending.count()
    _close(session)
    for connection in writes.open():  # Those that the user opened.
        with suppress(DBAPIError):  # It was lost, and its transaction with it.
            connection.rollback()
    if waiting:
        session.begin()  # Without a transaction a rollback would discard nothing.
    is_anew = sandbox.settle()
    # A query in the next input would flush the objects that wait, which may be incomplete.
    session.autoflush = not waiting
    return Remains(in_words(losses), waiting, is_anew, in_words(writes.abandoned.take()))


def _roll_back(session: so.Session) -> None:
    with suppress(DBAPIError):  # The connection was lost, and the session is clean all the same.
        session.rollback()


def _close(session: so.Session) -> None:
    """End the transaction of the session, whose own rollback would forget the loaded values."""
    for current in (session.get_nested_transaction, session.get_transaction):
        while (transaction := current()) is not None:
            with suppress(DBAPIError):  # The connection was lost.
                transaction.close()


def forget(pending: Pending) -> int:
    """Undo every uncommitted change; return how many objects were changed."""
    count = pending.count()
    session = db.session()
    _roll_back(session)
    session.autoflush = True
    return count
