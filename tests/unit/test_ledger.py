"""The audit as it is written: batches, the gate's refusals, events, and the names beside them."""

from __future__ import annotations

import hashlib
import sqlite3
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import exc

from opsapp import clock, migrations
from opsapp.errors import Busy, NotReady, OpsError, Refused
from opsapp.extensions import db
from opsapp.models import AuditEvent, AuditHead, PersonalValue
from opsapp.unit import chain, ledger
from opsapp.unit.ledger import Head, Recorded
from tests.support import a_unit


def of_users(count: int, *, action: str = "user:account:update", **sides: Any) -> list[Recorded]:
    """The same change to so many accounts, each with objects of its own."""
    before, after = sides.get("before"), sides.get("after")
    return [
        Recorded(action, f"user:{id}", before and dict(before), after and dict(after))
        for id in range(1, count + 1)
    ]


# --- changes -----------------------------------------------------------------


def test_recorded_change_is_shown_with_its_two_sides() -> None:
    change = Recorded("user:role:grant", "user:1", {"a": 1}, None)
    assert change.record() == {
        "action": "user:role:grant",
        "subject": "user:1",
        "before": {"a": 1},
        "after": None,
    }


@pytest.mark.parametrize("name", ["email", "username"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_personal_value_of_what_is_no_account_is_refused(name: str, side: str) -> None:
    sides: dict[str, Any] = {"before": None, "after": None, side: {name: "ada"}}
    with pytest.raises(ValueError, match="is kept for accounts") as raised:
        Recorded("shop:order:place", "order:3", **sides)
    assert str(raised.value) == (
        f"shop:order:place of order:3: {name} is kept for accounts (user:ID) only;"
        " name the account by its id"
    )
    Recorded("shop:order:place", "user:3", **sides)


# --- batches -----------------------------------------------------------------


def test_up_to_a_hundred_accounts_have_an_event_each() -> None:
    changes = of_users(100, after={"active": False})
    assert ledger.in_batches(changes) == changes


def test_more_accounts_are_one_event_for_each_batch_of_them() -> None:
    merged = ledger.in_batches(of_users(1001, before={"a": 1}, after={"active": False}))
    assert [change.record() for change in merged] == [
        {
            "action": "user:account:update",
            "subject": "users",
            "before": {"a": 1},
            "after": {
                "active": False,
                "ids": list(ids),
                "count": len(ids),
                "digest": hashlib.sha256(",".join(map(str, ids)).encode()).hexdigest(),
            },
        }
        for ids in (range(1, 501), range(501, 1001), range(1001, 1002))
    ]
    [deleted] = ledger.in_batches(of_users(101, action="user:account:delete"))
    assert deleted.after is not None
    assert (deleted.before, deleted.after["count"]) == (None, 101)


def test_different_changes_stay_apart_and_in_order() -> None:
    off = of_users(101, after={"active": False})
    on = of_users(101, after={"active": True})
    shared = {"role": "support"}
    given = [Recorded("user:role:grant", f"user:{id}", None, shared) for id in range(1, 102)]
    ended = [Recorded("user:role:revoke", f"user:{id}", shared, None) for id in range(1, 102)]
    merged = ledger.in_batches([*off, *on, *off, *given, *ended])
    assert [
        (change.action, change.before, (change.after or {}).get("active")) for change in merged
    ] == [
        ("user:account:update", None, False),
        ("user:account:update", None, True),
        ("user:account:update", None, False),
        ("user:role:grant", None, None),
        ("user:role:revoke", shared, None),
    ]


def test_accounts_whose_ids_are_no_numbers_are_not_merged() -> None:
    changes = [Recorded("user:account:update", f"user:a-{id}", None, None) for id in range(101)]
    assert ledger.in_batches(changes) == changes


# --- the gate ----------------------------------------------------------------


def set_head(**values: Any) -> None:
    columns = ", ".join(f"{name} = :{name}" for name in values)
    db.session.execute(sa.text(f"UPDATE ops_audit_head SET {columns}"), values)


def revisions(statement: str) -> None:
    db.session.execute(sa.text(statement.replace("TABLE", migrations.VERSION_TABLE)))


def refusal(kind: type[OpsError]) -> tuple[str, str | None]:
    """The message and the hint with which the gate stays closed."""
    with pytest.raises(OpsError) as raised:
        ledger.take_gate(db.session())
    db.session.rollback()
    assert type(raised.value) is kind
    return raised.value.message, raised.value.hint


def test_gate_is_the_end_of_the_chain(app: Flask) -> None:
    head = ledger.take_gate(db.session())
    seq, hash = db.session.execute(
        sa.select(AuditEvent.seq, AuditEvent.hash).order_by(AuditEvent.seq.desc())
    ).first()
    assert (head.seq, head.hash, head.environment) == (seq, hash, "development")
    assert head.key_id == chain.key_id(ledger.audit_key())
    assert head == ledger.take_gate(db.session(), lock=False) == ledger.read_head(db.session())
    ledger.refuse_other_owner(head)


def test_gate_is_locked_unless_it_is_only_looked_at(app: Flask) -> None:
    statements: list[Any] = []
    for lock in (True, False):
        ledger.take_gate(_Spy(db.session(), statements), lock=lock)  # type: ignore[arg-type]
    dialect = sa.dialects.postgresql.dialect()
    locking = ["FOR UPDATE" in str(each.compile(dialect=dialect)) for each in statements]
    assert locking == [True, False]


class _Spy:
    """A session whose statements are remembered."""

    def __init__(self, session: Any, statements: list[Any]) -> None:
        self.session, self.statements = session, statements
        self.scalars = session.scalars

    def execute(self, statement: Any) -> Any:
        self.statements.append(statement)
        return self.session.execute(statement)


def test_gate_without_a_head_or_with_two_says_that_it_was_tampered_with(app: Flask) -> None:
    db.session.execute(sa.text("DELETE FROM ops_audit_head"))
    assert refusal(NotReady) == ("the audit log has no head: it was removed", "flask audit verify")
    db.session.execute(
        sa.text(
            "INSERT INTO ops_audit_head (id, chain, environment, key_id, pepper_id, seq, hash)"
            " SELECT 2, chain, environment, key_id, pepper_id, seq, hash FROM ops_audit_head"
        )
    )
    assert refusal(NotReady) == ("the audit log has several heads", "flask audit verify")


def test_gate_refuses_another_environment(app: Flask) -> None:
    set_head(environment="prod\x1b[2J")
    message = "this database is stamped prod\\x1b[2J, and OPSAPP_ENV is development"
    assert refusal(Refused) == (message, "flask doctor")


def test_gate_refuses_another_key_and_another_pepper(app: Flask) -> None:
    set_head(key_id="0" * 16)
    message = "OPSAPP_AUDIT_KEY does not match the key of this database's audit log"
    assert refusal(ledger.WrongSecret) == (message, "flask doctor --settings")
    set_head(pepper_id="0" * 16)
    message = "SECURITY_PASSWORD_SALT does not match the one this database was created with"
    assert refusal(ledger.WrongSecret) == (message, "flask doctor --settings")


def test_database_of_another_owner_is_refused(app: Flask) -> None:
    head = ledger.take_gate(db.session())
    for name, kind in (
        ("environment", Refused),
        ("key_id", ledger.WrongSecret),
        ("pepper_id", ledger.WrongSecret),
    ):
        other = Head(**{**{field: getattr(head, field) for field in head.__slots__}, name: "other"})
        with pytest.raises(kind):
            ledger.refuse_other_owner(other)


def test_database_without_passwords_of_ours_has_no_pepper(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = ledger.take_gate(db.session())
    set_head(pepper_id=ledger.NO_PEPPER)
    ledger.take_gate(db.session())
    db.session.rollback()
    monkeypatch.setattr(ledger.state, "is_built_on", lambda _app: False)
    assert ledger.pepper_id() == ledger.NO_PEPPER == "none"
    with pytest.raises(ledger.WrongSecret):
        ledger.refuse_other_owner(head)


def test_pepper_is_begun_once(app: Flask) -> None:
    own = ledger.pepper_id()
    assert own == chain.key_id(app.config["SECURITY_PASSWORD_SALT"].encode())
    with a_unit() as unit:
        set_head(pepper_id=ledger.NO_PEPPER)
        ledger.take_gate(unit.session)
        ledger.begin_pepper(unit.session)
        assert unit.session.scalars(sa.select(AuditHead.pepper_id)).all() == [own]
        set_head(pepper_id="other")
        ledger.begin_pepper(unit.session)
        assert unit.session.scalars(sa.select(AuditHead.pepper_id)).all() == ["other"]
        set_head(pepper_id=own)


def test_gate_refuses_tables_of_another_revision(app: Flask) -> None:
    core = migrations.our_branch("core")
    revisions("DELETE FROM TABLE WHERE version_num LIKE 'core%'")
    message = "the database has opsapp's tables and no revision"
    assert refusal(NotReady) == (message, "flask db stamp heads")
    revisions("DELETE FROM TABLE WHERE version_num LIKE 'accounts%'")
    accounts = migrations.our_branch("accounts")
    behind = f"the tables of accounts are at revision none, and this code is at {accounts.head}"
    assert refusal(NotReady) == (behind, "flask db init")
    for revision, hint in (
        ("core9999", "deploy the code that the database fits"),
        (
            f"core{core.number(core.head):04d}zzzzz",
            "bring the file of that migration back; flask db stamp --purge, if it was renumbered",
        ),
        ("core0000", "flask db init"),
    ):
        revisions(f"UPDATE TABLE SET version_num = '{revision}' WHERE version_num LIKE 'core%'")
        message = f"the tables of core are at revision {revision}, and this code is at {core.head}"
        assert refusal(NotReady) == (message, hint)


def test_checkpoint_is_signed_by_the_key_of_the_chain(app: Flask) -> None:
    head = ledger.take_gate(db.session())
    before = clock.now()
    point = chain.Checkpoint.parse(head.checkpoint(), ledger.audit_key())
    assert (point.chain, point.seq, point.hash) == (head.chain, head.seq, head.hash)
    assert before <= datetime.fromisoformat(point.at) <= clock.now()


def test_fingerprint_of_a_secret_is_keyed(app: Flask) -> None:
    assert ledger.fingerprint("hash") == chain.secret(ledger.audit_key(), "hash")
    assert ledger.fingerprint(None) is None
    assert ledger.fingerprint("") is None


# --- events ------------------------------------------------------------------


def test_events_are_chained_with_tokens_for_names(app: Flask) -> None:
    with a_unit(reason="why") as unit:
        before = ledger.take_gate(unit.session)
        unit.record(
            "user:account:update",
            "user:7",
            before={"email": "a@x.org", "n": 1},
            after={"email": None},
        )
        unit.record("user:role:grant", "user:7")
    first, second = db.session.scalars(
        sa.select(AuditEvent).where(AuditEvent.seq > before.seq).order_by(AuditEvent.seq)
    )
    assert (first.seq, first.previous) == (before.seq + 1, before.hash)
    assert (second.seq, second.previous) == (before.seq + 2, first.hash)
    token = first.before["email"]["personal"]
    assert (first.before, first.after) == ({"email": {"personal": token}, "n": 1}, {"email": None})
    assert (second.before, second.after) == (None, None)
    [name] = db.session.scalars(sa.select(PersonalValue))
    assert (name.token, name.subject, name.value) == (token, "user:7", "a@x.org")
    assert len(name.salt) == 32
    assert token == chain.personal_token(ledger.audit_key(), name.salt, "a@x.org")
    for event in (first, second):
        assert (event.door, event.reason, event.correlation) == ("cli", "why", unit.correlation)
        assert event.actor == unit.actor.record()
        columns = sa.text("SELECT actor, before, after FROM ops_audit_events WHERE seq = :seq")
        actor, *sides = db.session.execute(columns, {"seq": event.seq}).one()
        assert event.hash == chain.link(
            ledger.audit_key(),
            event.previous,
            (
                event.seq,
                event.at,
                actor,
                "cli",
                event.action,
                "user:7",
                "why",
                *sides,
                unit.correlation,
            ),
        )
    head = ledger.read_head(db.session())
    assert head is not None
    assert (head.seq, head.hash) == (second.seq, second.hash)


def test_key_of_a_subject_is_kept_once(app: Flask) -> None:
    row = {"token": "t" * 32, "subject": "user:7", "salt": "s", "value": "ada"}
    with a_unit() as unit:
        connection = unit.session.connection()
        assert not ledger.has_name(connection, row["token"])
        ledger.add_key(connection, row)
        ledger.add_key(connection, {**row, "value": "bob"})
        assert ledger.has_name(connection, row["token"])
        ledger.add_names(connection, [])
        values = connection.execute(sa.select(PersonalValue.subject, PersonalValue.value)).all()
        assert [tuple(each) for each in values] == [("user:7", "ada")]


@pytest.mark.parametrize(
    ("cause", "message", "hint"),
    [
        (
            "SQLITE_FULL",
            "the audit log cannot be written, so nothing was changed: the disk\\x1b",
            "flask doctor",
        ),
        ("SQLITE_BUSY", None, None),
    ],
)
def test_audit_that_cannot_be_written_is_told(
    cause: str, message: str | None, hint: str | None
) -> None:
    error = exc.OperationalError("INSERT", {}, sqlite_error(cause, "the disk\x1b\nis full"))
    condition = ledger.unwritable(error)
    if message is None:
        assert type(condition) is Busy
        assert condition.message.startswith("the database has been locked for more than 5 seconds")
    else:
        assert type(condition) is NotReady
        assert (condition.message, condition.hint) == (message, hint)


def sqlite_error(name: str, message: str) -> Exception:
    error = sqlite3.OperationalError(message)
    error.sqlite_errorname = name
    return error


def test_event_that_the_database_refuses_undoes_the_change(app: Flask) -> None:
    if db.engine.dialect.name != "sqlite":
        pytest.skip("the trigger is written for SQLite")
    db.session.execute(
        sa.text(
            "CREATE TRIGGER full BEFORE INSERT ON ops_audit_events"
            " BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    )
    db.session.commit()

    def change() -> None:
        with a_unit() as unit:
            set_head(environment="development")
            unit.record("shop:order:place", "order:3")

    with pytest.raises(NotReady) as raised:
        change()
    assert (
        raised.value.message == "the audit log cannot be written, so nothing was changed: no room"
    )
    assert isinstance(raised.value.__cause__, exc.DBAPIError)


def test_audit_is_kept_once_an_attached_application_has_the_tables(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ledger.is_kept()
    for has_tables in (True, False):
        attached = SimpleNamespace(has_tables=has_tables)
        with monkeypatch.context() as patch:
            patch.setattr(ledger.state, "attachment_of", lambda _app, it=attached: it)
            assert ledger.is_kept() is has_tables
