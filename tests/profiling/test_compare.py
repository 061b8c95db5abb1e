"""`flask profile diff`: measurements that are compared, and those that are not."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from flask import Flask

from opsapp.extensions import db
from opsapp.profiling.reports import statistics
from tests.support import Cli, Database


def saved(name: str, ms: float, **more: Any) -> None:
    """A measurement of two hundred samples near this."""
    from opsapp.models import ProfileSave

    samples = [ms / 1000 * (1 + (number % 20 - 10) / 100) for number in range(200)]
    row = {"count": 200, "errors": 0, "queries": 400, "samples": samples, "cpu": samples}
    row.update(more.pop("row", {}))
    columns = {
        "mode": "request", "subject": "GET /", "python": "3.11.7", "environment": "test",
        "made_by": "operator", **more,
    }  # fmt: skip
    db.session.add(ProfileSave(name=name, detail={"rows": {columns["subject"]: row}}, **columns))
    db.session.flush()
    db.session.commit()


def test_change_is_found_and_ends_with_findings(cli: Cli, app: Flask) -> None:
    saved("before", 10)
    saved("after", 13)
    done = cli("profile", "diff", "before", "after", "--fail-on", "p95>+10%", "--format", "json")
    assert done.exit_code == 6
    by_metric = {row["metric"]: row for row in done.json}
    assert set(by_metric) == {"p50", "p95", "p99", "mean", "cpu"}
    assert {row["verdict"] for row in done.json} == {"worse"}
    assert by_metric["p95"]["change"] == pytest.approx(0.3, abs=0.01)
    assert by_metric["p95"]["low"] <= 0.3 <= by_metric["p95"]["high"]
    assert [m for m, row in by_metric.items() if row["failed"]] == ["p95"]
    assert json.loads(done.stderr) == {"remarks": ["before → after: 2 no change, 5 worse"]}
    assert cli("profile", "diff", "after", "before", "--fail-on", "p95>+10%").exit_code == 0
    assert cli("profile", "diff", "before", "after", "--fail-on", "p95>+40%").exit_code == 0


def test_noise_is_no_change(cli: Cli, app: Flask) -> None:
    saved("before", 10)
    saved("after", 10.3)
    done = cli("profile", "diff", "before", "--fail-on", "p50>+1%", "--format", "json")
    assert (done.exit_code, done.json) == (0, [])
    assert json.loads(done.stderr) == {"remarks": ["before → after: 7 no change"]}


def drifting(chance: random.Random, count: int, alike: float) -> list[float]:
    """Durations that are more or less alike their neighbours, by 30 % around 18 ms."""
    found, state = [], chance.gauss(0, 1)
    for _ in range(count):
        state = alike * state + math.sqrt(1 - alike**2) * chance.gauss(0, 1)
        found.append(math.exp(0.3 * state - 4))
    return found


@pytest.mark.parametrize(("count", "alike", "least"), [(20, 0.0, 0.9), (50, 0.8, 0.75)])
def test_noise_is_seldom_taken_for_a_change(
    monkeypatch: pytest.MonkeyPatch, count: int, alike: float, least: float
) -> None:
    monkeypatch.setattr(statistics, "DRAWS", 200)
    verdicts: list[str] = []
    for seed in range(40):
        chance = random.Random(seed)  # noqa: S311  (the same every time)
        sides = [
            {"samples": samples, "cpu": samples, "queries": 0, "errors": 0, "count": count}
            for samples in (drifting(chance, count, alike) for _ in "ab")
        ]
        rows = list(statistics.changes("GET /", *sides))
        assert [row["metric"] for row in rows] == [
            "p50", "p95", "mean", "cpu", "queries", "errors",
        ]  # fmt: skip
        verdicts += [row["verdict"] for row in rows[:4]]
    assert verdicts.count("no change") >= least * len(verdicts)


@pytest.mark.parametrize("side", ["before", "after"])
def test_few_samples_are_not_compared(cli: Cli, app: Flask, side: str) -> None:
    saved("before", 10)
    saved("after", 13)
    few = {"count": 19, "samples": [0.01] * 19, "cpu": [0.01] * 19}
    saved(f"few-{side}", 10, row=few)
    names = ("few-before", "after") if side == "before" else ("before", "few-after")
    done = cli("profile", "diff", *names, "--fail-on", "p95>+10%")
    assert (done.exit_code, done.stdout, done.stderr) == (
        5,
        "",
        f"Error: few-{side} has 19 samples, and a comparison needs 20\n"
        "  → measure again with --repeat 20 or more\n",
    )


def test_share_of_errors_is_compared(cli: Cli, app: Flask) -> None:
    saved("before", 10, row={"errors": 10})
    saved("chance", 10, row={"errors": 12})
    saved("after", 10, row={"errors": 60})
    assert cli("profile", "diff", "before", "chance", "--fail-on", "errors>0").exit_code == 0
    done = cli("profile", "diff", "before", "after", "--fail-on", "errors>0", "--format", "json")
    (row,) = done.json
    assert (done.exit_code, row["metric"], row["before"], row["after"]) == (6, "errors", 0.05, 0.3)


def test_one_more_query_is_a_change(cli: Cli, app: Flask) -> None:
    saved("before", 10)
    saved("after", 10, row={"queries": 600})
    done = cli("profile", "diff", "before", "after", "--fail-on", "queries>0", "--format", "json")
    assert done.exit_code == 6
    (row,) = done.json
    assert (row["metric"], row["before"], row["after"]) == ("queries", 2.0, 3.0)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"python": "3.12.1"}, "their python is 3.11 and 3.12"),
        ({"mode": "run"}, "their mode is request and run"),
        ({"subject": "GET /x"}, "their subject is GET / and GET /x"),
    ],
)
def test_what_is_not_alike_is_refused(
    cli: Cli, app: Flask, other: dict[str, str], said: str
) -> None:
    saved("before", 10)
    saved("after", 10, **other)
    done = cli("profile", "diff", "before", "after")
    assert (done.exit_code, done.stderr) == (
        5, f"Error: before and after cannot be compared: {said}\n",
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["p95", "p95>", "p42>+10%", "p95<10%", "p95>-3%", "speed>1"])
def test_rule_that_is_none(cli: Cli, app: Flask, rule: str) -> None:
    saved("before", 10)
    done = cli("profile", "diff", "before", "--fail-on", rule)
    assert done.exit_code == 2
    assert "is not a rule such as 'p95>+10%'" in done.stderr


@pytest.mark.parametrize("name", ["", "-x", "run-7", "a b", "x" * 65, "../x"])
def test_name_that_is_none(cli: Cli, database: Database, name: str) -> None:
    done = cli("profile", "request", "GET", "/login", "--repeat", "1", "--cold", f"--name={name}")
    assert (done.exit_code, done.stdout) == (2, "")
    assert database.rows("SELECT count(*) FROM ops_profile_saves") == [(0,)]


def test_saved_measurements_are_listed(cli: Cli, app: Flask) -> None:
    saved("before", 10)
    done = cli("profile", "saved", "--fields", "name,mode,subject,python")
    assert done.stdout == "name\tmode\tsubject\tpython\nbefore\trequest\tGET /\t3.11.7\n"
    done = cli("profile", "diff", "before")
    assert (done.exit_code, done.stderr) == (
        4, "Error: nothing comparable to before was saved after it\n",
    )  # fmt: skip
    done = cli("profile", "diff", "nobody")
    assert done.exit_code == 4
