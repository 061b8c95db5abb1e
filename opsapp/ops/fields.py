"""Fields of an account: names, other attributes, and those that a new account must have."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy import orm as so

from .. import addresses, text
from ..errors import Conflict, Invalid
from .attributes import attribute_names, columns, python_type, relations
from .identity import Identity

LONGEST_NAME = 255
_TRUE, _FALSE = ("true", "yes", "1"), ("false", "no", "0")


def names(identity: Identity, email: str | None, username: str | None) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for part, value in (("email", email), ("username", username)):
        if value is not None:
            identity.need(part)
            named[getattr(identity, part).name] = clean(part, value)
    if not named:
        raise Invalid("an account needs a name", hint="an e-mail address, or --username NAME")
    return named


def clean(part: str, value: str) -> str:
    """Return a name as the application gets it: its own code says in which letters it keeps it."""
    value = text.checked(value, {"email": "e-mail"}.get(part, part), longest=LONGEST_NAME)
    if part == "email" and not addresses.is_mailbox(value):
        raise Invalid(f"e-mail {text.shortened(value)} is no address")
    return value


def refuse_incomplete(identity: Identity, fields: Mapping[str, Any], *, has_password: bool) -> None:
    lacking = sorted(set(required(identity)) - fields.keys())
    if identity.password is not None and identity.password.name in lacking:
        lacking.remove(identity.password.name)
        if not has_password:
            raise Conflict(f"each account of {identity.model.__name__} has a password")
    if lacking:
        raise Invalid(
            f"{identity.model.__name__} needs {', '.join(lacking)}",
            hint=" ".join(f"--set {name}=VALUE" for name in lacking),
        )


def required(identity: Identity) -> list[str]:
    """Return the attributes that a new account must have and that nothing else fills in."""
    mapper = sa.inspect(identity.model)
    active = getattr(identity.active, "name", None)
    return [
        name
        for name, column in columns(identity.model)
        if not (column.nullable or column.default or column.server_default)
        and not (column.primary_key and column is column.table.autoincrement_column)
        and column is not mapper.polymorphic_on
        and name != active
        and name not in identity.filled
    ]


def converted(identity: Identity, name: str, value: str) -> Any:
    """Return the value of ``--set NAME=VALUE`` in the type of its column.

    :raises Invalid: there is no such column, it is a secret, or the value is not of its type.
    """
    is_known = name in attribute_names(identity.model) - relations(identity.model).keys()
    if not is_known or name in identity.secret:
        what = "a secret" if is_known else f"no column of {identity.model.__name__}"
        raise Invalid(f"--set {text.shortened(name)} is {what}")
    column = dict(columns(identity.model)).get(name)
    kind = str if column is None else python_type(column)
    try:
        return _read(kind, value)
    except (ValueError, ArithmeticError) as error:
        raise Invalid(f"--set {name}={text.shortened(value)} is no {kind.__name__}") from error


def _read(kind: type, value: str) -> Any:
    if kind is bool:
        if value.lower() not in (*_TRUE, *_FALSE):
            raise ValueError(value)
        return value.lower() in _TRUE
    if kind in (datetime, date):
        return kind.fromisoformat(value)
    return kind(value) if kind in (int, float, Decimal, UUID) else value


def flush(identity: Identity, session: so.Session) -> None:
    """Write the changes.

    :raises Conflict: they contradict what is in the database.
    """
    try:
        session.flush()
    except exc.IntegrityError as error:
        raise Conflict(
            f"the database refuses the change of {identity.model.__name__}:"
            f" {text.first_line(error.orig or error)}"
        ) from error
