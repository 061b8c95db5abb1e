"""Units of both kinds: an application on opsapp, and one whose accounts are in another database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm as so

from opsapp.extensions import db
from opsapp.models import AuditEvent
from opsapp.unit import intents, invariants
from opsapp.unit.ledger import Recorded
from opsapp.unit.work import Unit
from tests.support import OPERATOR

UNKNOWN = "flask ops audit settle 3"


class Accounts:
    """The accounts of an application, as a unit asks for them."""

    def __init__(self) -> None:
        self.writes = 0
        self.bind_arguments: dict[str, Any] = {}
        self.followed: list[dict[str, Any]] = []
        self.fails: Exception | None = None

    def mark(self, session: so.Session, change: Recorded) -> str | None:
        raise AssertionError

    def marks(self, session: so.Session, changes: Sequence[Recorded]) -> intents.Marks:
        assert session.in_transaction()  # The one of the changes.
        return [(f"before {change.subject}", None) for change in changes]

    def follow(self, session: so.Session, row: Mapping[str, Any]) -> None:
        assert session is db.ours()
        if self.fails:
            raise self.fails
        self.followed.append(dict(row))


class Elsewhere(Unit):
    """A unit of an application with a database of its own."""

    theirs: so.Session

    @property
    def session(self) -> so.Session:
        return self.theirs

    def pay(self, amount: int = 1) -> None:
        """Change the application's database."""
        self.session.execute(sa.text("INSERT INTO orders VALUES (:amount)"), {"amount": amount})
        assert isinstance(self._accounts, Accounts)
        self._accounts.writes += 1


@pytest.fixture
def accounts(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    accounts = Accounts()
    monkeypatch.setattr(intents, "accounts", lambda: accounts)
    monkeypatch.setattr(invariants, "has_administrator", lambda _session: None)
    return accounts


@pytest.fixture
def unit(accounts: Accounts, tmp_path: Path) -> Iterator[Elsewhere]:
    engine = sa.create_engine(f"sqlite:///{tmp_path}/theirs.sqlite")
    with so.Session(engine) as session:
        session.execute(sa.text("CREATE TABLE orders (amount INTEGER)"))
        session.commit()
        unit = Elsewhere(actor=OPERATOR, door="cli", reason="why")
        unit.theirs = session
        yield unit
    engine.dispose()


def orders(unit: Elsewhere) -> list[int]:
    with so.Session(unit.theirs.get_bind()) as other:
        return list(other.scalars(sa.text("SELECT amount FROM orders")))


def events() -> list[tuple[int, str, str, Any, Any]]:
    db.session.rollback()
    query = sa.select(AuditEvent).where(AuditEvent.seq > 2).order_by(AuditEvent.seq)
    return [(e.seq, e.action, e.subject, e.before, e.after) for e in db.session.scalars(query)]


def change(unit: Elsewhere) -> None:
    with unit:
        unit.pay()
        unit.record("user:account:pay", "user:1", before={"paid": 0}, after={"paid": 1})
        unit.record("user:account:thank", "user:1")


def place_order(unit: Unit, *, name: str = "order:3") -> None:
    with unit:
        unit.record("shop:order:place", name)


def subjects() -> list[str]:
    """The subjects of the events after those of the database."""
    query = sa.select(AuditEvent.subject).where(AuditEvent.seq > 2).order_by(AuditEvent.seq)
    return list(db.session.scalars(query))
