"""Attributes: columns, hybrids and relations of a mapped class, by name or as they are written."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, ClassVar, Protocol

import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.sql import visitors

from ..errors import Invalid

Model = type[Any]
"""A mapped class of the application."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A column, hybrid or synonym of a model."""

    model: Model
    name: str

    @property
    def column(self) -> Any:
        """The attribute in SQL."""
        return getattr(self.model, self.name)

    def of(self, user: Any) -> Any:
        """Return the value that the object has."""
        return getattr(user, self.name)

    def set(self, user: Any, value: Any) -> None:
        """Set the value of the object, through the application's own setters."""
        setattr(user, self.name, value)

    @property
    def is_settable(self) -> bool:
        """False for a hybrid that has no setter."""
        return is_settable(self.model, self.name)

    def __str__(self) -> str:
        return f"{self.model.__name__}.{self.name}"


class Switch(Protocol):
    """A yes or no of an account: a column, or a condition with a function that sets it."""

    @property
    def column(self) -> Any:
        """The condition in SQL."""

    def of(self, user: Any) -> bool | None:
        """Return whether it holds for the account."""

    def set(self, user: Any, value: bool) -> None:
        """Have it hold for the account, or not."""

    @property
    def is_settable(self) -> bool:
        """False if nothing can set it."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition in SQL, such as ``User.disabled_at.is_(None)``, and the function that sets it."""

    model: Model
    column: sa.ColumnElement[bool]
    setter: Callable[[Any, bool], object]
    is_settable: ClassVar[bool] = True

    def of(self, user: Any) -> bool:
        """Ask the database; a change that is not flushed yet is flushed first."""
        session = so.object_session(user)
        if session is None:
            return False
        state, mapper = sa.inspect(user), sa.inspect(self.model)
        keys = zip(mapper.primary_key, state.identity or (), strict=False)
        row = sa.select(sa.literal(1)).where(self.column, *(key == value for key, value in keys))
        return session.scalar(row) is not None

    def set(self, user: Any, value: bool) -> None:
        """Call the application's function."""
        self.setter(user, value)

    def __str__(self) -> str:
        return f"{condition_text(self.model, self.column)} (a condition)"


def condition_text(model: Model, condition: sa.ColumnElement[bool]) -> str:
    """Return a condition on accounts in a line of SQL, as it is in a query of them."""
    query = str(sa.select(*sa.inspect(model).primary_key).where(condition))
    return " ".join(query.partition("\nWHERE ")[2].split())


def attribute_names(model: Model) -> set[str]:
    """Return the names of the model's columns, hybrids, synonyms and relations."""
    return set(sa.inspect(model).all_orm_descriptors.keys())


def beside(base: Any) -> Iterator[Model]:
    """Yield the mapped classes that are declared beside a model, or on a base."""
    registry = getattr(sa.inspect(base, raiseerr=False) or base, "registry", None)
    for mapper in () if registry is None else registry.mappers:
        yield mapper.class_


def columns(model: Model) -> Iterator[tuple[str, sa.Column[Any]]]:
    """Yield each column of the model with the name of its attribute."""
    mapper = sa.inspect(model)
    for attribute in mapper.column_attrs:
        for column in attribute.columns[:1]:
            if isinstance(column, sa.Column):
                yield attribute.key, column


def relations(model: Model) -> dict[str, so.RelationshipProperty[Any]]:
    """Return the relations of the model by name."""
    return {relation.key: relation for relation in sa.inspect(model).relationships}


def is_settable(model: Model, name: str) -> bool:
    """Return whether objects let an attribute be set, which a hybrid without a setter does not."""
    mapper = sa.inspect(model)
    name = mapper.synonyms[name].name if name in mapper.synonyms else name
    descriptor = mapper.all_orm_descriptors.get(name)
    return not isinstance(descriptor, hybrid_property) or descriptor.fset is not None


def storage_of(model: Model, value: Any) -> frozenset[str]:
    """Return the columns and relations of a model that hold an attribute, or decide a condition.

    A hybrid is held by the columns of its SQL. Nothing is returned where that has columns of
    other tables, or cannot be made.

    :param value: the name of an attribute, or a condition.
    """
    mapper = sa.inspect(model)
    if isinstance(value, str):
        value = mapper.synonyms[value].name if value in mapper.synonyms else value
        if value in mapper.relationships:
            return frozenset({value})
    try:
        sql = getattr(model, value) if isinstance(value, str) else value
        sql = sql.__clause_element__() if hasattr(sql, "__clause_element__") else sql
        parts = [part for part in visitors.iterate(sql) if isinstance(part, sa.Column)]
        return frozenset(mapper.get_property_by_column(column).key for column in parts)
    except Exception:  # noqa: BLE001  (a hybrid is their code: of what it raises, nothing is known)
        return frozenset()


def with_storage(model: Model, names: Collection[str]) -> frozenset[str]:
    """Return these attributes, and the columns and relations that hold them."""
    return frozenset(names).union(*(storage_of(model, name) for name in names))


def python_type(column: Any) -> type:
    """Return the type of the column's values in Python; text where the column does not say.

    A type of the application's own for times or booleans takes what it is made from.
    """
    own = getattr(column, "type", None)
    try:
        kind: type = own.python_type  # type: ignore[union-attr]
    except (AttributeError, NotImplementedError):
        kind = object
    if kind is object:
        wrapped = own.impl_instance if isinstance(own, sa.TypeDecorator) else None
        kinds = {sa.Boolean: bool, sa.DateTime: datetime, sa.Date: date}
        return next((kind for of, kind in kinds.items() if isinstance(wrapped, of)), str)
    return kind


def attribute(model: Model, value: Any, argument: str) -> Attribute:
    """Return the attribute that an argument of ``Ops`` says: ``User.email`` or ``"email"``.

    :raises Invalid: it is not a column of the model; names the argument.
    """
    name = value if isinstance(value, str) else getattr(value, "key", None)
    owner = getattr(value, "class_", None) or getattr(value, "parent", None)
    is_other = isinstance(owner, type) and not issubclass(model, owner)
    if not isinstance(name, str) or name not in attribute_names(model) or is_other:
        word = value if isinstance(value, str) else f"{value}"
        raise Invalid(f"{argument}={word} is not a column of {model.__name__}")
    return Attribute(model, name)
