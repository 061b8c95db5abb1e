"""`flask users import`: good rows and bad ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from opsapp.accounts.transfer import importing
from tests.support import Cli, Database
from tests.support.templates import BOB, Commands

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHRzb21lc2FsdA$" + "A" * 43
HOLDS = "the chain holds, and the tables match it"
CHECKED = "Checked {} rows: nothing was written.\n"
NO_ROW = "; no row is imported\n  → --check finds every bad row; --on-error skip leaves them out\n"
COUNTS = ("rows", "created", "updated", "unchanged", "skipped", "rejected")


@pytest.fixture
def after_support() -> Commands:
    return (*BOB, ("roles", "create", "support"), ("roles", "create", "auditor"))


@pytest.fixture
def people(database: Database, after_support: Commands) -> Path:
    """The path of a file to import; Ada (1) is an administrator, Bob (2) has nothing."""
    return database.instance.parent / "people.csv"


def counts(answer: Any) -> tuple[int, ...]:
    return tuple(answer[name] for name in COUNTS)


def accounts(database: Database) -> list[tuple[Any, ...]]:
    """The accounts that were imported, with their roles."""
    return database.rows(
        "SELECT u.email, u.username, u.active, u.confirmed_at IS NOT NULL, r.name, g.valid_until"
        " FROM ops_users u LEFT JOIN ops_grants g ON g.user_id = u.id AND g.ended_at IS NULL"
        " LEFT JOIN ops_roles r ON r.id = g.role_id WHERE u.id > 2 ORDER BY u.id, r.name"
    )


def says(cli: Cli) -> str:
    return str(cli("audit", "verify", "--state", "--format", "json").json["says"])


# --- good rows ---------------------------------------------------------------


def test_import_creates_the_accounts_with_their_roles_in_one_event(
    cli: Cli, database: Database, people: Path
) -> None:
    people.write_bytes(
        b"\xef\xbb\xbfEmail;username;active;confirmed;roles;until\r\n"
        b'"Cyd@Example.com";cyd;yes;;"support, auditor until 2999-12-31";2999-01-01\r\n'
        b"\r\n"
        b"D\xc3\xa9a@example.com;;0;no;;\r\n"
    )
    done = cli("users", "import", str(people), "--reason", "move", "--format", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.json == {
        "changed": True, "audit_seq": 8, "rows": 2, "created": 2, "updated": 0, "unchanged": 0,
        "skipped": 0, "rejected": 0, "resumed_after": None,
    }  # fmt: skip
    found = [
        (*row[:2], bool(row[2]), bool(row[3]), row[4], str(row[5])[:10])
        for row in accounts(database)
    ]
    assert found == [
        ("cyd@example.com", "cyd", True, True, "auditor", "2999-12-31"),
        ("cyd@example.com", "cyd", True, True, "support", "2999-01-01"),
        ("déa@example.com", None, False, False, None, "None"),
    ]
    (event,) = cli("audit", "list", "--subject", "cyd", "--format", "json").json
    assert (event["action"], event["reason"]) == ("user:account:import", "move")
    place = {"first": 1, "last": 2, "done": True, "name": "people.csv"}
    assert event["after"].items() >= {**place, "ids": [3, 4], "inactive": [4]}.items()
    assert cli("audit", "list", "--subject", event["subject"], "--format", "json").json == [event]
    assert "emails" in cli("audit", "export", check=True).stdout
    assert says(cli) == HOLDS

    again = cli("users", "import", str(people), "--format", "json")
    assert (again.exit_code, counts(again.json)) == (0, (2, 0, 0, 0, 0, 0))
    assert again.stderr == ""
    assert cli("users", "import", str(people)).stderr == (
        "This file was imported before: nothing was changed. --again imports it anew.\n"
    )
    anew = cli("users", "import", str(people), "--again", "--format", "json")
    assert (anew.exit_code, counts(anew.json)) == (0, (2, 0, 0, 2, 0, 0))

    for id, (column, value) in enumerate((("email", "mal@example.com"), ("active", True)), 3):
        database.execute(f"UPDATE ops_users SET {column} = :value WHERE id = {id}", value=value)
    assert says(cli) == "e-mail of user 3 is not the one of event 8, and 1 more"


# --- bad rows ----------------------------------------------------------------

BAD = [
    ("", "email: is empty"),
    ("plain", "email: plain: An email address must have an @-sign."),
    ("nul\0@example.com", "email: has the character U+0000 at position 4, which a terminal would"
     " obey and not show"),
    ("cut@example.com,,,", ": has 4 cells, and the header has 6"),
    ("b@example.com,a b,,,,", "username: has ' ' at position 2; it may have letters, digits, '.',"
     " '_' and '-'"),
    ("c@example.com,,maybe,,,", "active: maybe is neither true nor false"),
    ("d@example.com,,,hunter2,,", "password: is not an argon2 hash; --hash-passwords hashes plain"
     " passwords"),
    ("e@example.com,,,$2b$12$abc,,", "password: is a hash of another system, which opsapp cannot"
     " verify: leave it out (--map 'password=') and --invite the users"),
    (f'f@example.com,,,"{HASH.replace("m=65536", "m=64")}",,', "password: is a weak argon2 hash:"
     " m × t is below 35,840 KiB"),
    (f'g@example.com,,,"{HASH.replace("t=3", "t=99")}",,', "password: is an argon2 hash that is too"
     " expensive to verify: m ≤ 1048576, t ≤ 20, p ≤ 64"),
    (f'h@example.com,,,"{HASH[:-40]}",,', "password: is a truncated argon2 hash"),
    ('i@example.com,,,"$argon2i$v=19$m=1",,', "password: is not an argon2id hash, version 19"),
    ("j@example.com,,,,suport,", "roles: no role suport; did you mean support?"),
    ("k@example.com,,,,support,2020-01-01", "until: 2020-01-01T23:59:59Z is in the past"),
    ("l@example.com,,,,support until soon,", "roles: soon is not a time such as 2026-12-31"),
    ('m@example.com,,,,"support,support",', "roles: names support twice"),
    ("n@example.com,bob,,,,", "username: bob is taken by user 2"),
    ("Good@example.com,goodie,,,,", None),
    ("good@EXAMPLE.com,,,,,", "email: good@example.com is in line 19 already"),
    ("o@example.com,Goodie,,,,", "username: goodie is in line 19 already"),
    ("bob@example.com,bobby,,,,", "email: bob@example.com is user 2, who differs in username"),
    ("ada@example.com,ada,,,,", None),
]  # fmt: skip


def bad_file() -> str:
    rows = [row if row.count(",") >= 3 else f"{row},,,,," for row, _reason in BAD]
    return "\n".join(["email,username,active,password,roles,until", *rows]) + "\n"


def bad_lines() -> list[str]:
    lines = []
    for line, (_row, reason) in enumerate(BAD, start=2):
        if reason is not None:
            column, _, words = reason.partition(": ")
            named = f", column {column}" if column else ""
            lines.append(f"Line {line}{named}: {words}")
    return lines


def test_check_reports_every_bad_row_and_writes_nothing(
    cli: Cli, database: Database, people: Path
) -> None:
    people.write_text(bad_file())
    done = cli("users", "import", str(people), "--check", "--format", "json")
    assert done.exit_code == 6
    assert json.loads(done.stderr)["remarks"] == bad_lines()
    assert counts(done.json) == (22, 1, 0, 1, 0, 20)
    assert done.json["changed"] is False
    assert database.rows("SELECT count(*) FROM ops_users") == [(2,)]


def test_import_skips_bad_rows_and_takes_their_file_once_it_is_corrected(
    cli: Cli, database: Database, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsapp.commands.users.files.MOST_PROBLEMS", 2)
    people.write_text(bad_file())
    rejects = people.with_name("rejects.csv")
    args = ("users", "import", str(people), "--on-error", "skip", "--rejects", str(rejects))
    done = cli(*args)
    assert done.exit_code == 6
    more = f"18 more bad rows; {rejects} has them."
    then = f"Correct the rows in {rejects}, and import that file."
    assert done.stderr.splitlines() == [*bad_lines()[:2], more, then, "Done, audit event 8."]
    assert [row[0] for row in accounts(database)] == ["good@example.com"]
    assert rejects.stat().st_mode & 0o777 == 0o600
    kept = rejects.read_bytes()
    assert kept.count(b"\r\n") == 21
    assert b'"support,support",,17,roles,names support twice\r\n' in kept

    again = cli(*args)
    assert (again.exit_code, rejects.read_bytes()) == (6, kept)
    same = cli("users", "import", str(rejects), "--on-error", "skip", "--format", "json")
    assert (same.exit_code, counts(same.json)) == (6, (20, 0, 0, 1, 0, 19))
    rejects.write_bytes(
        b"\r\n".join(kept.splitlines()[:1]) + b"\r\no@example.com,other,,,,,21,username,taken\r\n"
    )
    mended = cli("users", "import", str(rejects), "--format", "json")
    assert (mended.exit_code, counts(mended.json)) == (0, (1, 1, 0, 0, 0, 0))
    assert says(cli) == HOLDS


@pytest.mark.parametrize("kind", ["sqlite"])
def test_import_keeps_bad_objects_as_they_were(cli: Cli, people: Path) -> None:
    file, rejects = people.with_suffix(".jsonl"), people.with_name("rejects.jsonl.gz")
    deep = "[" * 100_000
    rows = [
        *('{"email": 7}', '{"email": "a@example.com", "nick": "a"}', "[1]", deep),
        *('{"email": "\\ud800"}', '{"email": "b@example.com", "roles": [1]}'),
        '{"email": "b@example.com", "active": null}',
    ]
    file.write_text("\n".join(rows))
    done = cli("users", "import", str(file), "--on-error", "skip", "--rejects", str(rejects))
    assert done.exit_code == 6
    assert done.stderr.splitlines() == [
        "Line 1, column email: is not text",
        "Line 2, column nick: is not a column of ours: --map 'nick='",
        "Line 3: is no JSON object",
        "Line 4: is no JSON: maximum recursion depth exceeded while decoding a JSON array from a"
        " unicode string",
        "Line 5, column email: has the character U+D800 at position 1, which is no character",
        "Line 6, column roles: is not text",
        f"Correct the rows in {rejects}, and import that file.",
        "Done, audit event 8.",
    ]
    kept = [json.loads(line) for line in gzip.decompress(rejects.read_bytes()).splitlines()]
    reason = {"rejected_line": 2, "rejected_column": "nick"}
    assert kept[1].items() >= {"email": "a@example.com", "nick": "a", **reason}.items()
    assert [row.get("text", "")[:3] for row in kept] == ["", "", "[1]", "[[[", "", ""]


@pytest.mark.parametrize(
    ("row", "exit_code"),
    [("plain,", 2), ("bob@example.com,bobby", 3), ("x@example.com,bob", 3)],
)
def test_import_stops_before_the_batch_of_a_bad_row(
    row: str, exit_code: int, cli: Cli, database: Database, people: Path, monkeypatch: Any
) -> None:
    people.write_text(f"email,username\na@example.com,a\n{row}\n")
    done = cli("users", "import", str(people))
    assert (done.exit_code, done.stdout) == (exit_code, "")
    assert done.stderr.endswith(NO_ROW)
    assert ".;" not in done.stderr
    assert accounts(database) == []
    monkeypatch.setattr(importing, "BATCH", 1)
    later = cli("users", "import", str(people))
    assert later.exit_code == exit_code
    made = "; the rows before row 2 are imported; but the change is made, audit event 8\n"
    assert made in later.stderr
    assert len(accounts(database)) == 1
    assert says(cli) == HOLDS


# --- conflicts ---------------------------------------------------------------


def test_import_updates_accounts_by_the_single_changes(
    cli: Cli, database: Database, people: Path
) -> None:
    people.write_text(
        "email,username,active,password,roles\n"
        f'bob@example.com,bobby,false,"{HASH}",support until 2999-12-31\nada@example.com,,,,\n'
    )
    args = ("users", "import", str(people), "--format", "json", "--on-conflict")
    skipped = cli(*args, "skip")
    assert (skipped.exit_code, skipped.stderr) == (0, "")
    assert counts(skipped.json) == (2, 0, 0, 1, 1, 0)
    failed = cli(*args, "fail")
    words = "people.csv line 2, column email: bob@example.com is user 2, who differs in username,"
    error = json.loads(failed.stderr)
    assert (failed.exit_code, error["code"]) == (3, "conflict")
    assert error["message"].startswith(f"{words} active, password, roles; no row")
    updated = cli(*args, "update")
    assert (updated.exit_code, counts(updated.json)) == (0, (2, 0, 1, 1, 0, 0))
    actions = database.rows("SELECT action FROM ops_audit_events WHERE seq > 7 ORDER BY seq")
    assert [action for (action,) in actions] == [
        "user:account:update", "user:account:deactivate", "user:password:set", "user:role:grant",
        "user:account:import",
    ]  # fmt: skip
    again = cli(*args, "update", "--again")
    assert (again.exit_code, counts(again.json)) == (0, (2, 0, 0, 2, 0, 0))
    assert says(cli) == HOLDS


def test_import_never_takes_the_last_administrator_away(
    cli: Cli, database: Database, people: Path
) -> None:
    people.write_text("email,active\nada@example.com,false\ncyd@example.com,true\n")
    done = cli("users", "import", str(people), "--on-conflict", "update")
    assert (done.exit_code, done.stderr) == (
        5,
        "Error: this would leave no active administrator who can sign in\n"
        "  → flask users create-admin EMAIL\n",
    )
    assert accounts(database) == []


# --- mail and passwords ------------------------------------------------------


def test_import_writes_mail_with_invite_only(cli: Cli, database: Database, people: Path) -> None:
    people.write_text("email,roles\na@example.com,support\n")
    unsaid = cli("users", "import", str(people), "--invite")
    assert (unsaid.exit_code, unsaid.stderr) == (
        7, "Error: --invite needs OPSAPP_URL, with which the links of the mail begin\n",
    )  # fmt: skip
    url = {"OPSAPP_URL": "https://ops.example.com"}
    off = cli("users", "import", str(people), "--invite", **url, OPSAPP_NOTICES="off")
    assert (off.exit_code, off.stderr) == (
        7, "Error: --invite writes mail, and OPSAPP_NOTICES is off\n",
    )  # fmt: skip
    before = database.rows("SELECT count(*) FROM ops_mail_messages")
    cli("users", "import", str(people), check=True, **url)
    assert database.rows("SELECT count(*) FROM ops_mail_messages") == before
    people.write_text("email\nb@example.com\n")
    cli("users", "import", str(people), "--invite", check=True, **url)
    mail = database.rows("SELECT kind, recipient, attempts FROM ops_mail_messages ORDER BY id")
    assert mail[-1] == ("welcome", "b@example.com", 0)
