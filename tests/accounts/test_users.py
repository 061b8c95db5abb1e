"""`flask users`: the output and the effect of each command."""

from __future__ import annotations

import json

import pytest

from tests.support import PASSWORD, Cli, Database, fields

SAME = "Already so: nothing was changed.\n"


# --- show and can ------------------------------------------------------------


@pytest.mark.parametrize("reference", ["2", "bob", "BOB", "bob@example.com", "Bob@Example.COM"])
def test_show_takes_an_id_an_address_or_a_username(cli: Cli, bob: str, reference: str) -> None:
    assert cli("users", "show", reference, "--format", "json").json["id"] == 2


@pytest.mark.parametrize("reference", ["x\x00y", "a\udcff", ""])
def test_show_refuses_what_no_name_has(cli: Cli, ada: str, reference: str) -> None:
    assert cli("users", "show", reference).exit_code == 2


@pytest.mark.parametrize("reference", ["0", "99", "9" * 30, "9" * 5000, "nobody", "b@x"])
def test_show_of_an_unknown_account_is_not_found(cli: Cli, ada: str, reference: str) -> None:
    assert cli("users", "show", reference).exit_code == 4


def test_show_tells_grants_and_no_secret(cli: Cli, database: Database, ada: str) -> None:
    shown = cli("users", "show", ada, "--format", "json")
    assert shown.json["permissions"] == ["*"]
    assert [grant["role"] for grant in shown.json["grants"]] == ["admin"]
    secrets = database.rows("SELECT password, fs_uniquifier FROM ops_users")[0]
    assert not [secret for secret in secrets if secret in shown.stdout]


def test_can_answers_yes_with_the_grant_that_gives_it(cli: Cli, bob: str) -> None:
    cli("roles", "create", "support", "--allow", "users:read", check=True)
    cli(
        "roles",
        "grant",
        "support",
        "bob",
        "--until",
        "2090-01-01",
        "--reason",
        "on call",
        check=True,
    )
    result = cli("users", "can", "bob", "users:read", "--format", "json")
    assert result.exit_code == 0
    answer = result.json
    assert answer.pop("granted_at") is not None
    assert "@" in answer.pop("granted_by")
    assert answer == {
        "user": "bob@example.com",
        "permission": "users:read",
        "allowed": True,
        "because": "the role support has it",
        "role": "support",
        "valid_until": "2090-01-01T23:59:59Z",
        "reason": "on call",
    }


def test_can_answers_no_once_the_grant_is_over(cli: Cli, database: Database, bob: str) -> None:
    cli("roles", "create", "support", "--allow", "users:read", check=True)
    cli("roles", "grant", "support", "bob", "--for", "1h", check=True)
    assert cli("users", "can", "bob", "users:read").exit_code == 0
    database.execute(
        "UPDATE ops_grants SET valid_until = '2020-01-01 00:00:00.000000' WHERE user_id = 2"
    )
    assert cli("users", "can", "bob", "users:read").exit_code == 6
    assert cli("users", "list", "--role", "support", "--count").stdout == "0\n"


def test_can_answers_no_for_an_inactive_admin(cli: Cli, ada: str) -> None:
    cli("users", "create-admin", "eve@example.com", "--password-stdin", stdin=PASSWORD, check=True)
    cli("users", "deactivate", ada, check=True)
    result = cli("users", "can", ada, "anything:at-all", "--format", "json")
    assert result.exit_code == 6
    because = "the role admin holds every permission, but the account is inactive"
    assert result.json["because"] == because


# --- change ------------------------------------------------------------------


def test_update_changes_the_address_and_ends_the_sessions(
    cli: Cli, database: Database, bob: str
) -> None:
    before = database.rows("SELECT fs_uniquifier FROM ops_users WHERE id = 2")
    changed = cli("users", "update", "bob", "--email", "Robert@example.com")
    assert fields(changed.stdout)["email"] == "robert@example.com"
    assert database.rows("SELECT fs_uniquifier FROM ops_users WHERE id = 2") != before


def test_update_to_a_taken_address_is_a_conflict(cli: Cli, bob: str) -> None:
    result = cli("users", "update", "bob", "--email", "ADA@example.com")
    assert (result.exit_code, result.stderr) == (
        3,
        "Error: e-mail ada@example.com is taken by user 1\n",
    )


def test_update_of_nothing_is_usage(cli: Cli, bob: str) -> None:
    assert cli("users", "update", "bob").exit_code == 2


def test_deactivate_many_is_all_or_nothing(cli: Cli, database: Database, bob: str) -> None:
    result = cli("users", "deactivate", "bob", "nobody")
    assert result.exit_code == 4
    assert database.rows("SELECT active FROM ops_users WHERE id = 2")[0][0] in (True, 1)


