"""The unit of work: the only way in, all or nothing, and nothing announced before the commit."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import event

from opsapp import signals
from opsapp.accounts import grants, lookup, passwords, roles, signin, users
from opsapp.audit import events, verification
from opsapp.errors import Busy, Invalid, Refused
from opsapp.extensions import db
from opsapp.models import AuditEvent, Role, User
from opsapp.unit.work import Unit
from tests.support import PASSWORD, Database, a_unit, run

OUTSIDE = "accounts, roles, grants and the audit log change through a unit of work only"


@pytest.fixture
def announced(app: Flask) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Every signal that is sent, with what it carries."""
    heard: list[tuple[str, dict[str, Any]]] = []
    receivers = []
    for name in ("user_created", "user_deactivated", "user_deleted", "role_granted"):

        def receive(_sender: Flask, name: str = name, **payload: Any) -> None:
            heard.append((name, payload))

        receivers.append(receive)
        getattr(signals, name).connect(receive, app)
    yield heard
    del receivers


def test_write_outside_of_a_unit_is_refused(app: Flask) -> None:
    roles.create("support", unit=a_unit())
    db.session.add(Role(name="sneaky"))
    with pytest.raises(Refused, match=OUTSIDE):
        db.session.flush()
    db.session.rollback()
    lookup.get_role("support").description = "sneaky"
    with pytest.raises(Refused, match=OUTSIDE):
        db.session.flush()
    db.session.rollback()
    db.session.delete(lookup.get_role("support"))
    with pytest.raises(Refused, match=OUTSIDE):
        db.session.flush()
    db.session.rollback()


@pytest.mark.parametrize("name", ["email", "username"])
def test_name_of_what_is_no_account_is_refused_where_it_is_recorded(app: Flask, name: str) -> None:
    message = f"order:3: {name} is kept for accounts"
    with a_unit() as unit:
        with pytest.raises(ValueError, match=message):
            unit.record("shop:order:place", "order:3", after={name: "ada", "quantity": 2})
        with pytest.raises(ValueError, match=message):
            unit.record("shop:order:place", "order:3", before={name: "ada"})
        unit.record("shop:order:place", "order:3", after={name: None, "quantity": 2})
    assert db.session.scalars(sa.select(AuditEvent.after)).all()[-1] == {name: None, "quantity": 2}


@pytest.mark.parametrize("value", [{"personal": True}, {"personal": "none", "shared": "all"}])
def test_value_that_looks_like_a_name_s_token_is_none(app: Flask, value: Any) -> None:
    user = users.create("ada@example.com", unit=a_unit())
    with a_unit() as unit:
        unit.record("shop:feed:set", "feed:3", after={"kinds": value})
        unit.record("shop:feed:follow", f"user:{user['id']}", after={"kinds": value})
    assert [event["after"] for event in events.events(limit=2)] == [{"kinds": value}] * 2
    db.session.execute(sa.text("UPDATE ops_audit_personal SET value = 'bob@example.com'"))
    assert verification.verify()["break"] == "personal"
    db.session.rollback()
    assert verification.verify()["ok"]


@pytest.mark.parametrize("statement", [sa.update(User).values(active=True), sa.delete(AuditEvent)])
def test_bulk_statement_outside_of_a_unit_is_refused(app: Flask, statement: Any) -> None:
    with pytest.raises(Refused, match=OUTSIDE):
        db.session.execute(statement)


def test_unit_refuses_a_session_with_unsaved_changes(app: Flask) -> None:
    db.session.add(Role(name="early"))
    with pytest.raises(RuntimeError, match="unsaved changes"), a_unit():
        pass
    db.session.rollback()


