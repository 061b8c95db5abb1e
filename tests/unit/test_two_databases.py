"""A unit whose accounts are in another database than the audit: intents, the commit, events.

The application is a stand-in: a SQLite file with one table. Real ones are in
tests/ops/separate_database/.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import exc

from opsapp import signals
from opsapp.engine import locks
from opsapp.engine.connections import SANDBOX
from opsapp.errors import Busy
from opsapp.extensions import db
from opsapp.models import PersonalValue
from opsapp.unit import intents, pending
from opsapp.unit.work import Unit
from tests.unit.conftest import Accounts, Elsewhere, change, events, orders

# --- the order ---------------------------------------------------------------


def test_change_is_intended_committed_and_then_an_event_though_a_listener_reads(
    unit: Elsewhere, accounts: Accounts
) -> None:
    seen: list[object] = []
    sa.event.listen(unit.theirs, "before_commit", lambda _session: seen.append(len(events())))
    change(unit)
    assert seen == [2]
    assert events() == [
        (3, "intent:user:account:pay", "user:1", {"paid": 0, "row": "before user:1"}, {"paid": 1}),
        (4, "intent:user:account:thank", "user:1", {"row": "before user:1"}, None),
        (5, "user:account:pay", "user:1", {"paid": 0}, {"paid": 1}),
        (6, "user:account:thank", "user:1", None, None),
    ]
    assert (unit.committed, unit.intent, unit.seq, unit.events) == (True, 4, 6, range(5, 7))
    assert orders(unit) == [1]
    assert [(row["action"], row["reason"], row["correlation"]) for row in accounts.followed] == [
        ("user:account:pay", "why", unit.correlation),
        ("user:account:thank", "why", unit.correlation),
    ]
    assert intents.unfinished_numbers(db.session()) == []
    change(unit)
    assert (unit.intent, unit.seq, orders(unit)) == (8, 10, [1, 1])


def test_receivers_and_witnesses_are_told_at_their_time(unit: Elsewhere, app: Flask) -> None:
    calls: list[tuple[str, object]] = []
    note = "user-updated"
    before = signals.before_commit(signals.user_updated).connected_to(
        lambda _app, **payload: calls.append(("before", payload["user_id"])), app
    )
    after = signals.user_updated.connected_to(
        lambda _app, **payload: calls.append((note, unit.committed)), app
    )
    with before, after, unit:
        unit.pay()
        unit.record("user:account:pay", "user:1")
        unit.announce(signals.user_updated, user_id=7)
        unit.attest(lambda head: calls.append(("witness", head.seq)))
        unit.settle(lambda committed: calls.append(("settle", committed)))
    assert calls == [("before", 7), ("witness", 4), ("settle", True), (note, True)]


def test_key_of_an_opaque_subject_is_kept_with_the_intent(unit: Elsewhere) -> None:
    row = {"token": "t" * 32, "subject": "user:x", "salt": "s", "value": "ada"}
    with unit:
        unit.name(row)
        unit.pay()
        unit.record("user:account:pay", "user:x")
    db.session.rollback()
    assert db.session.scalars(sa.select(PersonalValue.value)).all() == ["ada"]


def test_changes_that_wait_are_chained_before(unit: Elsewhere) -> None:
    columns = {"at": unit.columns["at"], "actor": {}, "door": "code", "correlation": "1"}
    row = {**columns, "action": "a:b:c", "subject": "user:9", "before": None, "after": None}
    pending.add(db.session.connection(), [row])
    db.session.commit()
    change(unit)
    assert [event[1] for event in events()][:2] == ["a:b:c", "intent:user:account:pay"]
    assert unit.intent == 5


def test_change_of_our_tables_alone_has_no_intent(unit: Elsewhere) -> None:
    with unit:
        unit.record("user:role:end", "user:1")
    assert [event[1] for event in events()] == ["user:role:end"]
    assert (unit.intent, unit.seq, unit.committed) == (None, 3, True)


def test_dry_run_and_what_changes_nothing_leave_nothing(unit: Elsewhere) -> None:
    with unit:
        unit.pay()
    assert (unit.committed, unit.changed) == (False, False)
    unit.dry_run = True
    change(unit)
    assert (unit.committed, unit.changed, orders(unit), events()) == (False, True, [], [])


def test_unit_that_keeps_all_commits_elsewhere_without_an_intent(
    unit: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Unit, "keeps_all", True)
    with unit:
        unit.pay()
    assert (unit.committed, unit.changed, unit.intent, unit.seq) == (True, False, None, None)
    assert (orders(unit), events()) == ([1], [])


def test_adopted_change_is_in_two_databases(
    unit: Elsewhere, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Unit, "_has_administrator_before", lambda _unit: None)
    unit.adopt = True
    unit.theirs.execute(sa.text("INSERT INTO orders VALUES (5)"))
    with unit:
        unit.record("user:account:pay", "user:1")
    assert orders(unit) == [5]
    assert [event[1] for event in events()] == ["intent:user:account:pay", "user:account:pay"]


def test_sandbox_of_two_databases_locks_nothing(unit: Elsewhere) -> None:
    db.engine.update_execution_options(**{SANDBOX: True})
    with locks.hold_lock(db.engine, "gate", wait=0), unit:
        assert unit._head is None
        unit.pay()
        unit.record("user:account:pay", "user:1")
    assert events() == []


# --- the gate ----------------------------------------------------------------


def test_units_take_turns_through_all_their_transactions(
    unit: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    real = locks.hold_lock

    def hold_lock(engine: sa.Engine, name: str, *, wait: float) -> Any:
        waits.append(wait)
        return real(engine, name, wait=0)

    monkeypatch.setattr(locks, "hold_lock", hold_lock)
    held: list[str] = []

    def try_it(_session: object) -> None:
        with pytest.raises(Busy) as raised, real(db.engine, "gate", wait=0):
            pass
        held.append(raised.value.message)

    sa.event.listen(unit.theirs, "before_commit", try_it)
    change(unit)
    assert waits == [5]
    assert "the lock gate is held by" in held[0]
    with real(db.engine, "gate", wait=0), pytest.raises(Busy):
        change(unit)
    assert orders(unit) == [1]
    change(unit)  # A unit that was kept out has nothing open.
    assert orders(unit) == [1, 1]


def test_end_of_the_gate_hides_no_error_but_that_of_a_server_that_is_gone(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold_lock(*_args: object, **_options: object) -> ExitStack:
        stack = ExitStack()
        stack.callback(fail)
        return stack

    def fail() -> None:
        raise errors[0]

    errors: list[Exception] = [exc.OperationalError("SELECT", {}, Exception("gone"))]
    monkeypatch.setattr(locks, "hold_lock", hold_lock)
    with intents.gate():
        pass
    errors[:] = [ValueError("no")]
    with pytest.raises(ValueError, match="no"), intents.gate():
        pass
