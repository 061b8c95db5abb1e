"""Objects that wait: a rollback at the end of an input gives them back to the session.

A query flushes the objects that were added, changed or deleted before it. The rollback that
ends the input would forget them (docs/decisions/console.md#objects-survive-a-rollback).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import orm as so
from sqlalchemy.orm.attributes import flag_modified

State = so.InstanceState[Any]
Intents = dict["State", "Intent"]


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

    def update(self, state: State, *, is_deleted: bool) -> None:
        """Take in the present values of the object."""
        present = {name: state.dict[name] for name in state.manager if name in state.dict}
        self.assigned.update(present if not self.values else state.committed_state)
        self.originals = {**state.committed_state, **self.originals}
        self.values = present
        self.is_deleted = is_deleted


class Pending:
    """The intents of a session's transaction, flushed or not."""

    def __init__(self, session: so.Session) -> None:
        self._session = session
        self._intents: Intents = {}
        self._listen(session)

    def follow(self, session: so.Session) -> None:
        """Listen to ``session``, which differs once the user has removed the one before."""
        if session is not self._session:
            self._session, self._intents = session, {}
            self._listen(session)

    def _listen(self, session: so.Session) -> None:
        event.listen(session, "before_flush", self._flushes)
        event.listen(session, "after_commit", self._committed)
        event.listen(session, "after_soft_rollback", self._rolled_back)

    @property
    def is_flushing(self) -> bool:
        """True if the current statement is a flush's."""
        return self._session._flushing  # noqa: SLF001  (no event ends every flush)

    def count(self) -> int:
        """Return how many objects wait to be added, changed or deleted."""
        return len(self.intents())

    def intents(self) -> Intents:
        """Return the intents up to now, which :meth:`restore` takes after a rollback."""
        session = self._session
        for instance in [*session.new, *session.dirty, *session.deleted]:
            state: State = sa.inspect(instance)
            is_new = instance in session.new
            intent = self._intents.setdefault(state, Intent(instance, is_new))
            intent.update(state, is_deleted=instance in session.deleted)
        return {state: intent for state, intent in self._intents.items() if not intent.is_void}

    def restore(self, intents: Intents) -> int:
        """Return the objects to the session, which was rolled back; return how many."""
        with self._session.no_autoflush:
            for state, intent in intents.items():
                _restore(self._session, state, intent)
        self._intents = intents
        return len(intents)

    def _flushes(self, *_about: Any) -> None:
        self.intents()

    def _committed(self, session: so.Session) -> None:
        if session is self._session and not session.in_nested_transaction():
            self._intents = {}

    def _rolled_back(self, session: so.Session, transaction: so.SessionTransaction) -> None:
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
            self._intents = {}


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
