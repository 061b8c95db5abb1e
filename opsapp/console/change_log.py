"""Change log: the rows that transactions write, by table, while open and once committed."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, finalize

import sqlalchemy as sa

from ..engine.connections import SANDBOX
from .abandoned import Abandoned, Change, is_closed
from .listeners import listen
from .pending import Pending
from .query.statement import READS, first_word

BY_FUNCTION: Change = ("others", "written by a function")
UNSEEN: Change = ("others", "locked, or written by a function")
OTHER = "other statements"

_TEXT = re.compile(
    r"\b(?:(insert)\s+(?:or\s+\w+\s+)?into|(replace)\s+into|(?<!for\s)(?<!key\s)(update)"
    r"|(delete)\s+from)\s+(?:only\s+)?[\"'`]?([\w.]+)",
    re.IGNORECASE,
)
_COUNTED = frozenset({"insert", "replace", "update", "delete", "with"})
_CHANGES_NOTHING = READS | {
    *("begin", "savepoint", "release", "rollback"),
    *("set", "reset", "pragma", "declare", "fetch", "close", ""),
}
_COMMITS = frozenset({"commit", "end"})
_ENDS = _COMMITS | {"rollback", "abort"}
_TO_SAVEPOINT = re.compile(r"\bto\b", re.IGNORECASE)
_WRITE_LOCK = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
    " AND mode NOT IN ('AccessShareLock', 'RowShareLock')"
    " AND relation NOT IN (SELECT seqrelid FROM pg_sequence))"
)
_DONE = {"insert": "inserted", "replace": "inserted", "update": "updated", "delete": "deleted"}


@dataclass(frozen=True, slots=True)
class Written:
    """The rows that one statement changed."""

    change: Change
    rows: Any
    """Their number, or the cursor that knows it later."""
    is_flush: bool


class Writes:
    """A listener to engines that knows their open transactions and the rows these wrote."""

    def __init__(self, engines: Iterable[sa.Engine], pending: Pending) -> None:
        self.committed: Counter[Change] = Counter()
        self.abandoned = Abandoned(pending)
        self._pending = pending
        self._open: WeakKeyDictionary[sa.Connection, list[Written]] = WeakKeyDictionary()
        self._threads: WeakKeyDictionary[sa.Connection, int] = WeakKeyDictionary()
        self._drops: WeakKeyDictionary[sa.Connection, finalize[..., sa.Connection]] = (
            WeakKeyDictionary()
        )
        self._marks: WeakKeyDictionary[sa.Connection, list[int]] = WeakKeyDictionary()
        for engine in engines:
            listen(engine, "begin", self._begin)
            listen(engine, "commit", self._commit)
            listen(engine, "rollback", self._rollback)
            listen(engine, "savepoint", self._savepoint)
            listen(engine, "rollback_savepoint", self._rollback_savepoint)
            listen(engine, "after_cursor_execute", self._note_statement)

    def open(self) -> list[sa.Connection]:
        """Return the connections that are in a transaction, without those of other threads.

        The thread that sends mail or writes profiles is in the middle of its own. That of
        a thread that has ended is left to no other.
        """
        others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        return [each for each in list(self._open) if self._threads.get(each) not in others]

    def has_flushed(self) -> bool:
        """Return whether an open transaction has rows of a flush."""
        return any(each.is_flush for connection in self.open() for each in self._open[connection])

    def uncommitted_changes(self, *, flushed: bool = True) -> Counter[Change]:
        """Return the changes of the open transactions.

        :param flushed: include the rows of flushed objects.
        """
        total: Counter[Change] = Counter()
        for connection in self.open():
            total += self._changes_of(connection, flushed=flushed)
        return total

    def changes_to_commit(self) -> Counter[Change]:
        """Return the changes of the open transactions, and that which may be no more than a lock.

        A commit too many does no harm.
        """
        total: Counter[Change] = Counter()
        for connection in self.open():
            entries = self._open[connection]
            is_unseen = not entries and _has_number(connection)
            total += Counter([UNSEEN]) if is_unseen else _sum_up(entries)
        return total

    def _changes_of(
        self, connection: sa.Connection, *, since: int = 0, flushed: bool = True
    ) -> Counter[Change]:
        entries = self._open.get(connection, [])
        if not entries and _has_written_unseen(connection):
            return Counter([BY_FUNCTION])
        return _sum_up([each for each in entries[since:] if flushed or not each.is_flush])

    def _begin(self, connection: sa.Connection) -> None:
        entries: list[Written] = []
        self._open[connection] = entries
        self._threads[connection] = threading.get_ident()
        self._drops[connection] = finalize(connection, self._drop, entries)
        self._drops[connection].atexit = False

    def _drop(self, entries: list[Written]) -> None:
        """Note the changes of a connection that no variable has any more."""
        self.abandoned.add(_sum_up(entries))

    def _commit(self, connection: sa.Connection) -> None:
        self.committed += _sum_up(self._take(connection))

    def _rollback(self, connection: sa.Connection) -> None:
        if is_closed():
            self.abandoned.add(self._changes_of(connection))
        self._take(connection)

    def _take(self, connection: sa.Connection) -> list[Written]:
        """Return the changes of a transaction that ends, and forget them."""
        if (drop := self._drops.pop(connection, None)) is not None:
            drop.detach()
        return self._open.pop(connection, [])

    def _end_transaction(self, connection: sa.Connection, word: str) -> None:
        """Note that SQL has ended the transaction, which SQLAlchemy knows nothing of."""
        entries = self._open.setdefault(connection, [])
        if word in _COMMITS:
            self.committed += _sum_up(entries)
        entries.clear()
        self._pending.forget_flushed_objects(connection)

    def _savepoint(self, connection: sa.Connection, _name: None) -> None:
        # SQLAlchemy names it afterwards, by the number of savepoints of this connection, in
        # whichever transaction: no end of one begins a new list.
        self._marks.setdefault(connection, []).append(len(self._open.get(connection, [])))

    def _rollback_savepoint(self, connection: sa.Connection, name: str, _context: None) -> None:
        if connection in self._open:
            number = int(name.removeprefix("sa_savepoint_"))
            mark = self._marks[connection][number - 1]
            if is_closed():
                self.abandoned.add(self._changes_of(connection, since=mark))
            del self._open[connection][mark:]

    def _note_statement(
        self,
        connection: sa.Connection,
        cursor: Any,
        statement: str,
        _parameters: Any,
        context: Any,
        _many: bool,
    ) -> None:
        if first_word(statement) in _ENDS and not _TO_SAVEPOINT.search(statement):
            self._end_transaction(connection, first_word(statement))
            return
        count = cursor.rowcount
        # SQLite knows how many rows a RETURNING has once they were fetched.
        is_returning = connection.dialect.name == "sqlite" and cursor.description
        if (count or is_returning) and (change := _change(statement, context)):
            self._pending.writes()
            is_flush = self._pending.is_flushing
            entry = Written(change, count or cursor, is_flush)
            if _commits_each(connection):
                self.committed += _sum_up([entry])
            else:
                self._open.setdefault(connection, []).append(entry)


def _sum_up(entries: list[Written]) -> Counter[Change]:
    """Return the changes with their rows; -1, of a driver that did not count, is one."""
    total: Counter[Change] = Counter()
    for each in entries:
        total[each.change] += max(1, getattr(each.rows, "rowcount", each.rows))
    return total


def _commits_each(connection: sa.Connection) -> bool:
    """Return whether the server commits each statement; on SQLite our BEGIN keeps it from that."""
    return getattr(connection.connection.dbapi_connection, "autocommit", False) is True


def _has_number(connection: sa.Connection) -> bool:
    """Return whether PostgreSQL numbered the transaction, as for a function that wrote.

    It does so for a locked row, and for what a savepoint has undone, too.
    """
    return _query(connection, "SELECT pg_current_xact_id_if_assigned() IS NOT NULL")


def _has_written_unseen(connection: sa.Connection) -> bool:
    """Return whether the transaction has a number and the lock on a table that a write needs."""
    return _has_number(connection) and _query(connection, _WRITE_LOCK)


def _query(connection: sa.Connection, query: str) -> bool:
    """Return the answer of PostgreSQL about the open transaction; False if there is none."""
    if connection.dialect.name != "postgresql" or connection.get_execution_options().get(SANDBOX):
        return False
    if connection.invalidated:  # It was lost, and everything that it did.
        return False
    driver: Any = connection.connection.dbapi_connection
    if driver.info.transaction_status.name != "INTRANS":
        return False
    try:
        row = driver.execute(query).fetchone()
    except connection.dialect.loaded_dbapi.Error:
        return False  # It was lost, which no statement has noticed yet.
    return bool(row[0])


def _change(statement: str, context: Any) -> Change | None:
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        table = getattr(getattr(context.compiled, "statement", None), "table", None)
        operation = "inserted" if context.isinsert else "updated" if context.isupdate else "deleted"
        if table is not None:
            return str(table.name), operation
    word = first_word(statement)
    if word in _COUNTED and (match := _TEXT.search(statement)):
        verb = next(filter(None, match.groups()[:4]))
        return match[5], _DONE[verb.lower()]
    return None if word in _CHANGES_NOTHING else (OTHER, word)


def in_words(changes: Counter[Change]) -> dict[str, str]:
    """Return the changes by table, in words: ``{"orders": "3 inserted, 1 deleted"}``."""
    by_table: dict[str, list[str]] = {}
    for (table, operation), count in sorted(changes.items()):
        by_table.setdefault(table, []).append(f"{count} {operation}")
    return {table: ", ".join(words) for table, words in by_table.items()}
