"""Access reviews: started, decided, finished, overdue, and shown to an auditor."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Cli, Database
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


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("start", "--until", "2020-01-01"), 2, "until 2020-01-01T23:59:59Z has passed already"),
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
            "Error: Revoke 1 grant and finish review 1? There is no terminal to ask on",
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
    assert row["says"].startswith("2 of 2 grants of review 1 are undecided, and it was due 2020")
    assert cli(*REVIEW, "list", "--format", "json").json[0]["state"] == "overdue"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_export_is_evidence_as_csv_and_as_a_page(cli: Cli, database: Database, review: str) -> None:
    hostile = "<script>alert(1)</script>"
    cli(*REVIEW, "decide", review, "revoke", "bob", "--reason", hostile, check=True)
    header, *lines = cli(*REVIEW, "export", review, "--format", "csv").stdout.splitlines()
    assert header.startswith("user_id,user,role,granted_at,granted_by,reason,valid_until")
    assert hostile in lines[1]
    cli(*REVIEW, "export", review, "--html", "review.html", check=True)
    page = Path(database.instance, "review.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "src=" not in page
    [(seq, hash)] = database.rows("SELECT seq, hash FROM ops_audit_head")
    assert f"event {seq}:" in page
    assert hash in page
