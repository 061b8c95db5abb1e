"""What the console's transactions write: by table, while they are open and once committed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import event

from ..engine.connections import SANDBOX
from .query.statement import READS, first_word

Change = tuple[str, str]
"""A table, and ``inserted``, ``updated`` or ``deleted``."""

UNSEEN: Change = ("others", "locked, or written by a function")
OTHER = "other statements"

_TEXT = re.compile(
    r"\b(?:(insert)\s+(?:or\s+\w+\s+)?into|(replace)\s+into|(?<!for\s)(?<!key\s)(update)"
    r"|(delete)\s+from)\s+(?:only\s+)?[\"'`]?([\w.]+)",
    re.IGNORECASE,
)
_COUNTED = frozenset({"insert", "replace", "update", "delete", "with"})
_CHANGES_NOTHING = READS | {
    *("begin", "savepoint", "release", "rollback", "commit"),
    *("set", "reset", "pragma", "declare", "fetch", "close", ""),
}
_DONE = {"insert": "inserted", "replace": "inserted", "update": "updated", "delete": "deleted"}


class Writes:
    """Listens to engines, and knows which of their transactions are open and what they wrote."""

    def __init__(self, engines: Iterable[sa.Engine]) -> None:
        self.committed: Counter[Change] = Counter()
        self._open: WeakKeyDictionary[sa.Connection, list[tuple[Change, Any]]] = WeakKeyDictionary()
        self._marks: WeakKeyDictionary[sa.Connection, dict[str, int]] = WeakKeyDictionary()
        for engine in engines:
            event.listen(engine, "begin", self._begin)
            event.listen(engine, "commit", self._commit)
            event.listen(engine, "rollback", self._rollback)
            event.listen(engine, "savepoint", self._savepoint)
            event.listen(engine, "rollback_savepoint", self._rollback_savepoint)
            event.listen(engine, "after_cursor_execute", self._executed)

    def open(self) -> list[sa.Connection]:
        """The connections that are in a transaction."""
        return list(self._open)

    def uncommitted(self) -> Counter[Change]:
        """What the open transactions have written."""
        found: Counter[Change] = Counter()
        for connection, written in self._open.items():
            found += _summed(written)
            if not written and _has_written_unseen(connection):
                found[UNSEEN] += 1
        return found

    def _begin(self, connection: sa.Connection) -> None:
        self._open[connection], self._marks[connection] = [], {}

    def _commit(self, connection: sa.Connection) -> None:
        self.committed += _summed(self._open.pop(connection, []))

    def _rollback(self, connection: sa.Connection) -> None:
        self._open.pop(connection, None)

    def _savepoint(self, connection: sa.Connection, name: str | None) -> None:
        if name in (marks := self._marks.get(connection, {})):
            return
        marks[str(name)] = len(self._open.get(connection, []))

    def _rollback_savepoint(self, connection: sa.Connection, name: str, _context: None) -> None:
        if connection in self._open:
            del self._open[connection][self._marks[connection].pop(name, 0) :]

    def _executed(
        self,
        connection: sa.Connection,
        cursor: Any,
        statement: str,
        _parameters: Any,
        context: Any,
        _many: bool,
    ) -> None:
        count = cursor.rowcount
        # SQLite knows how many rows a RETURNING has once they were fetched.
        is_returning = connection.dialect.name == "sqlite" and cursor.description
        if (count or is_returning) and (change := _change(statement, context)):
            self._open.setdefault(connection, []).append((change, count or cursor))


def _summed(written: list[tuple[Change, Any]]) -> Counter[Change]:
    """The changes with their rows; what the driver did not count, and says -1, is one."""
    found: Counter[Change] = Counter()
    for change, count in written:
        found[change] += max(1, getattr(count, "rowcount", count))
    return found


def _has_written_unseen(connection: sa.Connection) -> bool:
    """Whether a function has written, or a SELECT locked: PostgreSQL then gave a number to it."""
    if connection.dialect.name != "postgresql" or connection.get_execution_options().get(SANDBOX):
        return False
    if connection.invalidated:  # It was lost, and everything that it did.
        return False
    driver: Any = connection.connection.dbapi_connection
    if driver.info.transaction_status.name != "INTRANS":
        return False
    return bool(driver.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL").fetchone()[0])


def _change(statement: str, context: Any) -> Change | None:
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        table = getattr(getattr(context.compiled, "statement", None), "table", None)
        done = "inserted" if context.isinsert else "updated" if context.isupdate else "deleted"
        if table is not None:
            return str(table.name), done
    word = first_word(statement)
    if word in _COUNTED and (found := _TEXT.search(statement)):
        verb = next(filter(None, found.groups()[:4]))
        return found[5], _DONE[verb.lower()]
    return None if word in _CHANGES_NOTHING else (OTHER, word)


def told(changes: Counter[Change]) -> dict[str, str]:
    """The changes by table, in words: ``{"orders": "3 inserted, 1 deleted"}``."""
    by_table: dict[str, list[str]] = {}
    for (table, done), count in sorted(changes.items()):
        by_table.setdefault(table, []).append(f"{count} {done}")
    return {table: ", ".join(words) for table, words in by_table.items()}
