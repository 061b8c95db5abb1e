"""The unit of work keeps, passes on, undoes and tells; one test for each."""

from __future__ import annotations

import re
import sqlite3
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import exc
from sqlalchemy import orm as so

from opsapp import clock, signals
from opsapp.accounts import users
from opsapp.actors import Powers, Standing
from opsapp.engine.connections import SANDBOX
from opsapp.errors import Invalid, NotReady, OpsError, Refused
from opsapp.extensions import db
from opsapp.models import AuditEvent, MailMessage, PersonalValue, Role, User
from opsapp.unit import ledger
from opsapp.unit.work import Unit, bookkeeping
from tests.support import OPERATOR, PASSWORD, a_unit
from tests.unit.conftest import place_order, subjects


def of(**options: Any) -> Unit:
    return Unit(actor=OPERATOR, door="cli", **options)


# --- before it is entered ----------------------------------------------------


def test_new_unit_has_done_nothing() -> None:
    unit = of()
    assert (unit.actor, unit.door, unit.reason, unit.dry_run) == (OPERATOR, "cli", None, False)
    assert (unit.powers, unit.standing, unit.adopt) == (None, None, False)
    assert (unit.recorded, unit.effects, unit.keys, unit.events) == ([], [], [], range(0))
    assert (unit.changed, unit.committed, unit.seq, unit.intent) == (False, False, None, None)
    assert str(UUID(unit.correlation)) == unit.correlation != of().correlation


def test_unit_keeps_what_its_door_says() -> None:
    powers, standing = Powers(1), Standing(1, "u")
    unit = of(dry_run=True, powers=powers, standing=standing, correlation="a request", adopt=True)
    assert (unit.dry_run, unit.powers, unit.standing) == (True, powers, standing)
    assert (unit.correlation, unit.adopt) == ("a request", True)


def test_reason_is_normal_and_bounded() -> None:
    assert of(reason=" why ").reason == "why"
    assert of(reason="").reason is None
    assert of(reason="w" * 500).reason == "w" * 500
    with pytest.raises(Invalid) as raised:
        of(reason="w" * 501)
    assert raised.value.message == "reason is 501 characters long; 500 are allowed"


# --- what it writes ----------------------------------------------------------


def test_event_has_the_unit_s_columns(app: Flask) -> None:
    before = clock.now()
    unit = of(reason="why", correlation="a request")
    with unit:
        unit.record("shop:order:place", "order:3", before={"n": 1}, after={"n": 2})
    event = db.session.scalars(sa.select(AuditEvent).where(AuditEvent.seq == 3)).one()
    assert (event.action, event.subject) == ("shop:order:place", "order:3")
    assert (event.before, event.after) == ({"n": 1}, {"n": 2})
    assert (event.actor, event.door) == (OPERATOR.record(), "cli")
    assert (event.reason, event.correlation) == ("why", "a request")
    assert before <= event.at <= clock.now()
    assert (unit.committed, unit.changed, unit.seq, unit.events) == (True, True, 3, range(3, 4))


def test_event_of_another_actor_goes_before_the_unit_s_own(app: Flask) -> None:
    unit = a_unit()
    with unit:
        unit.record("shop:order:place", "order:3")
        unit.record("shop:order:pay", "order:3")
        sides = {"before": None, "after": None}
        unit.chain({**unit.columns, "action": "a:b:c", "subject": "order:1", **sides})
    assert subjects() == ["order:1", "order:3", "order:3"]
    assert (unit.seq, unit.events) == (5, range(4, 6))


def test_opaque_subject_has_its_key_beside_the_chain(app: Flask) -> None:
    row = {"token": "t" * 32, "subject": "user:x", "salt": "s", "value": "ada"}
    unit = a_unit()
    with unit:
        unit.name(row)
        assert unit.keys == [row]
        unit.record("shop:order:place", "order:3")
    assert db.session.scalars(sa.select(PersonalValue.value)).all() == ["ada"]


def test_unit_that_is_entered_again_begins_anew(app: Flask) -> None:
    unit, settled = a_unit(), list[bool]()
    with unit:
        unit.record("shop:order:place", "order:3")
        unit.note("mail is sent")
        unit.name({"token": "t", "subject": "user:x", "salt": "s", "value": "ada"})
        unit.chain({**unit.columns, "action": "a", "subject": "x", "before": None, "after": None})
        unit.settle(settled.append)
        unit.attest(lambda _head: settled.append(False))
        unit.announce(signals.user_updated, user_id=1)
        assert (unit.effects, unit.committed, unit.seq) == (["mail is sent"], False, None)
    assert (unit.committed, unit.seq, unit.events) == (True, 4, range(4, 5))
    heard: list[Any] = []
    with signals.all_announced.connected_to(lambda *args, **_extra: heard.append(args), app), unit:
        assert (unit.recorded, unit.effects, unit.keys, unit.committed) == ([], [], [], False)
        assert (unit.events, unit.seq) == (range(0), 4)
    assert (unit.committed, unit.changed, unit.events, unit.seq) == (False, False, range(0), 4)
    assert (settled, heard, subjects()) == ([False, True], [], ["x", "order:3"])
    with unit:
        unit.record("shop:order:place", "order:4")
    assert (unit.seq, subjects()[2:]) == (5, ["order:4"])


