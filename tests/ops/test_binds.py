"""Accounts that have another database than our tables, by a bind key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp import Ops
from opsapp.ops import seal
from opsapp.ops.observer import MARK
from opsapp.state import attachment_of
from tests.apps import bind_app
from tests.apps.bind_app import Article, User
from tests.ops.conftest import OURS
from tests.support import Database, Result, run

db = bind_app.db


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def flask(database: Database, *words: str) -> Result:
    path = "tests.apps.with_ops:create_app('bind_app')"
    return run(database, "ops", *words, FLASK_APP=path, **OURS)


@pytest.fixture
def served(
    kind: str, empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Flask]:
    """The application as its server has it, inside of a context."""
    environ = {
        "THEIR_DATABASE_URL": empty_database.url.replace("postgresql:", "postgresql+psycopg:"),
        "THEIR_PEOPLE_URL": f"sqlite:///{tmp_path}/people.sqlite",
        "THEIR_MIGRATIONS": str(tmp_path / "migrations"),
        "OPSAPP_INSTANCE": str(tmp_path / "ops"),
        **OURS,
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    # The thread is tested elsewhere; here the test says when it works.
    monkeypatch.setattr(seal.Sealer, "notify", lambda _self, *, look=False: None)
    app = bind_app.create_app()
    app.ops = Ops(app, db)  # type: ignore[attr-defined]
    with app.app_context():
        db.create_all()
        made = flask(empty_database, "init", "--no-wal", "--fields", "changed")
        assert (made.exit_code, made.stdout, made.stderr) == (
            0,
            "field\tvalue\nchanged\ttrue\n",
            "",
        )
        yield app
        db.session.remove()
        for engine in {*attachment_of(app).engines.values(), *db.engines.values()}:
            engine.dispose()


def events(database: Database) -> list[tuple[Any, ...]]:
    return database.rows("SELECT action, subject FROM ops_audit_events WHERE seq > 1 ORDER BY seq")


def test_change_of_a_request_is_in_the_chain(served: Flask, empty_database: Database) -> None:
    db.session.add_all([User(email="ada@x.org"), Article(title="a")])
    db.session.commit()
    db.session.execute(sa.update(User).values(active=False))
    db.session.rollback()
    db.session.execute(sa.update(User).values(active=False))
    db.session.commit()
    assert served.extensions[MARK].sealer.work()
    assert events(empty_database) == [
        ("user:account:create", "user:1"),
        ("user:account:update", "user:1"),
    ]


def test_command_intends_its_change_and_is_observed_once(
    served: Flask, empty_database: Database
) -> None:
    db.session.add(User(email="ada@x.org"))
    db.session.commit()
    assert served.extensions[MARK].sealer.work()
    done = flask(empty_database, "users", "deactivate", "1", "--yes", "--fields", "changed")
    assert (done.exit_code, done.stdout) == (0, "changed\ntrue\n")
    assert done.stderr == "Done, audit event 6; intended as 4, beside the change.\n"
    assert events(empty_database)[1:] == [
        ("intent:user:account:deactivate", "user:1"),
        ("intent:identity:accounts:accept", "identity"),
        ("user:account:deactivate", "user:1"),
        ("identity:accounts:accept", "identity"),
    ]
    db.session.remove()
    assert not db.session.get_one(User, 1).active


def test_unit_of_their_code_is_in_the_chain(
    kind: str, served: Flask, empty_database: Database
) -> None:
    # With a SQLite file the gate is in the default database, which nothing else can write then.
    articles = [Article(title="a")] if kind == "postgresql" else []
    with served.ops.unit(reason="asked by mail"):  # type: ignore[attr-defined]
        db.session.add_all([User(email="ada@x.org"), *articles])
    assert events(empty_database) == [
        ("intent:user:account:create", "user:1"),
        ("user:account:create", "user:1"),
    ]
    assert len(db.session.scalars(sa.select(Article)).all()) == len(articles)
    assert served.extensions[MARK].sealer.work()
    assert len(events(empty_database)) == 2


def test_promises_say_that_there_are_two_databases(served: Flask, empty_database: Database) -> None:
    said = flask(empty_database, "identity", "--promises", "--format", "json")
    first = json.loads(said.stdout)[0]
    assert first["state"] == "weaker"
    assert first["because"].startswith("intended before it and done after it")


def test_bind_that_has_the_default_database_is_one_with_it(
    kind: str, empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = empty_database.url.replace("postgresql:", "postgresql+psycopg:")
    for name in ("THEIR_DATABASE_URL", "THEIR_PEOPLE_URL"):
        monkeypatch.setenv(name, url)
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path))
    app = bind_app.create_app()
    Ops(app, db)
    with app.app_context():
        assert attachment_of(app).own is None
        for engine in db.engines.values():
            engine.dispose()
