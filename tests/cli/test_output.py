"""The answer in five formats, and names that want to own the terminal."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import select
import subprocess
import time
import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsapp import text
from opsapp.cli import output, tables
from tests.support import FLASK, Cli, Database, call

HOSTILE = "x[/]\x1b]8;;http://evil\x07[bold]\u202e\u2028\n\t\x9b31m"


@pytest.fixture
def hostile(database: Database, ada: str, cli: Cli) -> Database:
    """Names that came into the database by another way than ours."""
    database.execute("UPDATE ops_users SET username = :name WHERE id = 1", name=HOSTILE)
    database.execute("UPDATE ops_roles SET description = :name", name=HOSTILE)
    return database


def on_terminal(database: Database, *args: str, columns: int = 100, **environ: str) -> str:
    """What a terminal of this width receives."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [FLASK, *args],
        env={**database.environ, "TERM": "xterm-256color", "COLUMNS": str(columns), **environ},
        cwd=database.instance,
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    received = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if not select.select([leader], [], [], 1)[0]:
            continue
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other side is closed
            break
        if not part:
            break
        received += part
    process.wait(timeout=10)
    os.close(leader)
    return received.decode().replace("\r\n", "\n")


ANSI_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def is_harmless(line: str) -> bool:
    return not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in line)


@pytest.mark.parametrize("format", output.FORMATS)
@pytest.mark.parametrize("command", [["users", "list"], ["users", "show", "1"], ["roles", "list"]])
def test_hostile_names_are_shown_escaped(
    hostile: Database, command: list[str], format: str
) -> None:
    found = call(hostile, *command, "--format", format)
    assert found.exit_code == 0, found.stderr
    for line in found.stdout.splitlines():
        for cell in line.split("\t"):
            assert is_harmless(cell), repr(cell)
    assert "[/]" in found.stdout


def test_hostile_names_are_escaped_on_a_terminal(hostile: Database) -> None:
    shown = ANSI_STYLE.sub("", on_terminal(hostile, "users", "list", columns=200))
    assert "x[/]\\x1b]8;;http://evil\\x07[bold]\\u202e\\u2028\\x0a\\x09\\x9b31m" in shown
    assert all(is_harmless(line) for line in shown.splitlines())


def test_json_is_ascii_and_keeps_the_name_exactly(hostile: Database) -> None:
    found = call(hostile, "users", "list", "--format", "json")
    assert found.stdout.isascii()
    assert found.json[0]["username"] == HOSTILE


def test_terminal_gets_a_table_and_a_pipe_gets_tabs(database: Database, ada: str) -> None:
    assert on_terminal(database, "roles", "list", NO_COLOR="1") == (
        "name   description              permissions  holders\n"
        "admin  Holds every permission.  *                  1\n"
    )
    assert call(database, "roles", "list").stdout == (
        "name\tdescription\tpermissions\tholders\nadmin\tHolds every permission.\t*\t1\n"
    )


def test_narrow_terminal_gets_one_row_below_the_other(database: Database, cli: Cli) -> None:
    cli("roles", "create", "support", "--description", "First line", check=True)
    shown = on_terminal(database, "audit", "list", columns=60, NO_COLOR="1")
    assert "action        role:definition:create\n" in shown
    assert "subject_name  support\n" in shown
    assert "\nreason" not in shown  # There is none, and nothing has to line up with it.
    wide = on_terminal(database, "audit", "list", columns=200, NO_COLOR="1")
    assert wide.splitlines()[0].split() == [
        "seq", "at", "actor", "action", "subject_name", "before", "after", "reason"
    ]  # fmt: skip


def test_table_in_a_pipe_is_never_cut(database: Database, cli: Cli) -> None:
    long = "d" * 255
    cli("roles", "create", "long", "--description", long, check=True)
    assert long in call(database, "roles", "list", "--format", "table").stdout


