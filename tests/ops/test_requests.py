"""Requests of an attached application, while what opsapp needs is away, wrong or busy."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from opsapp import Ops
from opsapp.ops import attached, requests
from tests.ops.conftest import OURS


@pytest.fixture
def theirs() -> SQLAlchemy:
    return SQLAlchemy()


@pytest.fixture
def site(theirs: SQLAlchemy, tmp_path: Path) -> Iterator[Flask]:
    """An application whose pool has one connection, and a page that needs no database."""
    app = Flask("theirs", instance_path=str(tmp_path))
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/theirs.sqlite"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {
        "pool_size": 1,
        "max_overflow": 0,
        "pool_timeout": 0.05,
    }
    app.config.update(OURS)
    app.add_url_rule("/", view_func=lambda: "as ever", endpoint="index")
    theirs.init_app(app)
    Ops(app, theirs, url_prefix="/ops", allow=lambda: True)
    yield app
    with app.app_context():
        theirs.engine.dispose()


def answers(app: Flask, count: int = 2) -> list[str]:
    return [app.test_client().get("/").text for _ in range(count)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_request_is_answered_while_their_pool_is_exhausted(
    site: Flask, theirs: SQLAlchemy, caplog: pytest.LogCaptureFixture
) -> None:
    with site.app_context(), theirs.engine.connect():
        assert answers(site) == ["as ever"] * 2
    [(level, message)] = warnings(caplog)
    assert level == "WARNING"
    assert message.startswith("requests are not recorded: QueuePool limit of size 1")


def test_request_waits_a_moment_only_for_a_database_that_hangs(
    site: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ends, has_ended = Event(), Event()

    def hang(_self: object) -> bool:
        ends.wait()
        has_ended.set()
        return False

    monkeypatch.setattr(attached.Attached, "look_again", hang)
    monkeypatch.setattr(requests, "PATIENCE", 0.01)
    assert answers(site) == ["as ever"] * 2
    ends.set()
    assert has_ended.wait(10)
    assert warnings(caplog) == []


def test_database_that_is_away_is_looked_for_once_in_a_while(
    site: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = []

    def fail(_self: object) -> bool:
        looks.append(True)
        raise RuntimeError("no token")  # A function of theirs makes the connections.

    monkeypatch.setattr(attached.Attached, "look_again", fail)
    assert answers(site) == ["as ever"] * 2
    assert len(looks) == 1
    now = requests.monotonic()
    monkeypatch.setattr(requests, "monotonic", lambda: now + 61)
    caplog.set_level(logging.INFO)
    assert answers(site) == ["as ever"] * 2
    assert len(looks) == 2
    assert warnings(caplog) == [("WARNING", "requests are not recorded: no token")]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "OPSAPP_PROFILING",
            "maybe",
            "requests are not recorded: OPSAPP_PROFILING 'maybe' is neither on nor off",
        ),
        (
            "OPSAPP_METRICS",
            "maybe",
            "the metrics of this process are not kept:"
            " OPSAPP_METRICS 'maybe' is neither on nor off",
        ),
    ],
    ids=["profiling", "metrics"],
)
def test_setting_that_cannot_be_read_fails_no_request(
    site: Flask,
    name: str,
    value: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(name, value)
    assert answers(site) == ["as ever"] * 2
    assert warnings(caplog) == [("WARNING", message)]


def test_requests_that_come_first_at_once_find_the_observer(
    theirs: SQLAlchemy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second request must not change an account before the first has begun to observe."""
    app = Flask("theirs", instance_path=str(tmp_path))
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path}/theirs.sqlite"
    theirs.init_app(app)
    Ops(app, theirs)
    is_busy, goes_on, seen = Event(), Event(), []
    observe = attached.Attached._observe

    def slow(self: Any) -> None:
        is_busy.set()
        goes_on.wait()
        observe(self)
        seen.append("observed")

    def change() -> None:
        with app.app_context():
            seen.append("changed")

    monkeypatch.setattr(attached.Attached, "_observe", slow)
    threads = [Thread(target=change) for _ in range(2)]
    type("User", (theirs.Model,), {"id": theirs.Column(theirs.Integer, primary_key=True)})
    threads[0].start()
    assert is_busy.wait(10)
    threads[1].start()
    threads[1].join(0.1)
    goes_on.set()
    for thread in threads:
        thread.join()
    assert seen == ["observed", "changed", "changed"]
    with app.app_context():
        theirs.engine.dispose()
