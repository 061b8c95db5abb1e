"""Changes of accounts, as the history of their attributes tells them.

A column gives ``user:account:update`` with the values before and after. A relation gives
``user:role:grant`` and ``user:role:revoke``, an event for each row that was added or removed.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.orm import attributes
from sqlalchemy.orm.base import PassiveFlag

from .. import clock, values
from ..redaction import SET
from ..types import Record
from ..unit import pending
from .attributes import storage_of
from .roles import Rule

CREATE, UPDATE, DELETE = "user:account:create", "user:account:update", pending.DELETE
GRANT, REVOKE = "user:role:grant", "user:role:revoke"
AS_LOADED = PassiveFlag.PASSIVE_NO_INITIALIZE | PassiveFlag.INCLUDE_PENDING_MUTATIONS
"""The histories of attributes by what the session knows, without a query."""
LONGEST = 500
"""Characters of a value; what is longer is cut."""


class Accounts(Protocol):
    """The part of an identity that is needed here."""

    @property
    def model(self) -> type[Any]:
        """The mapped class."""

    @property
    def roles(self) -> Sequence[Rule]:
        """The rules by which accounts hold roles."""

    @property
    def watched_names(self) -> Collection[str]:
        """The attributes whose changes are audited."""

    @property
    def secret(self) -> Collection[str]:
        """The attributes whose values are never written down."""

    @property
    def personal(self) -> Collection[str]:
        """The attributes whose values stand beside the chain."""

    def subject_of(self, key: Any) -> str:
        """Return the name that the audit has for the account of this key."""

    def name_record(self, user: Any) -> Record | None:
        """Return the row beside the chain that an opaque subject stands for, or None."""


HasAdministrator = Callable[[so.Session], bool | None]
"""Returns whether an administrator can sign in; None where nothing says who administers."""


class Change(NamedTuple):
    """One event to be: its action and its two sides."""

    action: str
    before: Record | None
    after: Record | None


class Watch:
    """The attributes of an application's accounts that are watched, by kind.

    :param protected: attributes that only doors of ours may change; they are watched too.
    """

    def __init__(self, accounts: Accounts, protected: Collection[str] = ()) -> None:
        self.mapper: so.Mapper[Any] = sa.inspect(accounts.model)
        self.secret = self._storage_of(accounts.secret)
        self.personal = self._storage_of(accounts.personal)
        self.protected = self._storage_of(protected)
        keys = self._storage_of(accounts.watched_names) | self.protected
        columns = frozenset(self.mapper.column_attrs.keys())
        self.relations = keys & frozenset(self.mapper.relationships.keys())
        self.foreign = foreign_keys(self.mapper, self.relations)
        """The relations by the columns of their foreign keys, which are watched in their place.

        A flush has set them by then, and their values before can be read.
        """
        self.lists = self.relations - set(self.foreign.values())
        self.protected |= {key for key, of in self.foreign.items() if of in self.protected}
        self.columns = (keys & columns) | self.foreign.keys()
        self.new_columns = self.columns | (self.personal & columns)
        """The columns that the event of a new account tells."""
        self.keys = self.columns | self.relations
        self.tables = {table for table in self.mapper.tables if isinstance(table, sa.Table)}
        rules = [rule.attribute.name for rule in accounts.roles]
        self.only_roles = self._storage_of(rules if len(rules) == 1 else ())
        """The relation of the only rule: its roles are told without the rule's name."""
        relations = {key: self.mapper.relationships[key] for key in self.relations}
        self.secondary: dict[sa.Table, str] = {
            relation.secondary: key
            for key, relation in relations.items()
            if isinstance(relation.secondary, sa.Table)
        }
        """The relations by the tables that only they write."""
        self.lasting = self.keys - self.personal - self.secret
        """The attributes that may make an administrator: all but names and passwords."""

    def _storage_of(self, names: Collection[str]) -> frozenset[str]:
        """Return what holds these attributes; a synonym or hybrid is held by other columns."""
        return frozenset(key for name in names for key in storage_of(self.mapper.class_, name))

    def keys_of(self, names: Iterable[str]) -> frozenset[str]:
        """Return the watched attributes of columns, by the name of either."""
        keys = {self.mapper.get_property(key).columns[0].key: key for key in self.columns}
        return frozenset(keys.get(name, name) for name in names) & self.columns

    def touched_keys(self, state: so.InstanceState[Any]) -> frozenset[str]:
        """Return the watched attributes that were set, be it to the same value."""
        return self.keys - state.unmodified_intersection(self.keys)

    def unloaded_keys(self, state: so.InstanceState[Any], touched: Iterable[str]) -> list[str]:
        """Return the columns whose value before or after the flush the session does not have."""
        return [
            key
            for key in self.columns.intersection(touched)
            if state.committed_state.get(key) is so.NO_VALUE
            or isinstance(state.dict.get(key), sa.ClauseElement)
        ]

    def is_lasting(self, change: Mapping[str, Any]) -> bool:
        """Return whether a change may have taken an administrator away."""
        if change["action"] in (CREATE, GRANT):
            return False
        names = {*(change["before"] or ()), *(change["after"] or {}).get("columns", ())}
        return change["action"] != UPDATE or not self.lasting.isdisjoint(names)

    # --- whole objects -----------------------------------------------------------

    def creation_events(self, user: Any) -> Iterator[Change]:
        """Yield the events of a new account."""
        state: so.InstanceState[Any] = sa.inspect(user)
        values = {
            key: state.dict[key] for key in self.new_columns if state.dict.get(key) is not None
        }
        yield Change(CREATE, None, self.mask_values(values))
        yield from self._grants(state, self.lists)

    def update_events(
        self, user: Any, touched: Iterable[str], unloaded: Mapping[str, Any]
    ) -> Iterator[Change]:
        """Yield the events of a changed account.

        :param touched: the attributes that were set.
        :param unloaded: the values before of those that the session had not loaded.
        """
        state: so.InstanceState[Any] = sa.inspect(user)
        old: Record = {}
        new: Record = {}
        for key in self.columns.intersection(touched):
            history = attributes.get_history(user, key, AS_LOADED)
            if history.has_changes() or key in unloaded:
                old[key] = unloaded[key] if key in unloaded else (*history.deleted, None)[0]
                new[key] = getattr(user, key)
        if changed := [key for key in old if old[key] != new[key]]:
            yield self.change(changed, old, new)
        yield from self._grants(state, self.lists.intersection(touched))

    def deletion_events(self, user: Any) -> Iterator[Change]:
        """Yield the event of an account that is about to be deleted."""
        yield self.deletion_of(sa.inspect(user).dict)

    def deletion_of(self, values: Mapping[str, Any]) -> Change:
        """Return the event of a deleted account, which keeps no personal value."""
        keys = (self.columns - self.personal - self.secret - self.foreign.keys()) & values.keys()
        return Change(DELETE, self.mask_values({key: values[key] for key in keys}), None)

    def change(self, keys: Iterable[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> Change:
        """Return the event of an account whose columns have other values now."""
        before, after = ({key: values[key] for key in keys} for values in (old, new))
        return Change(UPDATE, self.mask_values(before), self.mask_values(after))

    def _grants(self, state: so.InstanceState[Any], keys: Iterable[str]) -> Iterator[Change]:
        for key in sorted(keys):
            history = attributes.get_history(state.obj(), key, AS_LOADED)
            for row in history.deleted or ():
                if row is not None:
                    yield Change(REVOKE, self.grant_of(key, _name(row)), None)
            for row in history.added or ():
                if row is not None:
                    yield Change(GRANT, None, self.grant_of(key, _name(row)))

    def grant_of(self, relation: str, name: Any) -> Record:
        """Return a role as the events of its grant and of its end have it."""
        role = str(name)[:LONGEST]
        label = role if relation in self.only_roles else f"{relation}:{role}"
        return {"role": label, "relation": relation}

    # --- values ------------------------------------------------------------------

    def mask_values(self, values: Mapping[str, Any]) -> Record:
        """Return values as they wait: secrets are hidden, personal ones are marked."""
        return {key: self._mask_value(key, values[key]) for key in sorted(values)}

    def _mask_value(self, key: str, value: Any) -> Any:
        if value is None or key in self.foreign:
            return value  # That of a foreign key is not written down: the role has a name.
        if key in self.secret or isinstance(value, bytes):
            return SET
        if key in self.personal:
            return pending.mark(str(value)[:LONGEST])
        return plain(value)


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, enum.Enum):
        return value.name
    value = values.plain(value)
    if isinstance(value, datetime):
        return clock.rfc3339(value)
    return value[:LONGEST] if isinstance(value, str) else value


def _name(row: Any) -> str:
    name = getattr(row, "name", None)
    if name is None:
        name = ",".join(str(part) for part in sa.inspect(type(row)).primary_key_from_instance(row))
    return str(name)


def foreign_keys(mapper: so.Mapper[Any], relations: Iterable[str]) -> dict[str, str]:
    """Return the relations to one row, by the attributes of their foreign keys."""
    attributes_of = {}
    for key in relations:
        relation = mapper.relationships[key]
        columns = [column for column in relation.local_columns if column in mapper.columns.values()]
        is_to_one = relation.direction is so.RelationshipDirection.MANYTOONE
        if is_to_one and len(columns) == len(relation.local_columns) == 1:
            attributes_of[mapper.get_property_by_column(columns[0]).key] = key
    return attributes_of