def test_services_see_what_they_have_just_changed(app: Flask) -> None:
    db.session.autoflush = False
    with a_unit() as unit:
        unit.session.add(MailMessage(kind="test", recipient="a", subject="b", body="c"))
        assert unit.session.scalars(sa.select(MailMessage.recipient)).all() == ["a"]
    assert db.session.autoflush is False
    db.session.autoflush = True
    with a_unit():
        pass
    assert db.session.autoflush is True


def test_row_that_was_read_before_the_gate_is_read_again(app: Flask) -> None:
    db.session.execute(sa.select(Role)).all()
    assert db.session().in_transaction()
    with a_unit() as unit, unit:
        assert unit._depth == 2
    assert not db.session().in_transaction()


@pytest.mark.parametrize("state", ["new", "dirty", "deleted"])
def test_session_with_unsaved_changes_is_refused(app: Flask, state: str) -> None:
    message = MailMessage(kind="test", recipient="a", subject="b", body="c")
    with bookkeeping() as session:
        session.add(message)
    if state == "new":
        db.session.add(MailMessage(kind="test", recipient="a", subject="b", body="c"))
    else:
        stored = db.session.scalars(sa.select(MailMessage)).one()
        if state == "dirty":
            stored.recipient = "b"
        else:
            db.session.delete(stored)
    with pytest.raises(RuntimeError) as raised, a_unit():
        pass
    assert str(raised.value) == "the session has unsaved changes; enter the unit before that"
    db.session.rollback()


# --- what it asks inside of the gate -----------------------------------------


def test_gate_that_stays_closed_leaves_the_session_as_it_was(app: Flask) -> None:
    db.session.execute(sa.text("UPDATE ops_audit_head SET environment = 'other'"))
    db.session.commit()
    db.session.autoflush = False
    unit = a_unit()
    with pytest.raises(Refused, match="is stamped other"):
        place_order(unit)
    assert not db.session().in_transaction()
    assert (db.session.autoflush, unit._depth, unit.committed) == (False, 0, False)
    db.session.execute(sa.text("UPDATE ops_audit_head SET environment = 'development'"))
    db.session.commit()
    place_order(unit)
    assert (unit.committed, db.session.autoflush) == (True, False)
    db.session.autoflush = True


def test_credential_is_asked_for_again(app: Flask) -> None:
    user = users.create("ada@example.com", unit=a_unit())
    uniquifier = db.session.scalars(sa.select(User.fs_uniquifier)).one()
    place_order(of(standing=Standing(user["id"], uniquifier)))
    unit = of(standing=Standing(user["id"], "another"))
    with pytest.raises(Refused, match="the link of this request has ended meanwhile"):
        place_order(unit)
    assert unit.committed is False


def test_last_administrator_stays(app: Flask) -> None:
    users.create_admin("ada@example.com", password=PASSWORD, unit=a_unit())
    count = len(subjects())

    def remove(unit: Unit, *, record: bool = True) -> None:
        with unit:
            unit.session.execute(sa.update(User).values(active=False))
            if record:
                unit.record("user:account:deactivate", "user:1")

    for unit in (a_unit(), a_unit(dry_run=True)):
        with pytest.raises(Refused, match="no active administrator"):
            remove(unit)
        assert (unit.committed, len(subjects())) == (False, count)
    remove(a_unit(), record=False)  # Without a record nothing is committed.
    assert db.session.scalars(sa.select(User.active)).all() == [True]


