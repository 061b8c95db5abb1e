"""`flask roles`: roles and their grants."""

from __future__ import annotations

from datetime import timedelta

import pytest

from opsapp import clock
from tests.support import PASSWORD, Cli, Database, expire_grants

SAME = "Already so: nothing was changed.\n"


@pytest.fixture
def support(cli: Cli, bob: str) -> str:
    """A role with one permission, and Bob to give it to."""
    cli("roles", "create", "support", "--allow", "users:read", check=True)
    return "support"


# --- roles -------------------------------------------------------------------


def test_list_shows_roles_with_their_holders(cli: Cli, support: str) -> None:
    cli("roles", "grant", support, "bob", check=True)
    assert cli("roles", "list").stdout == (
        "name\tdescription\tpermissions\tholders\tinactive\n"
        "admin\tHolds every permission.\t*\t1\t0\n"
        "support\t\tusers:read\t1\t0\n"
    )


def test_roles_mark_who_has_left(cli: Cli, support: str) -> None:
    cli("roles", "create", "status", check=True)
    cli("roles", "grant", support, "bob", check=True)
    cli("roles", "grant", "status", "bob", check=True)
    cli("users", "deactivate", "bob", check=True)
    counts = {row["name"]: (row["holders"], row["inactive"])
              for row in cli("roles", "list", "--format", "json").json}  # fmt: skip
    assert counts == {"admin": (1, 0), "status": (1, 1), support: (1, 1)}
    [grant] = cli("roles", "show", support, "--format", "json").json["grants"]
    assert (grant["user"], grant["status"]) == ("bob@example.com", "inactive")
    assert cli("roles", "matrix", "--users").stdout == (
        "user\tstatus\tadmin\trole status\tsupport\n"
        "ada@example.com\tactive\ttrue\tfalse\tfalse\n"
        "bob@example.com\tinactive\tfalse\ttrue\ttrue\n"
    )


def test_create_again_is_a_conflict(cli: Cli, support: str) -> None:
    result = cli("roles", "create", "Support")
    assert (result.exit_code, result.stderr) == (
        3,
        "Error: role support exists already\n  → flask roles show support, or --if-exists keep\n",
    )


@pytest.mark.parametrize(
    ("options", "difference", "command"),
    [
        (
            ["--allow", "users:read", "--allow", "mail:read"],
            "does not hold mail:read",
            "allow support mail:read",
        ),
        (
            ["--description", "Second line"],
            "has another description",
            "update support --description TEXT",
        ),
    ],
)
def test_create_refuses_to_keep_a_role_that_differs(
    cli: Cli, database: Database, support: str, options: list[str], difference: str, command: str
) -> None:
    cli("roles", "update", support, "--description", "First line", check=True)
    before = database.rows("SELECT * FROM ops_roles")
    result = cli("roles", "create", support, *options, "--if-exists", "keep")
    assert (result.exit_code, result.stdout, result.stderr) == (
        3,
        "",
        f"Error: role support exists and {difference}\n  → flask roles {command}\n",
    )
    assert database.rows("SELECT * FROM ops_roles") == before


@pytest.mark.parametrize(
    "options", [[], ["--allow", "users:read"], ["--description", "First line"]]
)
def test_create_keeps_a_role_that_matches(cli: Cli, support: str, options: list[str]) -> None:
    cli("roles", "update", support, "--description", "First line", check=True)
    result = cli("roles", "create", support, *options, "--if-exists", "keep", "-q")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("[/]", "role [/]: a name starts with a letter and has letters a-z, digits,"
                " '.', '_' and '-'"),
        ("x" * 65, "role is 65 characters long; 64 are allowed"),
        ("", "NAME is empty"),
        ("a\u200bb", "NAME has the character U+200B at position 2,"
                     " which a terminal would obey and not show"),
    ],
)  # fmt: skip
def test_create_refuses_a_hostile_name(cli: Cli, name: str, says: str) -> None:
    result = cli("roles", "create", name)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {says}\n")


@pytest.mark.parametrize("permission", ["users", "Users:Read", "users:", "a b:c", "u:\x1b"])
def test_create_refuses_a_malformed_permission(cli: Cli, permission: str) -> None:
    result = cli("roles", "create", "support", "--allow", permission)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(("Error: permission ", "Error: --allow "))


