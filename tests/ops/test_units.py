"""``ops.unit()``: changes by an application's own code, through the gate and with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import OperationalError

from opsapp import Ops
from opsapp.database import setup
from opsapp.errors import Busy, NotReady, Refused
from opsapp.ops import seal
from opsapp.state import attached_to
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
            with attached_to(app).as_command():
                setup.init(wal=False, unit=a_unit())
        yield app, module, ops
        module.db.session.remove()
        for engine in attached_to(app).engines.values():
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
