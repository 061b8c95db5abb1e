"""Statements over many accounts at once, in a unit of work that a service has entered.

docs/decisions/accounts.md#many-accounts-change-by-statements
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from blinker import NamedSignal

from .. import clock
from ..extensions import db
from ..models import User
from ..models.types import random_word
from ..unit.ledger import EVENT_EACH
from ..unit.work import Unit

CHUNK = 5000
"""The ids of one statement; SQLite and PostgreSQL take at least six times as many."""

T = TypeVar("T")


class Account(Protocol):
    """An account, or a row with its id and address."""

    @property
    def id(self) -> Any:
        """The number."""

    @property
    def email(self) -> Any:
        """The address; None once deleted."""


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the items, as many as one statement takes at a time."""
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def accounts(*criteria: sa.ColumnElement[bool]) -> Sequence[Account]:
    """Return the accounts that meet every criterion and are not deleted, by id."""
    query = sa.select(User.id, User.email).where(User.deleted_at.is_(None), *criteria)
    return db.session.execute(query.order_by(User.id)).all()


def update(ids: Sequence[int], unit: Unit, **values: Any) -> None:
    """Set these columns of these accounts."""
    for chunk in chunks(ids):
        unit.session.execute(sa.update(User).where(User.id.in_(chunk)).values(**values))


def new_sessions() -> dict[str, Any]:
    """Return the columns that make every session and token of an account worthless."""
    return {"fs_uniquifier": random_word(), "sessions_ended_at": clock.now()}


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
