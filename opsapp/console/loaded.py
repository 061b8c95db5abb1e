"""Loaded values: restored after an implicit rollback.

SQLAlchemy forgets every loaded value at a rollback, and would then read each object
anew (docs/decisions/console.md#loaded-values-survive-a-rollback).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import orm as so
from sqlalchemy.orm.collections import collection_adapter

State = so.InstanceState[Any]


@dataclass(frozen=True, slots=True)
class Values:
    """The loaded values of one object, without those that wait to be written."""

    attributes: dict[str, Any]
    members: dict[str, list[Any]]
    """The objects in each of its collections, which a flush may have changed since."""
    expired: set[str]
    """The attributes that were to be read anew, and those that were changed."""


Loaded = dict[State, Values]


def of(session: so.Session) -> Loaded:
    """Return the loaded values of every object in the session."""
    return {state: _values(state) for state in session.identity_map.all_states()}


def _values(state: State) -> Values:
    attributes = dict(state.dict)
    for name in state.committed_state:
        attributes.pop(name, None)
    members = {
        name: list(collection_adapter(attributes[name]))
        for name in _collections(state)
        if name in attributes
    }
    return Values(attributes, members, state.expired_attributes | state.committed_state.keys())


def _collections(state: State) -> Sequence[str]:
    return [each.key for each in state.mapper.relationships if each.uselist]


def restore(session: so.Session, loaded: Loaded) -> None:
    """Give the objects their values back, unless they were read anew since the rollback."""
    for state, values in loaded.items():
        if state.session is session and state.persistent and state.expired:
            _restore(state, values)


def expire_relations(session: so.Session) -> None:
    """Let related objects be read again: a service writes keys, which no relation notices."""
    for state in session.identity_map.all_states():
        names = [each.key for each in state.mapper.relationships if each.key in state.dict]
        if names:
            session.expire(state.obj(), names)


def _restore(state: State, values: Values) -> None:
    attributes = {**values.attributes, **state.dict}
    for name, members in values.members.items():
        adapter = collection_adapter(attributes[name])
        if list(adapter) == members:
            adapter.invalidated = False
        else:
            del attributes[name]
    state.dict.update(attributes)
    state.expired_attributes &= values.expired - attributes.keys()
    state.expired = False
