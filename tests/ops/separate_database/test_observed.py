"""Changes by the code of an application that has none of our tables: written after its commit."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import IntegrityError

from opsapp import Ops
from opsapp.extensions import db as ours_of
from opsapp.ops import seal
from tests.apps import relation_app
from tests.ops.separate_database.conftest import Installation, on, sealer
from tests.support import Database

User, db = relation_app.User, relation_app.db


def renames(ours: Database) -> list[tuple[Any, ...]]:
    return ours.rows(
        "SELECT door, subject FROM ops_audit_events"
        " WHERE action = 'user:account:update' ORDER BY seq"
    )


@on()
def test_commits_are_audited_and_rollbacks_are_not(
    served: Flask, installation: Installation
) -> None:
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
    assert renames(installation.ours) == []
    assert sealer(served).work()
    assert renames(installation.ours) == [("code", "user:1"), ("code", "user:2")]
    assert installation.run("audit", "verify").exit_code == 0


@on(("mariadb", "sqlite"))
def test_failed_flush_inside_of_a_savepoint_leaves_nothing(
    served: Flask, installation: Installation
) -> None:
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
    assert renames(installation.ours) == []


@on(("mariadb", "sqlite"))
def test_audit_that_is_away_breaks_nothing_and_is_told_later(
    served: Flask, installation: Installation
) -> None:
    assert sealer(served).work()
    file = installation.ours.instance / "opsapp.sqlite"
    away = file.rename(file.with_suffix(".away"))
    ours_of.our_engine.dispose()
    db.session.get(User, 1).username = "grace"
    db.session.commit()
    assert not sealer(served).work()
    away.rename(file)
    assert sealer(served).work()
    assert renames(installation.ours) == [("code", "user:1")]


@on(("mariadb", "sqlite"))
def test_memory_has_an_end(
    served: Flask, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "MOST_TAKEN", 1)
    for id, name in ((1, "grace"), (2, "alan")):
        db.session.get(User, id).username = name
    db.session.commit()
    assert sealer(served).work()
    assert len(renames(installation.ours)) == 1
    [(after,)] = installation.ours.rows(
        "SELECT after FROM ops_audit_events WHERE action = 'audit:observer:gap'"
    )
    assert after == '{"error":"more changes wait than fit","missing":1}'


@on(("mariadb", "sqlite"))
def test_strict_question_asks_our_database(served: Flask, installation: Installation) -> None:
    installation.run("roles", "grant", "roles:admin", "ada", "--for", "8h", "--yes", check=True)
    ops = Ops()
    assert ops.can(db.session.get(User, 1), "admin")
    installation.ours.execute("UPDATE ops_role_ends SET valid_until = '2020-01-01 00:00:00.000000'")
    ours_of.ours.remove()
    assert not ops.can(db.session.get(User, 1), "admin")


@on()
def test_role_that_their_code_takes_loses_its_end(
    served: Flask, installation: Installation
) -> None:
    installation.run("roles", "grant", "roles:admin", "ada", "--for", "8h", "--yes", check=True)
    count = "SELECT count(*) FROM ops_role_ends"
    assert installation.ours.rows(count) == [(1,)]
    db.session.get_one(User, 1).roles = []
    db.session.commit()
    assert sealer(served).work()
    assert installation.ours.rows(count) == [(0,)]
    installation.run("roles", "grant", "roles:admin", "ada", "--for", "8h", "--yes", check=True)
    db.session.rollback()
    with Ops().unit():
        db.session.get_one(User, 1).roles = []
    assert installation.ours.rows(count) == [(0,)]
