"""``ops.unit()``: changes by an application's own code, through the gate and with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import OperationalError

from opsapp import Ops, clock
from opsapp.database import setup
from opsapp.errors import Busy, NotReady, Refused
from opsapp.ops import promises, role_ends, seal
from opsapp.state import attachment_of
from opsapp.unit import ledger
from opsapp.unit.work import bookkeeping
from tests.ops.conftest import OURS
from tests.support import Database, a_unit

EVENTS = (
    "SELECT door, action, subject, reason FROM ops_audit_events"
    " WHERE subject != 'database' ORDER BY seq"
)

Serve = Callable[..., tuple[Flask, ModuleType, Ops]]


@pytest.fixture
def serve(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Serve]:
    """A function that has an application as its server has it, in a context."""
    url = empty_database.url.replace("postgresql:", "postgresql+psycopg:")
    monkeypatch.setenv("THEIR_DATABASE_URL", url)
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path))
    monkeypatch.setenv("OPSAPP_INSTANCE", str(tmp_path / "ops"))
    monkeypatch.setattr(seal.Sealer, "notify", lambda _self, *, look=False: None)
    with ExitStack() as stack:
        yield lambda name, **parts: stack.enter_context(_served(name, **parts))


@contextmanager
def _served(
    name: str, *, has_tables: bool = True, testing: bool = False, **parts: Any
) -> Iterator[tuple[Flask, ModuleType, Ops]]:
    module = import_module(f"tests.apps.{name}")
    app: Flask = module.create_app()
    app.config.update(OURS, TESTING=testing)
    ops = Ops(app, module.db, **parts)
    with app.app_context():
        module.db.create_all()
        if has_tables:
            with attachment_of(app).as_command():
                setup.init(wal=False, unit=a_unit())
        yield app, module, ops
        module.db.session.remove()
        for engine in attachment_of(app).engines.values():
            engine.dispose()


def test_unit_is_events_of_the_request_with_its_reason(
    serve: Serve, empty_database: Database
) -> None:
    app, module, ops = serve("relation_app", protect=["active"], keep_admin="refuse")
    db, user_class = module.db, module.User

    @app.post("/leave/<int:id>")
    def leave(id: int) -> str:
        with ops.unit(reason="left") as unit:
            user = db.session.get_one(user_class, id)
            user.active, user.username, user.roles = False, "gone", []
            unit.record("desk:key:return", f"desk:{id}")
        return str(unit.seq)

    roles = [module.Role(name="Admin"), module.Role(name="Editor")]
    with ops.unit(reason="the first"):
        db.session.add(user_class(email="ada@x.org", active=True, password="a hash", roles=roles))
        db.session.add(user_class(email="bob@x.org", active=True, roles=roles[1:]))
    assert app.test_client().post("/leave/2").text == "9"
    assert empty_database.rows(EVENTS) == [
        ("code", "user:account:create", "user:1", "the first"),
        ("code", "user:role:grant", "user:1", "the first"),
        ("code", "user:role:grant", "user:1", "the first"),
        ("code", "user:account:create", "user:2", "the first"),
        ("code", "user:role:grant", "user:2", "the first"),
        ("web", "user:account:update", "user:2", "left"),
        ("web", "desk:key:return", "desk:2", "left"),
        ("web", "user:role:revoke", "user:2", "left"),
    ]
    assert empty_database.rows("SELECT * FROM ops_audit_pending") == []


def test_last_administrator_and_dry_run_leave_all_as_it_was(
    serve: Serve, empty_database: Database
) -> None:
    _app, module, ops = serve("flag_app")
    db, user_class = module.db, module.User
    with ops.unit():
        db.session.add(
            user_class(email="ada@x.org", domain_name="x", password="a", global_admin=True)
        )
    before = empty_database.rows(EVENTS)
    with pytest.raises(Refused, match="no active administrator"), ops.unit():
        db.session.execute(sa.update(user_class).values(enabled=False))
    with ops.unit(dry_run=True) as unit:
        db.session.delete(db.session.get_one(user_class, "ada@x.org"))
        db.session.add(
            user_class(email="bob@x.org", domain_name="x", password="a", global_admin=True)
        )
    assert unit.changed
    assert empty_database.rows(EVENTS) == before
    [(enabled,)] = empty_database.rows('SELECT enabled FROM "user"')
    assert enabled
    # The key is an address: the chain has a token, whose value stands beside it.
    [(_door, _action, subject, _reason)] = before
    assert empty_database.rows("SELECT subject FROM ops_audit_personal WHERE value = 'ada@x.org'")
    assert subject.startswith("user:~")


def test_unit_commits_what_no_event_tells(serve: Serve, empty_database: Database) -> None:
    _app, module, ops = serve("relation_app")
    db = module.db
    before = empty_database.rows(EVENTS)
    with ops.unit() as unit:
        db.session.add(module.Group(name="desk"))
    with ops.unit():
        db.session.execute(sa.text("INSERT INTO ab_group (id, name) VALUES (7, 'till')"))
    with ops.unit(dry_run=True):
        db.session.add(module.Group(name="tried"))
        db.session.commit()  # As a method of a model may do.

    def fail() -> None:
        with ops.unit():
            db.session.add(module.Group(name="undone"))
            db.session.flush()
            raise RuntimeError("changed its mind")

    with pytest.raises(RuntimeError, match="changed its mind"):
        fail()
    assert (unit.committed, unit.changed, unit.seq) == (True, False, None)
    names = empty_database.rows("SELECT name FROM ab_group ORDER BY name")
    assert (names, empty_database.rows(EVENTS)) == ([("desk",), ("till",)], before)


def test_unit_holds_the_gate_and_waits_for_it_on_an_engine_of_the_application(
    serve: Serve, empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    _app, _module, ops = serve("login_app")
    with ops.unit(), pytest.raises((Busy, OperationalError)):
        seal.seal(patience=0.05)
    monkeypatch.setattr("opsapp.ops.units.LOCK_SECONDS", 0.05)
    with bookkeeping() as session:
        if not empty_database.is_sqlite:  # There the wait is the application's own.
            ledger.take_gate(session)
            with pytest.raises(Busy), ops.unit():
                pytest.fail("it did not wait")


def test_unit_without_tables_is_refused_but_in_tests_it_only_commits(
    serve: Serve, empty_database: Database
) -> None:
    _app, module, ops = serve("login_app", has_tables=False)
    with pytest.raises(NotReady, match="the change cannot be audited"):
        ops.unit()
    _app, module, ops = serve("login_app", has_tables=False, testing=True)
    with ops.unit(reason="a test") as unit:
        module.db.session.add(module.User(username="ada"))
        unit.record("desk:key:return", "desk:1")
    assert empty_database.rows('SELECT username FROM "user"') == [("ada",)]


@pytest.mark.parametrize("in_unit", [False, True])
def test_role_that_their_code_gives_or_takes_loses_its_end(
    serve: Serve, empty_database: Database, in_unit: bool
) -> None:
    _app, module, ops = serve("relation_app")
    db = module.db
    names = ("taken", "given", "kept")
    for name in names:
        db.session.add(module.Role(name=name))
        db.session.add(module.Group(name=name))
    db.session.add(module.User(email="bob@x.org", active=True))
    db.session.add(module.User(email="eve@x.org", active=True))
    db.session.commit()
    until = clock.now() + timedelta(hours=1)
    with a_unit() as unit:
        for subject, label in [
            *(("user:1", f"roles:{name}") for name in names),
            ("user:1", "groups:taken"),
            ("user:2", "roles:kept"),
        ]:
            role_ends.write(unit, subject, label, until)
        unit.record("a:b:c", "order:1")
    bob, eve = (db.session.get_one(module.User, id) for id in (1, 2))
    roles = db.session.scalars(sa.select(module.Role).order_by(module.Role.id)).all()
    with ops.unit() if in_unit else nullcontext():
        bob.roles = [roles[0], roles[1]]
        db.session.flush()
        bob.roles.remove(roles[0])
        db.session.delete(eve)
        db.session.flush()
        if not in_unit:
            db.session.commit()
    left = empty_database.rows("SELECT subject, role FROM ops_role_ends ORDER BY role")
    assert left == [("user:1", "groups:taken"), ("user:1", "roles:kept")]


def test_flag_that_their_code_clears_loses_its_end(serve: Serve, empty_database: Database) -> None:
    _app, module, _ops = serve("flag_app")
    db, user_class = module.db, module.User
    db.session.add(user_class(email="ada@x.org", domain_name="x", global_admin=True))
    db.session.commit()
    ada = db.session.get_one(user_class, "ada@x.org")
    subject = attachment_of(_app).identity.subject(ada)
    with a_unit() as unit:
        role_ends.write(unit, subject, "admin", clock.now() + timedelta(hours=1))
        unit.record("a:b:c", "order:1")
    user = db.session.get_one(user_class, "ada@x.org")
    user.password = "a hash"
    db.session.commit()
    count = "SELECT count(*) FROM ops_role_ends"
    assert empty_database.rows(count) == [(1,)]
    user.global_admin = False
    db.session.commit()
    assert empty_database.rows(count) == [(0,)]


@pytest.fixture
def hybrids(serve: Serve) -> Serve:
    """A function that serves an application with hybrids, and with Ada, who administers."""

    def start(**parts: Any) -> tuple[Flask, ModuleType, Ops]:
        app, module, ops = serve("hybrid_app", **parts)
        ada = module.User(email="ada@x.org", shelf="1", is_admin=True)
        with ops.unit():
            module.db.session.add_all([module.Domain(name="x.org"), ada])
        return app, module, ops

    return start


def test_change_of_a_hybrid_is_observed(hybrids: Serve, empty_database: Database) -> None:
    _app, module, _ops = hybrids()
    session, user = module.db.session, module.User
    session.scalars(sa.select(user)).one().email = "Bob@x.org"
    session.commit()
    session.scalars(sa.select(user)).one().active = False
    session.commit()
    session.execute(sa.update(user).values(_on=True))
    session.commit()
    assert empty_database.rows(
        "SELECT action, before, after FROM ops_audit_pending ORDER BY id"
    ) == [
        (
            "user:account:update",
            '{"_email":{"personal":"ada@x.org"}}',
            '{"_email":{"personal":"bob@x.org"}}',
        ),
        ("user:account:update", '{"_on":true}', '{"_on":false}'),
        ("user:account:update", '{"_on":false}', '{"_on":true}'),
    ]


@pytest.mark.parametrize("active", ["active", lambda user: (user._on.is_(True), print)])
def test_change_of_a_hybrid_keeps_the_last_administrator(hybrids: Serve, active: Any) -> None:
    user = import_module("tests.apps.hybrid_app").User
    part = active if isinstance(active, str) else active(user)
    _app, module, _ops = hybrids(keep_admin="refuse", active=part)
    module.db.session.scalars(sa.select(user)).one().active = False
    with pytest.raises(Refused, match="no active administrator"):
        module.db.session.commit()


@pytest.mark.parametrize("attribute", ["email", "active"])
def test_change_of_a_protected_hybrid_is_refused(hybrids: Serve, attribute: str) -> None:
    _app, module, _ops = hybrids(protect=[attribute])
    user = module.db.session.scalars(sa.select(module.User)).one()
    setattr(user, attribute, "bob@x.org" if attribute == "email" else False)
    with pytest.raises(Refused, match="is protected: only opsapp changes it"):
        module.db.session.commit()


def test_hybrid_of_another_table_is_said_to_be_unseen(serve: Serve) -> None:
    serve("hybrid_app", active="domain_is_known", keep_admin="refuse")
    said = {row["promise"]: (row["state"], row["because"]) for row in promises.promises()}
    assert said["changes by the application's own code are audited"] == (
        "weaker",
        "observed, not refused; SQL as text and other programs are not seen"
        "; domain_is_known: no column is known to hold it",
    )
    assert said["the last administrator is kept"] == (
        "weaker",
        "changes of domain_is_known are not seen",
    )
