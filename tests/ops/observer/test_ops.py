"""An application with ``Ops(app, db)``: its own code's changes, from the request to the chain."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp import Ops
from opsapp.ops import seal
from opsapp.ops.observer import MARK
from tests.apps import relation_app
from tests.ops.conftest import OURS
from tests.support import Database, run

APP = "tests.apps.relation_app:create_app"
User, db = relation_app.User, relation_app.db


@pytest.fixture
def served(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Flask]:
    """The application as its server has it, its database made by `flask ops init`."""
    environ = {
        "THEIR_DATABASE_URL": empty_database.url.replace("postgresql:", "postgresql+psycopg:"),
        "THEIR_MIGRATIONS": str(tmp_path / "migrations"),
        "OPSAPP_INSTANCE": str(tmp_path / "ops"),
        **OURS,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    # The thread is tested elsewhere; here the test says when it works.
    monkeypatch.setattr(seal.Sealer, "notify", lambda _self, *, look=False: None)
    app = relation_app.create_app()

    @app.post("/rename/<int:id>")
    def rename(id: int) -> str:
        db.session.get_one(User, id).username = "grace"
        db.session.commit()
        return "renamed"

    with app.app_context():
        db.create_all()
        db.session.remove()
    flask(empty_database, "ops", "init")
    Ops(app, db)
    yield app
    with app.app_context():
        db.engine.dispose()


def flask(database: Database, *words: str) -> Any:
    return run(database, *words, check=True, FLASK_APP=APP, **OURS)


def test_change_of_a_request_is_in_the_chain(served: Flask, empty_database: Database) -> None:
    with served.app_context():
        db.session.add(User(username="ada", email="ada@x.org", active=True))
        db.session.commit()
    assert served.test_client().post("/rename/1").text == "renamed"
    listed = flask(empty_database, "ops", "audit", "list", "--format", "json")
    waiting = [(e["door"], e["action"], e["after"]) for e in listed.json if e["seq"] is None]
    assert waiting == [
        (
            "code",
            "user:account:create",
            {"active": True, "email": "ada@x.org", "username": "ada"},
        ),
        ("web", "user:account:update", {"username": "grace"}),
    ]
    assert "flask ops audit seal" in listed.stderr
    sealed = flask(empty_database, "ops", "audit", "seal", "--format", "json")
    assert sealed.json == {"sealed": 2}
    assert flask(empty_database, "ops", "audit", "verify", "--format", "json").json["ok"]


def test_change_by_a_command_of_ours_is_one_event(served: Flask, empty_database: Database) -> None:
    with served.app_context():
        db.session.add(User(username="ada", email="ada@x.org", active=True))
        db.session.commit()
    flask(empty_database, "ops", "users", "deactivate", "ada", "--yes")
    rows = empty_database.rows(
        "SELECT action FROM ops_audit_events WHERE subject = 'user:1' ORDER BY seq"
    )
    assert rows == [("user:account:create",), ("user:account:deactivate",)]
    assert empty_database.rows("SELECT * FROM ops_audit_pending") == []


def test_in_tests_of_theirs_nothing_listens(
    served: Flask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THEIR_DATABASE_URL", "sqlite://")
    app = relation_app.create_app()
    Ops(app, db)
    with app.app_context():
        db.create_all()
        db.session.add(User(username="ada"))
        db.session.commit()
        assert "opsapp.observer" not in app.extensions
        db.engine.dispose()


def test_test_of_theirs_beside_an_observed_application_changes_nothing(
    served: Flask, empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THEIR_DATABASE_URL", f"sqlite:///{tmp_path}/test.sqlite")
    apps = [relation_app.create_app() for _ in range(2)]
    for app in apps:
        Ops(app, db, keep_admin="refuse", protect=["active"], observe="strict")
        app.config["TESTING"] = True
        with app.app_context():
            db.create_all()
            db.session.add(User(username="test", active=True))
            db.session.execute(sa.update(User).values(active=False))
            db.session.commit()
            assert not [name for name in sa.inspect(db.engine).get_table_names() if "ops_" in name]
            db.drop_all()
            db.engine.dispose()
    with served.app_context():
        db.session.add(User(username="ada", active=True))
        db.session.commit()
    waiting = "SELECT action, subject FROM ops_audit_pending"
    assert empty_database.rows(waiting) == [("user:account:create", "user:1")]


@pytest.mark.parametrize("is_deletion_seen", [True, False], ids=["seen", "unseen"])
def test_account_with_the_key_of_a_deleted_one_has_none_of_its_events(
    served: Flask, empty_database: Database, is_deletion_seen: bool
) -> None:
    """SQLite gives the key of the last row to the next one, unless it is AUTOINCREMENT."""
    with served.app_context():
        role = relation_app.Role(name="editor")
        ada = User(id=5, username="ada", email="ada@x.org", active=True, roles=[role])
        db.session.add(ada)
        db.session.commit()
        if is_deletion_seen:
            db.session.delete(ada)
        else:
            db.session.execute(sa.text("DELETE FROM ab_user_role"))
            db.session.execute(sa.text("DELETE FROM ab_user"))
        db.session.commit()
        db.session.add(User(id=5, username="bob", email="bob@x.org", active=True, roles=[role]))
        db.session.commit()
    flask(empty_database, "ops", "audit", "seal")
    listed = flask(empty_database, "ops", "audit", "list", "--format", "json").json
    names = [event["subject_name"] for event in listed if event["subject"] == "user:5"]
    is_grant = [event["action"] == "user:role:grant" for event in listed]
    count = len(names) - 2
    assert names == ["user:5"] * count + ["bob@x.org"] * 2
    assert (count, sum(is_grant)) == (3 if is_deletion_seen else 2, 2)
    past = flask(empty_database, "ops", "roles", "history", "--format", "json").json
    users = [row["user"] for row in past if row["action"] == "grant"]
    assert users == ["bob@x.org", "user:5"]
    event = flask(empty_database, "ops", "audit", "show", "2", "--format", "json").json
    assert (event["action"], event["subject_name"]) == ("user:account:create", "user:5")


def test_thread_rests_once_the_tables_are_dropped(
    served: Flask, empty_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """It would ask for them every second, and the server's log would have each error."""
    caplog.set_level(logging.INFO, "opsapp.ops")
    with served.app_context():
        db.session.add(User(username="ada", email="ada@x.org", active=True))
        db.session.commit()
        observer = served.extensions[MARK]
        assert observer.sealer.work()
        flask(empty_database, "ops", "drop", "--yes")
        db.session.get_one(User, 1).active = False
        db.session.commit()
        assert [observer.sealer.work() for _ in range(2)] == [False, True]
    messages = [record.getMessage() for record in caplog.records]
    assert [message.partition(":")[0] for message in messages] == [
        "a change of an account is not in the audit log",
        "changes wait for the audit log",
    ]
