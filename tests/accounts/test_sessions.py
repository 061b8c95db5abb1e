"""`flask users sessions`: browser sessions listed and ended."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from opsapp import clock
from tests.accounts.conftest import GRACE, SAME, SQLITE, UNKNOWN
from tests.support import Cli, Database
from tests.support.web import Program, site

HEADER = "id\tuser\topened_at\tseen_at\tip\tuser_agent\n"
AT = "2026-01-01T10:00:00Z\t2026-01-01T11:00:00Z"
ONE = f"1\t{GRACE}\t{AT}\t192.0.2.1\ta\\x1b[31m[b]\n"
TWO = f"2\t{GRACE}\t{AT}\t\t\n"
HEIDIS = f"6\theidi@example.com\t{AT}\t\t\n"


@pytest.fixture
def opened(cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Two open sessions of Grace (1 and 2), four that are over (3 to 5, 7), and Heidi's (6)."""
    for email in (GRACE, "heidi@example.com"):
        cli("users", "create", email, "--username", email.split("@")[0], "--no-password",
            check=True)  # fmt: skip
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 1, 1, 12, tzinfo=UTC))
    open_, over = "2090-01-01 00:00:00.000000", "2026-01-01 12:00:00.000000"
    lately, long_ago = "2026-01-01 11:00:00.000000", "2026-01-01 10:58:00.000000"
    for key, user, expires, ended, uniquifier, ip, agent, seen in (
        # What a program calls itself is what it likes.
        ("1", 1, open_, None, None, "192.0.2.1", "a\x1b[31m[b]", lately),
        ("2", 1, open_, None, None, None, None, lately),
        ("3 expired", 1, over, None, None, None, None, lately),
        ("4 ended", 1, open_, over, None, None, None, lately),
        ("5 before a new password", 1, open_, None, "old", None, None, lately),
        ("6", 2, open_, None, None, None, None, lately),
        ("7 idle", 1, open_, None, None, None, None, long_ago),
    ):
        database.execute(
            "INSERT INTO ops_user_sessions (user_id, key, uniquifier, opened_at, seen_at,"
            " expires_at, ended_at, ip, user_agent) SELECT id, :key,"
            " coalesce(:uniquifier, fs_uniquifier), '2026-01-01 10:00:00.000000',"
            " :seen, :expires, :ended, :ip, :agent FROM ops_users WHERE id = :user",
            key=key, user=user, uniquifier=uniquifier, expires=expires, ended=ended, ip=ip,
            agent=agent, seen=seen,
        )  # fmt: skip
    return database


def open_ids(cli: Cli) -> list[int]:
    return [row["id"] for row in cli("users", "sessions", "list", "--format", "json").json]


# --- list --------------------------------------------------------------------


def test_list_shows_the_open_ones_the_newest_first(cli: Cli, opened: Database) -> None:
    result = cli("users", "sessions", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == HEADER + HEIDIS + TWO + ONE


@SQLITE
def test_list_of_an_account_as_a_table(cli: Cli, opened: Database) -> None:
    result = cli("users", "sessions", "list", "grace", "--format", "table")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "id  user               opened_at             seen_at               ip         user_agent\n"
        " 2  grace@example.com  2026-01-01 10:00:00Z  2026-01-01 11:00:00Z  –          –\n"
        " 1  grace@example.com  2026-01-01 10:00:00Z  2026-01-01 11:00:00Z  192.0.2.1"
        "  a\\x1b[31m[b]\n"
    )


@SQLITE
def test_list_as_json_has_no_key(cli: Cli, opened: Database) -> None:
    assert cli("users", "sessions", "list", "heidi", "--format", "json").json == [
        {
            "id": 6,
            "user_id": 2,
            "user": "heidi@example.com",
            "opened_at": "2026-01-01T10:00:00Z",
            "seen_at": "2026-01-01T11:00:00Z",
            "expires_at": "2090-01-01T00:00:00Z",
            "ip": None,
            "user_agent": None,
        }
    ]


@SQLITE
def test_list_leaves_out_who_may_not_sign_in(cli: Cli, opened: Database) -> None:
    # Behind our back: our own verb would end the sessions too.
    opened.execute("UPDATE ops_users SET active = false WHERE id = 1")
    assert open_ids(cli) == [6]


@SQLITE
def test_list_of_an_unknown_account_is_not_found(cli: Cli) -> None:
    result = cli("users", "sessions", "list", "zoe")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", UNKNOWN)


@SQLITE
def test_list_without_sessions(cli: Cli) -> None:
    assert cli("users", "sessions", "list").stdout == HEADER
    assert cli("users", "sessions", "list", "--format", "json").stdout == "[]\n"


