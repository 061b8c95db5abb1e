"""Answers at a terminal: tables that fit, lines of events, distances of times, the pager."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from opsapp import clock
from opsapp.audit import lines
from opsapp.audit.filters import ACTIONS
from opsapp.cli import cells, output, tables
from tests.support import ROOT, Cli, Database, call
from tests.support.terminals import on_terminal

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
LONG = "grace.hopper@naval-observatory.example.com"


# --- tables ------------------------------------------------------------------


@pytest.mark.parametrize("width", range(30, 110, 5))
def test_table_fits_and_names_each_column_that_does_not(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(width))
    row = {
        "at": datetime(2026, 11, 24, 2, 55, tzinfo=UTC),
        "empty": None,
        "local": "2026-11-24 02:55 +00:00 UTC",
        "in": "14 min 22 s",
        "name": "expire-grants",
        "schedule": "*/5 1 2 3 4",
    }
    head, *body = "".join(tables.of_rows([row], list(row), full=True)).splitlines()
    assert max(map(len, [head, *body])) <= width
    screen = head.split()
    note = " ".join(body).partition("hidden: ")[2]
    hidden = re.findall(r"\w+", note.partition(";")[0])
    assert [*screen, *hidden].sort() == list(row).sort()
    words = " ".join(body).split()
    for name in screen:
        if isinstance(value := row[name], str):
            assert set(value.split()) <= set(words)
    assert "2026-11-24 02:55:00Z" in body[0]


@given(st.lists(st.text(), min_size=1, max_size=4), st.integers(20, 90))
def test_table_leaves_nothing_that_a_terminal_obeys(names: list[str], width: int) -> None:
    rows = [{"name": name, "many": [name, name]} for name in names]
    table = tables._Table.of(rows, ["name", "many"], tables._exact, width)
    for line in table.draw().splitlines():
        assert cell_len(line) <= width
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in line)


def test_long_table_is_written_in_pieces(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_list(({"n": n} for n in range(tables.CHUNK + 1)), "table", ["n"])
    screen = capsys.readouterr().out.splitlines()
    assert len(screen) == tables.CHUNK + 1 + 2
    assert screen[-1].strip() == str(tables.CHUNK)


@pytest.mark.parametrize(
    ("name", "value", "cell", "whole"),
    [
        ("at", timedelta(days=-3), "3 d ago", "2026-11-26 12:00:00Z (3 d ago)"),
        ("valid_until", timedelta(hours=5), "in 5 h", "2026-11-29 17:00:00Z (in 5 h)"),
        ("peak_bytes", 3 * 2**20, "3.0 MiB", "3.0 MiB (3,145,728 bytes)"),
        ("bytes", 512, "0.5 KiB", "0.5 KiB (512 bytes)"),
        ("holders", 3, "3", "3"),
        ("enabled", False, "no", "no"),
    ],
)
def test_terminal_has_distances_and_mebibytes(
    name: str, value: object, cell: str, whole: str
) -> None:
    now = datetime(2026, 11, 29, 12, tzinfo=UTC)
    value = now + value if isinstance(value, timedelta) else value
    assert cells.on_terminal(name, value, now) == cell
    assert cells.on_terminal(name, value, now, full=True) == whole


def test_naive_time_of_an_application_has_a_distance() -> None:
    naive = datetime(2026, 11, 29, 12, tzinfo=UTC).astimezone().replace(tzinfo=None)
    assert cells.on_terminal("at", naive, datetime(2026, 11, 29, 13, tzinfo=UTC)) == "1 h ago"


def test_narrow_terminal_breaks_no_address(database: Database, ada: str, cli: Cli) -> None:
    cli("users", "create", LONG, "--no-password", check=True)
    assert on_terminal(database, "users", "list", columns=60, NO_COLOR="1") == (
        "id  email                                       username\n"
        " 1  ada@example.com                             ada\n"
        f" 2  {LONG}  –\n"
        "(3 columns hidden: status, roles, last_seen_at; --format\n"
        "json, or a wider terminal)\n"
    )


@ON_SQLITE
def test_address_that_does_not_fit_makes_each_row_a_record(
    database: Database, ada: str, cli: Cli
) -> None:
    cli("users", "create", LONG, "--no-password", check=True)
    assert on_terminal(
        database, "users", "list", "--fields", "id,email,status", columns=45, NO_COLOR="1"
    ) == (
        "id      1\nemail   ada@example.com\nstatus  active\n\n"
        f"id      2\nemail\n  {LONG}\nstatus  active\n\n"
    )
    one_column = on_terminal(database, "users", "list", "--fields", "email", columns=30)
    assert one_column.splitlines()[1:] == ["ada@example.com", LONG]


@ON_SQLITE
@pytest.mark.parametrize("columns", [20, 40, 80])
def test_record_breaks_no_token(database: Database, ada: str, columns: int) -> None:
    screen = on_terminal(
        database, "users", "tokens", "create", "ada", "ci", columns=columns, NO_COLOR="1"
    )
    assert re.search(r"^(token)? *opsapp_[\w-]{43}$", screen, re.MULTILINE)


def test_record_has_lists_below_it_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    grants = [{"role": "support", "user": LONG, "reason": "on call at night"}]
    record = {"id": 7, "because": "the role support has it", "grants": grants}
    for columns, expected in (
        (
            60,
            [
                "id       7",
                "because  the role support has it",
                "",
                "grants",
                f"  role     {'user'.ljust(len(LONG))}",
                f"  support  {LONG}",
                "  (1 column hidden: reason; --format json, or a wider",
                "  terminal)",
            ],
        ),
        (
            30,
            [
                "id       7",
                "because  the role support has",
                "         it",
                "",
                "grants",
                "  role    support",
                "  user",
                f"  {LONG}",
                "  reason  on call at night",
                "",
            ],
        ),
    ):
        monkeypatch.setenv("COLUMNS", str(columns))
        screen = tables.of_record(record).split("\n")[:-1]
        assert screen == [line.rstrip() for line in expected]


@ON_SQLITE
def test_change_of_nothing_has_no_table(database: Database, ada: str) -> None:
    change = ("users", "sessions", "end", "--all", "--yes")
    assert on_terminal(database, *change) == "Already so: nothing was changed.\n"
    assert on_terminal(database, *change, "--dry-run") == "Dry run: nothing would change.\n"
    assert (
        call(database, *change).stdout == "changed\tid\tuser\topened_at\tseen_at\tip\tuser_agent\n"
    )


@ON_SQLITE
def test_plans_break_no_word(database: Database, ada: str, cli: Cli) -> None:
    screen = on_terminal(database, "db", "downgrade", "base", "--dry-run", columns=60, NO_COLOR="1")
    assert screen.splitlines()[1:3] == [
        "downgrade accounts0001  Create accounts, roles, grants,",
        "      reviews, sessions, API tokens and logins.",
    ]
    path = database.instance / "roles.toml"
    path.write_text(f'[roles.support]\ndescription = "{"a word " * 12}"\npermissions = []\n')
    screen = on_terminal(database, "roles", "apply", str(path), "--dry-run", columns=60)
    added = [line for line in screen.splitlines() if "\x1b[32m" in line]
    assert [line for line in map(click.unstyle, added) if len(line) > 60] == []
    assert len([line for line in added if "a word" in line]) == 2


@ON_SQLITE
def test_usage_errors_and_hints_break_no_word(database: Database, ada: str) -> None:
    screen = on_terminal(
        database, "users", "create", "x@example.com", "--if-exists", "no", columns=40, NO_COLOR="1"
    )
    assert screen == (
        "Usage: flask users create [OPTIONS]\nEMAIL\n"
        "Try 'flask users create --help' for\nhelp.\n\n"
        "Error: Invalid value for '--if-exists':\n'no' is not one of 'error', 'keep'.\n"
    )
    screen = on_terminal(database, "roles", "grant", "admin", "ada", "--for", "2h", columns=40,
                        NO_COLOR="1")  # fmt: skip
    assert screen == (
        "Error: admin is already held with\nanother end: ada@example.com forever\n"
        "  → add --replace-end to change the end,\n    or omit these users\n"
    )


@ON_SQLITE
def test_remarks_and_errors_break_no_address(database: Database, ada: str, cli: Cli) -> None:
    cli("users", "create", LONG, "--no-password", check=True)
    planned = on_terminal(database, "users", "delete", LONG, "--dry-run", columns=70)
    assert planned.endswith(
        "It erases address, username, password, 1 message, 1 name of the audit\n"
        f"log of {LONG}.\n"
        "Dry run: nothing was written.\n"
    )
    again = ("users", "create", LONG, "--no-password")
    hint = "  → flask users show 2, or --if-exists keep\n"
    screen = on_terminal(database, *again, columns=50, NO_COLOR="1")
    assert screen == f"Error: user\n{LONG} exists\nalready, with id 2\n{hint}"
    assert call(database, *again).stderr == f"Error: user {LONG} exists already, with id 2\n{hint}"


def test_long_name_hides_its_own_column_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    row = {"id": 1, "email": "ada@example.com", "username": "x" * 60, "status": "deleted"}
    assert "".join(tables.of_rows([row], list(row))).splitlines() == [
        "id  email            status",
        " 1  ada@example.com  deleted",
        "(1 column hidden: username; --format json, or a wider terminal)",
    ]


@ON_SQLITE
def test_no_and_error_have_a_colour(database: Database, ada: str, cli: Cli) -> None:
    cli("users", "create", "bob@example.com", "--no-password", check=True)
    screen = on_terminal(database, "users", "can", "bob@example.com", "users:read")
    assert re.search(r"allowed.* \x1b\[31mno\x1b", screen)
    for args in (("users", "show", "nosuch"), ("users", "show")):
        assert "\x1b[31mError:\x1b[0m " in on_terminal(database, *args)
        assert "\x1b" not in on_terminal(database, *args, NO_COLOR="1")


@ON_SQLITE
@pytest.mark.parametrize(
    ("command", "noun"),
    [
        (("users", "list", "--search", "nosuch"), "users"),
        (("audit", "list", "--until", "2000-01-01"), "events"),
        (("users", "sessions", "list"), "sessions"),
        (("jobs", "missed", "--since", "1s"), "missed runs"),
    ],
)
def test_empty_list_is_told_in_words(database: Database, command: list[str], noun: str) -> None:
    assert on_terminal(database, *command) == f"No {noun}.\n"


# --- events ------------------------------------------------------------------


def test_event_is_a_line_on_a_terminal(database: Database, ada: str, cli: Cli) -> None:
    cli("roles", "create", "support", "--allow", "users:read", check=True)
    cli(
        *("roles", "grant", "support", "ada", "--until", "2100-01-01 18:00", "--reason", "on call"),
        check=True,
    )
    cli("roles", "allow", "support", "users:write", check=True)
    cli("roles", "revoke", "support", "ada", check=True)
    screen = on_terminal(database, "audit", "list", "--limit", "4", columns=160, NO_COLOR="1")
    deeds = [re.sub(r"^ *\d+ +\d\d:\d\dZ  \S+ ", "", line) for line in screen.splitlines()]
    assert deeds == [
        "created the role support (permissions: users:read)",
        "granted support to ada@example.com until 2100-01-01 18:00Z — on call",
        "changed the permissions of the role support (permissions +users:write)",
        "revoked support from ada@example.com (until was 2100-01-01 18:00Z)",
        "There are more: --before 5 shows the next page, --all everything.",
    ]
    table = on_terminal(database, "audit", "list", "--fields", "seq,action", NO_COLOR="1")
    assert table.splitlines()[0].split() == ["seq", "action"]
    header = "seq\tat\tactor\taction\tsubject_name\tbefore\tafter\treason"
    assert call(database, "audit", "list").stdout.splitlines()[0] == header


@ON_SQLITE
def test_finding_is_a_line_with_its_advice_below(database: Database, ada: str) -> None:
    screen = on_terminal(database, "doctor", columns=60, NO_COLOR="1", OPSAPP_FORMATT="json")
    finding = "warn  setting names: OPSAPP_FORMATT is no setting\n"
    assert finding + "      → did you mean OPSAPP_FORMAT?\n" in screen
    assert "ok    setting OPSAPP_ENV: development\n" in screen
    settings = on_terminal(database, "doctor", "--settings", columns=300, NO_COLOR="1")
    assert settings.split()[:4] == ["name", "value", "source", "default"]


def test_event_of_an_import_has_numbers_in_place_of_ids() -> None:
    roles = [{"role": "support", "valid_until": None, "holders": [7, 8, 9]}]
    event = {
        "seq": 1, "at": clock.now(), "actor": "ada", "action": "user:account:import",
        "reason": None, "subject_name": "import:1", "before": None,
        "after": {"first": 1, "last": 4, "name": "a.csv", "rejected": 0, "ids": [7, 8, 9],
                  "inactive": [7, 9], "roles": roles},
    }  # fmt: skip
    words = "ada imported rows 1 to 4 of a.csv (inactive: 2, roles: support=3)"
    assert lines.line(event, clock.now())[1] == words


def test_event_of_a_secret_says_that_it_changed_and_no_value() -> None:
    event = {
        "seq": 1, "at": clock.now(), "actor": "ada", "action": "user:account:update",
        "reason": None, "subject_name": "grace", "before": {"password": "set"},
        "after": {"password": "set"},
    }  # fmt: skip
    assert lines.line(event, clock.now())[1] == "ada changed grace (password changed)"
    event = {**event, "action": "user:password:set"}
    assert lines.line(event, clock.now())[1] == "ada set the password of grace"


def test_every_action_has_its_words() -> None:
    page = (ROOT / "docs" / "audit.md").read_text()
    documented = set(re.findall(r"`(\w+:\w+:\w+)`", page))
    assert {*ACTIONS, *documented} - set(lines.PHRASES) == {"noun:subject:verb"}


@given(st.text(min_size=1), st.dictionaries(st.text(), st.text() | st.none() | st.lists(st.text())))
def test_line_of_any_event_is_safe(word: str, values: dict[str, object]) -> None:
    for action in (*ACTIONS, word):
        event = {
            "seq": 1,
            "at": clock.now(),
            "actor": word,
            "action": action,
            "reason": word,
            "subject_name": word,
            "before": values,
            "after": {**values, "role": word},
        }
        line = "".join(lines.line(event, clock.now()))
        assert not any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in line)


# --- the pager ---------------------------------------------------------------


@ON_SQLITE
def test_pager_takes_what_is_longer_than_the_screen(database: Database, cli: Cli) -> None:
    for number in range(8):
        cli("roles", "create", f"role{number}", check=True)
    roles = ("roles", "list", "--fields", "name")

    def screen(lines: int, **environ: str) -> list[str]:
        return on_terminal(database, *roles, lines=lines, NO_COLOR="1", **environ).split()

    names = ["name", "admin", *(f"role{number}" for number in range(8))]
    paged = [f"|{name}" for name in names]
    assert screen(9, PAGER="sed s/^/|/") == paged
    assert screen(9, PAGER="sed s/^/!/", OPSAPP_PAGER="sed s/^/|/") == paged
    assert screen(11, PAGER="sed s/^/|/") == names
    for off in ("cat", "", "/no/such/pager"):
        assert screen(9, PAGER=off) == names
    assert screen(9, PAGER="sed s/^/|/", OPSAPP_PAGER="cat") == names
    assert screen(9, PAGER="head -n 2") == names[:2]
    assert call(database, *roles, PAGER="sed s/^/|/").stdout.split() == names


@pytest.mark.parametrize("columns", [50, 80])
def test_lines_break_between_words_at_a_narrow_terminal(
    database: Database, bob: str, columns: int
) -> None:
    call(database, "roles", "create", "support", check=True)
    call(database, "users", "update", "bob", "--email", LONG, check=True)
    reason = "on call for the whole of the night, as agreed with the head of operations"
    call(database, "roles", "grant", "support", LONG, "--reason", reason, check=True)
    screen = on_terminal(database, "audit", "list", columns=columns, NO_COLOR="1")
    assert max(map(len, screen.splitlines())) <= columns
    assert LONG in screen
    assert reason in " ".join(screen.split())
    said = on_terminal(database, "doctor", columns=columns, NO_COLOR="1")
    assert said.splitlines()[-1].startswith(("ok", "warn", "fail", "      "))
    words = [line for line in said.splitlines() if len(line) > columns]
    assert all(" " not in line.strip() for line in words)
