"""`flask users list`: filters, order and pages."""

from __future__ import annotations

import pytest

from tests.support import Cli, Database
from tests.support.templates import BOB, Commands


@pytest.fixture
def after_crowd() -> Commands:
    return (
        *BOB,
        *(
            ("users", "create", f"{name}@example.com", "--no-password")
            for name in ("carol", "dan", "eve")
        ),
        ("roles", "create", "support"),
        ("roles", "grant", "support", "bob"),
        ("users", "deactivate", "carol@example.com"),
        ("users", "delete", "eve@example.com", "--yes"),
    )


@pytest.fixture
def crowd(database: Database, after_crowd: Commands) -> None:
    """Ada (admin), Bob (support), Carol (inactive), Dan (locked, seen), Eve (deleted)."""
    database.execute(
        "UPDATE ops_users SET login_count = 3, idle_since = '2020-05-05 00:00:00.000000'"
        " WHERE email = 'dan@example.com'"
    )
    database.lock_out("dan@example.com")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], ["ada", "bob", "carol", "dan"]),
        (["--role", "support"], ["bob"]),
        (["--without-role", "support"], ["ada", "carol", "dan"]),
        (["--status", "active"], ["ada", "bob"]),
        (["--status", "inactive"], ["carol"]),
        (["--status", "locked"], ["dan"]),
        (["--search", "AR"], ["carol"]),
        (["--search", "%"], []),
        (["--idle-for", "90d"], ["dan"]),
        (["--never-logged-in"], ["ada", "bob", "carol"]),
        (["--created-since", "1h"], ["ada", "bob", "carol", "dan"]),
        (["--created-until", "2020-01-01"], []),
        (["--seen-since", "2020-05-05"], ["dan"]),
        (["--seen-until", "2020-05-04"], []),
        (["--seen-until", "2020-05-05"], ["dan"]),
        (["--sort", "email", "--descending"], ["dan", "carol", "bob", "ada"]),
        (["--sort", "seen", "--limit", "2"], ["dan", "ada"]),
        (["--limit", "2", "--after", "2"], ["carol", "dan"]),
        (["--sort", "email", "--descending", "--after", "3"], ["bob", "ada"]),
        (["--all", "--limit", "1"], ["ada", "bob", "carol", "dan"]),
        (["--status", "active", "--role", "admin"], ["ada"]),
    ],
    ids=" ".join,
)
def test_list_filters_sorts_and_pages(
    cli: Cli, crowd: None, args: list[str], expected: list[str]
) -> None:
    listed = cli("users", "list", "--format", "json", *args)
    assert listed.exit_code == 0, listed.stderr
    assert [user["email"].split("@")[0] for user in listed.json] == expected


def test_list_says_how_to_see_the_next_page(cli: Cli, crowd: None) -> None:
    listed = cli("users", "list", "--limit", "2", "--fields", "email")
    assert listed.stdout == "email\nada@example.com\nbob@example.com\n"
    assert listed.stderr == "There are more: --after 2 shows the next page, --all everything.\n"
    listed = cli("users", "list", "--limit", "4", "--fields", "id")
    assert (listed.stdout, listed.stderr) == ("id\n1\n2\n3\n4\n", "")


def test_list_pages_through_deleted_accounts_by_id(cli: Cli, crowd: None) -> None:
    cli("users", "delete", "dan@example.com", "--yes", check=True)
    result = cli("users", "list", "--status", "deleted", "--sort", "email", "--limit", "1",
                "--after", "4", "--format", "json")  # fmt: skip
    assert [user["id"] for user in result.json] == [5]


def test_empty_filter_is_refused_and_not_every_account(cli: Cli, crowd: None) -> None:
    for option in ("--search", "--role", "--without-role"):
        # With a filter beside it that chooses people, so that the empty one is what is refused.
        others = [] if option == "--without-role" else ["--without-role", "admin"]
        result = cli("users", "deactivate", *others, option, "", "--yes")
        assert (result.exit_code, result.stderr) == (2, f"Error: {option} is empty\n")


def test_list_counts(cli: Cli, crowd: None) -> None:
    assert cli("users", "list", "--count").stdout == "4\n"
    assert cli("users", "list", "--count", "--status", "deleted", "--format", "json").json == 1


def test_list_shows_a_deleted_account_without_a_name(cli: Cli, crowd: None) -> None:
    result = cli("users", "list", "--status", "deleted", "--format", "json").json[0]
    assert (result["id"], result["email"], result["status"]) == (5, None, "deleted")


def test_list_with_an_unknown_role_suggests_one(cli: Cli, crowd: None) -> None:
    result = cli("users", "list", "--role", "suport")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == "Error: no role suport\n  → did you mean support?\n"


def test_list_of_no_account_is_a_header_or_an_empty_array(cli: Cli) -> None:
    assert cli("users", "list").stdout == "id\temail\tusername\tstatus\troles\tlast_seen_at\n"
    assert cli("users", "list", "--format", "json").stdout == "[]\n"
    assert cli("users", "list", "--format", "jsonl").stdout == ""


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("aad@example.com", "did you mean ada@example.com?"),
        ("da@example.com", "did you mean ada@example.com?"),
        ("obb@example.com", "did you mean bob@example.com?"),
        ("zzz@example.com", "flask users list --search TEXT"),
    ],
)
def test_slip_in_the_first_letters_has_the_nearest_name(
    cli: Cli, bob: str, name: str, hint: str
) -> None:
    for command in (("users", "show"), ("users", "deactivate"), ("roles", "history")):
        done = cli(*command, name)
        assert (done.exit_code, done.stderr) == (4, f"Error: no user {name}\n  → {hint}\n")
