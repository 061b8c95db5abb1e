"""Made-up recordings of profiles."""

from __future__ import annotations

from typing import Any

from opsapp import clock
from opsapp.profiling import ddsketch
from opsapp.profiling.reports import Window


def a_window(
    name: str, count: int, *, kind: str = "endpoint", ms: float = 10, **more: Any
) -> Window:
    start = int(clock.now().timestamp()) // 60 * 60
    series = (kind, name, more.pop("caller", ""), more.pop("statement", ""))
    window = Window(series, start, count=count, seconds=count * ms / 1000, most=ms / 1000, **more)
    window.bins = {ddsketch.bucket(ms / 1000): count}
    return window


def traces(count: int = 1, **more: Any) -> list[dict[str, Any]]:
    sent = [[0.001, 0.002, "SELECT a FROM b", "shop.py:3 in show"]]
    samples = [[0.05, ["flask/app.py in Flask.wsgi_app", "shop.py in show"]]]
    return [
        {
            "kind": "slow",
            "name": "GET slow",
            "at": clock.now(),
            "seconds": 0.1,
            "status": 200,
            "queries": 1,
            "query_seconds": 0.002,
            "detail": {"sent": sent, "samples": samples, "error": None},
            **more,
        }
        for _ in range(count)
    ]
