"""Fixtures of the web part: the site and its accounts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import Database
from tests.support.web import Program, Site, site


@pytest.fixture
def web(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The application with its web floor, and an administrator, id 1."""
    with site(database, monkeypatch) as made:
        made.make("ada@example.com", role="admin")
        yield made


@pytest.fixture
def api(web: Site) -> Program:
    """A program that may do everything."""
    return web.token("ada@example.com")
