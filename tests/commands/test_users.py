"""`flask users`: what each command says and does."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from support import PASSWORD, Cli, Database

OBEYED = "which a terminal would obey and not show"
DONE = "Done, audit event {}.\n"
SAME = "Already so: nothing was changed.\n"


def hash_of(database: Database, id: int) -> str | None:
    found: str | None = database.rows("SELECT password FROM users WHERE id = :id", id=id)[0][0]
    return found


def fields(stdout: str) -> dict[str, str]:
    """A record in plain format."""
    return dict(line.split("\t", 1) for line in stdout.splitlines()[1:])


# --- create ------------------------------------------------------------------


def test_create_admin_generates_a_password_and_shows_it_once(cli: Cli, database: Database) -> None:
    made = cli("users", "create-admin", "Ada@Example.com", "--generate-password")
    assert made.exit_code == 0
    assert made.stderr == DONE.format(4)
    shown = fields(made.stdout)
    assert len(shown.pop("password")) == 24
    assert shown == {
        "changed": "true",
        "id": "1",
        "email": "ada@example.com",
        "username": "",
        "status": "active",
        "roles": "admin",
    }
    assert (hash_of(database, 1) or "").startswith("$argon2id$")
    assert "password" not in fields(cli("users", "show", "1").stdout)


def test_create_admin_again_is_a_conflict_and_asks_for_no_password(cli: Cli, ada: str) -> None:
    again = cli("users", "create-admin", ada)
    assert again.exit_code == 3


def test_create_admin_keeps_an_administrator_as_it_is(cli: Cli, ada: str) -> None:
    kept = cli("users", "create-admin", ada, "--generate-password", "--if-exists", "keep")
    assert (kept.exit_code, kept.stderr) == (0, SAME)
    assert "password" not in fields(kept.stdout)


def test_create_admin_does_not_keep_what_is_no_administrator(cli: Cli, bob: str) -> None:
    args = ("users", "create-admin", bob, "--generate-password", "--if-exists", "keep")
    kept = cli(*args)
    assert (kept.exit_code, kept.stderr) == (
        3,
        "Error: user bob@example.com exists and does not hold admin\n"
        "  → flask roles grant admin bob@example.com\n",
    )
    cli("roles", "grant", "admin", "bob", check=True)
    kept = cli(*args)
    assert (kept.exit_code, kept.stderr) == (
        3,
        "Error: user bob@example.com exists and is no admin who can log in\n"
        "  → --if-exists update makes it one\n",
    )


def test_create_admin_updates_an_inactive_account_into_an_admin_who_can_log_in(
    cli: Cli, database: Database, bob: str
) -> None:
    cli("users", "deactivate", bob, check=True)
    made = cli("users", "create-admin", bob, "--generate-password", "--if-exists", "update")
    shown = fields(made.stdout)
    assert made.exit_code == 0
    assert (shown["status"], shown["roles"]) == ("active", "admin")
    assert len(shown["password"]) == 24
    actions = [row[0] for row in database.rows("SELECT action FROM audit_events ORDER BY seq")]
    assert actions[-3:] == ["user:account:activate", "user:password:set", "user:role:grant"]


def test_create_admin_update_leaves_a_password_alone_when_none_is_named(
    cli: Cli, database: Database, ada: str
) -> None:
    before = hash_of(database, 1)
    kept = cli("users", "create-admin", ada, "--generate-password", "--if-exists", "update")
    assert (kept.exit_code, kept.stderr) == (0, SAME)
    assert hash_of(database, 1) == before


def test_create_admin_update_sets_the_password_that_stdin_names(
    cli: Cli, database: Database, ada: str
) -> None:
    args = ("users", "create-admin", ada, "--password-stdin", "--if-exists", "update")
    before = hash_of(database, 1)
    assert cli(*args, stdin=PASSWORD + "\n").stderr == SAME
    assert hash_of(database, 1) == before
    assert cli(*args, stdin="another battery horse\n").stderr == DONE.format(5)
    assert hash_of(database, 1) != before


def test_create_without_a_terminal_names_the_ways_to_give_a_password(cli: Cli) -> None:
    made = cli("users", "create", "ada@example.com")
    assert (made.exit_code, made.stdout) == (2, "")
    assert made.stderr == (
        "Error: no password, and no terminal to ask on\n"
        "  → --password-stdin, --password-file FILE or --generate-password\n"
    )


def test_create_reads_the_password_from_a_private_file(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o600)
    made = cli("users", "create", "ada@example.com", "--password-file", str(file), check=True)
    assert "password" not in fields(made.stdout)
    shown = fields(cli("users", "show", "1", check=True).stdout)
    assert shown["has_password"] == "true"


def test_create_refuses_a_password_file_that_others_can_read(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o640)
    made = cli("users", "create", "ada@example.com", "--password-file", str(file))
    assert (made.exit_code, made.stdout) == (5, "")
    assert made.stderr == (
        f"Error: --password-file {file} can be read by others\n  → chmod 600 {file}\n"
    )


@pytest.mark.parametrize(
    ("password", "says"),
    [
        ("short", "password: Password must be at least 12 characters"),
        ("passwordpassword", 'password: Repeats like "abcabcabc" are only slightly'),
        ("", "the first line of stdin is empty"),
    ],
)
def test_create_refuses_a_weak_password_from_every_source(
    cli: Cli, tmp_path: Path, password: str, says: str
) -> None:
    args = ("users", "create", "ada@example.com")
    found = cli(*args, "--password-stdin", stdin=password + "\n")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr.startswith(f"Error: {says}")
    file = tmp_path / "password"
    file.write_text(password + "\n")
    file.chmod(0o600)
    found = cli(*args, "--password-file", str(file))
    assert found.stderr.startswith(f"Error: {says.replace('stdin', str(file))}")
    assert found.exit_code == 2


def test_create_refuses_fields_that_hide_the_generated_password(cli: Cli) -> None:
    args = ("users", "create", "ada@example.com", "--generate-password")
    found = cli(*args, "--fields", "id")
    assert (found.exit_code, found.stderr) == (
        2,
        "Error: --fields would hide the password that is generated and shown only once\n",
    )
    assert len(fields(cli(*args, "--fields", "id,password").stdout)["password"]) == 24


def test_create_refuses_an_unknown_field_before_it_changes_anything(
    cli: Cli, database: Database
) -> None:
    found = cli("users", "create", "ada@example.com", "--no-password", "--fields", "bogus")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == (
        "Error: no field bogus; there are changed, audit_seq, id, email, username, status,"
        " roles, password\n"
    )
    assert database.rows("SELECT count(*) FROM users") == [(0,)]


def test_create_refuses_a_folder_a_pipe_or_garbage_as_password_file(
    cli: Cli, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "garbage").write_bytes(b"\xff\xfe correct horse battery")
    (tmp_path / "garbage").chmod(0o600)
    for file, says in (
        (tmp_path, f"--password-file {tmp_path} is not a regular file"),
        (tmp_path / "pipe", f"--password-file {tmp_path}/pipe is not a regular file"),
        (tmp_path / "garbage", f"the first line of {tmp_path}/garbage is not UTF-8"),
        (tmp_path / "none", f"--password-file {tmp_path}/none: No such file or directory"),
    ):
        found = cli("users", "create", "a@example.com", "--password-file", str(file))
        assert (found.exit_code, found.stderr) == (2, f"Error: {says}\n")


def test_create_refuses_an_address_that_folds_to_another_mailbox(cli: Cli) -> None:
    found = cli("users", "create", "stra\u00dfe@example.com", "--no-password")
    assert (found.exit_code, found.stderr) == (
        2,
        "Error: e-mail stra\u00dfe@example.com cannot be told from strasse@example.com\n",
    )


def test_create_refuses_two_sources(cli: Cli) -> None:
    args = ("users", "create", "ada@example.com", "--generate-password", "--password-stdin")
    found = cli(*args, stdin=PASSWORD)
    assert found.exit_code == 2
    assert found.stderr == (
        "Error: give one of --password-stdin, --password-file and --generate-password\n"
    )


def test_create_refuses_quiet_with_a_generated_password(cli: Cli) -> None:
    found = cli("users", "create", "ada@example.com", "--generate-password", "-q")
    assert found.exit_code == 2
    assert found.stderr == (
        "Error: -q would hide the password that is generated and shown only once\n"
    )


def test_create_quietly_prints_the_id_and_nothing_when_it_is_there(cli: Cli) -> None:
    args = ("users", "create", "ada@example.com", "--no-password", "--if-exists", "keep", "-q")
    made = cli(*args)
    assert (made.exit_code, made.stdout, made.stderr) == (0, "1\n", "")
    kept = cli(*args)
    assert (kept.exit_code, kept.stdout, kept.stderr) == (0, "", "")


def test_create_with_a_role_grants_it_in_the_same_change(cli: Cli, database: Database) -> None:
    cli("roles", "create", "support", check=True)
    made = cli("users", "create", "ada@example.com", "--no-password", "--role", "support")
    assert fields(made.stdout)["roles"] == "support"
    found = database.rows("SELECT DISTINCT correlation FROM audit_events WHERE seq >= 4")
    assert len(found) == 1


def test_create_with_an_unknown_role_creates_nothing(cli: Cli, database: Database) -> None:
    made = cli("users", "create", "ada@example.com", "--no-password", "--role", "suport")
    assert made.exit_code == 4
    assert database.rows("SELECT count(*) FROM users") == [(0,)]


@pytest.mark.parametrize(
    ("email", "says"),
    [
        ("nonsense", "e-mail nonsense: An email address must have an @-sign."),
        ("[/]@example.com", "e-mail [/]@example.com: The email address contains invalid characters"
         " before the @-sign: '[', ']'."),
        ("a\x1b@example.com", "EMAIL has the character U+001B at position 2, " + OBEYED),
        ("a\u202eb@example.com", "EMAIL has the character U+202E at position 2, " + OBEYED),
        ("a\nb@example.com", "EMAIL has the character U+000A at position 2, " + OBEYED),
        ("a\udcffb@example.com", "EMAIL has the character U+DCFF at position 2, " + OBEYED),
        ("a" * 1_000_000, "e-mail is 1,000,000 characters long; 254 are allowed"),
        ("", "EMAIL is empty"),
    ],
    ids=["no at", "markup", "escape", "bidi", "newline", "surrogate", "million", "empty"],
)  # fmt: skip
def test_create_refuses_a_hostile_address(cli: Cli, email: str, says: str) -> None:
    made = cli("users", "create", email, "--no-password")
    assert (made.exit_code, made.stdout, made.stderr) == (2, "", f"Error: {says}\n")


@pytest.mark.parametrize(
    ("username", "says"),
    [
        ("[/]", "username has '[' at position 1"),
        ("a b", "username has ' ' at position 2"),
        ("12345", "username has digits only, which would be an id"),
        ("a@b", "username has '@' at position 2"),
        ("x\x1b]8;;", "--username has the character U+001B at position 2, " + OBEYED),
        ("x" * 65, "username is 65 characters long; 64 are allowed"),
    ],
)  # fmt: skip
def test_create_refuses_a_hostile_username(cli: Cli, username: str, says: str) -> None:
    made = cli("users", "create", "a@example.com", "--no-password", "--username", username)
    assert (made.exit_code, made.stdout, made.stderr) == (2, "", f"Error: {says}\n")


@pytest.mark.parametrize(
    "email", ["BOB@EXAMPLE.COM", "\uff42ob@example.com", "bob@\uff45xample.com"]
)
def test_create_knows_an_address_in_another_spelling(cli: Cli, bob: str, email: str) -> None:
    made = cli("users", "create", email, "--no-password")
    assert made.exit_code == 3
    assert made.stderr.startswith("Error: user bob@example.com exists already, with id 2\n")


def test_create_refuses_a_username_that_is_taken(cli: Cli, bob: str) -> None:
    made = cli("users", "create", "b@example.com", "--no-password", "--username", "BOB")
    assert (made.exit_code, made.stderr) == (3, "Error: username bob is taken by user 2\n")


def test_short_form_creates_an_admin_by_username_and_address(cli: Cli) -> None:
    made = cli("create-admin", "ada", "ada@example.com", "--password-stdin", stdin=PASSWORD)
    shown = fields(made.stdout)
    assert made.exit_code == 0
    assert (shown["username"], shown["email"], shown["roles"]) == (
        "ada",
        "ada@example.com",
        "admin",
    )


# --- list --------------------------------------------------------------------


@pytest.fixture
def crowd(cli: Cli, database: Database, bob: str) -> None:
    """Ada (admin), Bob (support), Carol (inactive), Dan (locked, seen), Eve (deleted)."""
    for name in ("carol", "dan", "eve"):
        cli("users", "create", f"{name}@example.com", "--no-password", check=True)
    cli("roles", "create", "support", check=True)
    cli("roles", "grant", "support", "bob", check=True)
    cli("users", "deactivate", "carol@example.com", check=True)
    cli("users", "delete", "eve@example.com", "--yes", check=True)
    database.execute(
        "UPDATE users SET locked_until = '2090-01-01 00:00:00.000000', login_count = 3,"
        " idle_since = '2020-05-05 00:00:00.000000' WHERE email = 'dan@example.com'"
    )


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
    found = cli("users", "list", "--status", "deleted", "--sort", "email", "--limit", "1",
                "--after", "4", "--format", "json")  # fmt: skip
    assert [user["id"] for user in found.json] == [5]


def test_empty_filter_is_refused_and_not_everybody(cli: Cli, crowd: None) -> None:
    for option in ("--search", "--role", "--without-role"):
        found = cli("users", "deactivate", "--without-role", "admin", option, "", "--yes")
        assert (found.exit_code, found.stderr) == (2, f"Error: {option} is empty\n")


def test_list_counts(cli: Cli, crowd: None) -> None:
    assert cli("users", "list", "--count").stdout == "4\n"
    assert cli("users", "list", "--count", "--status", "deleted", "--format", "json").json == 1


def test_list_shows_a_deleted_account_without_a_name(cli: Cli, crowd: None) -> None:
    found = cli("users", "list", "--status", "deleted", "--format", "json").json[0]
    assert (found["id"], found["email"], found["status"]) == (5, None, "deleted")


def test_list_with_an_unknown_role_suggests_one(cli: Cli, crowd: None) -> None:
    found = cli("users", "list", "--role", "suport")
    assert (found.exit_code, found.stdout) == (4, "")
    assert found.stderr == "Error: no role suport\n  → did you mean support?\n"


def test_list_of_nobody_is_a_header_or_an_empty_array(cli: Cli) -> None:
    assert cli("users", "list").stdout == "id\temail\tusername\tstatus\troles\tlast_seen_at\n"
    assert cli("users", "list", "--format", "json").stdout == "[]\n"
    assert cli("users", "list", "--format", "jsonl").stdout == ""


# --- show and can ------------------------------------------------------------


@pytest.mark.parametrize("reference", ["2", "bob", "BOB", "bob@example.com", "Bob@Example.COM"])
def test_show_takes_an_id_an_address_or_a_username(cli: Cli, bob: str, reference: str) -> None:
    assert cli("users", "show", reference, "--format", "json").json["id"] == 2


@pytest.mark.parametrize("reference", ["x\x00y", "a\udcff", ""])
def test_show_refuses_what_no_name_has(cli: Cli, ada: str, reference: str) -> None:
    assert cli("users", "show", reference).exit_code == 2


@pytest.mark.parametrize("reference", ["0", "99", "9" * 30, "9" * 5000, "nobody", "b@x"])
def test_show_of_nobody_is_not_found(cli: Cli, ada: str, reference: str) -> None:
    assert cli("users", "show", reference).exit_code == 4


def test_show_tells_grants_and_no_secret(cli: Cli, database: Database, ada: str) -> None:
    shown = cli("users", "show", ada, "--format", "json")
    assert shown.json["permissions"] == ["*"]
    assert [grant["role"] for grant in shown.json["grants"]] == ["admin"]
    secrets = database.rows("SELECT password, fs_uniquifier FROM users")[0]
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
    found = cli("users", "can", "bob", "users:read", "--format", "json")
    assert found.exit_code == 0
    answer = found.json
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
        "UPDATE grants SET valid_until = '2020-01-01 00:00:00.000000' WHERE user_id = 2"
    )
    assert cli("users", "can", "bob", "users:read").exit_code == 6
    assert cli("users", "list", "--role", "support", "--count").stdout == "0\n"


def test_can_answers_no_for_an_inactive_admin(cli: Cli, ada: str) -> None:
    cli("users", "create-admin", "eve@example.com", "--password-stdin", stdin=PASSWORD, check=True)
    cli("users", "deactivate", ada, check=True)
    found = cli("users", "can", ada, "anything:at-all", "--format", "json")
    assert found.exit_code == 6
    because = "the role admin holds every permission, but the account is inactive"
    assert found.json["because"] == because


# --- change ------------------------------------------------------------------


def test_update_changes_the_address_and_ends_the_sessions(
    cli: Cli, database: Database, bob: str
) -> None:
    before = database.rows("SELECT fs_uniquifier FROM users WHERE id = 2")
    changed = cli("users", "update", "bob", "--email", "Robert@example.com")
    assert fields(changed.stdout)["email"] == "robert@example.com"
    assert database.rows("SELECT fs_uniquifier FROM users WHERE id = 2") != before


def test_update_to_a_taken_address_is_a_conflict(cli: Cli, bob: str) -> None:
    found = cli("users", "update", "bob", "--email", "ADA@example.com")
    assert (found.exit_code, found.stderr) == (
        3,
        "Error: e-mail ada@example.com is taken by user 1\n",
    )


def test_update_of_nothing_is_usage(cli: Cli, bob: str) -> None:
    assert cli("users", "update", "bob").exit_code == 2


def test_deactivate_many_is_all_or_nothing(cli: Cli, database: Database, bob: str) -> None:
    found = cli("users", "deactivate", "bob", "nobody")
    assert found.exit_code == 4
    assert database.rows("SELECT active FROM users WHERE id = 2")[0][0] in (True, 1)


def test_deactivate_reads_users_from_stdin(cli: Cli, bob: str) -> None:
    found = cli("users", "deactivate", "-", "--fields", "changed,email", stdin="bob\n\nbob\n")
    assert found.stdout == "changed\temail\ntrue\tbob@example.com\n"


def test_deactivate_by_filter_needs_yes_without_a_terminal(cli: Cli, bob: str) -> None:
    found = cli("users", "deactivate", "--search", "bob")
    assert (found.exit_code, found.stdout) == (5, "")
    assert found.stderr == (
        "Error: Deactivate the 1 active accounts of this filter? Nobody is here to answer\n"
        "  → repeat it with --yes\n"
    )


def test_deactivate_by_filter_of_the_last_admin_changes_nobody(
    cli: Cli, database: Database, bob: str
) -> None:
    found = cli("users", "deactivate", "--never-logged-in", "--yes")
    assert found.exit_code == 5
    assert database.rows("SELECT count(*) FROM users WHERE NOT active") == [(0,)]


def test_deactivate_by_filter_of_many_writes_an_event_a_batch(
    cli: Cli, database: Database, ada: str
) -> None:
    database.execute(MANY.format(count=1101))
    args = ("users", "deactivate", "--search", "many", "--yes", "-q")
    done = cli(*args)
    assert done.exit_code == 0, done.stderr
    assert len(done.stdout.splitlines()) == 1101
    events = database.rows(
        "SELECT subject, after FROM audit_events WHERE action = 'user:account:deactivate'"
    )
    assert [subject for subject, _after in events] == ["users"] * 3
    assert [json.loads(after)["count"] for _subject, after in events] == [500, 500, 101]
    assert cli("audit", "list", "--subject", "1500", "--count-nothing").exit_code == 2
    about = cli("audit", "list", "--subject", "601", "--format", "json").json
    assert [event["after"]["count"] for event in about] == [500]
    assert cli("audit", "verify").exit_code == 0


MANY = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
    " INSERT INTO users (email, active, fs_uniquifier, login_count, failed_logins, idle_since,"
    " created_at, updated_at) SELECT 'many' || i || '@example.com', true, 'u' || i, 0, 0,"
    " '2020-01-01 00:00:00.000000', '2020-01-01 00:00:00.000000',"
    " '2020-01-01 00:00:00.000000' FROM n"
)


def test_deactivate_names_or_filters_but_not_both(cli: Cli, bob: str) -> None:
    says = "Error: name the users, or say which by a filter such as --idle-for 90d\n"
    for args in (["bob", "--search", "b"], []):
        found = cli("users", "deactivate", *args)
        assert (found.exit_code, found.stderr) == (2, says)


def test_deactivate_ends_the_sessions(cli: Cli, database: Database, bob: str) -> None:
    query = "SELECT fs_uniquifier FROM users WHERE id = 2"
    seen = {database.rows(query)[0][0]}
    cli("users", "deactivate", "bob", check=True)
    seen.add(database.rows(query)[0][0])
    cli("users", "activate", "bob", check=True)
    seen.add(database.rows(query)[0][0])
    assert len(seen) == 3


def test_set_password_of_nobody_asks_for_none(cli: Cli, ada: str) -> None:
    found = cli("users", "set-password", "nobody")
    assert found.exit_code == 4


def test_reset_access_takes_off_the_second_factor(cli: Cli, database: Database, bob: str) -> None:
    database.execute(
        "UPDATE users SET tf_primary_method = 'authenticator', tf_totp_secret = 'canary',"
        ' mf_recovery_codes = \'["a","b"]\', login_count = 1,'
        " current_login_at = '2020-01-01 00:00:00.000000' WHERE id = 2"
    )
    done = cli("users", "reset-access", "bob", "--yes")
    assert fields(done.stdout)["two_factor"] == "false"
    left = database.rows(
        "SELECT tf_primary_method, tf_totp_secret, mf_recovery_codes FROM users WHERE id = 2"
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
    database.execute(
        "UPDATE users SET failed_logins = 10, locked_until = '2090-01-01 00:00:00.000000'"
        " WHERE id = 2"
    )
    assert fields(cli("users", "show", "bob").stdout)["status"] == "locked"
    assert fields(cli("users", "unlock", "bob").stdout)["status"] == "active"
    assert cli("users", "unlock", "bob").stderr == SAME


def test_delete_erases_every_personal_value_and_keeps_the_audit_readable(
    cli: Cli, database: Database, bob: str
) -> None:
    cli("users", "update", "bob", "--email", "robert@example.com", check=True)
    cli("users", "delete", "bob", "--yes", "--reason", "left", check=True)
    for table in ("users", "grants", "audit_events", "audit_personal"):
        assert "bob" not in str(database.rows(f"SELECT * FROM {table}"))
        assert "robert" not in str(database.rows(f"SELECT * FROM {table}"))
    assert cli("audit", "verify").exit_code == 0
    events = cli("audit", "list", "--subject", "user:2", "--format", "json").json
    assert [event["subject_name"] for event in events] == ["user:2 [erased]"] * 3
    assert events[0]["after"] == {"email": "[erased]", "username": "[erased]", "password": None}


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
        ["roles", "grant", "admin", "ada", "--for", "8h"],
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
    before = database.rows("SELECT seq FROM audit_head")
    assert cli(*args).exit_code == 5
    assert cli(*args, "--dry-run").exit_code == 5
    assert database.rows("SELECT seq FROM audit_head") == before
    assert cli("users", "can", "ada", "users:write").exit_code == 0