def test_description_and_reason_refuse_what_a_terminal_obeys(cli: Cli, support: str) -> None:
    result = cli("roles", "update", support, "--description", "a\u202eb")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: --description has the character U+202E at position 2,"
        " which a terminal would obey and not show\n",
    )
    result = cli("roles", "update", support, "--description", "x", "--reason", "a\x07b")
    assert result.stderr.startswith("Error: --reason has the character U+0007 at position 2")
    assert result.exit_code == 2


def test_allow_and_deny_edit_the_permissions(cli: Cli, support: str) -> None:
    cli("roles", "allow", support, "audit:read", "users:read", check=True)
    result = cli("roles", "show", support, "--format", "json").json
    assert result["permissions"] == ["audit:read", "users:read"]
    cli("roles", "deny", support, "users:read", check=True)
    event = cli("audit", "list", "--subject", "role:support", "--format", "json").json[-1]
    assert event["before"] == {"permissions": ["audit:read", "users:read"]}
    assert event["after"] == {"permissions": ["audit:read"]}


def test_rename_keeps_the_grants(cli: Cli, support: str) -> None:
    cli("roles", "grant", support, "bob", check=True)
    cli("roles", "update", support, "--name", "helpdesk", check=True)
    assert cli("users", "list", "--role", "helpdesk", "--count").stdout == "1\n"
    assert cli("roles", "show", support).exit_code == 4


def test_rename_again_changes_nothing(cli: Cli, support: str) -> None:
    cli("roles", "update", support, "--name", "helpdesk", check=True)
    done = cli("roles", "update", support, "--name", "helpdesk")
    assert (done.exit_code, done.stderr) == (0, SAME)


def test_rename_of_what_never_was_is_not_found(cli: Cli, support: str) -> None:
    done = cli("roles", "update", "suport", "--name", "support")
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == "Error: no role suport\n  → did you mean support?\n"


def test_rename_to_a_name_that_is_taken_is_a_conflict(cli: Cli, support: str) -> None:
    result = cli("roles", "update", support, "--name", "admin")
    assert (result.exit_code, result.stderr) == (3, "Error: role admin exists already\n")


def test_delete_says_from_how_many_it_revokes(cli: Cli, support: str) -> None:
    cli("roles", "grant", support, "ada", "bob", check=True)
    done = cli("roles", "delete", support, "--revoke")
    assert (done.exit_code, done.stdout) == (5, "")
    assert "Delete the role support and revoke it from 2 users?" in done.stderr


def test_reason_with_an_address_is_noticed(cli: Cli, support: str) -> None:
    done = cli("roles", "grant", support, "bob", "--reason", "asked by eve@example.com")
    assert done.exit_code == 0
    assert done.stderr.startswith("Warning: --reason holds an e-mail address")
    assert "Warning" not in cli("roles", "revoke", support, "bob", "--reason", "OPS-1").stderr


def test_delete_of_a_role_that_is_held_is_a_conflict(cli: Cli, support: str) -> None:
    cli("roles", "grant", support, "bob", check=True)
    for agreed in (["--yes"], []):  # It is refused before it asks.
        result = cli("roles", "delete", support, *agreed)
        assert (result.exit_code, result.stderr) == (
            3,
            "Error: role support is held by 1 user\n  → flask roles delete support --revoke\n",
        )
    result = cli("roles", "delete", "admin")
    assert (result.exit_code, result.stderr) == (
        5,
        "Error: the built-in role admin cannot be deleted\n",
    )


def test_delete_with_revoke_ends_the_grants_and_keeps_their_history(cli: Cli, support: str) -> None:
    cli("roles", "grant", support, "bob", check=True)
    cli("roles", "delete", support, "--revoke", "--yes", check=True)
    assert cli("users", "can", "bob", "users:read").exit_code == 6
    history = cli("roles", "history", "bob", "--format", "json").json
    assert [(row["role"], row["state"]) for row in history] == [("support", "revoked")]
    cli("roles", "create", support, check=True)
    assert cli("users", "can", "bob", "users:read").exit_code == 6


# --- grants ------------------------------------------------------------------


def test_grant_until_a_date_lasts_to_its_end(cli: Cli, support: str) -> None:
    done = cli("roles", "grant", support, "bob", "--until", "2090-12-31", "--format", "json")
    grant = done.json["results"][0]
    assert (grant["changed"], grant["valid_until"]) == (True, "2090-12-31T23:59:59Z")


