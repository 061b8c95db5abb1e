"""Installations that cannot be used: exit code 7, and what to do."""

from __future__ import annotations

import pytest

from support import Database, call


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("nonsense", "OPSAPP_DATABASE_URL is not a database URL"),
        ("mysql://a@b/c", "OPSAPP_DATABASE_URL is for mysql"),
        ("sqlite://", "OPSAPP_DATABASE_URL names no file; memory is gone after a command"),
        (
            "postgresql://app:canary@pg/canary@h/db",
            "OPSAPP_DATABASE_URL has a password with / or @; write them as %2F and %40",
        ),
        ("sqlite:////proc/nothing/here.db", "there is no database file /proc/nothing/here.db"),
        ("sqlite:////tmp", "the database file /tmp cannot be opened: unable to open database file"),
    ],
)
def test_unusable_database_url_is_7_and_says_why(database: Database, url: str, says: str) -> None:
    found = call(database, "users", "list", OPSAPP_DATABASE_URL=url)
    assert (found.exit_code, found.stdout) == (7, "")
    assert found.stderr.splitlines()[0] == f"Error: {says}"
    assert "canary" not in found.stderr
    assert call(database, "doctor", OPSAPP_DATABASE_URL=url).exit_code == 6


def test_unusable_instance_folder_is_7(database: Database) -> None:
    found = call(database, "users", "list", OPSAPP_INSTANCE="/dev/null")
    assert found.exit_code == 7
    assert found.stderr.startswith("Error: the secret /dev/null/secrets/secret_key cannot be read")


def test_emptied_secret_is_7(database: Database) -> None:
    secret = database.instance / "secrets" / "opsapp_audit_key"
    secret.write_text("")
    found = call(database, "roles", "create", "support")
    assert found.exit_code == 7
    assert found.stderr == (
        f"Error: the secret {secret} is not what was generated\n  → restore the file\n"
    )


def test_absent_database_is_7_and_the_way_to_make_it_is_said(
    postgres: str, database: Database
) -> None:
    url = postgres.format("nowhere")
    found = call(database, "users", "list", OPSAPP_DATABASE_URL=url)
    assert (found.exit_code, found.stdout) == (7, "")
    first, hint = found.stderr.splitlines()
    assert first.startswith("Error: the database cannot be reached: ")
    assert 'database "nowhere" does not exist' in first
    assert hint == (
        "  → is its name right? To make it:"
        " createdb --encoding UTF8 --template template0 --owner ROLE NAME"
    )
