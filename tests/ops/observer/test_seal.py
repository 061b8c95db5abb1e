"""Sealing: changes that wait become events, by the next holder of the gate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from threading import Event
from typing import Any

import pytest
from flask import Flask

from opsapp import clock
from opsapp.accounts import roles
from opsapp.audit import events, verification
from opsapp.extensions import db
from opsapp.ops import seal
from opsapp.unit import pending
from opsapp.unit.work import bookkeeping
from tests.apps import flag_app
from tests.apps.relation_app import User
from tests.ops.observer.observing import Theirs, flag_people
from tests.support import Cli, Database, a_unit

ACTIONS = "SELECT seq, action, subject FROM ops_audit_events WHERE seq > 2 ORDER BY seq"


def change(theirs: Theirs, name: str = "ada") -> User:
    user = User(username=name, email=f"{name}@x.org", active=True)
    theirs.session.add(user)
    theirs.session.commit()
    return user


def holds(app: Flask) -> dict[str, Any]:
    with app.app_context():
        db.session.rollback()
        return verification.verify()


def test_next_unit_chains_them_before_its_own(theirs: Theirs, app: Flask) -> None:
    change(theirs)
    with app.app_context():
        roles.create("editor", unit=a_unit())
    assert theirs.database.rows(ACTIONS) == [
        (3, "user:account:create", "user:1"),
        (4, "role:definition:create", "role:2"),
    ]
    assert theirs.waiting() == []
    assert holds(app)["ok"]


def test_dry_run_leaves_them(theirs: Theirs, app: Flask) -> None:
    change(theirs)
    with app.app_context():
        roles.create("editor", unit=a_unit(dry_run=True))
    assert len(theirs.waiting()) == 1
    assert theirs.database.rows(ACTIONS) == []


def test_long_queue_is_chained_in_order_in_several_transactions(
    theirs: Theirs, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsapp.unit.pending.BATCH", 2)
    for number in range(5):
        change(theirs, f"user{number}")
    with app.app_context():
        assert seal.seal() == 5
        assert seal.seal() == 0
    subjects = [subject for _seq, _action, subject in theirs.database.rows(ACTIONS)]
    assert subjects == [f"user:{number}" for number in range(1, 6)]
    assert holds(app)["ok"]


def test_thread_leaves_them_while_an_operator_holds_the_gate(theirs: Theirs, app: Flask) -> None:
    change(theirs)
    theirs.session.remove()
    with app.app_context(), a_unit():
        assert not theirs.seal()
    assert len(theirs.waiting()) == 1
    assert theirs.seal()
    assert theirs.waiting() == []


def test_names_stand_beside_the_chain(theirs: Theirs, app: Flask) -> None:
    change(theirs)
    assert theirs.seal()
    (stored,) = theirs.database.rows("SELECT after FROM ops_audit_events WHERE seq = 3")
    assert "ada@" not in stored[0]
    with app.app_context():
        event = events.get(3)
    assert event["after"] == {"active": True, "email": "ada@x.org", "username": "ada"}
    assert holds(app)["ok"]


def test_names_of_a_deleted_account_are_erased(theirs: Theirs, app: Flask) -> None:
    user = change(theirs)
    assert theirs.seal()
    assert user.username == "ada"
    user.username = "grace"
    theirs.session.commit()
    theirs.session.delete(user)
    theirs.session.commit()
    assert theirs.seal()
    assert theirs.database.rows("SELECT * FROM ops_audit_personal") == []
    with app.app_context():
        assert events.get(3)["after"]["username"] == "[erased]"
    assert holds(app)["ok"]


def test_name_that_is_taken_away_is_noticed(theirs: Theirs, app: Flask) -> None:
    change(theirs)
    assert theirs.seal()
    theirs.database.execute("DELETE FROM ops_audit_personal")
    assert holds(app)["says"] == "a name of event 3 was taken away"


def test_row_that_was_edited_does_not_stop_the_chain(
    theirs: Theirs, app: Flask, sqlite_only: None
) -> None:
    change(theirs)
    theirs.database.execute("UPDATE ops_audit_pending SET at = 'no time', after = '[1]'")
    change(theirs, "bob")
    assert theirs.seal()
    (first, second) = theirs.database.rows(ACTIONS)
    assert first == (3, "audit:pending:damaged", "audit")
    assert second == (4, "user:account:create", "user:2")
    assert holds(app)["ok"]


# --- a key that is an address ------------------------------------------------


def test_address_as_the_key_is_not_in_the_chain(flagged: Theirs, app: Flask) -> None:
    user = flag_app.User(email="ada@x.org", domain_name="x.org", password="a hash", enabled=True)
    flagged.session.add(user)
    flagged.session.commit()
    user.enabled = False
    flagged.session.commit()
    assert flagged.seal()
    stored = flagged.database.rows("SELECT * FROM ops_audit_events WHERE seq > 2")
    assert len(stored) == 3  # The last says that no administrator is left.
    assert "ada@" not in str(stored)  # A hash may have these letters.
    subjects = {row[2] for row in flagged.database.rows(ACTIONS)} - {"users"}
    assert len(subjects) == 1
    token = subjects.pop().removeprefix("user:~")
    key = flagged.database.rows(f"SELECT value FROM ops_audit_personal WHERE token = '{token}'")
    assert key == [("ada@x.org",)]
    flagged.session.delete(user)
    flagged.session.commit()
    assert flagged.seal()
    assert flagged.database.rows("SELECT * FROM ops_audit_personal") == []


def test_address_is_used_again_after_a_deletion(flagged: Theirs) -> None:
    for _time in range(2):
        user = flag_app.User(email="ada@x.org", domain_name="x.org", enabled=True)
        flagged.session.add(user)
        flagged.session.commit()
        if _time == 0:
            flagged.session.delete(user)
            flagged.session.commit()
    assert flagged.seal()
    values = flagged.database.rows("SELECT value FROM ops_audit_personal")
    assert values == [("ada@x.org",), ("ada@x.org",)]  # The key, and the event's.


# --- commands ----------------------------------------------------------------


@contextmanager
def a_row_that_waits(database: Database, app: Flask, **values: Any) -> Iterator[None]:
    row = {
        "at": clock.now(),
        "actor": {"kind": "user", "name": "user:7"},
        "door": "web",
        "action": "user:account:update",
        "subject": "user:9",
        "before": {"email": pending.mark("eve@x.org")},
        "after": None,
        "correlation": "a request",
    }
    with app.app_context(), bookkeeping() as session:
        pending.add(session.connection(), [{**row, **values}])
    yield


def test_list_shows_what_waits_at_its_end(database: Database, app: Flask, cli: Cli) -> None:
    with a_row_that_waits(database, app):
        done = cli("audit", "list", "--format", "json")
    *_chained, last = done.json
    assert (last["seq"], last["action"], last["subject_name"]) == (
        None,
        "user:account:update",
        "user:9",
    )
    assert last["before"] == {"email": "eve@x.org"}
    remark = "Those without a number wait to be chained: flask audit seal"
    assert json.loads(done.stderr) == {"remarks": [remark]}


def test_list_says_nothing_of_it_where_nothing_waits(database: Database, cli: Cli) -> None:
    done = cli("audit", "list")
    assert (done.exit_code, done.stderr) == (0, "")


def test_list_filters_what_waits(database: Database, app: Flask, cli: Cli) -> None:
    with a_row_that_waits(database, app):
        assert cli("audit", "list", "--actor", "ada").exit_code == 4
        for option, value in (("--action", "role"), ("--since", "1s")):
            rows = cli("audit", "list", option, value, "--format", "json").json
            assert all(row["seq"] is not None for row in rows) or option == "--since"
        rows = cli("audit", "list", "--action", "user:account", "--format", "json").json
    assert [row["seq"] for row in rows] == [None]


def test_command_chains_what_waits(database: Database, app: Flask, cli: Cli) -> None:
    with a_row_that_waits(database, app):
        planned = cli("audit", "seal", "--dry-run", "--format", "json")
        done = cli("audit", "seal", "--format", "json")
        again = cli("audit", "seal", "--format", "json")
    assert (planned.json, done.json, again.json) == ({"sealed": 1}, {"sealed": 1}, {"sealed": 0})
    assert json.loads(cli("audit", "list", "--format", "json").stdout)[-1]["seq"] == 3


def test_doctor_warns_of_what_waits_for_long(database: Database, app: Flask, cli: Cli) -> None:
    with a_row_that_waits(database, app, at=datetime(2026, 1, 1, tzinfo=UTC)):
        rows = cli("doctor", "--format", "json").json
    (line,) = [row for row in rows if row["check"] == "audit"]
    assert (line["state"], line["advice"]) == ("warn", "flask audit seal")
    assert line["says"].startswith("1 change not chained, the oldest since 2026-01-01T0")


# --- the thread --------------------------------------------------------------


def test_thread_works_after_a_commit_and_comes_back_when_it_could_not(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "PAUSE_SECONDS", 0.001)
    done = Event()
    answers = [False, True]

    def work(self: seal.Sealer) -> bool:
        answer = answers.pop(0)
        if not answers:
            done.set()
        return answer

    monkeypatch.setattr(seal.Sealer, "work", work)
    sealer = seal.Sealer(app, flag_people().has_administrator)
    sealer.notify()
    assert done.wait(30)
    assert answers == []


def test_thread_of_a_forked_process_is_its_own(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(seal.threading.Thread, "start", lambda self: started.append(self.name))
    sealer = seal.Sealer(app, flag_people().has_administrator)
    sealer.notify()
    sealer.notify()
    assert started == ["opsapp-sealer"]
    monkeypatch.setattr(seal.os, "getpid", lambda: -1)
    sealer.notify()
    assert started == ["opsapp-sealer"] * 2


def test_metrics_tell_what_waits_and_for_how_long(
    theirs: Theirs, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    app.config["OPSAPP_METRICS"] = True
    numbers: dict[str, float] = {}
    for gauge in (seal.queue, seal.lag):
        monkeypatch.setattr(gauge, "set", partial(numbers.__setitem__, gauge._name), raising=False)
    change(theirs)
    theirs.database.execute("UPDATE ops_audit_pending SET at = '2026-01-01 00:00:00.000000'")
    theirs.session.remove()
    with app.app_context(), a_unit():
        assert not theirs.seal()
    assert numbers["opsapp_audit_waiting"] == 1
    assert numbers["opsapp_audit_lag_seconds"] > 86400
    assert theirs.seal()
    assert numbers == {"opsapp_audit_waiting": 0, "opsapp_audit_lag_seconds": 0}
