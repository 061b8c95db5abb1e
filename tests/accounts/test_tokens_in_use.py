"""`flask users tokens`: listed, revoked, and refused once they are over."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.accounts.conftest import GRACE, SAME, SQLITE, TOKEN, create
from tests.support import Cli, Database
from tests.support.web import Program, site

# --- list --------------------------------------------------------------------


def test_list_tells_which_still_work(
    cli: Cli, database: Database, grace: str, noon: datetime
) -> None:
    for name in ("live", "revoked", "expired", "ended"):
        create(cli, name, "--allow", "users:read", "--allow", "audit:read")
    cli("users", "tokens", "revoke", "grace", "revoked", "--yes", check=True)
    database.execute(
        "UPDATE ops_api_tokens SET valid_until = '2029-12-31 00:00:00.000000'"
        " WHERE name = 'expired'"
    )
    database.execute("UPDATE ops_api_tokens SET uniquifier = 'before' WHERE name = 'ended'")
    result = cli("users", "tokens", "list", "--format", "table")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "id  user               name     state    permissions             valid_until"
        "           used_at\n"
        " 4  grace@example.com  ended    ended    audit:read, users:read  2030-04-01 12:00:00Z"
        "  –\n"
        " 3  grace@example.com  expired  expired  audit:read, users:read  2029-12-31 00:00:00Z"
        "  –\n"
        " 2  grace@example.com  revoked  revoked  audit:read, users:read  2030-04-01 12:00:00Z"
        "  –\n"
        " 1  grace@example.com  live     live     audit:read, users:read  2030-04-01 12:00:00Z"
        "  –\n"
    )


@SQLITE
def test_list_of_an_account_has_its_own_only(cli: Cli, grace: str) -> None:
    cli("users", "create", "heidi@example.com", "--no-password", check=True)
    create(cli, "ci")
    cli("users", "tokens", "create", "heidi@example.com", "ci", check=True)
    args = ("--fields", "user,name")
    assert cli("users", "tokens", "list", "grace", *args).stdout == f"user\tname\n{grace}\tci\n"
    assert cli("users", "tokens", "list", *args).stdout == (
        f"user\tname\nheidi@example.com\tci\n{grace}\tci\n"
    )


@SQLITE
def test_list_without_tokens_is_empty(cli: Cli, grace: str) -> None:
    assert cli("users", "tokens", "list", "grace", "--format", "json").stdout == "[]\n"
    assert cli("users", "tokens", "list").stdout == (
        "id\tuser\tname\tstate\tpermissions\tvalid_until\tused_at\n"
    )


@SQLITE
@pytest.mark.parametrize("format", ["plain", "table"])
def test_name_that_a_terminal_would_obey_is_shown_escaped(
    cli: Cli, database: Database, grace: str, format: str
) -> None:
    create(cli, "ci")
    database.execute("UPDATE ops_api_tokens SET name = :name", name="a\x1b]0;x\x07[b]\u202e")
    output = cli("users", "tokens", "list", "--fields", "name", "--format", format).stdout
    assert output.split("\n")[1] == "a\\x1b]0;x\\x07[b]\\u202e"


# --- revoke ------------------------------------------------------------------


@SQLITE
def test_revoke_ends_the_token_and_frees_its_name(cli: Cli, grace: str) -> None:
    create(cli, "ci")
    done = cli("users", "tokens", "revoke", "grace", "ci", "--yes")
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 5.\n")
    assert done.stdout == (
        f"field\tvalue\nchanged\ttrue\nid\t1\nuser\t{grace}\nname\tci\nstate\trevoked\n"
    )
    again = cli("users", "tokens", "revoke", "grace", "ci", "--yes")
    assert (again.exit_code, again.stderr) == (0, SAME)
    assert again.stdout == done.stdout.replace("changed\ttrue", "changed\tfalse")
    assert TOKEN.fullmatch(create(cli, "ci"))
    args = ("audit", "list", "--action", "user:token:revoke", "--format", "json")
    (event,) = cli(*args).json
    assert (event["subject"], event["before"]) == ("user:1", {"token": "ci"})


@SQLITE
def test_revoke_asks_first(cli: Cli, grace: str) -> None:
    create(cli, "ci")
    result = cli("users", "tokens", "revoke", "grace", "ci")
    assert (result.exit_code, result.stdout, result.stderr) == (
        5,
        "",
        f"Error: Revoke the token ci of {GRACE}? Cannot ask: there is no terminal\n  → add --yes\n",
    )
    assert cli("users", "tokens", "list", "--fields", "state").stdout == "state\nlive\n"


@SQLITE
def test_revoke_with_dry_run_leaves_it_live(cli: Cli, grace: str) -> None:
    create(cli, "ci")
    result = cli("users", "tokens", "revoke", "grace", "ci", "--dry-run")
    assert (result.exit_code, result.stderr) == (0, "Dry run: nothing was written.\n")
    assert result.stdout == (
        'action\tname\tbefore\tafter\nuser:token:revoke\tgrace@example.com\t{"token": "ci"}\t\n'
    )
    assert cli("users", "tokens", "list", "--fields", "state").stdout == "state\nlive\n"


@SQLITE
@pytest.mark.parametrize("name", ["cd", "[/]\u00e9"])
def test_revoke_of_what_never_was_is_not_found(cli: Cli, grace: str, name: str) -> None:
    create(cli, "ci")
    result = cli("users", "tokens", "revoke", "grace", name, "--yes")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == (
        f"Error: user {GRACE} has no token {name}\n  → flask users tokens list {GRACE}\n"
    )


@SQLITE
def test_revoke_takes_the_name_as_it_was_given_to_create(cli: Cli, grace: str) -> None:
    create(cli, "\ufb01ne ")  # A ligature and a space, which are not kept.
    result = cli("users", "tokens", "revoke", "grace", "\ufb01ne ", "--yes")
    assert (result.exit_code, result.stderr) == (0, "Done, audit event 5.\n")


# --- in use ------------------------------------------------------------------


def test_token_works_until_it_is_revoked_or_over(
    cli: Cli, database: Database, grace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked, expired, live = (create(cli, name) for name in ("revoked", "expired", "kept"))
    with site(database, monkeypatch) as web:

        def answers() -> list[int]:
            programs = [Program(web.app, token) for token in (revoked, expired, live)]
            return [program("GET", "/api/me").status_code for program in programs]

        assert answers() == [200, 200, 200]
        cli("users", "tokens", "revoke", "grace", "revoked", "--yes", check=True)
        database.execute(
            "UPDATE ops_api_tokens SET valid_until = '2020-01-01 00:00:00.000000'"
            " WHERE name = 'expired'"
        )
        assert answers() == [401, 401, 200]
        # One that is over does not stand in the way of its successor.
        expired = create(cli, "expired")
        assert answers() == [401, 200, 200]
        listed = cli("users", "tokens", "list", "grace", "--format", "json").json
        assert [(one["name"], one["state"]) for one in listed] == [
            ("expired", "live"),
            ("kept", "live"),
            ("expired", "expired"),
            ("revoked", "revoked"),
        ]
        cli("users", "reset-access", "grace", "--yes", check=True)
        assert answers() == [401, 401, 401]
