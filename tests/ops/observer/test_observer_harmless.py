"""The observer does no harm: its errors, databases without our tables, units, tests of theirs."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import g
from sqlalchemy import exc

from opsapp.errors import Refused
from opsapp.ops import observer as observing
from opsapp.ops.actor import actor_columns
from opsapp.unit import pending
from tests.apps.relation_app import Role, User
from tests.ops.observer.conftest import Observe
from tests.ops.observer.observing import Theirs, relation_people


def break_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what the observer writes be refused by the database."""
    broken = SimpleNamespace(
        statement="INSERT INTO no_such_table VALUES (1)", values=lambda _row: ()
    )
    monkeypatch.setattr(pending, "_insert_of", lambda _dialect: broken)


def test_error_leaves_their_transaction_usable_and_is_an_event(
    theirs: Theirs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        break_writing(patch)
        theirs.session.add(User(username="ada"))
        theirs.session.flush()
        theirs.session.add(Role(name="Admin"))
        theirs.session.commit()
    assert theirs.database.rows("SELECT username FROM ab_user") == [("ada",)]
    assert theirs.database.rows("SELECT name FROM ab_role") == [("Admin",)]
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("a change of an account is not in the audit log: ")
    assert "ada" not in caplog.text
    assert theirs.seal()
    (event,) = theirs.database.rows(
        "SELECT action, subject, after FROM ops_audit_events WHERE action LIKE 'audit:observer:%'"
    )
    assert event[:2] == ("audit:observer:gap", "audit")
    assert '"missing":1' in event[2]


def test_error_of_a_strict_observer_fails_their_flush(
    observe_relations: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = observe_relations(strict=True)
    break_writing(monkeypatch)
    theirs.session.add(User(username="ada"))
    with pytest.raises(Exception, match="no_such_table"):
        theirs.session.commit()
    theirs.session.rollback()
    assert theirs.database.rows("SELECT username FROM ab_user") == []


def test_error_of_their_own_actor_breaks_nothing(observe_relations: Observe) -> None:
    def actor() -> Any:
        raise RuntimeError("theirs")

    theirs = observe_relations(actor=actor)
    with theirs.app.test_request_context():
        theirs.session.add(User(username="ada"))
        theirs.session.commit()
    assert theirs.database.rows("SELECT username FROM ab_user") == [("ada",)]
    assert theirs.waiting() == []


def test_statement_that_fails_is_theirs_to_see(theirs: Theirs) -> None:
    theirs.session.add_all([User(username="a"), User(username="b")])
    theirs.session.commit()
    theirs.database.execute("DELETE FROM ops_audit_pending")
    with pytest.raises(exc.IntegrityError):
        theirs.session.execute(sa.update(User).values(username="same"))
    theirs.session.rollback()
    assert theirs.waiting() == []


def test_without_our_tables_it_is_silent_and_looks_again_later(
    theirs: Theirs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    theirs.database.execute("ALTER TABLE ops_audit_pending RENAME TO away")
    statements: list[str] = []
    theirs.session.add(User(username="ada"))
    theirs.session.commit()
    sa.event.listen(
        theirs.db.engine, "before_cursor_execute", lambda *args: statements.append(args[2])
    )
    theirs.session.add(User(username="bob"))
    theirs.session.commit()
    assert len(statements) == 1
    theirs.database.execute("ALTER TABLE away RENAME TO ops_audit_pending")
    now = observing.monotonic()
    monkeypatch.setattr(observing, "monotonic", lambda: now + 61)
    theirs.session.add(User(username="eve"))
    theirs.session.commit()
    assert [subject for _action, subject, *_sides in theirs.waiting()] == ["user:3"]
    assert caplog.records == []
    assert theirs.notices == [False]


def test_tables_that_are_dropped_meanwhile_break_nothing(theirs: Theirs) -> None:
    theirs.session.add(User(username="ada"))
    theirs.session.commit()
    theirs.database.execute("DROP TABLE ops_audit_pending")
    for name in ("bob", "eve"):
        theirs.session.add(User(username=name))
        theirs.session.commit()
    assert len(theirs.database.rows("SELECT * FROM ab_user")) == 3


def test_unit_is_not_observed_twice(theirs: Theirs) -> None:
    theirs.session.connection(execution_options={"writing": True})
    user = User(username="ada", active=True)
    theirs.session.add(user)
    theirs.session.flush()
    user.active = False
    theirs.session.flush()
    theirs.session.execute(sa.update(User).values(active=True))
    theirs.session.delete(user)
    theirs.session.commit()
    assert theirs.waiting() == []


def test_their_tests_are_not_observed(theirs: Theirs) -> None:
    theirs.app.testing = True
    theirs.session.add(User(username="ada"))
    theirs.session.execute(sa.insert(User), [{"username": "bob"}])
    theirs.session.commit()
    assert theirs.waiting() == []
    assert theirs.notices == []


def test_another_application_with_the_same_models_is_not_observed(theirs: Theirs) -> None:
    from tests.apps import relation_app

    other = relation_app.create_app()
    with other.app_context():
        theirs.db.session.add(User(username="ada"))
        theirs.db.session.execute(sa.insert(User), [{"username": "bob"}])
        theirs.db.session.commit()
        theirs.db.engine.dispose()
    assert theirs.waiting() == []


def test_many_applications_have_one_listener(observe_relations: Observe) -> None:
    observe_relations()
    theirs = observe_relations()
    theirs.session.add(User(username="ada"))
    theirs.session.commit()
    assert len(theirs.waiting()) == 1


# --- who ---------------------------------------------------------------------


def test_actor_is_the_account_that_the_request_has_loaded(theirs: Theirs) -> None:
    user = User(username="ada")
    theirs.session.add(user)
    theirs.session.commit()
    people = relation_people()
    with theirs.app.test_request_context():
        stranger = actor_columns(people, None)
        g._login_user = user
        loaded = actor_columns(people, None)
    assert stranger["actor"]["kind"] == "stranger"
    assert (loaded["actor"]["kind"], loaded["actor"]["name"]) == ("user", "user:1")
    assert loaded["door"] == "web"


def test_actor_of_an_account_that_registers_itself_is_a_stranger(theirs: Theirs) -> None:
    user = User(username="ada")
    with theirs.app.test_request_context():
        g._login_user = user
        theirs.session.add(user)
        theirs.session.commit()
        user.active = True
        theirs.session.commit()
    actors = theirs.database.rows("SELECT actor FROM ops_audit_pending ORDER BY id")
    names = [(actor["kind"], actor["name"]) for actor in (json.loads(row[0]) for row in actors)]
    assert names == [("stranger", "stranger"), ("user", "user:1")]


def test_changes_of_a_request_have_one_correlation(theirs: Theirs) -> None:
    with theirs.app.test_request_context():
        for name in ("ada", "bob"):
            theirs.session.add(User(username=name))
            theirs.session.commit()
    ids = theirs.database.rows("SELECT correlation, door FROM ops_audit_pending")
    assert len(ids) == 2
    assert len(set(ids)) == 1
    assert ids[0][1] == "web"


def test_actor_may_be_said(theirs: Theirs) -> None:
    with theirs.app.test_request_context():
        assert actor_columns(relation_people(), lambda: "ldap:ada")["actor"]["name"] == "ldap:ada"


def test_actor_outside_of_a_request_is_the_user_of_the_process(theirs: Theirs) -> None:
    columns = actor_columns(relation_people(), None)
    assert (columns["actor"]["kind"], columns["door"]) == ("os", "code")


# --- refusing ----------------------------------------------------------------


def an_admin(theirs: Theirs) -> User:
    user = User(username="ada", active=True, roles=[Role(name="Admin")])
    theirs.session.add(user)
    theirs.session.commit()
    return user


@pytest.mark.parametrize("way", ["flag", "role", "delete", "bulk", "bulk delete"])
def test_last_administrator_is_kept_where_that_is_asked_for(
    observe_relations: Observe, way: str
) -> None:
    theirs = observe_relations(keep_admin="refuse")
    user = an_admin(theirs)
    with pytest.raises(Refused, match="no active administrator"):
        take_away(theirs, user, way)
    theirs.session.rollback()
    assert user.active
    assert len(user.roles) == 1


def take_away(theirs: Theirs, user: User, way: str) -> None:
    match way:
        case "flag":
            user.active = False
        case "role":
            user.roles = []
        case "delete":
            theirs.session.delete(user)
        case "bulk":
            theirs.session.execute(sa.update(User).values(active=False))
        case "bulk delete":
            theirs.session.execute(sa.delete(User.metadata.tables["ab_user_role"]))
    theirs.session.commit()


def test_administrator_who_is_not_the_last_may_go(observe_relations: Observe) -> None:
    theirs = observe_relations(keep_admin="refuse")
    user = an_admin(theirs)
    theirs.session.add(User(username="eve", active=True, roles=list(user.roles)))
    theirs.session.commit()
    user.active = False
    theirs.session.commit()
    assert not user.active


def test_application_without_an_administrator_changes_as_it_likes(
    observe_relations: Observe,
) -> None:
    theirs = observe_relations(keep_admin="refuse")
    user = User(username="ada", active=True)
    theirs.session.add(user)
    theirs.session.commit()
    user.active = False
    theirs.session.commit()
    assert not user.active


def test_protected_attribute_changes_by_a_unit_only(observe_relations: Observe) -> None:
    theirs = observe_relations(protect={User.active})
    with pytest.raises(Refused, match="active is protected"):
        an_admin(theirs)
    theirs.session.rollback()
    user = User(username="ada", active=False)
    theirs.session.add(user)
    theirs.session.commit()
    for attempt in (
        lambda: setattr(user, "active", True),
        lambda: theirs.session.execute(sa.update(User).values(active=True)),
        lambda: theirs.session.execute(sa.insert(User), [{"username": "b", "active": True}]),
    ):
        with pytest.raises(Refused, match="active is protected"):
            _commit_after(theirs, attempt)
        theirs.session.rollback()
    theirs.session.connection(execution_options={"writing": True})
    user.active = True
    theirs.session.commit()
    assert user.active


def _commit_after(theirs: Theirs, attempt: Any) -> None:
    attempt()
    theirs.session.commit()


def test_change_that_leaves_no_administrator_is_an_event(
    theirs: Theirs, caplog: pytest.LogCaptureFixture
) -> None:
    user = an_admin(theirs)
    assert theirs.seal()
    assert caplog.records == []
    user.active = False
    theirs.session.commit()
    assert theirs.seal()
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    events = theirs.database.rows("SELECT action FROM ops_audit_events ORDER BY seq DESC LIMIT 2")
    assert events == [("user:admin:missing",), ("user:account:update",)]
