"""Statements over many accounts at once, in a unit of work that a service has entered.

docs/decisions/accounts.md#many-accounts-change-by-statements
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import sqlalchemy as sa
from blinker import NamedSignal

from ..engine.rows import among
from ..extensions import Model, db
from ..models import User
from ..models.types import random_word
from ..unit.ledger import EVENT_EACH
from ..unit.work import Unit

CHUNK = 20_000
"""The accounts of one statement."""

T = TypeVar("T")


class Account(NamedTuple):
    """The id and the address of an account."""

    id: int
    email: str | None


def of(users: Iterable[User]) -> list[Account]:
    """Return accounts as they are before statements change them."""
    return [Account(user.id, user.email) for user in users]


def accounts(*criteria: sa.ColumnElement[bool]) -> list[Account]:
    """Return the accounts that meet every criterion and are not deleted, by id."""
    query = sa.select(User.id, User.email).where(User.deleted_at.is_(None), *criteria)
    return [Account(*row) for row in db.session.execute(query.order_by(User.id))]


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items, as many as one statement takes at a time."""
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def update(model: type[Model], ids: Sequence[int], unit: Unit, **values: Any) -> None:
    """Set these columns of the rows with these ids; what the session holds is read anew."""
    table: Any = model
    for chunk in chunks(ids):
        statement = sa.update(model).where(among(table.id, chunk)).values(**values)
        unit.session.execute(statement, execution_options={"synchronize_session": False})
    if ids:
        unit.session.expire_all()


def new_sessions() -> dict[str, Any]:
    """Return the columns that make every session and token of an account worthless."""
    return {"fs_uniquifier": random_word()}


def record(
    action: str,
    ids: Iterable[int],
    unit: Unit,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Say that each of these accounts was changed alike."""
    for id in ids:
        unit.record(action, f"user:{id}", before=before, after=after)


def announce(signal: NamedSignal, payloads: Sequence[Mapping[str, Any]], unit: Unit) -> None:
    """Send ``signal`` for each account once it is committed.

    Above :data:`~opsapp.unit.ledger.EVENT_EACH` the payload has ``many``, and no notice is mailed.
    """
    many = {"many": True} if len(payloads) > EVENT_EACH else {}
    for payload in payloads:
        unit.announce(signal, **payload, **many)