def test_grant_until_a_moment_knows_its_zone(cli: Cli, support: str) -> None:
    args = ("roles", "grant", support, "bob", "--until", "2090-12-31T12:00+02:00")
    assert cli(*args, "--format", "json").json["results"][0]["valid_until"] == (
        "2090-12-31T10:00:00Z"
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--until", "2020-01-01"], "Error: until 2020-01-01T23:59:59Z is in the past\n"),
        (["--until", "2090-01-01", "--for", "1h"],
         "Error: --for and --until cannot be combined\n"),
    ],
)  # fmt: skip
def test_grant_refuses_an_impossible_end(
    cli: Cli, support: str, args: list[str], says: str
) -> None:
    result = cli("roles", "grant", support, "bob", *args)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", says)


@pytest.mark.parametrize(
    "args",
    [
        ["--for", "0s"],
        ["--for", "999999w"],
        ["--for", "\uff18h"],
        ["--for", "8"],
        ["--for", "-1h"],
        ["--until", "x"],
    ],
)
def test_grant_refuses_what_is_no_time(cli: Cli, support: str, args: list[str]) -> None:
    result = cli("roles", "grant", support, "bob", *args)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_grant_to_many_is_one_change_and_all_or_nothing(
    cli: Cli, database: Database, support: str
) -> None:
    result = cli("roles", "grant", support, "bob", "ada", "nobody")
    assert result.exit_code == 4
    assert database.rows("SELECT count(*) FROM ops_grants") == [(1,)]
    done = cli("roles", "grant", support, "-", "ada", "-q", stdin="bob\nbob@example.com\n")
    assert done.stdout == "2\n1\n"


def test_grant_to_many_is_an_event_for_each_batch(
    cli: Cli, database: Database, support: str
) -> None:
    emails = [f"many{number}@example.com" for number in range(101)]
    for number, email in enumerate(emails):
        database.execute(
            "INSERT INTO ops_users (email, active, fs_uniquifier, login_count,"
            " idle_since, created_at, updated_at) VALUES (:email, true, :unique, 0,"
            " '2020-01-01 00:00:00.000000', '2020-01-01 00:00:00.000000',"
            " '2020-01-01 00:00:00.000000')",
            email=email,
            unique=f"u{number}",
        )
    listed = "\ufeff# the team\n" + "\n".join(emails)
    args = ("roles", "grant", support, "-", "--format", "json")
    planned = cli(*args, "--dry-run", stdin=listed).json["plan"]
    assert [step["subject"] for step in planned] == ["users"]
    done = cli(*args, stdin=listed).json
    assert len(done["results"]) == 101
    event = cli("audit", "show", str(done["audit_seq"]), "--format", "json").json
    assert (event["subject"], event["after"]["count"]) == ("users", 101)
    assert event["after"]["role"] == support
    about = cli("audit", "list", "--subject", emails[50], "--format", "json").json
    assert [event["seq"] for event in about] == [done["audit_seq"]]
    assert cli("audit", "verify").exit_code == 0


def test_grant_with_another_end_replaces_the_grant(cli: Cli, support: str) -> None:
    cli("roles", "grant", support, "bob", "--until", "2090-01-01", check=True)
    cli("roles", "grant", support, "bob", "--until", "2091-01-01", "--replace-end", check=True)
    cli("roles", "grant", support, "bob", "--replace-end", check=True)
    history = cli("roles", "history", "bob", "--format", "json").json
    assert [(row["state"], row["valid_until"]) for row in history] == [
        ("live", None),
        ("replaced", "2091-01-01T23:59:59Z"),
        ("replaced", "2090-01-01T23:59:59Z"),
    ]


def test_grant_after_an_end_that_passed_is_a_new_grant(
    cli: Cli, database: Database, support: str
) -> None:
    cli("roles", "grant", support, "bob", "--for", "1h", check=True)
    expire_grants(database)
    cli("roles", "grant", support, "bob", check=True)
    history = cli("roles", "history", "bob", "--format", "json").json
    assert [(row["state"], row["ended_by"]) for row in history] == [
        ("live", None),
        ("expired", None),
    ]


def test_revoke_of_what_is_not_held_is_already_so(cli: Cli, support: str) -> None:
    result = cli("roles", "revoke", support, "bob")
    assert (result.exit_code, result.stderr) == (0, SAME)
    assert result.stdout == (
        "changed\tuser\trole\tstate\nfalse\tbob@example.com\tsupport\tnot held\n"
    )


