"""The observer on engines, sessions and threads as applications have them, and on full disks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import event, exc
from sqlalchemy import orm as so

from opsapp.errors import Refused
from opsapp.ops import listeners
from opsapp.ops import observer as observing
from tests.apps import bitmask_app
from tests.apps.relation_app import Role, User, user_roles
from tests.ops.observer.conftest import Observe
from tests.ops.observer.observing import People, Theirs

ON_POSTGRESQL = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def changes(theirs: Theirs) -> list[tuple[str, str, Any, Any]]:
    return [
        (action, subject, before and json.loads(before), after and json.loads(after))
        for action, subject, before, after in theirs.waiting()
    ]


def ada(theirs: Theirs, **values: Any) -> int:
    """The key of an account that is there, and of whose making nothing waits any more."""
    user = User(**{"username": "ada", "active": True, **values})
    theirs.session.add(user)
    theirs.session.commit()
    key: int = user.id
    theirs.session.remove()
    theirs.database.execute("DELETE FROM ops_audit_pending")
    theirs.notices.clear()
    return key


@contextmanager
def another_transaction(theirs: Theirs) -> Iterator[sa.Connection]:
    """A transaction of another process, rolled back at the end."""
    engine = sa.create_engine(theirs.db.engine.url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


# --- sessions of their own -----------------------------------------------------

DEACTIVATED = [("user:account:update", "user:1", {"active": True}, {"active": False})]


@pytest.mark.parametrize("place", ["a context", "no context"])
@pytest.mark.parametrize("way", ["object", "statement", "table"])
def test_session_that_they_make_themselves_is_observed(
    theirs: Theirs, place: str, way: str
) -> None:
    key, engine = ada(theirs), theirs.db.engine

    def work() -> None:
        with so.Session(engine) as session:
            deactivate(session, key, way)
            session.commit()

    if place == "a context":
        work()
    else:
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert changes(theirs) == DEACTIVATED
    assert theirs.notices == [True]


def deactivate(session: so.Session, key: int, way: str) -> None:
    match way:
        case "object":
            session.get_one(User, key).active = False
        case "statement":
            session.execute(sa.update(User).where(User.id == key).values(active=False))
        case "table":
            session.execute(sa.update(User.__table__).values(active=False))


def test_table_of_the_same_name_in_another_database_is_not_observed(theirs: Theirs) -> None:
    ada(theirs)
    metadata = sa.MetaData()
    columns = sa.Column("id", sa.Integer), sa.Column("active", sa.Boolean)
    table = sa.Table("ab_user", metadata, *columns)
    roles = sa.Table("ab_user_role", metadata, sa.Column("user_id", sa.Integer))
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    with so.Session(engine) as session:
        session.execute(sa.insert(table), [{"id": 1, "active": True}])
        session.execute(sa.update(table).values(active=False))
        session.execute(sa.delete(roles))
        session.commit()
    engine.dispose()
    assert changes(theirs) == []
    assert theirs.notices == []


def test_last_administrator_is_kept_in_a_thread_without_a_context(
    observe_relations: Observe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also beside another application of the process, whose tables are elsewhere."""
    monkeypatch.setattr(listeners, "_homeless", {})
    others = People(bitmask_app.User, {"email"}, admin=bitmask_app.User.id.is_not(None))
    listeners.observe(Flask("other"), others, others.has_administrator, keep_admin="refuse")
    theirs = observe_relations(keep_admin="refuse")
    key = ada(theirs, roles=[Role(name="Admin")])
    engine, refused = theirs.db.engine, []

    def work() -> None:
        for way in ("object", "statement"):
            with so.Session(engine) as session:
                try:
                    deactivate(session, key, way)
                    session.commit()
                except Refused as error:
                    refused.append(error.message)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert refused == ["this would leave no active administrator who can sign in"] * 2
    assert theirs.database.rows("SELECT * FROM ab_user WHERE active") != []