def test_deactivate_reads_users_from_stdin(cli: Cli, bob: str) -> None:
    result = cli("users", "deactivate", "-", "--fields", "changed,email", stdin="bob\n\nbob\n")
    assert result.stdout == "changed\temail\ntrue\tbob@example.com\n"


def test_deactivate_by_filter_needs_yes_without_a_terminal(cli: Cli, bob: str) -> None:
    result = cli("users", "deactivate", "--search", "bob")
    assert (result.exit_code, result.stdout) == (5, "")
    assert result.stderr == (
        "Error: Deactivate 1 account? Cannot ask: there is no terminal\n  → add --yes\n"
    )


def test_deactivate_by_filter_of_the_last_admin_changes_no_account(
    cli: Cli, database: Database, bob: str
) -> None:
    result = cli("users", "deactivate", "--never-logged-in", "--yes")
    assert result.exit_code == 5
    assert database.rows("SELECT count(*) FROM ops_users WHERE NOT active") == [(0,)]


def test_deactivate_by_filter_of_many_writes_an_event_a_batch(
    cli: Cli, database: Database, ada: str
) -> None:
    database.execute(MANY.format(count=1101))
    args = ("users", "deactivate", "--search", "many", "--yes", "-q")
    done = cli(*args)
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1101
    events = database.rows(
        "SELECT subject, after FROM ops_audit_events WHERE action = 'user:account:deactivate'"
    )
    assert [subject for subject, _after in events] == ["users"] * 3
    assert [json.loads(after)["count"] for _subject, after in events] == [500, 500, 101]
    assert cli("audit", "list", "--subject", "1500", "--count-nothing").exit_code == 2
    about = cli("audit", "list", "--subject", "601", "--format", "json").json
    assert [event["after"]["count"] for event in about] == [500]
    assert cli("audit", "verify").exit_code == 0


MANY = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
    " INSERT INTO ops_users (email, active, fs_uniquifier, login_count, idle_since,"
    " created_at, updated_at) SELECT 'many' || i || '@example.com', true, 'u' || i, 0,"
    " '2020-01-01 00:00:00.000000', '2020-01-01 00:00:00.000000',"
    " '2020-01-01 00:00:00.000000' FROM n"
)


def test_deactivate_names_or_filters_but_not_both(cli: Cli, bob: str) -> None:
    says = "Error: name the users, or choose them by a filter such as --idle-for 90d\n"
    for args in (["bob", "--search", "b"], []):
        result = cli("users", "deactivate", *args)
        assert (result.exit_code, result.stderr) == (2, says)


def test_deactivate_ends_the_sessions(cli: Cli, database: Database, bob: str) -> None:
    query = "SELECT fs_uniquifier FROM ops_users WHERE id = 2"
    seen = {database.rows(query)[0][0]}
    cli("users", "deactivate", "bob", check=True)
    seen.add(database.rows(query)[0][0])
    cli("users", "activate", "bob", check=True)
    seen.add(database.rows(query)[0][0])
    assert len(seen) == 3


def test_set_password_of_an_unknown_account_asks_for_none(cli: Cli, ada: str) -> None:
    result = cli("users", "set-password", "nobody")
    assert result.exit_code == 4


def test_reset_access_takes_off_the_second_factor(cli: Cli, database: Database, bob: str) -> None:
    token = cli("users", "tokens", "create", "bob", "ci", "-q")
    assert token.stdout.startswith("opsapp_")
    database.execute(
        "UPDATE ops_users SET tf_primary_method = 'authenticator', tf_totp_secret = 'canary',"
        ' mf_recovery_codes = \'["a","b"]\' WHERE id = 2'
    )
    done = cli("users", "reset-access", "bob", "--yes")
    assert fields(done.stdout)["two_factor"] == "false"
    left = database.rows(
        "SELECT tf_primary_method, tf_totp_secret, mf_recovery_codes FROM ops_users WHERE id = 2"
    )
    assert left == [(None, None, None)]
    event = cli("audit", "list", "--action", "user:access", "--format", "json").json[0]
    assert event["before"] == {
        "two_factor": "authenticator",
        "recovery_codes": 2,
        "sessions": "open",
    }
    assert cli("users", "reset-access", "bob", "--yes").stderr == SAME


def test_unlock_lifts_the_lock(cli: Cli, database: Database, bob: str) -> None:
    database.lock_out("bob")
    assert fields(cli("users", "show", "bob").stdout)["status"] == "locked"
    again = cli("users", "set-password", "bob", "--password-stdin", stdin=PASSWORD)
    assert fields(again.stdout)["status"] == "locked"
    assert fields(cli("users", "unlock", "bob").stdout)["status"] == "active"
    assert cli("users", "unlock", "bob").stderr == SAME


