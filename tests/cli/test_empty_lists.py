"""Lists without a row: they have the header that they would have with one, and the same fields."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.support import Cli, Database, call
from tests.support.terminals import on_terminal

LONG_AGO = ("--until", "2000-01-01")
EMPTY = [
    ("users", "list", "--search", "nobody"),
    ("audit", "list", *LONG_AGO),
    ("audit", "export", *LONG_AGO),
    ("audit", "sessions"),
    ("jobs", "history"),
    ("jobs", "missed"),
    ("mail", "list"),
    ("roles", "expiring"),
    ("roles", "history"),
    ("users", "logins", "list"),
    ("users", "sessions", "list"),
    ("users", "tokens", "list"),
    ("profile", "traces"),
    ("profile", "repeats"),
    ("profile", "saved"),
    ("profile", "files"),
    ("profile", "metrics"),
    ("profile", "report"),
    ("profile", "report", "--by", "query"),
    ("profile", "report", "--by", "command"),
    ("roles", "matrix", "--users"),
    ("jobs", "list"),
    ("jobs", "check"),
    ("jobs", "schedule"),
]


@pytest.mark.parametrize("command", EMPTY, ids=" ".join)
def test_empty_list_has_its_header_and_knows_its_fields(
    cli: Cli, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = tmp_path / "jobs.toml"
    schedule.touch()
    monkeypatch.setenv("OPSAPP_JOBS", str(schedule))
    found = cli(*command, "--format", "csv")
    assert found.exit_code == 0, found.stderr
    [header] = csv.reader(io.StringIO(found.stdout))
    chosen = f"{header[-1]},{header[0]}"
    plain = cli(*command, "--format", "plain", "--fields", chosen)
    assert plain.stdout == chosen.replace(",", "\t") + "\n"
    assert cli(*command, "--format", "csv", "--fields", chosen).stdout == chosen + "\n"
    for format in ("table", "plain", "json", "jsonl", "csv"):
        wrong = cli(*command, "--fields", "bogus", "--format", format)
        assert (wrong.exit_code, wrong.stdout) == (2, "")
        assert f"no field bogus; there are {', '.join(header)}" in wrong.stderr


def test_empty_answer_of_a_query_has_its_header(database: Database, ada: str, cli: Cli) -> None:
    statement = """SELECT id, email AS "a,b", '' AS "=c" FROM ops_users WHERE 1 = 0"""
    for format, answer in (
        ("plain", "id\ta,b\t=c\n"),
        ("csv", 'id,"a,b",\'=c\n'),
        ("table", "id  a,b  =c\n"),
        ("json", "[]\n"),
        ("jsonl", ""),
    ):
        assert cli("query", statement, "--format", format, check=True).stdout == answer
    assert cli("query", statement, "--format", "csv", "--fields", "id", check=True).stdout == "id\n"
    wrong = cli("query", statement, "--fields", "bogus")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert wrong.stderr == "Error: no field bogus; there are id, a,b, =c\n"
    if database.is_sqlite:
        assert on_terminal(database, "query", statement) == "No rows.\n"


@pytest.mark.parametrize(
    ("full", "empty"),
    [
        (("users", "list"), EMPTY[0]),
        (("audit", "list"), EMPTY[1]),
        (("audit", "export"), EMPTY[2]),
        (("roles", "history"), ("roles", "history", "--role", "support")),
        (("users", "tokens", "list"), ("users", "tokens", "list", "bob")),
        (("mail", "list"), ("mail", "list", "--pending")),
    ],
    ids=lambda words: " ".join(words),
)
def test_header_of_an_empty_list_is_that_of_a_full_one(
    cli: Cli, bob: str, full: list[str], empty: list[str]
) -> None:
    cli("users", "tokens", "create", "ada", "ci", check=True)
    cli("roles", "create", "support", check=True)
    rows = cli(*full, "--format", "csv", check=True).stdout.splitlines()
    assert len(rows) > 1
    assert cli(*empty, "--format", "csv", check=True).stdout.splitlines() == rows[:1]


def test_width_from_the_environment_never_blanks_a_table(
    database: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opsapp.cli import tables

    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    for columns in ("0", "-5", "words", "9" * 400, "1", "99999999999"):
        found = call(
            database,
            "users",
            "list",
            "--format",
            "table",
            COLUMNS=columns,
            LINES=columns,
            NO_COLOR="1",
        )
        assert found.exit_code == 0, found.stderr
        assert "ada@example.com" in found.stdout.replace("\n", "").replace(" ", ""), columns
        assert max(map(len, found.stdout.splitlines())) <= tables.WIDEST
