"""Retention: adding up keeps every sum and percentile, and is harmless to repeat."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask

from opsapp import clock
from opsapp.extensions import db
from opsapp.models import ProfileTrace, ProfileWindow
from opsapp.models.profiles import DAY, HOUR, MINUTE
from opsapp.profiling import ddsketch
from opsapp.profiling.reports import Window, retention, store, totals
from tests.support import Cli, Database

NOW = datetime(2026, 6, 15, 12, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


def a_window(name: str, start: int, width: int = MINUTE, count: int = 10) -> Window:
    chance = random.Random(start + len(name))  # noqa: S311  (the same every time)
    window = Window(("endpoint", name, "", ""), start, width)
    durations = [chance.lognormvariate(-4, 1) for _ in range(count)]
    window.count, window.seconds, window.most = count, sum(durations), max(durations)
    window.errors, window.queries, window.query_seconds = 1, 3, 0.001
    window.bins = ddsketch.of(durations)
    return window


@pytest.fixture
def month(app: Flask) -> Flask:
    """Thirty days: the last six hours by the minute and by two processes, before that by hours."""
    now = int(NOW.timestamp())
    for process in ("one", "two"):
        windows = [a_window("GET a", now - n * 600) for n in range(36)]
        store(
            process, [window for window in windows if window.starts_at % MINUTE == 0], [], limit=5
        )
    hour = now // HOUR * HOUR
    store("", [a_window(name, hour - n * HOUR, HOUR) for n in range(7, 720) for name in
               ("GET a", "GET b")], [], limit=5)  # fmt: skip
    return app


def figures() -> list[dict[str, Any]]:
    found = totals.report("endpoint", since=NOW - timedelta(days=31), until=NOW)
    return [{k: v for k, v in row.items() if k not in ("trend", "total_ms")} for row in found]


def widths() -> dict[tuple[int, bool], int]:
    counts: dict[tuple[int, bool], int] = {}
    for width, process in db.session.query(ProfileWindow.width, ProfileWindow.process):
        counts[width, bool(process)] = counts.get((width, bool(process)), 0) + 1
    db.session.rollback()
    return counts


def test_adding_up_keeps_what_is_reported(month: Flask) -> None:
    before = figures()
    rows = retention.compact()
    assert [row["step"] for row in rows] == ["processes", "minutes", "hours"]
    assert figures() == before
    after = widths()
    assert after[DAY, False] == 2 * 28 or after[DAY, False] >= 50
    assert after[MINUTE, True] <= 2 * 3
    assert after[MINUTE, False] <= 16
    assert sum(after.values()) < 250


def test_adding_up_again_changes_nothing(month: Flask) -> None:
    retention.compact()
    before = widths()
    assert [row["windows"] for row in retention.compact()] == [0, 0, 0]
    assert widths() == before


def test_plan_tells_how_many_and_writes_nothing(month: Flask) -> None:
    before = widths()
    planned = retention.compact(dry_run=True)
    assert planned[0]["windows"] > 0
    assert widths() == before


def test_late_minute_is_added_to_its_hour(month: Flask) -> None:
    retention.compact()
    late = int((NOW - timedelta(hours=4)).timestamp())
    before = figures()[0]["count"]
    store("three", [a_window("GET a", late)], [], limit=5)
    retention.compact()
    assert figures()[0]["count"] == before + 10
    assert widths()[MINUTE, True] <= 6


def test_what_was_just_written_is_left_alone(app: Flask) -> None:
    start = int((NOW - timedelta(minutes=10)).timestamp()) // MINUTE * MINUTE
    store("one", [a_window("GET a", start)], [], limit=5)
    retention.compact()
    assert widths() == {(MINUTE, True): 1}


def a_trace(name: str, seconds: float, days: int = 0, kind: str = "slow") -> dict[str, Any]:
    return {
        "kind": kind,
        "name": name,
        "at": NOW - timedelta(days=days),
        "seconds": seconds,
        "status": 200,
        "queries": 0,
        "query_seconds": 0.0,
        "detail": {},
    }


def kept() -> Iterator[tuple[str, float]]:
    rows = db.session.query(ProfileTrace.name, ProfileTrace.seconds).all()
    db.session.rollback()
    return iter(sorted((name, seconds) for name, seconds in rows))


def test_slowest_traces_stay_and_old_ones_make_room(app: Flask) -> None:
    floors = store("one", [], [a_trace("GET a", 9.0, days=8)], limit=3)
    assert floors == {"GET a": 0.0}
    floors = store("one", [], [a_trace("GET a", n / 10) for n in range(1, 6)], limit=3)
    assert floors == {"GET a": 0.3}
    assert list(kept()) == [("GET a", 0.3), ("GET a", 0.4), ("GET a", 0.5)]


def test_pruning_forgets_what_is_old(month: Flask) -> None:
    traces = [a_trace("GET a", n / 10) for n in range(5)]
    store("one", [], traces, limit=5)
    planned = retention.prune(older_than=timedelta(days=10), limit=2, dry_run=True)
    done = retention.prune(older_than=timedelta(days=10), limit=2)
    counts = {row["what"]: row["removed"] for row in done}
    assert {row["what"]: row["removed"] for row in planned} == counts
    assert counts["traces"] == 3
    assert counts["windows"] > 900
    assert [row["removed"] for row in retention.prune(older_than=timedelta(days=10), limit=2)] == [
        0, 0, 0, 0,
    ]  # fmt: skip
    (oldest,) = db.session.query(ProfileWindow.starts_at).order_by(ProfileWindow.starts_at).first()  # type: ignore[misc]
    assert oldest >= (NOW - timedelta(days=10)).timestamp() - HOUR


def test_series_of_which_nothing_is_left_goes(app: Flask) -> None:
    store("one", [a_window("GET a", 60)], [], limit=5)
    counts = {r["what"]: r["removed"] for r in
              retention.prune(older_than=timedelta(days=1), limit=5)}  # fmt: skip
    assert (counts["windows"], counts["series"]) == (1, 1)


def test_commands_do_it(cli: Cli, database: Database) -> None:
    done = cli("profile", "compact")
    assert (done.exit_code, done.stdout) == (
        0, "step\twindows\tbecame\nprocesses\t0\t0\nminutes\t0\t0\nhours\t0\t0\n",
    )  # fmt: skip
    done = cli("profile", "prune", "--dry-run")
    assert (done.exit_code, done.stdout) == (
        0, "what\tremoved\nwindows\t0\nsaves\t0\ntraces\t0\nseries\t0\nfiles\t0\n",
    )  # fmt: skip