def test_unit_that_keeps_all_commits_without_an_event(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.create_admin("ada@example.com", password=PASSWORD, unit=a_unit())
    monkeypatch.setattr(Unit, "keeps_all", True)
    count, settled = len(subjects()), list[bool]()

    def change(unit: Unit, name: str) -> None:
        with unit:
            unit.session.execute(sa.update(User).values(username=name))
            unit.attest(lambda _head: pytest.fail("there is no event"))
            unit.settle(settled.append)

    unit, trial = a_unit(), a_unit(dry_run=True)
    change(unit, "ada")
    change(trial, "eve")
    assert (unit.committed, unit.changed, unit.seq, unit.events) == (True, False, None, range(0))
    assert (trial.committed, settled) == (False, [True, False])
    with pytest.raises(Refused, match="no active administrator"), a_unit() as refused:
        refused.session.execute(sa.update(User).values(active=False))
    rows = db.session.execute(sa.select(User.username, User.active)).all()
    assert (rows, len(subjects())) == ([("ada", True)], count)
    place_order(unit)
    change(unit, "bob")
    assert unit.seq == count + 3


def test_adopted_changes_are_compared_with_the_state_before_them(app: Flask) -> None:
    users.create_admin("ada@example.com", password=PASSWORD, unit=a_unit())
    db.session.execute(sa.text("UPDATE ops_users SET active = false"))
    with pytest.raises(Refused, match="no active administrator"):
        place_order(of(adopt=True))
    assert db.session.scalars(sa.select(User.active)).all() == [True]


def test_unsaved_changes_are_adopted_but_not_of_guarded_tables(app: Flask) -> None:
    db.session.add(MailMessage(kind="test", recipient="a", subject="b", body="c"))
    unit = of(adopt=True)
    with unit:
        assert unit.session.connection().get_execution_options()["writing"] is True
        unit.record("shop:order:place", "order:3")
    db.session.rollback()
    assert db.session.scalars(sa.select(MailMessage.recipient)).all() == ["a"]
    db.session.add(Role(name="sneaky"))
    with pytest.raises(Refused, match="through a unit of work only"):
        place_order(unit)
    db.session.rollback()


def test_unit_holds_the_gate_with_a_writing_connection(app: Flask) -> None:
    with a_unit() as unit:
        assert unit.session.connection().get_execution_options()["writing"] is True
        assert unit._head == ledger.read_head(unit.session)


# --- a commit whose outcome is not known -------------------------------------


def lost(name: str, *, invalidated: bool = False) -> exc.DBAPIError:
    error = sqlite3.OperationalError("the disk")
    error.sqlite_errorname = name
    return exc.OperationalError("COMMIT", {}, error, connection_invalidated=invalidated)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (lost("SQLITE_BUSY", invalidated=True), "connection broke"),
        (lost("SQLITE_IOERR_FSYNC"), "disk failed"),
        (lost("SQLITE_IOERR"), "disk failed"),
        (lost("SQLITE_IOERR_WRITE"), None),
        (lost("SQLITE_FULL"), None),
        (exc.OperationalError("COMMIT", {}, Exception("no name")), None),
    ],
)
def test_commit_without_an_answer_names_the_command_that_tells(
    app: Flask, monkeypatch: pytest.MonkeyPatch, error: exc.DBAPIError, reason: str | None
) -> None:
    def commit() -> None:
        raise error

    monkeypatch.setattr(db.session(), "commit", commit)
    unit, settled = a_unit(), list[bool]()

    def change() -> None:
        with unit:
            unit.settle(settled.append)
            unit.record("shop:order:place", "order:3")

    with pytest.raises((OpsError, exc.DBAPIError)) as raised:
        change()
    if reason is None:
        assert raised.value is error
    else:
        assert isinstance(raised.value, OpsError)
        assert raised.value.message == (
            f"the {reason} during the commit: it may or may not have happened"
        )
        assert raised.value.hint == f"flask audit list --correlation {unit.correlation}"
        assert raised.value.__cause__ is error
    assert (unit.committed, unit.seq, settled) == (False, None, [False])


# --- a sandbox ---------------------------------------------------------------


def test_sandbox_adopts_without_another_session(app: Flask) -> None:
    users.create_admin("ada@example.com", password=PASSWORD, unit=a_unit())
    db.engine.update_execution_options(**{SANDBOX: True})
    db.session.execute(sa.text("UPDATE ops_users SET active = false"))
    unit = of(adopt=True)
    with unit:
        assert unit._had_administrator is False  # As it is in the sandbox.
        unit.record("shop:order:place", "order:3")
    assert unit.committed


def test_sandbox_reads_the_head_without_its_lock(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = []
    read_head = ledger.read_head

    def spy(session: so.Session, *, lock: bool = False) -> ledger.Head | None:
        locks.append(lock)
        return read_head(session, lock=lock)

    monkeypatch.setattr(ledger, "read_head", spy)
    for is_sandbox in (False, True):
        db.engine.update_execution_options(**{SANDBOX: is_sandbox})
        with of():
            pass
    assert locks == [True, False]


# --- bookkeeping -------------------------------------------------------------


def test_bookkeeping_is_committed_alone(app: Flask) -> None:
    db.session.execute(sa.select(Role)).all()
    for bind in ({}, {"bind": None}):
        with bookkeeping(**bind, patience=1) as session:  # type: ignore[arg-type]
            options = session.connection().get_execution_options()
            assert (options["writing"], options["patience"]) == (True, 1)
            session.add(MailMessage(kind="test", recipient="a", subject="b", body="c"))
        assert not session.in_transaction()
    assert db.session().in_transaction()
    db.session.rollback()
    assert db.session.scalars(sa.select(MailMessage.recipient)).all() == ["a"] * 2


def test_bookkeeping_that_fails_leaves_nothing(app: Flask) -> None:
    def fail() -> None:
        with bookkeeping() as session:
            session.add(MailMessage(kind="test", recipient="a", subject="b", body="c"))
            session.flush()
            raise NotReady("no")

    with pytest.raises(NotReady, match=re.escape("no")):
        fail()
    assert db.session.scalars(sa.select(MailMessage)).all() == []
