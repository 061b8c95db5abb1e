"""What several commands are asked about."""

from __future__ import annotations

import pytest
from flask import Flask

from opsapp.profiling.reports import store
from windows import a_window, traces


@pytest.fixture
def month(app: Flask) -> Flask:
    windows = [
        a_window("GET quick", 1000, ms=1, queries=2000, query_seconds=0.4),
        a_window("GET slow", 50, ms=200, errors=5),
        a_window("users list", 3, kind="command", ms=300),
        a_window(
            "SELECT a FROM b WHERE c = ?", 2000, kind="query", ms=0.2, caller="shop.py:3 in f"
        ),
    ]
    store("one", windows, traces(), kept=5)
    return app
