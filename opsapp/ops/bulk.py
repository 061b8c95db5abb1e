"""Bulk changes: statements that an application's session executes without loading accounts.

An ``update(User)`` or ``delete(User)`` is told account by account, by the values before and
after it. An ``insert``, a write to the table of a relation, and an update of very many are
told as a statement: its columns, its condition without values, and the number of rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..engine import fingerprint
from ..types import Record
from .changes import CREATE, UPDATE, Change
from .protection import is_ours, savepoint

if TYPE_CHECKING:
    from .observer import Observer

MOST = 1000
"""The accounts up to which an update is told one by one."""

Rows = dict[Any, Record]
"""The watched columns of accounts by their keys."""


def execute_and_record(observer: Observer, state: so.ORMExecuteState) -> Any:
    """Execute a statement of the application's, and write down what it changed.

    :returns: its result; None if it changes no account, and is not executed yet.
    :raises Refused: it changes what is protected, or leaves no administrator.
    """
    bulk = _Bulk(observer, state)
    if not bulk.is_watched:
        return None
    connection = state.session.connection(bind_arguments=state.bind_arguments)
    if is_ours(connection):
        return None
    observer.protection.before_bulk(connection, state.session, bulk.names, bulk.may_lose)
    with observer.log_errors(connection):
        bulk.prepare(connection)
    result = state.invoke_statement()

    def make_rows() -> list[Record]:
        changed = bulk.list_changes(result)
        tell = observer.foreign_keys.tell
        return observer.rows(
            (key, event) for key, of in changed for event in tell(connection, [of])
        )

    observer.write(connection, state.session, make_rows)
    observer.protection.after_loss(state.session)
    return result


class _Bulk:
    """One statement, before and after it is executed."""

    def __init__(self, observer: Observer, state: so.ORMExecuteState) -> None:
        self._watch = watch = observer.watch
        self._state = state
        self._statement: Any = state.statement
        # The table itself: another database of the application may have one of the same name.
        table = getattr(self._statement, "table", None)
        self._relation = watch.secondary.get(table) if isinstance(table, sa.Table) else None
        is_theirs = isinstance(table, sa.Table) and table in watch.tables
        self.names = watch.keys_of(_names(state)) if is_theirs else frozenset()
        self.is_watched = self._relation is not None or (
            is_theirs and (not state.is_update or bool(self.names & watch.columns))
        )
        self._connection: sa.Connection | None = None
        self._before: Rows = {}

    @property
    def may_lose(self) -> bool:
        """True if an administrator may be gone afterwards."""
        if self._relation is not None or self._state.is_delete:
            return True
        return self._state.is_update and not self.names.isdisjoint(self._watch.lasting)

    def prepare(self, connection: sa.Connection) -> None:
        """Read the accounts that the statement is about to change, and lock them as it will.

        Else a change that another transaction makes meanwhile would be told by both.
        """
        if self._relation is None and not self._state.is_insert:
            condition = self._condition()
            if condition is not None:
                self._before = self._read(connection, condition, lock=True)
        self._connection = connection

    def list_changes(self, result: Any) -> Iterable[tuple[Any, Change]]:
        """Return the changes with the keys of their accounts; a key of None means many."""
        if self._connection is None:  # It was not prepared, which is counted.
            return []
        if self._relation is not None:
            verb = "insert" if self._state.is_insert else "delete"
            verb = "update" if self._state.is_update else verb
            return [(None, self._summary(f"user:{self._relation}:{verb}", result))]
        if self._state.is_insert:
            return [(None, self._summary(CREATE, result))]
        if self._state.is_delete:
            remaining = self._remaining_keys(self._connection, result)
            rows = self._before.items()
            return [
                (key, self._watch.deletion_of(row)) for key, row in rows if key not in remaining
            ]
        if not self._before or len(self._before) > MOST:
            return [(None, self._summary(UPDATE, result))] if _count(self._state, result) else []
        return self._updates(self._connection)

    def _remaining_keys(self, connection: sa.Connection, result: Any) -> set[Any]:
        """Return the accounts that are there still: a listener may have added a condition."""
        keys = list(self._before)
        if not keys or getattr(result, "rowcount", -1) == len(keys):
            return set()
        key = self._watch.mapper.primary_key[0]
        with savepoint(connection):
            parts = [keys[start : start + MOST] for start in range(0, len(keys), MOST)]
            queries = [sa.select(key).where(key.in_(part)) for part in parts]
            return {id for query in queries for id in connection.scalars(query)}

    def _updates(self, connection: sa.Connection) -> list[tuple[Any, Change]]:
        key = self._watch.mapper.primary_key[0]
        after = self._read(connection, key.in_(list(self._before)))
        changes = []
        for id, old in self._before.items():
            new = after.get(id, old)
            names = [name for name in old if old[name] != new[name]]
            if names:
                changes.append((id, self._watch.change(names, old, new)))
        return changes

    def _condition(self) -> sa.ColumnElement[bool] | None:
        """Return which accounts the statement changes; None if that cannot be told."""
        where: sa.ColumnElement[bool] | None = self._statement.whereclause
        parameters = self._state.parameters
        if not isinstance(parameters, list):
            return sa.true() if where is None else where
        key = self._watch.mapper.primary_key[0]
        name = self._watch.mapper.get_property_by_column(key).key
        if where is None and all(name in row for row in parameters):
            return key.in_([row[name] for row in parameters])
        return None

    def _read(
        self, connection: sa.Connection, condition: sa.ColumnElement[bool], *, lock: bool = False
    ) -> Rows:
        mapper = self._watch.mapper
        keys = sorted(self._watch.columns if self._state.is_delete else self.names)
        keys = [key for key in keys if key in self._watch.columns]
        columns = [mapper.get_property(key).columns[0] for key in keys]
        query = sa.select(mapper.primary_key[0], *columns).where(condition)
        if not self._state.is_delete:
            query = query.limit(MOST + 1)
        if lock:
            query = query.with_for_update(
                key_share=not self._state.is_delete, of=mapper.local_table
            )
        parameters = self._state.parameters
        with savepoint(connection):
            rows = connection.execute(query, parameters if isinstance(parameters, dict) else {})
            return {id: dict(zip(keys, values, strict=True)) for id, *values in rows}

    def _summary(self, action: str, result: Any) -> Change:
        where = getattr(self._statement, "whereclause", None)
        after: Record = {"count": _count(self._state, result)}
        if names := sorted(_names(self._state)):
            after["columns"] = names
        if where is not None:
            text = str(where.compile(compile_kwargs={"render_postcompile": True}))
            after["where"] = fingerprint.fingerprint(text)
        return Change(action, None, after)


def _names(state: so.ORMExecuteState) -> set[str]:
    """Return the columns that a statement sets, as it names them."""
    statement: Any = state.statement
    values = getattr(statement, "_values", None) or {}  # SQLAlchemy has no public name for it.
    many = getattr(statement, "_multi_values", None) or ()
    parameters = state.parameters or {}
    sets = [values, *(row for rows in many for row in rows)]
    sets += parameters if isinstance(parameters, list) else [parameters]
    return {str(getattr(name, "key", name)) for row in sets for name in row}


def _count(state: so.ORMExecuteState, result: Any) -> int:
    if isinstance(state.parameters, list):
        return len(state.parameters)
    many = getattr(state.statement, "_multi_values", None)
    if many:
        return sum(len(rows) for rows in many)
    # PostgreSQL does not count the one row of an insert that returns its key.
    return max(int(state.is_insert), getattr(result, "rowcount", 0))
