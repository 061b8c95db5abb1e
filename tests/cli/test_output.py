"""The answer in five formats, and names that want to own the terminal."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest

from opsapp import text
from opsapp.cli import cells, output
from tests.support import Cli, Database, call
from tests.support.terminals import on_terminal

HOSTILE = "x[/]\x1b]8;;http://evil\x07[bold]\u202e\u2028\n\t\x9b31m"


@pytest.fixture
def hostile(database: Database, ada: str, cli: Cli) -> Database:
    """Names that came into the database by another way than ours."""
    database.execute("UPDATE ops_users SET username = :name WHERE id = 1", name=HOSTILE)
    database.execute("UPDATE ops_roles SET description = :name", name=HOSTILE)
    return database


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
        "name   description              permissions  holders  inactive\n"
        "admin  Holds every permission.  *                  1         0\n"
    )
    assert call(database, "roles", "list").stdout == (
        "name\tdescription\tpermissions\tholders\tinactive\n"
        "admin\tHolds every permission.\t*\t1\t0\n"
    )


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


def test_name_that_is_the_word_of_a_state_has_no_colour(database: Database, cli: Cli) -> None:
    for name in ("active", "failed"):
        cli("roles", "create", name, "--description", "no", check=True)
    for words in (("list", "--format", "table"), ("show", "failed")):
        screen = call(database, "roles", *words, FORCE_COLOR="1", TERM="xterm").stdout
        assert "failed" in screen
        assert not re.search(r"\x1b\[3\d", screen)


def test_format_comes_from_the_environment(database: Database, ada: str) -> None:
    assert call(database, "users", "list", OPSAPP_FORMAT="json").json[0]["id"] == 1
    found = call(database, "users", "list", OPSAPP_FORMAT="yaml")
    assert (found.exit_code, found.stderr) == (
        2,
        "Error: OPSAPP_FORMAT yaml is not one of table, plain, json, jsonl, csv\n",
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
    assert cells.human(value) == human


def test_error_is_told_by_its_first_line_or_its_kind() -> None:
    assert text.first_line(ValueError("\none\x1b[1m\ntwo")) == r"one\x1b[1m"
    assert text.first_line(TimeoutError()) == "TimeoutError"
