"""``ops.unit()`` of an application whose tables and ours are in two databases."""

from __future__ import annotations

import pytest
from flask import Flask

from opsapp import Ops
from opsapp.engine import locks
from opsapp.errors import Busy, Refused
from opsapp.extensions import db as ours_of
from opsapp.unit import intents
from tests.apps import relation_app
from tests.ops.separate_database.conftest import Installation, on, sealer

User, db = relation_app.User, relation_app.db
ops = Ops()
COLUMNS = "SELECT action, subject, reason FROM ops_audit_events WHERE seq > 1 ORDER BY seq"


def rename(id: int, name: str) -> None:
    with ops.unit(reason="asked"):
        db.session.get_one(User, id).username = name


def change_and_raise() -> None:
    with ops.unit():
        db.session.get_one(User, 1).username = "lost"
        raise RuntimeError("changed its mind")


@on()
def test_unit_of_a_request_is_intended_then_done(served: Flask, installation: Installation) -> None:
    with served.test_request_context(), ops.unit(reason="left") as unit:
        user = db.session.get_one(User, 1)
        user.active, user.username = False, "gone"
        unit.record("desk:key:return", "desk:1")
    assert installation.rows("SELECT username, active FROM ab_user WHERE id = 1") == [("gone", 0)]
    assert installation.ours.rows(COLUMNS) == [
        ("intent:desk:key:return", "desk:1", "left"),
        ("intent:user:account:update", "user:1", "left"),
        ("desk:key:return", "desk:1", "left"),
        ("user:account:update", "user:1", "left"),
    ]
    assert (unit.intent, unit.seq) == (3, 5)
    # The observer has given them to the unit, so nothing waits.
    assert sealer(served).work()
    assert len(installation.events) == 4
    assert installation.run("audit", "verify").exit_code == 0


@on()
def test_unit_commits_what_no_event_tells(served: Flask, installation: Installation) -> None:
    with ops.unit() as unit:
        db.session.add(relation_app.Group(name="desk"))
    assert (unit.committed, unit.changed, unit.intent, unit.seq) == (True, False, None, None)
    assert installation.rows("SELECT name FROM ab_group") == [("desk",)]
    assert installation.events == []


@on(("mariadb", "postgresql"))
def test_unit_that_is_refused_or_undone_leaves_neither(
    served: Flask, installation: Installation
) -> None:
    with pytest.raises(Refused, match="no active administrator"), ops.unit(reason="all go"):
        db.session.get_one(User, 2).active = False
    with pytest.raises(RuntimeError, match="changed its mind"):
        change_and_raise()
    with ops.unit(dry_run=True) as trial:
        db.session.get_one(User, 1).username = "lost too"
    assert [change.action for change in trial.recorded] == ["user:account:update"]
    assert installation.rows("SELECT username, active FROM ab_user ORDER BY id") == [
        ("ada", 1),
        ("bob", 1),
    ]
    assert installation.events == []
    rename(1, "grace")
    assert [action for _seq, action, _subject in installation.events][-1] == "user:account:update"


@on(("mariadb", "postgresql"))
def test_unit_waits_for_the_gate_of_a_command(
    served: Flask,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intents, "LOCK_SECONDS", 0.1)
    with locks.hold_lock(ours_of.our_engine, "gate", wait=0), pytest.raises(Busy):
        rename(1, "grace")
    assert installation.rows("SELECT username FROM ab_user WHERE id = 1") == [("ada",)]
    rename(1, "grace")
    assert installation.rows("SELECT username FROM ab_user WHERE id = 1") == [("grace",)]
