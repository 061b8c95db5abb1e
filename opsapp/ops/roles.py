"""Roles of an application: a relation to a table of roles, a flag, or a word in a column.

The truth stays the application's. Each rule reads and writes it as the application does,
through the mapped attribute.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from inspect import isfunction
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import text
from ..errors import Conflict, NotFound
from .attributes import Attribute, Model, attribute, python_type, relations

ADMIN_NAMES = frozenset({"admin", "administrator", "superuser"})
"""The names, in lower case, of roles that are taken to make an administrator."""


class Rule:
    """One way in which accounts hold roles.

    :ivar attribute: the attribute of an account that holds them.
    :ivar read_only: the reason why grants cannot be written, or None.
    """

    attribute: Attribute
    read_only: str | None

    def names(self, session: so.Session) -> list[str]:
        """Return the names of the roles that there are."""
        raise NotImplementedError

    def of(self, user: Any) -> list[str]:
        """Return the names of the roles that an account holds."""
        raise NotImplementedError

    def holds(self, name: str) -> sa.ColumnElement[bool]:
        """Return the condition that an account holds the role."""
        raise NotImplementedError

    def administers(self) -> sa.ColumnElement[bool] | None:
        """Return the condition that an account holds a role of an administrator, if one can."""
        raise NotImplementedError

    def give(self, session: so.Session, user: Any, name: str) -> None:
        """Give the role to an account that does not hold it."""
        raise NotImplementedError

    def take(self, session: so.Session, user: Any, name: str) -> None:
        """Take the role from an account that holds it."""
        raise NotImplementedError

    def check_takeable(self, name: str) -> None:
        """Return if the role can be taken away.

        :raises Conflict: an account must have one of these roles.
        """

    def permissions(self, session: so.Session, name: str) -> Iterable[str]:
        """Return the permissions that a role is known to give."""
        return ()

    @property
    def has_permissions(self) -> bool:
        """True if its roles are known to give permissions."""
        return False

    @property
    def kind(self) -> str:
        """The rule in a word."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Relation(Rule):
    """Roles are rows of a table, which a relation of the account leads to."""

    attribute: Attribute
    name: Attribute
    """The attribute of the role that has its name."""

    @property
    def _relation(self) -> so.RelationshipProperty[Any]:
        return relations(self.attribute.model)[self.attribute.name]

    @property
    def is_single(self) -> bool:
        """Return true if an account holds at most one of these roles."""
        return not self._relation.uselist

    @property
    def read_only(self) -> str | None:  # type: ignore[override]
        """Say why grants cannot be written: the role belongs to one account, or it is a view."""
        if self._relation.viewonly:
            return f"{self.attribute} is a viewonly relation"
        if self._relation.direction is so.RelationshipDirection.ONETOMANY:
            return f"each role of {self.attribute} belongs to one account"
        return None

    def names(self, session: so.Session) -> list[str]:
        """Return the names of all rows of the table."""
        rows = session.scalars(sa.select(self.name.column).distinct().order_by(self.name.column))
        return [str(name) for name in rows if name is not None]

    def of(self, user: Any) -> list[str]:
        """Return the names of the rows of the account."""
        value = self.attribute.of(user)
        rows = ([] if value is None else [value]) if self.is_single else _list_rows(user, value)
        return sorted(str(self.name.of(row)) for row in rows)

    def holds(self, name: str) -> sa.ColumnElement[bool]:
        """Return the condition that a row of this name is related."""
        return self._relate(self.name.column == name)

    def administers(self) -> sa.ColumnElement[bool]:
        """Return the condition that a row with an administrator's name is related."""
        return self._relate(sa.func.lower(self.name.column).in_(sorted(ADMIN_NAMES)))

    def _relate(self, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
        column = self.attribute.column
        related: sa.ColumnElement[bool] = (
            column.has(condition) if self.is_single else column.any(condition)
        )
        return related

    def give(self, session: so.Session, user: Any, name: str) -> None:
        """Relate the row to the account; a single one replaces the one before."""
        row = self._row(session, name)
        if self.is_single:
            self.attribute.set(user, row)
        else:
            _add(self.attribute.of(user), row)

    def take(self, session: so.Session, user: Any, name: str) -> None:
        """End the relation of the row to the account."""
        if self.is_single:
            self.attribute.set(user, None)
        else:
            self.attribute.of(user).remove(self._row(session, name))

    def check_takeable(self, name: str) -> None:
        """Return if an account may be without a role of this relation.

        :raises Conflict: its column takes no NULL.
        """
        if self.is_single and not all(c.nullable for c in self._relation.local_columns):
            raise Conflict(
                f"each account of {self.attribute.model.__name__} has a role in {self.attribute}",
                hint="grant the other role, which takes its place",
            )

    def permissions(self, session: so.Session, name: str) -> Iterable[str]:
        """Return the permissions of a row: Flask-Security's words, AppBuilder's pairs."""
        rows = session.scalars(sa.select(self.name.model).where(self.name.column == name))
        return [word for row in rows for word in _permissions(row)]

    @property
    def has_permissions(self) -> bool:
        """True if the rows of its roles have an attribute of this name that names them.

        The bits of a number have names only in the application's code.
        """
        model = self.name.model
        column = sa.inspect(model).columns.get("permissions")
        is_number = column is not None and issubclass(python_type(column), int)
        return not is_number and not isfunction(getattr(model, "permissions", isfunction))

    def _row(self, session: so.Session, name: str) -> Any:
        row = session.scalar(sa.select(self.name.model).where(self.name.column == name).limit(1))
        if row is None:
            raise NotFound(f"no role {name}", hint="flask ops roles list")
        return row


def _list_rows(user: Any, value: Any) -> Iterable[Any]:
    """Return the rows of a relation: a list, a set, a dictionary, a query or a write-only one."""
    if isinstance(value, dict):
        return value.values()
    if hasattr(value, "select"):
        session = so.object_session(user)
        return session.scalars(value.select()) if session else ()
    rows: Iterable[Any] = value
    return rows


def _permissions(row: Any) -> list[str]:
    """Return the permissions of a role: words with commas, a list, or rows of another table."""
    listed = getattr(row, "permissions", None) or ()
    if isinstance(listed, str):
        return [word.strip() for word in listed.split(",")]
    if not isinstance(listed, Iterable):
        return []
    return [_permission(each) for each in listed]


def _permission(row: Any) -> str:
    """Return the name of a permission; Flask-AppBuilder shows its own with blanks."""
    parts = getattr(row, "permission", None), getattr(row, "view_menu", None)
    names = [getattr(part, "name", None) for part in parts]
    return " on ".join(map(str, names)) if all(names) else str(row)


def _add(collection: Any, row: Any) -> None:
    """Add to a list or query, to a set or write-only collection, or to a dictionary."""
    name = next(name for name in ("append", "add", "set") if hasattr(collection, name))
    getattr(collection, name)(row)


@dataclass(frozen=True)
class Flag(Rule):
    """One role, which a column of yes and no holds."""

    attribute: Attribute
    role: str = "admin"

    @property
    def read_only(self) -> str | None:  # type: ignore[override]
        """Say why grants cannot be written: the flag is a hybrid without a setter."""
        return None if self.attribute.is_settable else f"{self.attribute} has no setter"

    def names(self, session: so.Session) -> list[str]:
        """Return the one name."""
        return [self.role]

    def of(self, user: Any) -> list[str]:
        """Return the name if the flag is set."""
        return [self.role] if self.attribute.of(user) else []

    def holds(self, name: str) -> sa.ColumnElement[bool]:
        """Return the condition that the flag is set."""
        condition: sa.ColumnElement[bool] = self.attribute.column.is_(True)
        return condition if name == self.role else sa.false()

    def administers(self) -> sa.ColumnElement[bool] | None:
        """Return the condition that the flag is set, if its role is an administrator's."""
        return self.holds(self.role) if self.role.lower() in ADMIN_NAMES else None

    def give(self, session: so.Session, user: Any, name: str) -> None:
        """Set the flag."""
        self.attribute.set(user, True)

    def take(self, session: so.Session, user: Any, name: str) -> None:
        """Clear the flag."""
        self.attribute.set(user, False)


@dataclass(frozen=True)
class Word(Rule):
    """One role at a time, whose name is a word in a column."""

    attribute: Attribute

    @property
    def _column(self) -> sa.Column[Any]:
        column: sa.Column[Any] = sa.inspect(self.attribute.model).columns[self.attribute.name]
        return column

    @property
    def read_only(self) -> str | None:  # type: ignore[override]
        """Say why grants cannot be written: the word decides the class of the account."""
        if sa.inspect(self.attribute.model).polymorphic_on is self._column:
            return f"{self.attribute} decides the class of the account"
        return None

    def names(self, session: so.Session) -> list[str]:
        """Return the words that the column's type allows, or else that accounts have or get."""
        allowed = _allowed_values(self._column.type)
        if allowed is None:
            allowed = list(session.scalars(sa.select(self.attribute.column).distinct()))
        return sorted({_word(value) for value in (*allowed, self._default) if value is not None})

    def of(self, user: Any) -> list[str]:
        """Return the word of the account."""
        value = self.attribute.of(user)
        return [] if value is None else [_word(value)]

    def holds(self, name: str) -> sa.ColumnElement[bool]:
        """Return the condition that the account has this word."""
        condition: sa.ColumnElement[bool] = self.attribute.column == self._value(name)
        return condition

    def administers(self) -> sa.ColumnElement[bool]:
        """Return the condition that the word is an administrator's."""
        allowed = _allowed_values(self._column.type)
        if allowed is None:
            return sa.func.lower(self.attribute.column).in_(sorted(ADMIN_NAMES))
        words = [value for value in allowed if _word(value).lower() in ADMIN_NAMES]
        condition: sa.ColumnElement[bool] = self.attribute.column.in_(words)
        return condition

    def give(self, session: so.Session, user: Any, name: str) -> None:
        """Write the word."""
        self.attribute.set(user, self._value(name))

    def take(self, session: so.Session, user: Any, name: str) -> None:
        """Write the word that new accounts have, or none."""
        self.attribute.set(user, self._default)

    def check_takeable(self, name: str) -> None:
        """Return if an account may have another word, or none.

        :raises Conflict: it is the word of new accounts, or the column takes no NULL.
        """
        default = self._default
        if _word(default) == name or (default is None and not self._column.nullable):
            raise Conflict(
                f"each account of {self.attribute.model.__name__} has a word in {self.attribute}",
                hint="grant the other role, which takes its place",
            )

    @property
    def _default(self) -> Any:
        default = self._column.default
        return default.arg if isinstance(default, sa.ColumnDefault) and default.is_scalar else None

    def _value(self, name: str) -> Any:
        allowed = _allowed_values(self._column.type) or []
        return next((value for value in allowed if _word(value) == name), name)


def _allowed_values(kind: Any) -> list[Any] | None:
    """Return the values that a type lists, such as `Enum` or sqlalchemy-utils' `ChoiceType`."""
    listed = getattr(kind, "enum_class", None) or getattr(kind, "choices", None)
    if listed is not None:
        return [choice[0] if isinstance(choice, tuple) else choice for choice in listed]
    words = getattr(kind, "enums", None)
    return list(words) if words else None


def _word(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.name
    return str(getattr(value, "code", value))


class Roles:
    """The rules that ``Ops(roles=[…])`` takes."""

    @staticmethod
    def relation(relation: Any, name: Any) -> Relation:
        """Take roles from a relation: ``Roles.relation(User.groups, Group.name)``.

        :raises Invalid: one of them is no attribute of its model.
        """
        model = _model_of(relation)
        target = attribute(model, relation, "roles")
        return Relation(target, attribute(_model_of(name), name, "roles"))

    @staticmethod
    def flag(role: str, column: Any) -> Flag:
        """Take one role from a column of yes and no: ``Roles.flag("admin", User.is_admin)``.

        :raises Invalid: it is not a column of its model.
        """
        return Flag(attribute(_model_of(column), column, "roles"), role)

    @staticmethod
    def word(column: Any) -> Word:
        """Take the role from a word in a column: ``Roles.word(User.role)``.

        :raises Invalid: it is not a column of its model.
        """
        return Word(attribute(_model_of(column), column, "roles"))


def _model_of(value: Any) -> Model:
    owner = getattr(value, "class_", None)
    return owner if isinstance(owner, type) else type(value)


def rule_of(rules: Sequence[Rule], session: so.Session, role: str) -> tuple[Rule, str]:
    """Return the rule of a role's name, and the name without its rule's.

    If two rules have a role of one name, ``groups:staff`` names one of them.

    :raises NotFound: there is no such role.
    :raises Conflict: two rules have one.
    """
    first, colon, rest = role.partition(":")
    names = {rule: rule.names(session) for rule in rules}
    for rule in rules:
        if colon and rule.attribute.name == first and rest in names[rule]:
            return rule, rest
    holders = [rule for rule in rules if role in names[rule]]
    if len(holders) > 1:
        ways = " or ".join(f"{rule.attribute.name}:{role}" for rule in holders)
        raise Conflict(f"two kinds of roles have one of the name {role}", hint=f"name it {ways}")
    if not holders:
        every_name = [name for some in names.values() for name in some]
        near = text.did_you_mean(role, every_name)
        raise NotFound(f"no role {text.truncate(role)}", hint=near or "flask ops roles list")
    return holders[0], role