def test_error_outside_of_a_context_leaves_their_session_open(
    theirs: Theirs, app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    """A teardown of the application would end the session in the middle of its flush."""
    key = ada(theirs)
    sessions = so.scoped_session(so.sessionmaker(theirs.db.engine))
    app.teardown_appcontext(lambda _error: sessions.remove())  # It is that of the sealer here.
    theirs.database.execute("ALTER TABLE ops_audit_pending RENAME TO away")
    committed = []

    def work() -> None:
        sessions.get_one(User, key).active = False
        sessions.commit()
        committed.append(True)
        sessions.remove()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert committed == [True]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    theirs.database.execute("ALTER TABLE away RENAME TO ops_audit_pending")


# --- statements whose condition a listener of theirs adds ------------------------


def test_account_that_a_filter_of_theirs_leaves_is_not_deleted(theirs: Theirs) -> None:
    ada(theirs)
    theirs.session.add(User(username="bob", active=False))
    theirs.session.commit()
    theirs.database.execute("DELETE FROM ops_audit_pending")

    def hide_inactive(state: so.ORMExecuteState) -> None:
        hidden = so.with_loader_criteria(User, User.active.is_(True))
        state.statement = state.statement.options(hidden)

    event.listen(theirs.session, "do_orm_execute", hide_inactive)
    try:
        theirs.session.execute(sa.delete(User))
        theirs.session.commit()
    finally:
        event.remove(theirs.session, "do_orm_execute", hide_inactive)
    assert theirs.database.rows("SELECT username FROM ab_user") == [("bob",)]
    assert changes(theirs) == [("user:account:delete", "user:1", {"active": True}, None)]


@ON_POSTGRESQL
def test_change_that_two_transactions_make_at_once_is_told_by_one(theirs: Theirs) -> None:
    """The second waits for the first, and finds nothing to change."""
    key, engine = ada(theirs), theirs.db.engine
    statement = sa.update(User).where(User.id == key).values(active=False)
    waits = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def work() -> None:
        with so.Session(engine) as session:
            session.execute(statement)
            session.commit()

    thread = threading.Thread(target=work)
    with so.Session(engine) as session, another_transaction(theirs) as watcher:
        session.execute(statement)
        thread.start()
        while not watcher.scalar(waits):
            watcher.rollback()
        session.commit()
    thread.join()
    assert changes(theirs) == DEACTIVATED


# --- flushes that fail -----------------------------------------------------------


def test_flush_that_failed_is_forgotten_at_the_next(theirs: Theirs) -> None:
    ada(theirs)
    theirs.session.add(User(username="bob"))
    theirs.session.commit()
    theirs.database.execute("DELETE FROM ops_audit_pending")
    user = theirs.session.get(User, 1)
    theirs.session.expire(user)
    user.active, user.username = False, "bob"
    with pytest.raises(exc.IntegrityError):
        theirs.session.commit()
    theirs.session.rollback()
    theirs.database.execute("UPDATE ab_user SET active = false WHERE id = 1")
    user.last_login = sa.func.now()  # It is not watched.
    theirs.session.commit()
    assert changes(theirs) == []


@ON_SQLITE
def test_change_that_sqlite_undoes_with_ours_is_not_taken_for_committed(theirs: Theirs) -> None:
    """SQLite ends the whole transaction where the disk is full."""
    key = ada(theirs)
    user = theirs.session.get(User, key)
    driver: Any = theirs.session.connection().connection.dbapi_connection
    pages = driver.execute("PRAGMA page_count").fetchone()[0]
    driver.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(exc.OperationalError, match="database or disk is full"):
        toggle_for_ever(theirs, user)


def toggle_for_ever(theirs: Theirs, user: User) -> None:
    while True:
        expected = user.active = not user.active
        theirs.session.commit()
        assert theirs.database.rows("SELECT active FROM ab_user") == [(int(expected),)]


# --- locks, and engines without transactions ----------------------------------------


@ON_POSTGRESQL
@pytest.mark.parametrize("driver", ["psycopg", "pg8000"])
def test_table_that_is_locked_delays_a_request_for_a_moment(
    theirs: Theirs,
    driver: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(observing, "LOCK_SECONDS", 0.05)
    if driver != "psycopg":  # Drivers that cannot merge statements send them one by one.
        monkeypatch.setattr(observing.pending, "add_in_savepoint", lambda *_args: False)
    key = ada(theirs)
    with another_transaction(theirs) as locker:
        locker.execute(sa.text("LOCK TABLE ops_audit_pending IN ACCESS EXCLUSIVE MODE"))
        theirs.session.execute(sa.text("SET LOCAL lock_timeout = '7s'"))
        theirs.session.get_one(User, key).active = False
        theirs.session.flush()
        assert theirs.session.scalar(sa.text("SHOW lock_timeout")) == "7s"
        theirs.session.commit()
    assert theirs.database.rows("SELECT active FROM ab_user") == [(False,)]
    (record,) = caplog.records
    assert "lock timeout" in record.getMessage()
    theirs.session.execute(sa.text("SET LOCAL lock_timeout = '7s'"))
    theirs.session.get_one(User, key).active = True
    theirs.session.flush()
    assert theirs.session.scalar(sa.text("SHOW lock_timeout")) == "7s"
    theirs.session.commit()
    assert len(changes(theirs)) == 1


@pytest.mark.parametrize("driver", ["of the database", "another"])
def test_engine_that_commits_each_statement_is_observed(
    theirs: Theirs, driver: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if driver == "another":
        monkeypatch.setattr(observing.pending, "add_in_savepoint", lambda *_args: False)
    key = ada(theirs)
    role = Role(name="support")
    engine = theirs.db.engine.execution_options(isolation_level="AUTOCOMMIT")
    with so.Session(engine) as session:
        user = session.get_one(User, key)
        user.active = False
        user.roles.append(role)
        session.commit()
        session.execute(sa.update(User).values(active=True))
        session.execute(sa.delete(user_roles))
    assert caplog.records == []
    assert [action for action, *_rest in changes(theirs)] == [
        "user:account:update",
        "user:role:grant",
        "user:account:update",
        "user:roles:delete",
    ]