@pytest.mark.usefixtures("sqlite_only")
def test_gate_of_a_damaged_file_is_an_error_of_sqlalchemy(app: Flask, database: Database) -> None:
    (database.instance / "opsapp.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(sa.exc.DatabaseError, match="file is not a database"), a_unit():
        pass


def test_error_inside_undoes_everything(app: Flask) -> None:
    def half() -> None:
        with a_unit() as unit:
            roles.create("support", unit=unit)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert lookup.find_role("support") is None
    assert verification.verify()["events"] == 2


def test_units_inside_each_other_are_one_transaction(app: Flask) -> None:
    unit = a_unit(reason="one act")
    with unit:
        roles.create("support", unit=unit)
        users.create("ada@example.com", unit=unit)
        grants.grant("support", ["ada@example.com"], unit=unit)
    assert (unit.committed, unit.seq) == (True, 5)
    rows = db.session.execute(sa.select(AuditEvent.correlation, AuditEvent.reason).distinct())
    assert (unit.correlation, "one act") in [tuple(row) for row in rows]


def test_unit_reads_again_what_an_earlier_one_has_left(app: Flask, database: Database) -> None:
    id = users.create("bob@example.com", unit=a_unit())["id"]
    bob = db.session.get_one(User, id)  # Else the session would forget the account.
    signin.deactivate(["bob@example.com"], unit=a_unit())
    run(database, "users", "activate", "bob@example.com", check=True)
    [again] = signin.deactivate(["bob@example.com"], unit=a_unit())
    assert (again["changed"], bob.active) == (True, False)


def test_nothing_changed_writes_no_event(app: Flask) -> None:
    roles.create("support", unit=a_unit())
    unit = a_unit()
    roles.create("support", if_exists="keep", unit=unit)
    assert (unit.changed, unit.committed, unit.seq) == (False, False, None)
    assert verification.verify()["events"] == 3


def test_signals_are_sent_after_the_commit_with_who_and_where(
    app: Flask, announced: list[tuple[str, dict[str, Any]]]
) -> None:
    unit = a_unit()
    with unit:
        users.create("ada@example.com", unit=unit)
        assert announced == []
    assert announced == [
        ("user_created", {"user_id": 1, "actor": unit.actor, "correlation": unit.correlation})
    ]


def test_dry_run_sends_nothing_and_writes_nothing(
    app: Flask, announced: list[tuple[str, dict[str, Any]]]
) -> None:
    unit = a_unit(dry_run=True)
    users.create("ada@example.com", unit=unit)
    assert unit.changed is True
    assert announced == []
    assert lookup.find_user("ada@example.com") is None
    assert verification.verify()["events"] == 2


def place_order(unit: Unit, outcomes: list[bool]) -> None:
    with unit:
        unit.settle(outcomes.append)
        unit.record("shop:order:place", "order:3")


def test_signal_during_the_commit_is_heard_when_its_outcome_is_known(app: Flask) -> None:
    outcomes: list[bool] = []

    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    def interrupt(_session: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    unit, before = a_unit(), signal.signal(signal.SIGTERM, stop)
    event.listen(db.session, "after_commit", interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            place_order(unit, outcomes)
    finally:
        event.remove(db.session, "after_commit", interrupt)
        signal.signal(signal.SIGTERM, before)
    assert (unit.committed, unit.seq, outcomes) == (True, 3, [True])


def test_what_settles_is_told_once_that_nothing_was_committed(app: Flask) -> None:
    outcomes: list[bool] = []
    place_order(a_unit(dry_run=True), outcomes)
    assert outcomes == [False]

    def fail() -> None:
        with a_unit() as unit:
            place_order(unit, outcomes)
            assert outcomes == [False]
            raise Refused("no")

    with pytest.raises(Refused, match="no"):
        fail()
    assert outcomes == [False, False]


def test_receiver_that_raises_stops_no_other(
    app: Flask, announced: list[tuple[str, dict[str, Any]]], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_sender: Flask, **payload: Any) -> None:
        raise RuntimeError("the mail server is away")

    signals.user_created.connect(broken, app)
    with caplog.at_level(logging.ERROR):
        users.create("ada@example.com", unit=a_unit())
    assert [name for name, _payload in announced] == ["user_created"]
    assert "a receiver of the signal user-created failed" in caplog.text
    assert lookup.get_user("ada@example.com").id == 1


def test_roles_of_a_user_are_those_of_its_live_grants(app: Flask) -> None:
    for name in ("support", "ended"):
        roles.create(name, unit=a_unit())
    users.create("ada@example.com", unit=a_unit())
    for name in ("support", "ended", "admin"):
        grants.grant(name, ["ada@example.com"], unit=a_unit())
    grants.revoke("ended", ["ada@example.com"], unit=a_unit())
    user = lookup.get_user("ada@example.com")
    db.session.refresh(user)
    assert [role.name for role in user.roles] == ["admin", "support"]
    assert "anything:at-all" in user.roles[0].get_permissions()


def test_reason_with_a_hostile_character_is_refused_before_anything(app: Flask) -> None:
    with pytest.raises(Invalid, match="reason has the character U\\+001B at position 2"):
        a_unit(reason="a\x1b")


# --- what happens between looking and the gate -------------------------------


def test_create_keeps_the_password_when_the_account_is_deleted_meanwhile(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.create("ada@example.com", unit=a_unit())
    real = users.find_user

    def find(reference: str) -> User | None:
        user = real(reference)
        monkeypatch.setattr(users, "find_user", real)
        users.delete("ada@example.com", unit=a_unit())
        return user

    monkeypatch.setattr(users, "find_user", find)
    record = users.create("ada@example.com", password=PASSWORD, unit=a_unit())
    assert lookup.get_user(str(record["id"])).password is not None


def test_create_admin_makes_an_admin_of_an_account_that_is_made_meanwhile(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = passwords.hash_password

    def hashed(password: str) -> str:
        monkeypatch.setattr(passwords, "hash_password", real)
        users.create("ada@example.com", unit=a_unit())
        return real(password)

    monkeypatch.setattr(passwords, "hash_password", hashed)
    record = users.create_admin(
        "ada@example.com", password=PASSWORD, if_exists="update", unit=a_unit()
    )
    assert record["roles"] == ["admin"]
    assert lookup.get_user(str(record["id"])).password is not None


def test_create_admin_can_log_in_when_the_account_is_replaced_meanwhile(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ada", "bob"):
        users.create_admin(f"{name}@example.com", password=PASSWORD, unit=a_unit())
    real = passwords.matches

    def matches(*args: Any) -> bool:
        monkeypatch.setattr(passwords, "matches", real)
        users.delete("ada@example.com", unit=a_unit())
        users.create("ada@example.com", unit=a_unit())
        return real(*args)

    monkeypatch.setattr(passwords, "matches", matches)
    record = users.create_admin(
        "ada@example.com", password=PASSWORD, if_exists="update", unit=a_unit()
    )
    assert record["roles"] == ["admin"]
    assert lookup.get_user(str(record["id"])).password is not None


def test_create_is_busy_when_the_account_never_stands_still(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "hash_password", lambda password: None)
    with pytest.raises(Busy, match="is being changed by another process"):
        users.create("ada@example.com", password=PASSWORD, unit=a_unit())
