"""Objects that wait: a rollback at the end of an input gives them back to the session.

A query flushes the objects that were added, changed or deleted before it. The rollback that
ends the input would forget them (docs/decisions/console.md#objects-survive-a-rollback).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import orm as so
from sqlalchemy.orm.attributes import flag_modified
from sqlalchemy.util import IdentitySet

from . import loaded
from .loaded import Loaded, State

if TYPE_CHECKING:
    from ..unit.work import Unit

NO_VALUE = so.LoaderCallableStatus.NO_VALUE
Intents = dict[State, "Intent"]


@dataclass(slots=True)
class Intent:
    """An object to add, change or delete, as the last flush met it."""

    instance: object
    """Held, since a session holds what it has flushed weakly."""
    is_new: bool
    is_deleted: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    originals: dict[str, Any] = field(default_factory=dict)
    """The values before the change, of each changed attribute."""
    assigned: set[str] = field(default_factory=set)
    """The attributes of a new object that no flush has generated."""

    @property
    def is_void(self) -> bool:
        """True if the object was added and deleted again."""
        return self.is_new and self.is_deleted

    @property
    def is_change(self) -> bool:
        """True if a flush writes the object; one with equal values is in ``session.dirty`` too."""
        return self.is_new or self.is_deleted or any(map(self._differs, self.originals))

    def _differs(self, name: str) -> bool:
        value, original = self.values.get(name, NO_VALUE), self.originals[name]
        state: State = sa.inspect(self.instance)
        relation = state.mapper.relationships.get(name)
        if relation is None:
            if value is NO_VALUE or original is NO_VALUE:
                return True
            # The comparison with an SQL expression is an expression.
            return state.manager[name].impl.is_equal(value, original) is not True
        if not relation.uselist:
            return value is not original
        if relation.back_populates and relation.direction is so.RelationshipDirection.ONETOMANY:
            return False  # The objects in it have the column, and are changes themselves.
        if value is NO_VALUE:
            return original is not NO_VALUE
        moved = _members(value) ^ _members(original)
        return any(so.object_session(each) for each in moved)

    def update(self, state: State, *, is_deleted: bool) -> None:
        """Take in the present values of the object."""
        present = {name: state.dict[name] for name in state.manager if name in state.dict}
        self.assigned.update(present if not self.values else state.committed_state)
        self.originals = {**state.committed_state, **self.originals}
        self.values = present
        self.is_deleted = is_deleted


@dataclass(frozen=True, slots=True)
class Kept:
    """The objects of a session as a rollback must leave them."""

    intents: Intents
    loaded: Loaded


class Pending:
    """The intents of a session's transaction, flushed or not, and what it had loaded before."""

    def __init__(self, session: so.Session) -> None:
        self._session = session
        self._intents: Intents = {}
        self._loaded: Loaded | None = None
        """The values from before the transaction wrote; None if it has not."""
        self._listen(session)

    def follow(self, session: so.Session) -> None:
        """Listen to ``session``, which differs once the user has removed the one before."""
        if session is not self._session:
            self._session, self._intents, self._loaded = session, {}, None
            self._listen(session)

    def _listen(self, session: so.Session) -> None:
        event.listen(session, "before_flush", self._flushes)
        event.listen(session, "after_commit", self._on_commit)
        event.listen(session, "after_soft_rollback", self._on_rollback)

    @property
    def session(self) -> so.Session:
        """The session that it follows."""
        return self._session

    @property
    def is_flushing(self) -> bool:
        """True if the current statement is a flush's."""
        return self._session._flushing  # noqa: SLF001  (no event ends every flush)

    def count(self) -> int:
        """Return how many objects wait to be added, changed or deleted."""
        return _count(self._update_intents())

    def writes(self) -> None:
        """Note that the transaction writes: values that it loads from now on may be undone."""
        if self._loaded is None:
            self._loaded = loaded.of(self._session)

    def keep(self) -> Kept:
        """Return the objects as they are, which :meth:`restore` takes after a rollback."""
        values = loaded.of(self._session) if self._loaded is None else self._loaded
        return Kept(self._update_intents(), values)

    @contextmanager
    def keep_objects(self, unit: Unit) -> Iterator[Unit]:
        """Give a service its unit; the objects are as before unless it commits."""
        snapshot = self.keep()
        try:
            yield unit
        finally:
            if unit.committed:
                loaded.expire_relations(self._session)
            else:
                self.restore(snapshot)

    def _update_intents(self) -> Intents:
        session = self._session
        for instance in [*session.new, *session.dirty, *session.deleted]:
            state: State = sa.inspect(instance)
            is_new = instance in session.new
            intent = self._intents.setdefault(state, Intent(instance, is_new))
            intent.update(state, is_deleted=instance in session.deleted)
        return {state: intent for state, intent in self._intents.items() if not intent.is_void}

    def restore(self, snapshot: Kept) -> int:
        """Return the objects to the session, which was rolled back; return how many wait."""
        loaded.restore(self._session, snapshot.loaded)
        with self._session.no_autoflush:
            for state, intent in snapshot.intents.items():
                _restore(self._session, state, intent)
        self._intents, self._loaded = snapshot.intents, None
        return _count(snapshot.intents)

    def forget_session(self, session: so.Session) -> None:
        """Forget the objects of a session that was closed."""
        if session is self._session:
            self._intents, self._loaded = {}, None

    def forget_flushed_objects(self, connection: sa.Connection) -> None:
        """Forget the flushed objects of a transaction that SQL has ended."""
        if self._session.in_transaction() and self._session.connection() is connection:
            self._intents, self._loaded = {}, None

    def _flushes(self, *_about: Any) -> None:
        self.writes()
        self._update_intents()

    def _on_commit(self, session: so.Session) -> None:
        if session is self._session and not session.in_nested_transaction():
            self._intents, self._loaded = {}, None

    def _on_rollback(self, session: so.Session, transaction: so.SessionTransaction) -> None:
        """Forget the objects that the user rolled back; a flush that fails rolls back itself."""
        if session is not self._session or self.is_flushing:
            return
        if transaction.nested:
            self._intents = {
                state: intent
                for state, intent in self._intents.items()
                if state.session is not None and intent.originals.keys() & state.dict.keys()
            }
        elif transaction.parent is None:
            self._intents, self._loaded = {}, None


