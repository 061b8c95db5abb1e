"""Sketches, traces and measurements of another shape: shown as damaged, named by doctor."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.support import FLASK, Cli, Database
from tests.support.windows import traces

FUNCTION = {"calls": 1, "self_ms": 1.0, "total_ms": 1.0, "function": "f"}
DETAILS: dict[str, Any] = {
    "sent is a number": {"sent": 7},
    "sent has a short row": {"sent": [[1.0, 2.0, "SELECT 1"]]},
    "sent has a word for a time": {"sent": [["soon", 2.0, "SELECT 1", ""]]},
    "sent has a number for a statement": {"sent": [[1.0, 2.0, 3, ""]]},
    "sent has a time without end": {"sent": [[float("inf"), 2.0, "SELECT 1", ""]]},
    "sent has a time that no column holds": {"sent": [[10**400, 2.0, "SELECT 1", ""]]},
    "samples are words": {"samples": ["a", "b"]},
    "samples have a number for a stack": {"samples": [[0.1, 3]]},
    "samples have a null in a stack": {"samples": [[0.1, ["f", None]]]},
    "samples are no numbers": {"samples": [[float("nan"), ["f"]]]},
    "error is a word": {"error": "ValueError"},
    "error has a number for a type": {"error": {"type": 7, "stack": []}},
    "error has a word for a stack": {"error": {"type": "E", "stack": "f"}},
    "functions are words": {"functions": ["f"]},
    "functions have other keys": {"functions": [FUNCTION, {"function": "f"}]},
    "functions have words for numbers": {"functions": [{**FUNCTION, "calls": "many"}]},
    "correlation is a list": {"correlation": [1]},
    "file is a number": {"file": 7},
}
WHOLE = {
    **traces()[0]["detail"],
    "error": {"type": "E", "stack": ["shop.py:3 in show"]},
    "functions": [FUNCTION],
    "correlation": "x",
    "file": None,
}


def add_trace(database: Database, detail: Any) -> None:
    with database.connect() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO ops_profile_traces"
                " (kind, name, at, seconds, status, queries, query_seconds, detail)"
                " VALUES ('slow', 'GET x', '2026-01-01 00:00:00+00:00', 1, 200, 1, 1, :detail)"
            ),
            {"detail": json.dumps(detail)},
        )


def values(cli: Cli) -> tuple[str, str]:
    """The finding of `flask doctor` about damaged values."""
    rows = cli("doctor", "--format", "json").json
    (row,) = (row for row in rows if row["check"] == "values")
    return row["state"], row["says"]


def test_traces_of_another_shape_are_shown_as_damaged(
    cli: Cli, database: Database, tmp_path: Path
) -> None:
    add_trace(database, WHOLE)
    for detail in DETAILS.values():
        add_trace(database, {**WHOLE, **detail})
    rows = cli("profile", "traces", "--format", "json", check=True).json
    errors = {row["id"]: row["error"] for row in rows}
    assert errors.pop(1) == "E"
    page = tmp_path / "flame.html"
    for number, name in enumerate(DETAILS, 2):
        assert errors[number].startswith("damaged: {"), name
        for format in ("json", "plain", "table"):
            done = cli("profile", "show", str(number), "--format", format)
            assert (done.exit_code, done.stderr) == (0, ""), name
            assert "damaged: {" in done.stdout, name
        done = cli("profile", "flame", str(number), "-o", str(page))
        assert (done.exit_code, done.stdout, page.exists()) == (1, "", False), name
        assert done.stderr.startswith(f"Error: trace {number} cannot be read: damaged: {{")
    assert cli("profile", "report", "--html", str(page)).exit_code == 0
    state, says = values(cli)
    assert (state, says.startswith("damaged: ops_profile_traces 19 detail,")) == ("fail", True)
    assert cli("profile", "show", "1").exit_code == 0


def test_trace_with_half_characters_is_shown(cli: Cli, database: Database, tmp_path: Path) -> None:
    add_trace(database, {**WHOLE, "samples": [[0.1, ["\ud800 in f"]]]})
    assert values(cli) == ("ok", "no damaged value in the newest 1000 rows of a table")
    assert cli("profile", "show", "1").exit_code == 0
    page = tmp_path / "flame.html"
    assert cli("profile", "flame", "1", "-o", str(page)).exit_code == 0
    assert r"\ud800" in page.read_text()


NOISE = random.Random(3).randbytes(40)  # noqa: S311  (the same every time)


def add_windows(database: Database, kind: str, *packed: bytes) -> None:
    """Two requests of 10 ms for each sketch, recorded a minute ago."""
    with database.connect() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO ops_profile_series (digest, kind, name, caller, statement)"
                " VALUES (:kind, :kind, 'GET x', 'shop.py:3 in f', 'SELECT 1')"
            ),
            {"kind": kind},
        )
        series = connection.scalar(sa.text("SELECT max(id) FROM ops_profile_series"))
        for number, bins in enumerate(packed):
            connection.execute(
                sa.text(
                    "INSERT INTO ops_profile_windows (series_id, width, starts_at, process, count,"
                    " errors, seconds, most, queries, query_seconds, bins)"
                    " VALUES (:series, 60, 1790000000, :process, 2, 0, 0.02, 0.01, 20, 0.01, :bins)"
                ),
                {"series": series, "process": str(number), "bins": bins},
            )


SPAN = ("--since", "2026-09-20")


SKETCHES = (b"", b"garbage", NOISE, b"B\x01", b"Q123")


def test_sketches_that_are_none_count_nothing_and_are_named(cli: Cli, database: Database) -> None:
    add_windows(database, "endpoint", *SKETCHES)
    add_windows(database, "repeat", *SKETCHES)
    (row,) = cli("profile", "report", *SPAN, "--format", "json", check=True).json
    assert (row["count"], row["total_ms"], row["max_ms"]) == (10, 100.0, 10.0)
    assert (row["p50_ms"], row["p95_ms"], row["p99_ms"]) == (None, None, None)
    for format in ("table", "plain"):
        assert "GET x" in cli("profile", "report", *SPAN, "--format", format, check=True).stdout
    assert "shop.py:3" in cli("profile", "repeats", *SPAN, check=True).stdout
    page = database.instance.parent / "report.html"
    assert cli("profile", "report", *SPAN, "--html", str(page)).exit_code == 0
    state, says = values(cli)
    assert state == "fail"
    assert says.startswith(
        "damaged: ops_profile_windows 2,60,1790000000,4 bins, ops_profile_windows 2,"
    )
    assert says.endswith(f" and {2 * len(SKETCHES) - 5} more")
    assert cli("profile", "compact").exit_code == 0


def test_sketch_that_is_a_number_counts_nothing(
    cli: Cli, database: Database, sqlite_only: None
) -> None:
    add_windows(database, "endpoint", b"B")
    database.execute("UPDATE ops_profile_windows SET bins = 99999999999999")
    assert cli("profile", "report", *SPAN, check=True).stdout.count("GET x") == 1
    assert values(cli) == ("fail", "damaged: ops_profile_windows 1,60,1790000000,0 bins")


@pytest.mark.parametrize(
    "detail",
    [
        {},
        {"rows": []},
        {"rows": {"GET /": 7}},
        {"rows": {"GET /": {"count": 0, "errors": 0, "queries": 0}}},
        {"rows": {"GET /": {"count": 1, "errors": 0, "queries": 0, "samples": ["quick"]}}},
        {"rows": {"GET /": {"count": 1, "errors": 0, "queries": 0, "cpu": 7}}},
    ],
)
def test_measurement_of_another_shape_is_shown_as_damaged(
    cli: Cli, database: Database, detail: dict[str, Any]
) -> None:
    with database.connect() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO ops_profile_saves (name, is_automatic, mode, subject, python,"
                " environment, made_at, made_by, detail) VALUES ('before', false, 'request',"
                " 'GET /', '3.11.1', 'e', '2026-01-01 00:00:00+00:00', 'ada', :detail)"
            ),
            {"detail": json.dumps(detail)},
        )
    assert "before" in cli("profile", "saved", check=True).stdout
    done = cli("profile", "diff", "before")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: the measurement before cannot be read: damaged: {")
    assert values(cli) == ("fail", "damaged: ops_profile_saves 1 detail")


@pytest.mark.parametrize("kind", ["sqlite"])
def test_token_that_cannot_be_written_is_said_to_be_lost(database: Database) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [FLASK, "profile", "token"],
            env=database.environ,
            cwd=database.instance,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (
        74,
        "Error: the output could not be written (No space left on device); nothing was changed\n"
        "  → the token is lost: flask profile token makes another\n",
    )