def test_revoke_ends_the_sessions_and_tells_who_and_why(
    cli: Cli, database: Database, support: str
) -> None:
    cli("roles", "grant", support, "bob", "--reason", "on call", check=True)
    before = database.rows("SELECT fs_uniquifier FROM ops_users WHERE id = 2")
    cli("roles", "revoke", support, "bob", "--reason", "done", check=True)
    assert database.rows("SELECT fs_uniquifier FROM ops_users WHERE id = 2") != before
    row = cli("roles", "history", "bob", "--format", "json").json[0]
    assert (row["state"], row["reason"], row["end_reason"]) == ("revoked", "on call", "done")
    assert "@" in row["ended_by"]


def test_expire_marks_what_has_ended_and_only_that(
    cli: Cli, database: Database, support: str
) -> None:
    cli("roles", "grant", support, "bob", "--for", "1h", check=True)
    assert cli("roles", "expire").stderr == SAME
    expire_grants(database)
    done = cli("roles", "expire", "--format", "json").json
    assert [(row["user"], row["state"]) for row in done["results"]] == [
        ("bob@example.com", "expired")
    ]
    assert cli("audit", "list", "--action", "user:role:expire", "--format", "json").json


def test_expiring_lists_what_ends_soon_the_next_first(cli: Cli, support: str) -> None:
    cli("roles", "create", "later", check=True)
    cli("roles", "grant", "later", "bob", "--for", "9d", check=True)
    cli("roles", "grant", support, "bob", "--for", "3d", check=True)
    cli("roles", "grant", support, "ada", "--for", "30d", check=True)
    result = cli("roles", "expiring", "--format", "json").json
    assert [(row["user"], row["role"]) for row in result] == [
        ("bob@example.com", "support"),
        ("bob@example.com", "later"),
    ]
    assert len(cli("roles", "expiring", "--within", "4d", "--format", "json").json) == 1
    in_two_months = (clock.now() + timedelta(days=60)).date().isoformat()
    assert len(cli("roles", "expiring", "--within", in_two_months, "--format", "json").json) == 3
    friday = cli("roles", "expiring", "--within", "friday", "--format", "json")
    assert (friday.exit_code, friday.stderr) == (0, "")


def test_matrix_shows_permissions_by_roles_and_users_by_roles(cli: Cli, support: str) -> None:
    cli("roles", "grant", support, "bob", check=True)
    rows = cli("roles", "matrix", "--format", "json").json
    assert {"permission": "users:read", "admin": True, "support": True} in rows
    assert {"permission": "users:write", "admin": True, "support": False} in rows
    assert cli("roles", "matrix", "--users").stdout == (
        "user\tstatus\tadmin\tsupport\n"
        "ada@example.com\tactive\ttrue\tfalse\nbob@example.com\tactive\tfalse\ttrue\n"
    )


def test_history_answers_who_granted_this_and_when(cli: Cli, support: str) -> None:
    cli("roles", "grant", support, "bob", "--reason", "OPS-12", check=True)
    row = cli("roles", "history", "bob", "--role", support, "--format", "json").json[0]
    assert (row["user"], row["role"], row["reason"]) == ("bob@example.com", "support", "OPS-12")
    assert cli("roles", "history", "nobody").exit_code == 4
    assert cli("roles", "history", "--role", "nothing").exit_code == 4


def test_history_shows_why_a_role_was_given_and_taken(cli: Cli, support: str) -> None:
    cli("roles", "grant", support, "bob", "--reason", "OPS-12", check=True)
    cli("roles", "revoke", support, "bob", "--reason", "moved on", check=True)
    header, line = cli("roles", "history", "bob").stdout.splitlines()
    row = dict(zip(header.split("\t"), line.split("\t"), strict=True))
    assert (row["state"], row["reason"], row["end_reason"]) == ("revoked", "OPS-12", "moved on")


def test_second_lasting_administrator_lets_the_first_go(cli: Cli, bob: str) -> None:
    cli("users", "create-admin", bob, "--if-exists", "update", "--password-stdin",
        stdin=PASSWORD, check=True)  # fmt: skip
    assert cli("roles", "grant", "admin", "ada", "--for", "8h", "--replace-end").exit_code == 0
    assert cli("roles", "revoke", "admin", "ada").exit_code == 0
    assert cli("users", "delete", "ada", "--yes").exit_code == 0
    assert cli("roles", "revoke", "admin", "bob").exit_code == 5
