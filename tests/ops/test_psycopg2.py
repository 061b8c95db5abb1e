"""An application on psycopg2: its commands run on psycopg 3, and its server keeps its driver."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp import Ops, profiling
from opsapp.errors import Refused
from opsapp.ops import seal
from tests.apps import relation_app
from tests.apps.relation_app import Role, User
from tests.ops.conftest import OURS
from tests.support import Database, Result, run

db = relation_app.db


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
def url(empty_database: Database) -> str:
    return empty_database.url.replace("postgresql:", "postgresql+psycopg2:")


def flask(database: Database, url: str, *words: str) -> Result:
    path = "tests.apps.with_ops:create_app('relation_app')"
    return run(database, *words, check=True, FLASK_APP=path, THEIR_DATABASE_URL=url, **OURS)


@pytest.fixture
def served(
    empty_database: Database, url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Flask]:
    """The application as its server has it; the test says when what waits is chained."""
    environ = {"THEIR_MIGRATIONS": str(tmp_path), "OPSAPP_INSTANCE": str(tmp_path / "ops"), **OURS}
    for name, value in {"THEIR_DATABASE_URL": url, **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(seal.Sealer, "notify", lambda _self, *, look=False: None)
    app = relation_app.create_app()
    with app.app_context():
        db.create_all()
        db.session.remove()
    flask(empty_database, url, "ops", "init")
    Ops(app, db, keep_admin="refuse")
    yield app
    with app.app_context():
        db.session.remove()
        for engine in app.extensions["opsapp"].engines.values():
            engine.dispose()


def test_its_own_changes_and_those_of_commands_are_in_one_chain(
    served: Flask, empty_database: Database, url: str
) -> None:
    with served.app_context():
        assert db.engine.driver == "psycopg2"
        admin = Role(name="Admin")
        ada = User(username="ada", email="ada@x.org", active=True, roles=[admin], password="a hash")
        db.session.add_all([ada, User(username="bob", active=True)])
        db.session.commit()
        ada.roles = []
        with pytest.raises(Refused, match="no active administrator"):
            db.session.commit()
        db.session.rollback()
        db.session.execute(sa.update(User).where(User.username == "bob").values(active=False))
        db.session.commit()
        # The gate's time limit is the transaction's own.
        assert db.session.scalar(sa.text("SHOW lock_timeout")) == "0"
        assert seal.seal() == 4
    granted = flask(empty_database, url, "ops", "roles", "grant", "roles:Admin", "bob", "--yes")
    assert granted.stderr == "Done, audit event 7.\n"
    listed = flask(empty_database, url, "ops", "audit", "list", "--format", "json").json
    assert [(event["door"], event["action"], event["subject"]) for event in listed][1:] == [
        ("code", "user:account:create", "user:1"),
        ("code", "user:role:grant", "user:1"),
        ("code", "user:account:create", "user:2"),
        ("code", "user:account:update", "user:2"),
        ("cli", "user:role:grant", "user:2"),
        ("cli", "identity:accounts:accept", "identity"),
    ]
    assert flask(empty_database, url, "ops", "audit", "verify", "--format", "json").json["ok"]


def test_server_without_our_driver_serves_unrecorded(
    served: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The tables may be made from another host, where the extra for PostgreSQL is installed."""
    client = served.test_client()
    monkeypatch.setattr("opsapp.ops.requests.LOOK_AGAIN_SECONDS", 0)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "psycopg", None)
        assert [client.get("/nothing").status_code for _ in range(2)] == [404, 404]
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.getMessage().startswith(
        "requests are not recorded: PostgreSQL needs psycopg, which cannot be imported"
    )
    assert profiling.recorder_of(served) is None
    assert client.get("/nothing").status_code == 404
    assert profiling.recorder_of(served) is not None
