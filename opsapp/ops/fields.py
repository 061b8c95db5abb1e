"""Fields of an account: names, other attributes, and those that a new account must have."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from traceback import extract_tb
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy import orm as so

from .. import addresses, text
from ..errors import Conflict, Invalid, OpsError
from . import capabilities
from .attributes import (
    Condition,
    attribute_names,
    columns,
    is_settable,
    python_type,
    relations,
    storage_of,
)
from .identity import Identity

LONGEST_NAME = 255
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def names(identity: Identity, email: str | None, username: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for part, value in (("email", email), ("username", username)):
        if value is not None:
            identity.need(part)
            values[getattr(identity, part).name] = clean(identity, part, value)
    if not values:
        raise Invalid("an account needs a name", hint="an e-mail address, or --username NAME")
    return values


def clean(identity: Identity, part: str, value: str) -> str:
    """Return a name as the application gets it: its own code says in which letters it keeps it."""
    value = text.validate(value, {"email": "e-mail"}.get(part, part), longest=LONGEST_NAME)
    if part != "email":
        return value
    try:
        if addresses.is_mailbox(value):
            return identity.normal_email(value)
    except ValueError:  # Theirs is stricter.
        pass
    raise Invalid(f"e-mail '{text.truncate(value)}' is not an address")


@contextmanager
def translate_refusals(identity: Identity) -> Iterator[None]:
    """Set attributes.

    :raises Invalid: a setter or validator of the model refuses the value.
    """
    try:
        yield
    except (ValueError, AssertionError) as error:
        name = identity.model.__name__
        raise Invalid(f"{name} refuses a value: {text.first_line(error)}") from error


@contextmanager
def own_function(part: str) -> Iterator[None]:
    """Call a function of the application.

    :param part: the argument of ``Ops`` that names it.
    :raises OpsError: it raises an error that is neither ours nor the database's; says which.
    """
    try:
        yield
    except (OpsError, exc.DBAPIError):
        raise
    except Exception as error:
        package = str(Path(__file__).parents[1])
        frames = extract_tb(error.__traceback__)
        where = [frame for frame in frames if not frame.filename.startswith(package)]
        raise OpsError(
            f"the application's function for {part} failed:"
            f" {type(error).__name__}: {text.first_line(error)}",
            hint=f"{where[0].filename}, line {where[0].lineno}" if where else None,
        ) from error


def activate(identity: Identity, user: Any) -> None:
    """Have a new account be active, where a column says so and nothing has set it."""
    active = identity.active
    if active is not None and active.is_settable and active.of(user) is None:
        with own_function("active"):
            active.set(user, True)


def fulfil(identity: Identity, user: Any, values: Iterable[str], session: so.Session) -> None:
    """Have a new account fulfil a condition, which only the database can tell of it.

    :param values: the attributes that were given; they may decide it.
    """
    condition = identity.active
    if not isinstance(condition, Condition):
        return
    is_decided = not storage_of(identity.model, condition.column).isdisjoint(values)
    if not is_decided and not condition.of(user):
        with own_function("active"):
            condition.set(user, True)
        flush(identity, session)


def check_settable(identity: Identity, name: str) -> None:
    """Return if an attribute can be set.

    :raises Conflict: it is a hybrid without a setter; the hint says what would set it.
    """
    if is_settable(identity.model, name):
        return
    model = identity.model.__name__
    ways = [f"@{name}.setter in {model}"]
    for part in ("email", "username", "active"):
        if getattr(getattr(identity, part), "name", None) == name:
            ways.append(capabilities.hint(model, part))
    raise Conflict(f"{model}.{name} has no setter", hint=" or ".join(ways))


def make_object(identity: Identity, attributes: dict[str, Any], *, has_password: bool) -> Any:
    """Return a new object of the model.

    :raises Invalid: an attribute that it needs is missing, or is refused.
    :raises Conflict: the model cannot be made of these attributes.
    """
    try:
        with translate_refusals(identity):
            user = (identity.make or identity.model)(**attributes)
    except AttributeError:
        for name in attributes:
            check_settable(identity, name)
        raise
    except TypeError as error:
        if "create" not in identity.sources:
            _refuse_incomplete(identity, attributes, has_password=has_password)
        raise Conflict(
            f"{identity.model.__name__} cannot be created: {text.first_line(error)}",
            hint="Ops(app, db, create=lambda **values: …)",
        ) from error
    if "create" not in identity.sources:
        _refuse_incomplete(identity, _present_columns(user), has_password=has_password)
    return user


def _refuse_incomplete(identity: Identity, present: Collection[str], *, has_password: bool) -> None:
    """Refuse an account that lacks an attribute.

    :param present: the attributes that are set.
    :raises Invalid: it lacks one.
    :raises Conflict: it lacks a password.
    """
    lacking = sorted(set(_required_attributes(identity)).difference(present))
    if identity.password is not None and identity.password.name in lacking:
        lacking.remove(identity.password.name)
        if not has_password:
            raise Conflict(
                f"each account of {identity.model.__name__} has a password",
                hint="give it one: --password-stdin, or an answer at the terminal",
            )
    if lacking:
        raise Invalid(
            f"{identity.model.__name__} needs {', '.join(lacking)}",
            hint=" ".join(f"--set {name}=VALUE" for name in lacking),
        )


def _present_columns(user: Any) -> set[str]:
    """Return the columns that a new object has a value for, or a row that will give one."""
    state: so.InstanceState[Any] = sa.inspect(user)
    present = {name for name, value in state.dict.items() if value is not None}
    for relation in state.mapper.relationships:
        if relation.key in present and relation.direction is so.RelationshipDirection.MANYTOONE:
            keys = map(state.mapper.get_property_by_column, relation.local_columns)
            present |= {key.key for key in keys}
    return present


def _required_attributes(identity: Identity) -> list[str]:
    """Return the attributes that a new account must have and that no default fills in."""
    mapper = sa.inspect(identity.model)
    active = getattr(identity.active, "name", None)
    return [
        name
        for name, column in columns(identity.model)
        if not (column.nullable or column.default or column.server_default)
        and not (column.primary_key and column is column.table.autoincrement_column)
        and column is not mapper.polymorphic_on
        and name != active
    ]


def convert_value(identity: Identity, name: str, value: str) -> Any:
    """Return the value of ``--set NAME=VALUE`` in the type of its column.

    :raises Invalid: there is no such column, it is a secret, or the value is not of its type.
    """
    is_known = name in attribute_names(identity.model) - relations(identity.model).keys()
    if not is_known or name in identity.secret:
        what = "a secret" if is_known else f"not a column of {identity.model.__name__}"
        raise Invalid(f"--set {text.truncate(name)} is {what}")
    column = dict(columns(identity.model)).get(name)
    kind = str if column is None else python_type(column)
    try:
        return _read(kind, value)
    except (ValueError, ArithmeticError) as error:
        raise Invalid(f"--set {name}={text.truncate(value)} is no {kind.__name__}") from error


def _read(kind: type, value: str) -> Any:
    if kind is bool:
        if value.lower() not in (*_TRUE, *_FALSE):
            raise ValueError(value)
        return value.lower() in _TRUE
    if kind in (datetime, date):
        return kind.fromisoformat(value)
    return kind(value) if kind in (int, float, Decimal, UUID) else value


def own_options(identity: Identity) -> dict[str, str]:
    """Return the option or command of each attribute that has one, and of columns that hold it.

    A hybrid without a setter has none: no option sets its columns.
    """
    parts = [
        (identity.key, "the key never changes"),
        (identity.email, "--email ADDRESS"),
        (identity.username, "--username NAME"),
        (identity.active, "flask ops users deactivate USER"),
        *((rule.attribute, "flask ops roles grant ROLE USER") for rule in identity.roles),
    ]
    names = [
        (getattr(part, "name", part.column), option)
        for part, option in parts
        if part and part.is_settable
    ]
    of_columns = {key: option for name, option in names for key in storage_of(identity.model, name)}
    return of_columns | {name: option for name, option in names if isinstance(name, str)}


def flush(identity: Identity, session: so.Session) -> None:
    """Write the changes.

    :raises Conflict: they contradict what is in the database.
    :raises Invalid: the type of a column refuses a value.
    """
    name, deletes = identity.model.__name__, bool(session.deleted)
    try:
        session.flush()
    except exc.IntegrityError as error:
        reason = text.first_line(error.orig or error)
        is_reference = not deletes and "foreign key" in reason.lower()
        raise Conflict(
            f"the database refuses the change of {name}: {reason}",
            hint=_references(identity) if is_reference else None,
        ) from error
    except exc.StatementError as error:
        # An error of the driver has a class of its own, and one of the session is no value's.
        is_of_driver = isinstance(error, exc.DBAPIError) and not isinstance(error, exc.DataError)
        if is_of_driver or isinstance(error.orig, exc.SQLAlchemyError):
            raise
        raise Invalid(
            f"{name} refuses a value: {text.first_line(error.orig or error)}",
            # A type that says what it refuses needs no more words than that.
            hint=None if isinstance(error.orig, ValueError) else _own_types(identity),
        ) from error


def _own_types(identity: Identity) -> str | None:
    """Return which columns have a type of the application's own, which may not take NULL."""
    names = [
        name
        for name, column in columns(identity.model)
        if isinstance(column.type, sa.TypeDecorator)
    ]
    kind = f"{identity.model.__name__} has types of its own for {', '.join(names)}"
    return f"{kind}; --set NAME=VALUE gives one a value" if names else None


def _references(identity: Identity) -> str:
    """Return which columns name a row of which table."""
    keys = [
        f"{name} is the {key.column.name} of a row of {key.column.table.name}"
        for name, column in columns(identity.model)
        for key in column.foreign_keys
    ]
    return "; ".join(keys)
