"""`flask profile`: what is measured now, kept, and compared."""

from __future__ import annotations

import json
import math
import random
import resource
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from opsapp.extensions import db
from opsapp.mail import outbox
from opsapp.models import MailMessage
from opsapp.profiling.measure import Measured
from opsapp.profiling.reports import statistics
from tests.support import FLASK, Cli, Database, fields, run
from tests.support.forks import PATIENCE

# --- measuring ---------------------------------------------------------------------


def test_request_is_measured_and_saved(cli: Cli, database: Database, ada: str) -> None:
    args = ("profile", "request", "GET", "/api/users", "--as", ada, "--repeat", "12")
    found = cli(*args, "--name", "before", "--format", "json", check=True).json
    assert (found["saved"], found["subject"], found["count"]) == ("before", "GET /api/users", 12)
    assert found["outcomes"] == {"200": 12}
    assert found["queries"] >= 2
    assert 0 < found["min_ms"] <= found["p50_ms"] <= found["p95_ms"] <= found["max_ms"]
    assert database.rows("SELECT count(*) FROM ops_profile_windows") == [(0,)]
    done = cli(*args, "--name", "before")
    assert (done.exit_code, done.stderr) == (
        3, "Error: there is a measurement before\n  → --replace, or another name\n",
    )  # fmt: skip
    assert cli(*args, "--name", "before", "--replace").exit_code == 0
    assert fields(cli(*args).stdout)["saved"] == "request-3"


def test_request_of_a_stranger_is_a_strangers(cli: Cli, database: Database) -> None:
    done = cli("profile", "request", "GET", "/api/users", "--repeat", "3", "--format", "json")
    assert done.json["outcomes"] == {"401": 3}


def test_request_that_changes_asks_first(cli: Cli, database: Database, ada: str) -> None:
    args = ("profile", "request", "POST", "/api/users", "--as", ada, "--repeat", "1")
    done = cli(*args)
    assert (done.exit_code, done.stderr) == (
        5,
        "Error: Send POST /api/users for real, 1 times? There is no terminal to ask on\n"
        "  → repeat it with --yes\n",
    )
    assert cli(*args, "--yes", "--format", "json").json["outcomes"] == {"422": 1}


def test_request_has_a_body_and_headers(
    cli: Cli, database: Database, ada: str, tmp_path: Path
) -> None:
    args = ("profile", "request", "POST", "/api/users", "--as", ada, "--repeat", "1", "--cold")
    document = '{"email": "eve@example.com", "username": "eve"}'
    done = cli(*args, "--json", document, "--yes", "--format", "json")
    assert done.json["outcomes"] == {"201": 1}, done.stderr
    (tmp_path / "user.json").write_text(document.replace("eve", "mallory"))
    done = cli(*args, "--json", f"@{tmp_path}/user.json", "--yes", "--format", "json")
    assert done.json["outcomes"] == {"201": 1}, done.stderr
    login = ("profile", "request", "POST", "/login", "--repeat", "1", "--yes", "--format", "json")
    done = cli(*login, "--data", "email=ada", "--header", "Accept: application/json")
    assert done.exit_code == 0, done.stderr


def test_mail_of_a_request_is_sent_before_the_command_ends(
    cli: Cli, database: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_waiting, deliver, wait = threading.Event(), outbox._deliver, outbox.wait_for_thread

    def deliver_late(message: MailMessage) -> tuple[str | None, bool]:
        is_waiting.wait(PATIENCE)
        return deliver(message)

    def say_and_wait(app: Flask) -> None:
        is_waiting.set()
        wait(app)

    monkeypatch.setattr(outbox, "_deliver", deliver_late)
    monkeypatch.setattr(outbox, "wait_for_thread", say_and_wait)
    document = '{"email": "eve@example.com", "username": "eve"}'
    args = ("profile", "request", "POST", "/api/users", "--as", ada, "--repeat", "1", "--cold")
    cli(*args, "--json", document, "--yes", check=True)
    sent = (
        "SELECT recipient FROM ops_mail_messages WHERE sent_at IS NOT NULL AND recipient LIKE :to"
    )
    assert database.rows(sent, to="eve%") == [("eve@example.com",)]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--json", "{"), "--json is no JSON: Expecting property name"),
        (("--json", "1", "--data", "2"), "--data and --json both have a body; give one"),
        (("--header", "Accept"), "--header Accept is not of the form 'NAME: VALUE'"),
        (("--data", "@nothing"), "nothing No such file or directory"),
    ],
)
def test_request_of_another_form_is_refused(
    cli: Cli, database: Database, args: tuple[str, ...], message: str
) -> None:
    done = cli("profile", "request", "POST", "/login", *args)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {message}")


