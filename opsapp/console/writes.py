"""What the console's transactions write: by table, while they are open and once committed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import event

Change = tuple[str, str]
"""A table, and ``inserted``, ``updated`` or ``deleted``."""

_TEXT = re.compile(
    r"\s*(?:(insert)\s+(?:or\s+\w+\s+)?into|(replace)\s+into|(update)|(delete)\s+from)"
    r"\s+(?:only\s+)?[\"'`]?([\w.]+)",
    re.IGNORECASE,
)
_DONE = {"insert": "inserted", "replace": "inserted", "update": "updated", "delete": "deleted"}


class Writes:
    """Listens to engines, and knows which of their transactions are open and what they wrote."""

    def __init__(self, engines: Iterable[sa.Engine]) -> None:
        self.committed: Counter[Change] = Counter()
        self._open: WeakKeyDictionary[sa.Connection, list[tuple[Change, int]]] = WeakKeyDictionary()
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
        for written in self._open.values():
            for change, count in written:
                found[change] += count
        return found

    def _begin(self, connection: sa.Connection) -> None:
        self._open[connection], self._marks[connection] = [], {}

    def _commit(self, connection: sa.Connection) -> None:
        for change, count in self._open.pop(connection, []):
            self.committed[change] += count

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
        if change := _change(statement, context):
            # Some drivers do not count, and say -1.
            self._open.setdefault(connection, []).append((change, max(1, cursor.rowcount)))


def _change(statement: str, context: Any) -> Change | None:
    if context is not None and (context.isinsert or context.isupdate or context.isdelete):
        table = getattr(getattr(context.compiled, "statement", None), "table", None)
        done = "inserted" if context.isinsert else "updated" if context.isupdate else "deleted"
        if table is not None:
            return str(table.name), done
    found = _TEXT.match(statement)
    if found is None:
        return None
    verb = next(filter(None, found.groups()[:4]))
    return found[5], _DONE[verb.lower()]


def told(changes: Counter[Change]) -> dict[str, str]:
    """The changes by table, in words: ``{"orders": "3 inserted, 1 deleted"}``."""
    by_table: dict[str, list[str]] = {}
    for (table, done), count in sorted(changes.items()):
        by_table.setdefault(table, []).append(f"{count} {done}")
    return {table: ", ".join(words) for table, words in by_table.items()}
