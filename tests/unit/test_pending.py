"""Changes that wait: written beside an application's own, chained by the holder of the gate."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import exc

from opsapp.audit import verification
from opsapp.extensions import db
from opsapp.models import AuditEvent, PendingEvent, PersonalValue
from opsapp.types import Record
from opsapp.unit import ledger, pending
from tests.support import a_unit

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def row(subject: str = "user:1", action: str = "user:account:update", **values: Any) -> Record:
    """A change that waits."""
    return {
        "at": AT,
        "actor": {"kind": "stranger", "name": "web"},
        "door": "code",
        "action": action,
        "subject": subject,
        "before": None,
        "after": None,
        "correlation": "1",
        **values,
    }


def wait(*rows: Record) -> None:
    pending.add(db.session.connection(), rows)
    db.session.commit()


def key_of(subject: str) -> Record:
    """The row with what an opaque subject stands for."""
    name = {
        "token": subject.ljust(32),
        "subject": subject,
        "salt": "s" * 32,
        "value": f"{subject}@x",
    }
    return row(subject, pending.KEY, after=name)


def chained() -> list[tuple[str, str, Any, Any]]:
    events = db.session.scalars(
        sa.select(AuditEvent).where(AuditEvent.door == "code").order_by(AuditEvent.seq)
    )
    return [(event.action, event.subject, event.before, event.after) for event in events]


def names() -> dict[str, str]:
    """Return the values beside the chain, by subject and value."""
    return {name.value: name.subject for name in db.session.scalars(sa.select(PersonalValue))}


def test_mark_is_unmarked() -> None:
    side = {"email": pending.mark("ada@x.org"), "n": 1, "kinds": {"personal": 1, "other": 2}}
    assert pending.mark("ada@x.org") == {"personal": "ada@x.org"}
    assert pending.unmark(side) == {**side, "email": "ada@x.org"}
    assert pending.unmark({}) == {}
    assert pending.unmark(None) is None


@pytest.mark.parametrize("count", [1, 3])
def test_changes_wait_as_they_were_written(app: Flask, count: int) -> None:
    rows = [
        row(f"user:{n}", before={"n": n}, after={"é": None}, correlation=str(n))
        for n in range(count)
    ]
    wait(*rows)
    stored = db.session.scalars(sa.select(PendingEvent).order_by(PendingEvent.id)).all()
    assert [{name: getattr(each, name) for name in row()} for each in stored] == rows
    assert pending.waiting(db.session()) == (count, AT)


def test_keys_of_subjects_do_not_count_as_changes(app: Flask) -> None:
    assert pending.waiting(db.session()) == (0, None)
    wait(key_of("user:1"))
    assert pending.waiting(db.session()) == (0, None)
    wait(row(at=AT.replace(year=2027)), row())
    assert pending.waiting(db.session()) == (2, AT)


def test_next_unit_chains_them_with_tokens_for_names(app: Flask) -> None:
    wait(
        row(
            before={"email": pending.mark("a@x.org"), "n": 1},
            after={"email": pending.mark("b@x.org")},
        ),
        row("user:2", "user:account:create", after={}),
    )
    with a_unit() as unit:
        unit.record("shop:order:place", "order:3")
    (_action, _subject, before, after), created = chained()
    assert (_action, _subject, before["n"]) == ("user:account:update", "user:1", 1)
    assert created == ("user:account:create", "user:2", None, {})
    values = db.session.execute(sa.select(PersonalValue.token, PersonalValue.value)).all()
    assert dict(map(tuple, values)) == {
        before["email"]["personal"]: "a@x.org",
        after["email"]["personal"]: "b@x.org",
    }
    event = db.session.scalars(sa.select(AuditEvent).where(AuditEvent.subject == "user:1")).one()
    assert (event.at, event.actor, event.door, event.reason, event.correlation) == (
        AT,
        {"kind": "stranger", "name": "web"},
        "code",
        None,
        "1",
    )
    assert pending.waiting(db.session()) == (0, None)
    assert verification.verify()["ok"]


def seal(**options: Any) -> int:
    with a_unit() as unit:
        unit.record("shop:order:place", "order:3")
        head = ledger.take_gate(unit.session)
        assert unit._head is not None
        count = pending.seal(unit.session.connection(), head, **options)
        unit._head.seq, unit._head.hash = head.seq, head.hash
    return count


def test_oldest_are_chained_first_and_no_more_than_asked_for(app: Flask) -> None:
    wait(*[row(f"user:{n}") for n in range(5)])
    with a_unit() as unit:
        head = ledger.take_gate(unit.session)
        assert pending.seal(unit.session.connection(), head, limit=2) == 2
        unit.session.flush()
        unit.settle(lambda _committed: None)
        subjects = unit.session.scalars(sa.select(PendingEvent.subject).order_by(PendingEvent.id))
        assert list(subjects) == ["user:2", "user:3", "user:4"]
        assert [subject for _action, subject, *_sides in chained()] == ["user:0", "user:1"]
        assert pending.seal(unit.session.connection(), head) == 3
        assert pending.seal(unit.session.connection(), head) == 0


def test_key_of_a_subject_stands_beside_the_chain_once(app: Flask) -> None:
    wait(key_of("user:1"), key_of("user:1"), key_of("user:2"))
    assert seal() == 3
    assert names() == {"user:1@x": "user:1", "user:2@x": "user:2"}
    wait(key_of("user:1"))
    assert seal() == 1
    assert chained() == []


def test_names_of_a_deleted_account_are_erased(app: Flask) -> None:
    change = {"email": pending.mark("old@x.org")}
    wait(row("user:1", after=change), row("user:2", after={"email": pending.mark("bob@x.org")}))
    assert seal() == 2
    assert set(names()) == {"old@x.org", "bob@x.org"}
    wait(
        row("user:1", after={"email": pending.mark("new@x.org")}),
        row("user:2", after={"email": pending.mark("rob@x.org")}),
        row("user:1", pending.DELETE, before={"email": pending.mark("last@x.org")}),
        row("user:1", "user:account:create", after={"email": pending.mark("next@x.org")}),
    )
    assert seal() == 4
    assert names() == {"bob@x.org": "user:2", "rob@x.org": "user:2", "next@x.org": "user:1"}
    assert verification.verify()["ok"]


def test_damaged_change_is_told_and_stops_no_unit(app: Flask) -> None:
    wait(row("user:1"), row("user:2"))
    # The types of PostgreSQL let no such time in.
    db.session.execute(
        sa.text("UPDATE ops_audit_pending SET actor = '[', after = '1' WHERE id = 1")
    )
    db.session.commit()
    assert seal() == 2
    (action, subject, before, after), good = chained()
    assert (action, subject, before) == ("audit:pending:damaged", "audit", None)
    assert after == {"row": 1, "damaged": ["actor", "after"]}
    assert good[:2] == ("user:account:update", "user:2")
    event = db.session.scalars(sa.select(AuditEvent).where(AuditEvent.subject == "audit")).one()
    assert event.actor == {"kind": "stranger", "name": "unknown"}
    assert (event.reason, event.correlation) == (None, "")
    assert event.at > AT


# --- straight to the driver --------------------------------------------------


def test_savepoint_in_one_message_is_not_for_sqlite(sqlite_only: None, app: Flask) -> None:
    assert not pending.add_in_savepoint(db.session.connection(), [row()], "waiting", 1)
    assert pending.waiting(db.session()) == (0, None)


def test_connection_of_sqlite_has_transactions(sqlite_only: None, app: Flask) -> None:
    assert not pending.is_autocommit(db.session.connection())


@pytest.fixture(params=["psycopg", "psycopg2"])
def server(postgres: str, request: pytest.FixtureRequest) -> Iterator[sa.Connection]:
    """A connection of each driver to a server with the table of what waits, which it undoes."""
    engine = sa.create_engine(
        postgres.format("postgres").replace("postgresql:", f"postgresql+{request.param}:")
    )
    with engine.connect() as connection:
        PendingEvent.__table__.create(connection)  # type: ignore[attr-defined]
        yield connection
        connection.rollback()
    engine.dispose()


def waiting_on(server: sa.Connection) -> list[tuple[Any, ...]]:
    query = sa.select(PendingEvent.subject, PendingEvent.after).order_by(PendingEvent.id)
    return [tuple(each) for each in server.execute(query)]


def test_changes_in_a_savepoint_are_written_by_either_driver(server: sa.Connection) -> None:
    assert pending.add_in_savepoint(server, [row("user:1", after={"é%s": "a'b"})], "waiting", 1)
    assert pending.add_in_savepoint(server, [row("user:2"), row("user:3")], "waiting", 1)
    pending.add(server, [row("user:4")])
    pending.add(server, [row("user:5"), row("user:6")])
    assert waiting_on(server) == [
        ("user:1", {"é%s": "a'b"}),
        *((f"user:{n}", None) for n in range(2, 7)),
    ]
    with pytest.raises(exc.DBAPIError, match="savepoint"):
        server.exec_driver_sql("RELEASE SAVEPOINT waiting")  # None is left open.


def test_patience_has_its_bound_and_gives_back_that_of_the_application(
    server: sa.Connection,
) -> None:
    bounds = []
    server.exec_driver_sql("SET LOCAL lock_timeout = '7s'")
    for statement in ("SELECT 1", *pending.patience(1.25)):
        server.exec_driver_sql(statement)
        bounds.append(server.exec_driver_sql("SHOW lock_timeout").scalar())
    assert bounds == ["7s", "1250ms", "7s"]


def test_changes_are_written_where_each_statement_is_committed(server: sa.Connection) -> None:
    options = {"isolation_level": "AUTOCOMMIT"}
    schema = f"waiting_{uuid4().hex}"  # Other tests have a table of this name.
    with server.engine.connect().execution_options(**options) as other:
        other.exec_driver_sql(f"CREATE SCHEMA {schema}")
        other.exec_driver_sql(f"SET search_path = {schema}")
        try:
            PendingEvent.__table__.create(other)  # type: ignore[attr-defined]
            assert pending.is_autocommit(other)
            assert pending.add_in_savepoint(other, [row("user:1"), row("user:2")], "waiting", 1)
            assert waiting_on(other) == [("user:1", None), ("user:2", None)]
        finally:
            other.exec_driver_sql(f"DROP SCHEMA {schema} CASCADE")


def test_error_in_the_savepoint_leaves_the_transaction_as_it_was(server: sa.Connection) -> None:
    pending.add(server, [row("user:1")])
    with pytest.raises(Exception, match=r"\x00|NUL|too long|value"):
        pending.add_in_savepoint(server, [row("user:2"), row("u" * 65)], "waiting", 1)
    assert waiting_on(server) == [("user:1", None)]
