"""`flask users create` and `create-admin`: every source of a password, every odd name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support import PASSWORD, Cli, Database, fields

ALLOWED = "; it may have letters, digits, '.', '_' and '-'"
OBEYED = "which a terminal would obey and not show"
DONE = "Done, audit event {}.\n"
SAME = "Already so: nothing was changed.\n"


def hash_of(database: Database, id: int) -> str | None:
    result: str | None = database.rows("SELECT password FROM ops_users WHERE id = :id", id=id)[0][0]
    return result


# --- create ------------------------------------------------------------------


@pytest.mark.usefixtures("real_hashes")
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
    assert (hash_of(database, 1) or "").startswith("$argon2id$v=19$m=65536,t=3,p=4$")
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
        "Error: user bob@example.com exists and has no password, does not hold admin\n"
        "  → --if-exists update makes it one\n",
    )
    cli("roles", "grant", "admin", "bob", check=True)
    kept = cli(*args)
    assert (kept.exit_code, kept.stderr) == (
        3,
        "Error: user bob@example.com exists and has no password\n"
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
    actions = [row[0] for row in database.rows("SELECT action FROM ops_audit_events ORDER BY seq")]
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
        ("short", "password: A password must have at least 12 characters."),
        ("passwordpassword", 'password: Repeats like "abcabcabc" are only slightly'),
        ("", "the first line of stdin is empty"),
    ],
)
def test_create_refuses_a_weak_password_from_every_source(
    cli: Cli, tmp_path: Path, password: str, says: str
) -> None:
    args = ("users", "create", "ada@example.com")
    result = cli(*args, "--password-stdin", stdin=password + "\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"Error: {says}")
    file = tmp_path / "password"
    file.write_text(password + "\n")
    file.chmod(0o600)
    result = cli(*args, "--password-file", str(file))
    assert result.stderr.startswith(f"Error: {says.replace('stdin', str(file))}")
    assert result.exit_code == 2


def test_create_refuses_fields_that_hide_the_generated_password(cli: Cli) -> None:
    args = ("users", "create", "ada@example.com", "--generate-password")
    result = cli(*args, "--fields", "id")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: --fields would hide the generated password, which is shown only once\n",
    )
    assert len(fields(cli(*args, "--fields", "id, password").stdout)["password"]) == 24


def test_create_refuses_an_unknown_field_before_it_changes_anything(
    cli: Cli, database: Database
) -> None:
    result = cli("users", "create", "ada@example.com", "--no-password", "--fields", "bogus")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        "Error: no field bogus; there are changed, audit_seq, id, email, username, status,"
        " roles, password\n"
    )
    assert database.rows("SELECT count(*) FROM ops_users") == [(0,)]


def test_create_refuses_a_folder_a_pipe_or_garbage_as_password_file(
    cli: Cli, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "garbage").write_bytes(b"\xff\xfe correct horse battery")
    (tmp_path / "garbage").chmod(0o600)
    for file, says in (
        (tmp_path, f"--password-file {tmp_path} is not a regular file"),
        (tmp_path / "pipe", f"--password-file {tmp_path}/pipe is not a regular file"),
        (tmp_path / "garbage", f"{tmp_path}/garbage is UTF-16 and not UTF-8"),
        (tmp_path / "none", f"--password-file {tmp_path}/none: No such file or directory"),
    ):
        result = cli("users", "create", "a@example.com", "--password-file", str(file))
        assert (result.exit_code, result.stderr) == (2, f"Error: {says}\n")


def test_create_refuses_an_address_that_folds_to_another_mailbox(cli: Cli) -> None:
    result = cli("users", "create", "stra\u00dfe@example.com", "--no-password")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: e-mail stra\u00dfe@example.com looks the same as strasse@example.com\n",
    )


def test_create_refuses_two_sources(cli: Cli) -> None:
    args = ("users", "create", "ada@example.com", "--generate-password", "--password-stdin")
    result = cli(*args, stdin=PASSWORD)
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: give one of --password-stdin, --password-file and --generate-password\n"
    )


def test_create_refuses_quiet_with_a_generated_password(cli: Cli) -> None:
    result = cli("users", "create", "ada@example.com", "--generate-password", "-q")
    assert result.exit_code == 2
    assert result.stderr == (
        "Error: -q would hide the generated password, which is shown only once\n"
    )


def test_create_quietly_prints_the_id_and_nothing_when_it_is_there(cli: Cli) -> None:
    args = ("users", "create", "ada@example.com", "--no-password", "--if-exists", "keep", "-q")
    made = cli(*args)
    assert (made.exit_code, made.stdout, made.stderr) == (0, "1\n", "")
    kept = cli(*args)
    assert (kept.exit_code, kept.stdout, kept.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("asked", "change", "differs", "hint"),
    [
        (("--username", "b"), None, "has no username", "users update {} --username b"),
        ((), "password = NULL", "has no password", "users set-password {}"),
        ((), "active = false", "is inactive", "users activate {}"),
        ((), "confirmed_at = NULL", "is not confirmed", "users send-reset {}"),
        (("--role", "lasting"), None, "does not hold lasting", "roles grant lasting {}"),
        (
            ("--role", "ending", "--username", "b"),
            "active = false, username = 'c'",
            "is inactive, has the username c, holds ending until 2090-01-01T00:00:00Z only",
            "users activate {}",
        ),
    ],
)
def test_create_keeps_only_what_is_all_that_was_asked(
    cli: Cli,
    database: Database,
    asked: tuple[str, ...],
    change: str | None,
    differs: str,
    hint: str,
) -> None:
    args = ("users", "create", "b@example.com", "--generate-password")
    for role in ("lasting", "ending"):
        cli("roles", "create", role, check=True)
    cli(*args, check=True)
    cli("roles", "grant", "ending", "b@example.com", "--until", "2090-01-01T00:00Z", check=True)
    if change:
        database.execute(f"UPDATE ops_users SET {change}")

    kept = cli(*args, *asked, "--if-exists", "keep")

    assert (kept.exit_code, kept.stdout, kept.stderr) == (
        3,
        "",
        f"Error: user b@example.com exists and {differs}\n"
        f"  → flask {hint.format('b@example.com')}\n",
    )


def test_create_keeps_what_is_more_than_was_asked(cli: Cli) -> None:
    args = ("users", "create", "b@example.com", "--username", "b")
    cli("roles", "create", "support", check=True)
    cli(*args, "--generate-password", "--role", "support", check=True)
    for asked in (("--no-password",), ("--generate-password", "--role", "support")):
        kept = cli(*args, *asked, "--if-exists", "keep")
        assert (kept.exit_code, kept.stderr) == (0, SAME)


def test_create_admin_does_not_keep_one_that_ends(cli: Cli, ada: str, bob: str) -> None:
    cli("users", "create-admin", bob, "--generate-password", "--if-exists", "update", check=True)
    cli("roles", "grant", "admin", bob, "--until", "2090-01-01T00:00Z", "--replace-end",
        check=True)  # fmt: skip
    kept = cli("users", "create-admin", bob, "--generate-password", "--if-exists", "keep")
    assert (kept.exit_code, kept.stderr) == (
        3,
        "Error: user bob@example.com exists and holds admin until 2090-01-01T00:00:00Z only\n"
        "  → --if-exists update makes it one\n",
    )


def test_create_admin_confirms_the_account_that_it_updates(
    cli: Cli, database: Database, bob: str
) -> None:
    database.execute("UPDATE ops_users SET confirmed_at = NULL")
    args = ("users", "create-admin", bob, "--generate-password", "--if-exists", "update")
    cli(*args, check=True)
    assert database.rows("SELECT id FROM ops_users WHERE confirmed_at IS NULL") == [(1,)]
    assert cli(*args).stderr == SAME


def test_create_with_a_role_grants_it_in_the_same_change(cli: Cli, database: Database) -> None:
    cli("roles", "create", "support", check=True)
    made = cli("users", "create", "ada@example.com", "--no-password", "--role", "support")
    assert fields(made.stdout)["roles"] == "support"
    result = database.rows("SELECT DISTINCT correlation FROM ops_audit_events WHERE seq >= 4")
    assert len(result) == 1


def test_create_with_an_unknown_role_creates_nothing(cli: Cli, database: Database) -> None:
    made = cli("users", "create", "ada@example.com", "--no-password", "--role", "suport")
    assert made.exit_code == 4
    assert database.rows("SELECT count(*) FROM ops_users") == [(0,)]


@pytest.mark.parametrize(
    ("email", "says"),
    [
        ("nonsense", "e-mail nonsense: An email address must have an @-sign."),
        ("[/]@example.com", "e-mail [/]@example.com: The email address contains invalid characters"
         " before the @-sign: '[', ']'."),
        ("a\x1b@example.com", "EMAIL has the character U+001B at position 2, " + OBEYED),
        ("a\u202eb@example.com", "EMAIL has the character U+202E at position 2, " + OBEYED),
        ("a\nb@example.com", "EMAIL has the character U+000A at position 2, " + OBEYED),
        ("a\udcffb@example.com", "EMAIL has the character U+DCFF at position 2, which is no"
         " character"),
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
        ("[/]", "username has '[' at position 1" + ALLOWED),
        ("a b", "username has ' ' at position 2" + ALLOWED),
        ("-rf", "username begins with '-', which would be an option"),
        ("-", "username begins with '-', which would be an option"),
        ("12345", "username has digits only, which would be an id"),
        ("a@b", "username has '@' at position 2" + ALLOWED),
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


def test_dry_run_takes_fields_beside_a_generated_password(cli: Cli, ada: str) -> None:
    words = ("users", "set-password", "ada", "--generate-password", "--dry-run", "--fields", "name")
    done = cli(*words)
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        "name\nada@example.com\n",
        "Dry run: nothing was written.\n",
    )
