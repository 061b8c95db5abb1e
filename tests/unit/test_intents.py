"""Intents: their marks, and the events that end them."""

from __future__ import annotations

from flask import Flask

from opsapp.extensions import db
from opsapp.unit import intents
from opsapp.unit.ledger import Recorded
from opsapp.unit.work import Unit
from tests.support import OPERATOR


def test_intent_has_the_marks_of_its_row() -> None:
    change = Recorded("user:role:grant", "user:1", None, {"role": "admin"})
    assert intents.intent_of(change, "old", "new") == Recorded(
        "intent:user:role:grant", "user:1", {"row": "old"}, {"role": "admin", "row": "new"}
    )
    assert intents.intent_of(change, None, None) == Recorded(
        "intent:user:role:grant", "user:1", None, {"role": "admin"}
    )
    assert intents.without_mark({"role": "admin", "row": "new"}) == {"role": "admin"}
    assert intents.without_mark({"row": "new"}) is None
    assert intents.without_mark(None) is None


def test_application_on_opsapp_has_one_database(app: Flask) -> None:
    assert intents.accounts() is None


def write(*rows: tuple[str, str, str]) -> None:
    """Chain events of these actions, subjects and correlations."""
    unit = Unit(actor=OPERATOR, door="cli")
    sides = {"before": None, "after": None}
    with unit:
        for action, subject, correlation in rows:
            event = {"action": action, "subject": subject, "correlation": correlation}
            unit.chain({**unit.columns, **sides, **event})
        unit.record("shop:order:place", "order:3")


def test_intent_is_ended_by_its_own_event_only(app: Flask) -> None:
    write(("user:a:b", "user:1", "one"))  # An event before it is not its end.
    write(
        ("intent:user:a:b", "user:1", "one"),
        ("user:a:c", "user:1", "one"),
        ("user:a:b", "user:2", "one"),
        ("user:a:b", "user:1", "two"),
        ("audit:intent:fail", "audit", "two"),
        ("intent:user:a:b", "user:9", "three"),
    )
    first = intents.unfinished_numbers(db.session())[0]
    assert intents.unfinished_numbers(db.session()) == [first, first + 5]
    assert intents.unfinished_numbers(db.session(), correlation="three") == [first + 5]
    assert intents.unfinished_numbers(db.session.connection()) == [first, first + 5]
    write(("user:a:b", "user:1", "one"))
    assert intents.unfinished_numbers(db.session()) == [first + 5]
    write(("audit:intent:fail", "audit", "three"))
    assert intents.unfinished_numbers(db.session()) == []
