"""Changes by the code of an application that has none of our tables: written after its commit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import IntegrityError

from opsapp import Ops
from opsapp.extensions import db as ours_of
from opsapp.ops import seal
from opsapp.ops.observer import MARK
from tests.apps import relation_app
from tests.ops.apart.conftest import Apart, on
from tests.support import Database

User, db = relation_app.User, relation_app.db


@pytest.fixture
def served(apart: Apart, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """The application as its server has it, inside of a context."""
    monkeypatch.setenv("OPSAPP_DATABASE_URL", apart.ours.url)
    monkeypatch.setenv("OPSAPP_INSTANCE", str(apart.ours.instance))
    # The thread is tested elsewhere; here the test says when it works.
    monkeypatch.setattr(seal.Sealer, "notify", lambda _self, *, look=False: None)
    app = relation_app.create_app()
    app.config["OPSAPP_PROFILING"] = False
    Ops(app, db, keep_admin="refuse")
    with app.app_context():
        yield app
        for engine in ours_of.engines.values():
            engine.dispose()
        db.session.remove()


def sealer(app: Flask) -> seal.Sealer:
    it: seal.Sealer = app.extensions[MARK].sealer
    return it


def renames(ours: Database) -> list[tuple[Any, ...]]:
    return ours.rows(
        "SELECT door, subject FROM ops_audit_events"
        " WHERE action = 'user:account:update' ORDER BY seq"
    )


@on()
def test_commits_are_audited_and_rollbacks_are_not(served: Flask, apart: Apart) -> None:
    ada, bob = db.session.get(User, 1), db.session.get(User, 2)
    ada.username = "grace"
    db.session.commit()
    bob.username = "lost"
    db.session.flush()
    db.session.rollback()
    with db.session.begin_nested() as savepoint:
        bob.username = "lost too"
        db.session.flush()
        savepoint.rollback()
    with db.session.begin_nested():
        bob.username = "kept"
    db.session.commit()
    assert renames(apart.ours) == []
    assert sealer(served).work()
    assert renames(apart.ours) == [("code", "user:1"), ("code", "user:2")]
    assert apart.run("audit", "verify").exit_code == 0


@on(("mariadb", "sqlite"))
def test_failed_flush_inside_of_a_savepoint_leaves_nothing(served: Flask, apart: Apart) -> None:
    ada, bob = db.session.get(User, 1), db.session.get(User, 2)
    savepoint = db.session.begin_nested()
    ada.active = False
    db.session.flush()
    bob.email = "ada@example.com"
    with pytest.raises(IntegrityError):
        db.session.flush()
    savepoint.rollback()
    db.session.commit()
    assert sealer(served).work()
    assert renames(apart.ours) == []


@on(("mariadb", "sqlite"))
def test_audit_that_is_away_breaks_nothing_and_is_told_later(served: Flask, apart: Apart) -> None:
    assert sealer(served).work()
    file = apart.ours.instance / "opsapp.sqlite"
    away = file.rename(file.with_suffix(".away"))
    ours_of.our_engine.dispose()
    db.session.get(User, 1).username = "grace"
    db.session.commit()
    assert not sealer(served).work()
    away.rename(file)
    assert sealer(served).work()
    assert renames(apart.ours) == [("code", "user:1")]


@on(("mariadb", "sqlite"))
def test_memory_has_an_end(served: Flask, apart: Apart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "MOST_TAKEN", 1)
    for id, name in ((1, "grace"), (2, "alan")):
        db.session.get(User, id).username = name
    db.session.commit()
    assert sealer(served).work()
    assert len(renames(apart.ours)) == 1
    [(after,)] = apart.ours.rows(
        "SELECT after FROM ops_audit_events WHERE action = 'audit:observer:gap'"
    )
    assert after == '{"error":"more changes wait than fit","missing":1}'


@on(("mariadb", "sqlite"))
def test_strict_question_asks_our_database(served: Flask, apart: Apart) -> None:
    apart.run("roles", "grant", "roles:admin", "ada", "--for", "8h", "--yes", check=True)
    ops = Ops()
    assert ops.can(db.session.get(User, 1), "admin")
    apart.ours.execute("UPDATE ops_role_ends SET valid_until = '2020-01-01 00:00:00.000000'")
    ours_of.ours.remove()
    assert not ops.can(db.session.get(User, 1), "admin")