def is_changed(instance: object) -> bool:
    """Return whether a flush writes an object that is no new one."""
    intent = Intent(instance, is_new=False)
    intent.update(sa.inspect(instance), is_deleted=False)
    return intent.is_change


def _count(intents: Intents) -> int:
    return sum(intent.is_change for intent in intents.values())


def _members(collection: Any) -> IdentitySet:
    """Return the objects of a collection of any kind, or of its copy in a history."""
    if collection is NO_VALUE:  # It was not loaded when it was touched.
        return IdentitySet()
    return IdentitySet(getattr(collection, "_sa_adapter", collection))


def _restore(session: so.Session, state: State, intent: Intent) -> None:
    """Let an object that was rolled back wait again, with the values of before."""
    if intent.is_deleted:
        session.delete(intent.instance)
    elif intent.is_new:
        _restore_new(state, intent)
        session.add(intent.instance)
    else:
        for name in intent.originals.keys() & intent.values.keys():
            state.dict[name] = intent.values[name]
            state.expired_attributes.discard(name)
            flag_modified(intent.instance, name)
            state.committed_state[name] = intent.originals[name]


def _restore_new(state: State, intent: Intent) -> None:
    for name in state.manager:
        state.dict.pop(name, None)
    state.dict.update(
        {name: intent.values[name] for name in intent.assigned & intent.values.keys()}
    )
    state.expired_attributes.clear()
    state.committed_state.update(intent.originals)