# --- end ---------------------------------------------------------------------


def test_end_of_every_session_of_an_account(cli: Cli, opened: Database) -> None:
    done = cli("users", "sessions", "end", "grace", "--yes")
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 5.\n")
    assert done.stdout == f"changed\t{HEADER}true\t{TWO}true\t{ONE}"
    assert open_ids(cli) == [6]
    (event,) = cli("audit", "list", "--action", "user:sessions:end", "--format", "json").json
    assert (event["subject"], event["before"]) == ("user:1", {"sessions": [1, 2]})
    again = cli("users", "sessions", "end", "grace", "--yes")
    assert (again.exit_code, again.stdout, again.stderr) == (0, f"changed\t{HEADER}", SAME)


@SQLITE
def test_end_of_one_session_leaves_the_others(cli: Cli, opened: Database) -> None:
    done = cli("users", "sessions", "end", "grace", "1", "--yes", "-q")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "1\n", "")
    assert open_ids(cli) == [6, 2]
    again = cli("users", "sessions", "end", "grace", "1", "4", "--yes", "--format", "json")
    assert (again.exit_code, again.stderr) == (0, "")
    assert again.json == {"changed": False, "audit_seq": None, "results": []}


@SQLITE
@pytest.mark.parametrize("args", [[], ["1"], ["1", "2"]])
def test_end_asks_first(cli: Cli, opened: Database, args: list[str]) -> None:
    which = f"the session {', '.join(args)}" if args else "every session"
    result = cli("users", "sessions", "end", "grace", *args)
    assert (result.exit_code, result.stdout, result.stderr) == (
        5,
        "",
        f"Error: End {which} of grace? Cannot ask: there is no terminal\n  → add --yes\n",
    )
    assert open_ids(cli) == [6, 2, 1]


@SQLITE
@pytest.mark.parametrize("unknown", ["6", "99"])
def test_end_of_a_session_that_is_not_the_accounts_ends_none(
    cli: Cli, opened: Database, unknown: str
) -> None:
    result = cli("users", "sessions", "end", "grace", "1", unknown, "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (
        4,
        "",
        f"Error: user {GRACE} has no session {unknown}\n  → flask users sessions list {GRACE}\n",
    )
    assert open_ids(cli) == [6, 2, 1]


@SQLITE
@pytest.mark.parametrize("id", ["x", "1.5", "9" * 20, "\u0661\u200b"])
def test_end_refuses_what_is_no_id(cli: Cli, opened: Database, id: str) -> None:
    result = cli("users", "sessions", "end", "grace", id, "--yes")
    assert (result.exit_code, result.stdout) == (2, "")
    assert open_ids(cli) == [6, 2, 1]


@SQLITE
def test_end_for_an_unknown_account_is_not_found(cli: Cli) -> None:
    result = cli("users", "sessions", "end", "zoe", "--yes")
    assert (result.exit_code, result.stdout, result.stderr) == (4, "", UNKNOWN)


@SQLITE
def test_dry_run_counts_no_idle_session(cli: Cli, opened: Database) -> None:
    result = cli("users", "deactivate", "grace", "--dry-run")
    assert result.exit_code == 0
    assert "ends 2 sessions of grace@example.com" in result.stderr


def test_end_with_dry_run_ends_none(cli: Cli, opened: Database) -> None:
    result = cli("users", "sessions", "end", "grace", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "Dry run: nothing was written.\n")
    assert result.stdout == (
        "action\tname\tbefore\tafter\n"
        'user:sessions:end\tgrace@example.com\t{"sessions": [1, 2]}\t\n'
    )
    assert open_ids(cli) == [6, 2, 1]


@SQLITE
def test_browser_is_out_when_its_session_is_ended(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(database, monkeypatch) as web:
        web.make("ada@example.com", role="admin")
        first, second = web.browser("ada@example.com"), web.browser("ada@example.com")
        token = cli("users", "tokens", "create", "1", "ci", "-q", check=True).stdout.strip()
        assert open_ids(cli) == [2, 1]
        cli("users", "sessions", "end", "ada@example.com", "1", "--yes", check=True)
        assert (first.is_in, second.is_in) == (False, True)
        cli("users", "sessions", "end", "ada@example.com", "--yes", check=True)
        assert (first.is_in, second.is_in) == (False, False)
        assert first.get("/").headers["Location"] == "/login?next=/"
        # Programs have credentials of their own.
        assert Program(web.app, token)("GET", "/api/me").status_code == 200
        assert first.sign_in("ada@example.com").status_code == 302
        assert (first.is_in, second.is_in) == (True, False)
