"""An application that is recorded, with views of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from opsapp.extensions import db
from opsapp.profiling import recorder_of
from opsapp.profiling.record.recorder import Recorder
from opsapp.profiling.record.writer import Writer
from recorded import add_views
from support import Database
from web import Site, site


@pytest.fixture
def _no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests write when they want to."""
    monkeypatch.setattr(Writer, "start", lambda _self: None)


@pytest.fixture
def recorded(
    database: Database, monkeypatch: pytest.MonkeyPatch, _no_thread: None
) -> Iterator[Site]:
    """A site whose requests are recorded, and written by ``flush``."""
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
