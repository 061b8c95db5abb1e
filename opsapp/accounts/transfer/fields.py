"""The values of a row, checked by the functions that `users create` checks them with."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ... import addresses, clock, text
from ...errors import Invalid, OpsError
from ...settings import parsers
from .. import grants, reachable, usernames
from . import hashes
from .records import Record

_SHORT = {"t": "true", "f": "false", "y": "yes", "n": "no"}
"""How PostgreSQL and others write a truth value."""
_END = re.compile(r"\s+until\s+")

_UNDECODED = re.compile("[\udc80-\udcff]")

Role = tuple[str, datetime | None]
"""The name of a role, and the end of the grant."""


@dataclass(slots=True)
class Row:
    """An account that a row asks for; None where it says nothing."""

    record: Record
    email: str
    username: str | None = None
    active: bool | None = None
    confirmed: bool | None = None
    password: str | None = None
    """A hash."""
    plain: str | None = field(default=None, repr=False)
    """A password that is still to be hashed."""
    roles: tuple[Role, ...] = ()
    unreachable: str | None = None
    """Why mail cannot reach the address, which rejects a new account."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not imported, with the reason."""

    record: Record
    column: str
    reason: str
    kind: type[OpsError] = Invalid
    """The error that an import which stops here ends with."""

    def __str__(self) -> str:
        column = f", column {self.column}" if self.column else ""
        return f"line {self.record.line}{column}: {self.reason}"


def parse(record: Record, *, hash_passwords: bool) -> Row | Reject:
    """Return the account that a record asks for, or the first reason why it is none.

    :param hash_passwords: whether passwords may be plain.
    """
    if record.problem is not None:
        return Reject(record, *record.problem)
    values = record.values
    column = "email"
    try:
        row = Row(record, addresses.clean(_text(values.get(column, "")), column))
        row.unreachable = reachable.unreachable(row.email)
        if len(values) == 1:
            return row
        if name := values.get(column := "username"):
            row.username = usernames.clean(_text(name))
        row.active = _truth(values.get(column := "active"))
        row.confirmed = _truth(values.get(column := "confirmed"))
        if password := values.get(column := "password"):
            _take_password(row, _text(password), hash_passwords)
        column = "until"
        end = _ending(values[column]) if values.get(column) else None
        row.roles = _roles(values.get(column := "roles"), end)
    except Invalid as error:
        # The messages of these functions begin with the field, which the column says.
        return Reject(record, column, error.message.removeprefix(column).lstrip(": "))
    return row


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Invalid("is not text")
    if not value.isascii() and _UNDECODED.search(value):
        raise Invalid("has bytes of another encoding: --encoding NAME")
    return value


def _truth(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    word = _text(value).strip().lower()
    try:
        return parsers.switch(_SHORT.get(word, word))
    except ValueError as error:
        raise Invalid(f"{text.truncate(word)} is neither true nor false") from error


def _take_password(row: Row, password: str, may_be_plain: bool) -> None:
    if password.startswith(hashes.START):
        row.password = hashes.validate(password)
    elif hashes.is_foreign(password):
        hint = "leave it out (--map 'password=') and --invite the users"
        raise Invalid(f"is a hash of another system, which opsapp cannot verify: {hint}")
    elif may_be_plain:
        row.plain = password
    else:
        raise Invalid("is not an argon2 hash; --hash-passwords hashes plain passwords")


def _ending(value: Any) -> datetime:
    try:
        end = clock.moment(_text(value).strip(), end=True)
    except (ValueError, OverflowError) as error:
        problem = f"{text.truncate(str(value))} is not a time such as 2026-12-31"
        raise Invalid(problem) from error
    grants.check_end(end)
    return end


def _roles(value: Any, end: datetime | None) -> tuple[Role, ...]:
    """Return the roles of a text such as ``support, auditor until 2026-12-31``, or of a list.

    :param end: of those that have none of their own.
    """
    if not value:
        return ()
    items = value if isinstance(value, list) else _text(value).split(",")
    roles: dict[str, datetime | None] = {}
    for item in items:
        name, *ends = _END.split(_text(item).strip(), maxsplit=1)
        if name in roles:
            raise Invalid(f"names {text.truncate(name)} twice")
        if name:
            roles[name] = _ending(ends[0]) if ends else end
    return tuple(roles.items())