def test_request_leaves_a_sample_of_its_stacks(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_PROFILING", "on")
    cli("profile", "request", "GET", "/login", "--repeat", "1", "--sample", check=True)
    (row,) = cli("profile", "traces", "--kind", "asked", "--format", "json").json
    assert (row["name"], row["status"]) == ("GET security.login", 200)
    assert row["samples"] > 0


@pytest.mark.parametrize("path", ["login", "http://x/"])
def test_request_wants_a_path(cli: Cli, database: Database, path: str) -> None:
    assert cli("profile", "request", "GET", path).exit_code == 2


STREAMS = """
import itertools
import time

import opsapp


def create_app():
    app = opsapp.create_app()

    @app.get("/huge")
    def huge():
        return (bytes(1_000_000) for _ in range(400))

    @app.get("/endless")
    def endless():
        return (bytes(1_000_000) for _ in itertools.count())

    @app.get("/silent")
    def silent():
        def parts():
            yield b"begun"
            while True:
                try:
                    time.sleep(60)
                except Exception:
                    pass

        return parts()

    @app.get("/broken")
    def broken():
        def parts():
            yield b"half"
            raise ZeroDivisionError

        return parts()

    return app
"""
"""An application whose answers are as no page's are."""
ONE_GIB = 2**30
"""Of addresses, for a process with everything imported; the answers are far longer."""


def measured(database: Database, *args: str) -> subprocess.CompletedProcess[str]:
    """`flask profile` of that application, in a process with little memory."""
    (database.instance / "streams.py").write_text(STREAMS)
    environ = {**database.environ, "FLASK_APP": "streams", "PYTHONPATH": str(database.instance)}
    return subprocess.run(
        [FLASK, "profile", *args],
        env=environ,
        cwd=database.instance,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ONE_GIB, ONE_GIB)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("kind", ["sqlite"])
def test_huge_answer_is_read_in_little_memory(database: Database) -> None:
    args = ("request", "GET", "/huge", "--repeat", "2", "--cold", "--format", "json")
    done = measured(database, *args)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["outcomes"] == {"200": 2}


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("path", ["/endless", "/silent"])
def test_answer_without_an_end_is_given_up(database: Database, path: str) -> None:
    done = measured(database, "request", "GET", path, "--timeout", "1s")
    assert (done.returncode, done.stdout) == (124, "")
    assert done.stderr == (
        f"Error: GET {path} did not end within 1 s\n  → --timeout, if it may take longer\n"
    )
    assert database.rows("SELECT count(*) FROM ops_profile_saves") == [(0,)]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_answer_that_breaks_off_is_counted_as_failed(database: Database) -> None:
    args = ("request", "GET", "/broken", "--repeat", "3", "--cold", "--format", "json")
    done = measured(database, *args)
    assert done.returncode == 0
    assert json.loads(done.stdout)["outcomes"] == {"broken off": 3}
    assert json.loads(done.stderr)["remarks"][-1] == "3 of 3 failed."


@pytest.mark.parametrize("kind", ["sqlite"])
def test_command_without_an_end_is_killed(database: Database) -> None:
    args = ("run", "--timeout", "2s", "--yes", "--", "shell", "-c", "while True: pass")
    done = measured(database, *args)
    assert (done.returncode, done.stdout) == (124, "")
    assert done.stderr.splitlines()[0] == (
        "Error: flask shell -c while True: pass did not end within 2 s"
    )


def test_command_is_measured(cli: Cli, database: Database) -> None:
    args = ("profile", "run", "--repeat", "1", "--format", "json")
    found = cli(*args, "--", "roles", "list", "--format", "json", check=True).json
    assert (found["subject"], found["outcomes"]) == ("roles list", {"0": 1})
    assert found["peak_mib"] > 10
    done = cli(*args, "--", "roles", "show", "nobody")
    assert (done.exit_code, done.json["outcomes"]) == (6, {"4": 1})
    done = cli(*args, "--", "roles", "create", "support")
    assert done.exit_code == 5
    assert cli(*args, "--yes", "--", "roles", "create", "support").json["outcomes"] == {"0": 1}


def test_measured_command_has_failed_whatever_code_says_so() -> None:
    measured = Measured("command", outcomes=[0, 1, 6, 124, 143, -9])
    assert measured.errors == 4  # 6 says that it has found something.
    assert Measured("endpoint", outcomes=[200, 404, 500]).errors == 1


def test_measured_command_tells_its_queries_and_its_functions(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_PROFILING", "on")
    args = ("profile", "run", "--repeat", "1", "--deep", "--format", "json")
    assert cli(*args, "--", "roles", "list").json["queries"] >= 2
    (row,) = cli("profile", "traces", "--kind", "asked", "--format", "json").json
    assert row["name"] == "roles list"
    rows = cli("profile", "top", row["file"], "--count", "3", "--format", "json").json
    assert len(rows) == 3
    listed = cli("profile", "files", "--format", "json").json
    assert [one["file"] for one in listed] == [row["file"]]


def test_measured_command_ends_as_it_does_though_its_file_is_not_kept(
    database: Database,
) -> None:
    (database.instance / "profiles").touch()
    on = {"OPSAPP_PROFILING": "on", "OPSAPP_PROFILE_MODE": "1"}
    done = run(database, "roles", "list", **on)
    assert done.exit_code == 0
    assert done.stderr.startswith("Warning: the file of a profile was not kept: ")


# --- comparing ---------------------------------------------------------------------


def saved(name: str, ms: float, **more: Any) -> None:
    """A measurement of two hundred samples near this."""
    from opsapp.models import ProfileSave

    samples = [ms / 1000 * (1 + (number % 20 - 10) / 100) for number in range(200)]
    row = {"count": 200, "errors": 0, "queries": 400, "samples": samples, "cpu": samples}
    row.update(more.pop("row", {}))
    columns = {
        "mode": "request", "subject": "GET /", "python": "3.11.7", "environment": "test",
        "made_by": "somebody", **more,
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
        4, "Error: nothing like before was saved after it\n",
    )  # fmt: skip
    done = cli("profile", "diff", "nobody")
    assert done.exit_code == 4
