"""An application that is recorded, with views of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp.extensions import db
from opsapp.profiling import recorder_of
from opsapp.profiling.record.recorder import Recorder
from opsapp.profiling.record.writer import Writer
from opsapp.profiling.reports import store
from tests.support import Database
from tests.support.recorded import add_views
from tests.support.web import Site, site
from tests.support.windows import a_window, traces


@pytest.fixture
def _no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests write when they want to."""
    monkeypatch.setattr(Writer, "start", lambda _self: None)


@pytest.fixture
def recorded(
    database: Database, monkeypatch: pytest.MonkeyPatch, _no_thread: None
) -> Iterator[Site]:
    """A site whose requests are recorded in one minute, and written by ``flush``."""
    now = time.time()
    monkeypatch.setattr("opsapp.profiling.record.recorder.time", lambda: now)
    with site(database, monkeypatch, {"OPSAPP_PROFILING": True}) as made:
        add_views(made.app)
        with made.inside():
            db.session.execute(sa.text("SELECT 1"))  # PostgreSQL's greetings come with the first.
        yield made


@pytest.fixture
def recorder(recorded: Site) -> Recorder:
    found = recorder_of(recorded.app)
    assert found is not None
    return found


@pytest.fixture
def month(app: Flask) -> Flask:
    """An application with a month of records."""
    windows = [
        a_window("GET quick", 1000, ms=1, queries=2000, query_seconds=0.4),
        a_window("GET slow", 50, ms=200, errors=5),
        a_window("users list", 3, kind="command", ms=300),
        a_window(
            "SELECT a FROM b WHERE c = ?", 2000, kind="query", ms=0.2, caller="shop.py:3 in f"
        ),
    ]
    store("one", windows, traces(), limit=5)
    return app
