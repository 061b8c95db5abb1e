"""`flask users tokens`: shown once, stored hashed, refused once they are over."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp import clock
from opsapp.accounts import tokens, users
from opsapp.actors import at_terminal
from tests.accounts.conftest import GRACE, SAME, SQLITE, TOKEN, UNKNOWN, create
from tests.support import Cli, Database, a_unit

# --- create ------------------------------------------------------------------


@SQLITE
def test_create_shows_the_token(cli: Cli, grace: str, noon: datetime) -> None:
    done = cli("users", "tokens", "create", "grace", "ci")
    (token,) = TOKEN.findall(done.stdout)
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 4.\n")
    assert done.stdout == (
        "field\tvalue\nchanged\ttrue\nid\t1\nuser\tgrace@example.com\nname\tci\npermissions\t*\n"
        f"valid_until\t2030-04-01T12:00:00Z\ntoken\t{token}\n"
    )


def test_create_as_json_tells_what_it_may_and_until_when(
    cli: Cli, grace: str, noon: datetime
) -> None:
    done = cli("users", "tokens", "create", "grace", "ci", "--allow", "users:read",
               "--allow", "audit:read", "--allow", "users:read", "--until", "2030-06-30",
               "--format", "json")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    answer = done.json
    assert TOKEN.fullmatch(answer.pop("token"))
    assert answer == {
        "changed": True,
        "audit_seq": 4,
        "id": 1,
        "user_id": 1,
        "user": grace,
        "name": "ci",
        "state": "live",
        "permissions": ["audit:read", "users:read"],
        "created_at": "2030-01-01T12:00:00Z",
        "created_by": at_terminal().label(),
        "valid_until": "2030-06-30T23:59:59Z",
        "used_at": None,
    }


def test_token_is_shown_once_and_stored_hashed(cli: Cli, database: Database, grace: str) -> None:
    done = cli("users", "tokens", "create", "grace", "ci", "-q")
    token = done.stdout.removesuffix("\n")
    assert TOKEN.fullmatch(token)
    assert database.rows("SELECT key FROM ops_api_tokens") == [
        (hashlib.sha256(token.encode()).hexdigest(),)
    ]
    secret = token.removeprefix("opsapp_")
    with database.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
    assert {"ops_api_tokens", "ops_audit_events", "ops_mail_messages"} <= set(tables)
    for table in tables:
        assert secret not in str(database.rows(f"SELECT * FROM {table}")), table
    for file in database.instance.rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes(), file
    for args in (
        ["users", "tokens", "list", "--format", "json"],
        ["users", "tokens", "create", "grace", "ci", "--if-exists", "keep", "--format", "json"],
        ["users", "tokens", "revoke", "grace", "ci", "--yes", "--format", "json"],
        ["audit", "list", "--format", "json"],
    ):
        said = cli(*args, check=True)
        assert secret not in said.stdout + said.stderr


@SQLITE
def test_create_again_is_a_conflict(cli: Cli, grace: str) -> None:
    create(cli, "ci")
    result = cli("users", "tokens", "create", "grace", "ci")
    assert (result.exit_code, result.stdout, result.stderr) == (
        3,
        "",
        f"Error: user {grace} has a token ci already\n"
        f"  → flask users tokens revoke {grace} ci, or --if-exists keep\n",
    )


@SQLITE
def test_create_keeps_the_one_that_is_there_without_its_secret(
    cli: Cli, grace: str, noon: datetime
) -> None:
    create(cli, "ci")
    args = ("users", "tokens", "create", "grace", "ci", "--if-exists", "keep")
    result = cli(*args)
    assert (result.exit_code, result.stderr) == (0, SAME)
    assert result.stdout == (
        "field\tvalue\nchanged\tfalse\nid\t1\nuser\tgrace@example.com\nname\tci\npermissions\t*\n"
        "valid_until\t2030-04-01T12:00:00Z\ntoken\t\n"
    )
    assert cli(*args, "-q").stdout == ""
    other = cli(*args, "--allow", "users:read")
    assert (other.exit_code, other.stdout, other.stderr) == (
        3,
        "",
        "Error: token ci exists and allows *\n  → flask users tokens revoke grace@example.com ci\n",
    )


@SQLITE
@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (["--until", "2030-06-29"], "ends at 2030-06-30T23:59:59Z"),
        (["--until", "2030-07-01"], "ends at 2030-06-30T23:59:59Z"),
        (
            ["--until", "2030-07-01", "--allow", "users:read"],
            "allows * and ends at 2030-06-30T23:59:59Z",
        ),
    ],
)
def test_create_refuses_to_keep_a_token_with_another_end(
    cli: Cli, database: Database, grace: str, noon: datetime, options: list[str], difference: str
) -> None:
    args = ("users", "tokens", "create", "grace", "ci")
    cli(*args, "--until", "2030-06-30", check=True)
    result = cli(*args, *options, "--if-exists", "keep")
    assert (result.exit_code, result.stdout, result.stderr) == (
        3,
        "",
        f"Error: token ci exists and {difference}\n"
        "  → flask users tokens revoke grace@example.com ci\n",
    )
    assert len(database.rows("SELECT * FROM ops_api_tokens")) == 1


@SQLITE
@pytest.mark.parametrize("options", [["--until", "2030-06-30"], ["--for", "1h"], []])
def test_create_keeps_a_token_with_the_named_end_or_any(
    cli: Cli, grace: str, noon: datetime, options: list[str]
) -> None:
    args = ("users", "tokens", "create", "grace", "ci")
    cli(*args, "--until", "2030-06-30", check=True)
    result = cli(*args, *options, "--if-exists", "keep", "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.json["valid_until"] == "2030-06-30T23:59:59Z"


@SQLITE
@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--until", "2029-12-31"], "until 2029-12-31T23:59:59Z is in the past"),
        (
            ["--until", "2031-01-02T12:00:01Z"],
            "the end 2031-01-02T12:00:01Z is more than 366 days from now",
        ),
        (["--for", "367d"], "the end 2031-01-03T12:00:00Z is more than 366 days from now"),
        (
            ["--for", "1h", "--until", "2030-12-31"],
            "--for and --until cannot be combined",
        ),
        (
            ["--allow", "users"],
            "permission users is not of the form noun:verb, such as users:read",
        ),
    ],
)
def test_create_refuses_what_no_token_may_be(
    cli: Cli, database: Database, grace: str, noon: datetime, args: list[str], says: str
) -> None:
    result = cli("users", "tokens", "create", "grace", "ci", *args)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {says}\n")
    assert database.rows("SELECT * FROM ops_api_tokens") == []


@SQLITE
def test_create_for_the_longest_time_is_allowed(cli: Cli, grace: str, noon: datetime) -> None:
    args = ("users", "tokens", "create", "grace", "ci", "--for", "366d", "--format", "json")
    assert cli(*args).json["valid_until"] == "2031-01-02T12:00:00Z"


@SQLITE
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a\x1b[31m", "NAME has the character U+001B at position 2,"
                      " which a terminal would obey and not show"),
        ("a\u202eb", "NAME has the character U+202E at position 2,"
                     " which a terminal would obey and not show"),
        ("a\nb", "NAME has the character U+000A at position 2,"
                 " which a terminal would obey and not show"),
        ("", "NAME is empty"),
        (" ", "NAME is empty"),
        ("x" * 65, "name is 65 characters long; 64 are allowed"),
    ],
)  # fmt: skip
def test_create_refuses_a_hostile_name(cli: Cli, grace: str, name: str, says: str) -> None:
    result = cli("users", "tokens", "create", "grace", name)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {says}\n")


@SQLITE
@pytest.mark.parametrize(
    "words", [("create", "zoe", "ci"), ("list", "zoe"), ("revoke", "zoe", "ci", "--yes")]
)
def test_token_of_an_unknown_account_is_not_found(
    cli: Cli, grace: str, words: tuple[str, ...]
) -> None:
    result = cli("users", "tokens", *words)
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", UNKNOWN)


@SQLITE
def test_create_for_a_slip_of_the_keys_is_told_who_was_meant(cli: Cli, grace: str) -> None:
    near = cli("users", "tokens", "create", "grcae", "ci", "--format", "json")
    assert (near.exit_code, near.stdout) == (4, "")
    assert '"hint": "did you mean grace?"' in near.stderr


@SQLITE
def test_create_for_an_inactive_account_is_a_conflict(cli: Cli, grace: str) -> None:
    cli("users", "deactivate", "grace", check=True)
    result = cli("users", "tokens", "create", "grace", "ci")
    assert (result.exit_code, result.stderr) == (3, f"Error: user {grace} is not active\n")


@SQLITE
@pytest.mark.parametrize("more", [[], ["-q"]])
def test_create_with_dry_run_makes_and_shows_no_token(
    cli: Cli, database: Database, grace: str, noon: datetime, more: list[str]
) -> None:
    result = cli("users", "tokens", "create", "grace", "ci", "--dry-run", *more)
    assert (result.exit_code, result.stderr) == (0, "Dry run: nothing was written.\n")
    assert result.stdout == (
        "action\tname\tbefore\tafter\n"
        'user:token:create\tgrace@example.com\t\t{"token": "ci", "permissions": null,'
        ' "valid_until": "2030-04-01T12:00:00Z"}\n'
    )
    assert database.rows("SELECT * FROM ops_api_tokens") == []


@SQLITE
def test_service_makes_no_token_in_a_dry_run(app: Flask) -> None:
    users.create(GRACE, unit=a_unit())
    until = clock.now() + timedelta(days=1)
    assert tokens.create(GRACE, "ci", until=until, unit=a_unit(dry_run=True))["token"] is None


def test_token_that_is_not_there_is_reported_before_a_question(cli: Cli, ada: str) -> None:
    done = cli("users", "tokens", "revoke", "ada", "nosuch")
    assert (done.exit_code, done.stdout, done.stderr) == (
        4,
        "",
        f"Error: user {ada} has no token nosuch\n  → flask users tokens list {ada}\n",
    )