@pytest.mark.parametrize(
    ("environ", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_terminal_gets_colour_unless_it_is_declined(
    database: Database, ada: str, environ: dict[str, str], coloured: bool
) -> None:
    shown = on_terminal(database, "users", "list", **environ)
    assert ("\x1b[32m" in shown) is coloured


def test_force_color_colours_a_pipe(database: Database, ada: str) -> None:
    found = call(database, "users", "list", "--format", "table", FORCE_COLOR="1", TERM="xterm")
    assert "\x1b[32mactive" in found.stdout


def test_format_comes_from_the_environment(database: Database, ada: str) -> None:
    assert call(database, "users", "list", OPSAPP_FORMAT="json").json[0]["id"] == 1
    found = call(database, "users", "list", OPSAPP_FORMAT="yaml")
    assert (found.exit_code, found.stderr) == (
        2,
        "Error: OPSAPP_FORMAT yaml is none of table, plain, json, jsonl, csv\n",
    )


def test_fields_are_chosen_in_order_and_a_wrong_one_names_the_others(cli: Cli, ada: str) -> None:
    assert cli("users", "list", "--fields", "email, id").stdout == "email\tid\nada@example.com\t1\n"
    found = cli("users", "list", "--fields", "emial")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == (
        "Error: no field emial; there are id, email, username, status, roles, two_factor,"
        " created_at, last_seen_at\n  → did you mean email?\n"
    )


def test_change_in_every_format(cli: Cli, ada: str) -> None:
    def create(name: str, *args: str) -> str:
        return cli("roles", "create", name, "--description", "d", *args, check=True).stdout

    assert create("a", "--format", "plain") == (
        "field\tvalue\nchanged\ttrue\nname\ta\ndescription\td\npermissions\t\nholders\t0\n"
    )
    made = json.loads(create("b", "--format", "json"))
    assert (made["changed"], made["name"], made["audit_seq"]) == (True, "b", 6)
    assert json.loads(create("c", "--format", "jsonl"))["name"] == "c"
    rows = list(csv.DictReader(io.StringIO(create("d", "--format", "csv"))))
    assert (rows[0]["changed"], rows[0]["name"]) == ("true", "d")
    assert "changed      yes\n" in create("e", "--format", "table")
    assert create("f", "-q") == "f\n"


def test_csv_defuses_formulas_and_nothing_else(cli: Cli, database: Database) -> None:
    for number, start in enumerate("=+-@"):
        args = ("--description", f"{start}cmd", "--format", "csv")
        cli("roles", "create", f"r{number}", *args, check=True)
    found = cli("roles", "list", "--format", "csv")
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(found.stdout))}
    assert [rows[f"r{n}"]["description"] for n in range(4)] == ["'=cmd", "'+cmd", "'-cmd", "'@cmd"]
    assert rows["admin"]["description"] == "Holds every permission."


# --- the pieces --------------------------------------------------------------


@given(st.text())
def test_safe_leaves_nothing_that_a_terminal_obeys(value: str) -> None:
    shown = text.safe(value)
    assert not any(
        unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in shown
    )
    if value.isprintable():
        assert shown == value


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_tables_leave_nothing_that_a_terminal_obeys(names: list[str]) -> None:
    rows = [{"name": name, "many": [name, name]} for name in names]
    for line in tables._laid_out(tables._table(rows, ["name", "many"], 80)).splitlines():
        assert is_harmless(line)


@pytest.mark.parametrize(
    ("value", "cell", "human"),
    [
        (None, "", "–"),
        (True, "true", "yes"),
        (0, "0", "0"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z", "2026-01-02 03:04:05Z"),
        (["a", "b"], "a,b", "a, b"),
        ([], "", "–"),
        ({"a": None}, '{"a": null}', "a=–"),
        ("x\ty", "x\\x09y", "x\\x09y"),
    ],
)
def test_cell_has_two_faces(value: Any, cell: str, human: str) -> None:
    assert output._cell(value) == cell
    assert tables.human(value) == human


def test_long_tables_are_laid_out_in_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_list(({"n": n} for n in range(tables.CHUNK + 1)), "table", ["n"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == tables.CHUNK + 1 + 2
    assert lines[-1].strip() == str(tables.CHUNK)


@pytest.mark.parametrize("width", range(40, 110))
def test_table_is_never_cut(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    row = {
        "at": datetime(2026, 11, 24, 2, 55, tzinfo=UTC),
        "local": "2026-11-24 02:55 +00:00 UTC",
        "in": "14 min 22 s",
        "name": "expire-grants",
        "schedule": "*/5 1 2 3 4",
    }
    words = {
        word for line in tables._fitting([row], list(row)).splitlines() for word in line.split()
    }
    shown = " ".join(str(value) for value in row.values() if isinstance(value, str))
    assert {*shown.split(), "02:55:00Z"} - words == set()


def test_error_is_told_by_its_first_line_or_its_kind() -> None:
    assert text.first_line(ValueError("\none\x1b[1m\ntwo")) == r"one\x1b[1m"
    assert text.first_line(TimeoutError()) == "TimeoutError"
