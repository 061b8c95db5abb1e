"""Access reviews: started, decided, finished, overdue, and shown to an auditor."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp import clock
from opsapp.accounts import reviews, sessions, users
from opsapp.accounts.logins import Client
from opsapp.accounts.lookup import get_user
from opsapp.actors import Actor
from opsapp.extensions import db
from opsapp.unit.work import Unit
from tests.support import Cli, Database, a_unit
from tests.support.templates import BOB, Commands

REVIEW = ("roles", "review")


@pytest.fixture
def after_review() -> Commands:
    return (
        *BOB,
        ("roles", "create", "support", "--allow", "users:read"),
        ("roles", "create", "other"),
        ("roles", "grant", "support", "ada", "bob", "--reason", "on call"),
        ("roles", "grant", "other", "bob"),
        (*REVIEW, "start", "--role", "support", "--until", "2090-06-30", "--reason", "Q2"),
    )


@pytest.fixture
def review(database: Database, after_review: Commands) -> str:
    """A review of support, which Ada and Bob hold."""
    return "1"


def test_start_lists_the_grants_of_now(cli: Cli, review: str) -> None:
    row = cli(*REVIEW, "list", "--format", "json").json[0]
    assert (row["state"], row["roles"], row["grants"], row["undecided"]) == (
        "open", ["support"], 2, 2,
    )  # fmt: skip
    assert (row["due_at"], row["reason"]) == ("2090-06-30T23:59:59Z", "Q2")
    rows = cli(*REVIEW, "show", review, "--format", "json").json
    assert [(row["user"], row["role"], row["reason"], row["decision"]) for row in rows] == [
        ("ada@example.com", "support", "on call", None),
        ("bob@example.com", "support", "on call", None),
    ]
    cli("roles", "grant", "support", "ada", "--until", "2090-01-01", "--replace-end", check=True)
    assert len(cli(*REVIEW, "show", review, "--format", "json").json) == 2


def test_review_shows_who_has_left_or_has_no_second_factor(
    cli: Cli, database: Database, review: str
) -> None:
    cli("users", "deactivate", "bob", check=True)
    database.execute("UPDATE ops_users SET tf_primary_method = 'authenticator' WHERE id = 1")
    rows = cli(*REVIEW, "show", review, "--format", "json").json
    assert [
        (row["user"], row["status"], row["two_factor"], row["last_seen_at"]) for row in rows
    ] == [
        ("ada@example.com", "active", True, None),
        ("bob@example.com", "inactive", False, None),
    ]
    cli("users", "delete", "bob", "--yes", check=True)
    [row, _ada] = sorted(
        cli(*REVIEW, "show", review, "--format", "json").json, key=lambda row: row["status"],
        reverse=True,
    )  # fmt: skip
    assert (row["user"], row["status"], row["state"]) == ("user:2", "deleted", "revoked")


def test_review_has_the_last_log_in_and_a_later_use_of_its_start(
    cli: Cli, app: Flask, ada: str, bob: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = ["2090-01-02T03:04:05Z", "2090-01-02T04:00:00Z", "2090-01-04T00:00:00Z"]
    log_in, use, later = map(datetime.fromisoformat, moments)
    client = Client("192.0.2.1", "Firefox")
    monkeypatch.setattr(clock, "now", lambda: log_in)
    key, _id = sessions.start(get_user(bob), client)
    db.session.rollback()  # On SQLite it would go on seeing what was there before.
    monkeypatch.setattr(clock, "now", lambda: use)
    session = sessions.find_live(key)
    assert session is not None
    sessions.note_use(session)
    monkeypatch.undo()
    cli("roles", "grant", "admin", "bob", check=True)
    cli(*REVIEW, "start", check=True)
    monkeypatch.setattr(clock, "now", lambda: later)
    sessions.start(get_user(bob), client)
    monkeypatch.undo()
    answer = cli(*REVIEW, "show", "1", "--fields", "user,last_login_at,last_seen_at")
    assert answer.stdout.splitlines()[1:] == [
        "ada@example.com\t\t",
        f"bob@example.com\t{moments[0]}\t{moments[1]}",
    ]
    assert cli("users", "show", "bob", "--format", "json").json["last_login_at"] == moments[2]


def test_program_that_uses_a_token_is_seen_everywhere(cli: Cli, database: Database) -> None:
    """It never signs in, and a reviewer must not take it for abandoned."""
    cli("users", "create", "robot@example.com", "--no-password", check=True)
    cli("users", "create", "idle@example.com", "--no-password", check=True)
    cli("roles", "grant", "admin", "robot@example.com", "idle@example.com", check=True)
    database.execute(
        "UPDATE ops_users SET idle_since = '2090-01-02 03:04:05' WHERE email LIKE 'robot%'"
    )
    cli(*REVIEW, "start", check=True)
    seen = {"robot@example.com": "2090-01-02T03:04:05Z", "idle@example.com": None}
    exported = ("users", "export", "-", "--fields", "email,last_seen_at")
    for command in ((*REVIEW, "show", "1"), ("users", "list"), exported):
        lines = cli(*command, "--format", "jsonl").stdout.splitlines()
        rows = list(map(json.loads, lines))
        last_seen = {row.get("user") or row["email"]: row["last_seen_at"] for row in rows}
        assert {name: last_seen[name] for name in seen} == seen, command
    since = cli("users", "list", "--seen-since", "2089-01-01", "--fields", "email")
    assert since.stdout == "email\nrobot@example.com\n"


def test_actor_of_many_grants_is_looked_up_once(app: Flask, review: str) -> None:
    users.create("carol@example.com", unit=a_unit())
    carol = Actor(kind="user", name="user:3", token="ci")
    reviews.decide(1, "keep", ["ada", "bob"], unit=Unit(actor=carol, door="api"))
    db.session.remove()
    statements: list[str] = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    items = reviews.items(1)
    assert [item["decided_by"] for item in items] == ["carol@example.com (token ci)"] * 2
    assert len([words for words in statements if "SELECT" in words]) == 3


def test_start_counts_the_grants_in_the_audit_and_refuses_none(cli: Cli, review: str) -> None:
    [event] = cli("audit", "list", "--action", "review:access:start", "--format", "json").json
    assert event["after"]["grants"] == 2
    cli("roles", "create", "empty", check=True)
    done = cli(*REVIEW, "start", "--role", "empty", "--until", "2090-06-30")
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: no account holds a role that is to be reviewed\n  → flask roles list\n",
    )


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("start", "--until", "2020-01-01"), 2, "until 2020-01-01T23:59:59Z is in the past"),
        (("start", "--role", "suport"), 4, "no role suport\n  → did you mean support?"),
        (("show", "9"), 4, "no review 9\n  → flask roles review list"),
        (("decide", "1", "keep"), 2, "name the users, or decide what is left by --undecided"),
        (("decide", "1", "keep", "bob", "--role", "other"), 4,
         "review 1 does not ask about bob@example.com\n  → flask roles review show 1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["sqlite"])
def test_review_refuses_what_it_cannot_do(
    cli: Cli, review: str, args: tuple[str, ...], code: int, says: str
) -> None:
    done = cli(*REVIEW, *args)
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", f"Error: {says}\n")


def test_finish_revokes_what_was_refused_and_says_what_stays(
    cli: Cli, database: Database, review: str
) -> None:
    cli(*REVIEW, "decide", review, "keep", "bob", check=True)
    cli(*REVIEW, "decide", review, "revoke", "bob", "--reason", "moved on", check=True)
    event = cli("audit", "list", "--subject", "bob", "--format", "json").json[-1]
    assert (event["action"], event["reason"]) == ("user:review:decide", "moved on")
    assert (event["before"], event["after"]) == (
        {"decision": "keep", "review": 1, "role": "support"},
        {"decision": "revoke", "review": 1, "role": "support"},
    )
    # A new end is no way around the decision.
    cli("roles", "grant", "support", "bob", "--until", "2090-01-01", "--replace-end", check=True)
    asked = cli(*REVIEW, "finish", review)
    assert (asked.exit_code, asked.stderr.splitlines()[:2]) == (
        5,
        [
            "1 undecided stay; --revoke-undecided revokes them.",
            "Error: Revoke 1 grant and finish review 1? Cannot ask: there is no terminal",
        ],
    )
    done = cli(*REVIEW, "finish", review, "--yes", "--format", "json").json
    assert (done["state"], done["undecided"], done["revoke"]) == ("finished", 1, 1)
    assert cli("users", "list", "--role", "support", "--format", "json").json[0]["id"] == 1
    assert cli("users", "list", "--role", "other", "--count").stdout == "1\n"
    late = cli(*REVIEW, "decide", review, "keep", "bob")
    assert (late.exit_code, late.stderr) == (
        3, "Error: review 1 is finished\n  → flask roles review start\n",
    )  # fmt: skip
    assert cli("audit", "verify", "--state").exit_code == 0


def test_finish_revokes_the_undecided_on_request(cli: Cli, review: str) -> None:
    cli(*REVIEW, "decide", review, "keep", "ada", check=True)
    args = ("finish", review, "--revoke-undecided", "--yes", "--format", "json")
    cli(*REVIEW, *args, check=True)
    assert cli("users", "list", "--role", "support", "--fields", "id", "--format",
               "csv").stdout == "id\n1\n"  # fmt: skip


def test_finish_keeps_the_last_administrator(cli: Cli, review: str) -> None:
    cli(*REVIEW, "start", "--role", "admin", check=True)
    cli(*REVIEW, "decide", "2", "revoke", "--undecided", check=True)
    done = cli(*REVIEW, "finish", "2", "--yes")
    assert (done.exit_code, "no active administrator" in done.stderr) == (5, True)
    assert cli(*REVIEW, "list", "--format", "json").json[0]["state"] == "open"


def test_overdue_review_is_a_finding_of_doctor(cli: Cli, database: Database, review: str) -> None:
    assert "reviews" not in cli("doctor").stdout
    database.execute("UPDATE ops_access_reviews SET due_at = '2020-01-01 00:00:00.000000'")
    rows = cli("doctor", "--format", "json").json
    [row] = [row for row in rows if row["check"] == "reviews"]
    assert row["state"] == "warn"
    assert row["advice"] == "flask roles review show 1 --undecided"
    assert row["says"].startswith("2 of 2 grants of review 1 undecided, and it was due 2020")
    assert cli(*REVIEW, "list", "--format", "json").json[0]["state"] == "overdue"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_export_is_evidence_as_csv_and_as_a_page(cli: Cli, database: Database, review: str) -> None:
    hostile = "<script>alert(1)</script>"
    cli(*REVIEW, "decide", review, "revoke", "bob", "--reason", hostile, check=True)
    header, *lines = cli(*REVIEW, "export", review, "--format", "csv").stdout.splitlines()
    assert header.startswith("user_id,user,status,two_factor,role,granted_at,granted_by,reason")
    assert hostile in lines[1]
    cli(*REVIEW, "export", review, "--html", "review.html", check=True)
    page = Path(database.instance, "review.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "src=" not in page
    [(seq, hash)] = database.rows("SELECT seq, hash FROM ops_audit_head")
    assert f"event {seq}:" in page
    assert hash in page