def test_set_password_confirms_the_address(cli: Cli, database: Database, bob: str) -> None:
    database.execute("UPDATE ops_users SET confirmed_at = NULL WHERE id = 2")
    same = ("users", "set-password", "bob", "--password-stdin")
    cli(*same, stdin=PASSWORD, check=True)
    account = cli("users", "show", "bob", "--format", "json").json
    assert account["confirmed_at"] is not None
    (event,) = cli("audit", "list", "--action", "user:email:confirm", "--format", "json").json
    assert event["subject"] == "user:2"
    assert cli(*same, stdin=PASSWORD).stderr == SAME


def test_unconfirmed_account_is_not_the_last_administrator(
    cli: Cli, database: Database, ada: str, bob: str
) -> None:
    database.execute("UPDATE ops_users SET confirmed_at = NULL WHERE id = 2")
    cli("roles", "grant", "admin", "bob", check=True)
    refused = cli("users", "deactivate", ada, "--yes")
    assert (refused.exit_code, refused.stdout, refused.stderr) == (
        5,
        "",
        "Error: this would leave no active administrator who can sign in\n"
        "  → flask users create-admin EMAIL\n",
    )
    cli("users", "set-password", "bob", "--password-stdin", stdin=PASSWORD, check=True)
    assert cli("users", "deactivate", ada, "--yes").exit_code == 0


def test_delete_erases_every_personal_value_and_keeps_the_audit_readable(
    cli: Cli, database: Database, bob: str
) -> None:
    cli("users", "update", "bob", "--email", "robert@example.com", check=True)
    assert "bob" in str(database.rows("SELECT * FROM ops_mail_messages"))
    cli("users", "delete", "bob", "--yes", "--reason", "left", check=True)
    for table in (
        "ops_users", "ops_grants", "ops_audit_events", "ops_audit_personal", "ops_mail_messages",
    ):  # fmt: skip
        assert "bob" not in str(database.rows(f"SELECT * FROM {table}"))
        assert "robert" not in str(database.rows(f"SELECT * FROM {table}"))
    assert cli("audit", "verify").exit_code == 0
    events = cli("audit", "list", "--subject", "user:2", "--format", "json").json
    assert [event["subject_name"] for event in events] == ["user:2 [erased]"] * 3
    assert events[0]["after"] == {"email": "[erased]", "username": "[erased]", "password": None,
                                  "confirmed": "yes"}  # fmt: skip


def test_delete_again_by_the_same_address_changes_nothing(cli: Cli, bob: str) -> None:
    cli("users", "delete", bob, "--yes", check=True)
    again = cli("users", "delete", "BOB@example.com", "--yes")
    assert (again.exit_code, again.stderr) == (0, f"User 2 was deleted before.\n{SAME}")


def test_deleted_address_is_free_and_gets_a_new_id(cli: Cli, bob: str) -> None:
    cli("users", "delete", bob, "--yes", check=True)
    made = cli("users", "create", bob, "--no-password", check=True)
    assert fields(made.stdout)["id"] == "3"
    cli("users", "delete", bob, "--yes", check=True)
    assert "3 was deleted before" in cli("users", "delete", bob, "--yes").stderr


def test_deleted_account_cannot_be_changed(cli: Cli, bob: str) -> None:
    cli("users", "delete", bob, "--yes", check=True)
    for verb in ("activate", "unlock"):
        assert cli("users", verb, "2").exit_code == 4
    assert cli("roles", "grant", "admin", "2").exit_code == 4


@pytest.mark.parametrize(
    "args",
    [
        ["roles", "revoke", "admin", "ada"],
        ["roles", "grant", "admin", "ada", "--for", "8h", "--replace-end"],
        ["users", "deactivate", "ada"],
        ["users", "delete", "ada", "--yes"],
        ["roles", "update", "admin", "--name", "root"],
        ["roles", "deny", "admin", "users:read"],
        ["roles", "allow", "admin", "users:read"],
        ["roles", "delete", "admin", "--revoke", "--yes"],
    ],
    ids=" ".join,
)
def test_last_administrator_stays_whatever_is_tried(
    cli: Cli, database: Database, bob: str, args: list[str]
) -> None:
    cli("roles", "grant", "admin", "bob", check=True)  # Bob has no password: he does not count.
    before = database.rows("SELECT seq FROM ops_audit_head")
    assert cli(*args).exit_code == 5
    assert cli(*args, "--dry-run").exit_code == 5
    assert database.rows("SELECT seq FROM ops_audit_head") == before
    assert cli("users", "can", "ada", "users:write").exit_code == 0
