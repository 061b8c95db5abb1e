"""A unit of two databases, one of which fails: before, with or after the commit."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from opsapp.errors import NotReady, OpsError, Refused
from opsapp.extensions import db
from opsapp.unit import intents, ledger
from tests.unit.conftest import UNKNOWN, Accounts, Elsewhere, change, events, orders


def refuse_commit(unit: Elsewhere, error: Exception) -> OpsError | None:
    """Have the application's commit fail; the error of ours that the unit ends with."""

    def fail(_session: object) -> None:
        raise error

    sa.event.listen(unit.theirs, "before_commit", fail)
    with pytest.raises((OpsError, type(error))) as raised:
        change(unit)
    sa.event.remove(unit.theirs, "before_commit", fail)
    if raised.value is error:
        return None
    assert isinstance(raised.value, OpsError)
    assert raised.value.__cause__ is error
    return raised.value


@pytest.mark.parametrize(
    ("error", "because"),
    [
        (RuntimeError("ada@example.com may not change"), "RuntimeError"),
        (exc.IntegrityError("INSERT", {}, sqlite3.IntegrityError("ada")), "IntegrityError"),
        (exc.OperationalError("INSERT", {}, KeyError("ada")), "KeyError"),
    ],
)
def test_commit_that_fails_ends_its_intents(
    unit: Elsewhere, error: Exception, because: str
) -> None:
    assert refuse_commit(unit, error) is None
    *_intents, last = events()
    assert last == (5, "audit:intent:fail", "audit", None, {"intents": [3, 4], "because": because})
    assert (unit.committed, unit.seq, orders(unit)) == (False, None, [])
    assert intents.unfinished_numbers(db.session()) == []
    change(unit)
    assert orders(unit) == [1]


def test_commit_without_an_answer_stays_unknown(unit: Elsewhere) -> None:
    error = exc.OperationalError("COMMIT", {}, Exception("gone"), connection_invalidated=True)
    doubt = refuse_commit(unit, error)
    assert doubt is not None
    assert (doubt.message, doubt.hint) == (
        "the connection broke during the commit: the change may or may not have happened",
        UNKNOWN,
    )
    assert intents.unfinished_numbers(db.session()) == [3, 4]
    assert intents.unfinished_numbers(db.session(), correlation=unit.correlation) == [3, 4]
    assert intents.unfinished_numbers(db.session(), correlation="another") == []
    with pytest.raises(NotReady) as raised:
        change(unit)
    assert raised.value.message == "the outcome of the change before is unknown: intent 3"
    assert raised.value.hint == "flask ops audit settle"
    unit.correlation = "another"
    change(unit)
    assert intents.unfinished_numbers(db.session()) == [3, 4]


def take_away(
    monkeypatch: pytest.MonkeyPatch, unit: Elsewhere, error: Exception, *, after: int
) -> None:
    """Have the audit fail at its gate, after so many units got through it."""
    calls: list[object] = []
    real = ledger.take_gate

    def take_gate(*args: Any, **options: Any) -> ledger.Head:
        calls.append(args)
        if len(calls) > after:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(ledger, "take_gate", take_gate)


def disk_full() -> exc.DBAPIError:
    error = sqlite3.OperationalError("the disk\x1b is full")
    error.sqlite_errorname = "SQLITE_FULL"
    return exc.OperationalError("INSERT", {}, error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (disk_full(), "the database cannot be written: the disk\\x1b is full"),
        (exc.OperationalError("INSERT", {}, ValueError("odd\x1b\nerror")), "odd\\x1b"),
        (Refused("not now"), "not now"),
    ],
)
def test_audit_that_goes_away_after_the_commit_is_told(
    unit: Elsewhere, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    take_away(monkeypatch, unit, error, after=2)
    with pytest.raises(OpsError) as raised:
        change(unit)
    assert raised.value.message == f"the event of the change could not be written: {words}"
    assert raised.value.hint == UNKNOWN
    assert raised.value.__cause__ is error
    assert (unit.committed, unit.seq, orders(unit)) == (True, 4, [1])
    assert intents.unfinished_numbers(db.session()) == [3, 4]


@pytest.mark.parametrize("error", [disk_full(), Refused("not now")])
def test_audit_that_goes_away_with_the_commit_is_told(
    unit: Elsewhere, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    take_away(monkeypatch, unit, error, after=2)
    doubt = refuse_commit(unit, RuntimeError("no"))
    assert doubt is not None
    assert doubt.message.startswith("the change failed, and the audit log could not record that: ")
    assert doubt.message.endswith(("the disk\\x1b is full", "not now"))
    assert doubt.hint == UNKNOWN
    assert (unit.committed, orders(unit)) == (False, [])


def test_audit_that_is_away_before_the_commit_keeps_the_change_from_it(
    unit: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = exc.OperationalError("INSERT", {}, ValueError("odd"))
    take_away(monkeypatch, unit, error, after=1)
    with pytest.raises(NotReady) as raised:
        change(unit)
    assert raised.value.message == "the audit log cannot be written, so nothing was changed: odd"
    assert raised.value.__cause__ is error
    assert (unit.committed, orders(unit), events()) == (False, [], [])


def test_each_change_needs_its_marks(
    unit: Elsewhere, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "marks", lambda _session, _changes: [("before", None)])
    with pytest.raises(ValueError, match="shorter"):
        change(unit)
    assert (unit.committed, orders(unit), events()) == (False, [], [])


def test_row_of_ours_that_cannot_follow_leaves_the_event_out(
    unit: Elsewhere, accounts: Accounts
) -> None:
    accounts.fails = OpsError("no room")
    with pytest.raises(OpsError) as raised:
        change(unit)
    assert raised.value.message == "the event of the change could not be written: no room"
    assert not db.session().in_transaction()
    assert [event[1] for event in events()] == [
        "intent:user:account:pay",
        "intent:user:account:thank",
    ]
