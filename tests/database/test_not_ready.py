"""Installations that cannot be used: exit code 7, and what to do."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from opsapp.engine.connections import open_sqlite
from opsapp.errors import NotReady
from tests.support import Cli, Database, call


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "OPSAPP_DATABASE_URL is not a database URL"),
        ("mysql://a@b/c", "OPSAPP_DATABASE_URL is for mysql"),
        ("sqlite://", "OPSAPP_DATABASE_URL is in memory, which is lost when a command ends"),
        (
            "postgresql://app:canary@pg/canary@h/db",
            "OPSAPP_DATABASE_URL has a password with / or @; write them as %2F and %40",
        ),
        ("sqlite:////proc/nothing/here.db", "there is no database file /proc/nothing/here.db"),
        ("sqlite:////tmp", "the database file /tmp cannot be opened: unable to open database file"),
    ],
)
def test_unusable_database_url_is_7_and_says_why(
    database: Database, url: str, message: str
) -> None:
    result = call(database, "users", "list", OPSAPP_DATABASE_URL=url)
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr.splitlines()[0] == f"Error: {message}"
    assert "canary" not in result.stderr
    assert call(database, "doctor", OPSAPP_DATABASE_URL=url).exit_code == 6


def test_unusable_instance_folder_is_7(database: Database) -> None:
    result = call(database, "users", "list", OPSAPP_INSTANCE="/dev/null")
    assert result.exit_code == 7
    assert result.stderr.startswith("Error: the secret /dev/null/secrets/secret_key cannot be read")


def test_emptied_secret_is_7(database: Database) -> None:
    secret = database.instance / "secrets" / "opsapp_audit_key"
    secret.write_text("")
    result = call(database, "roles", "create", "support")
    assert result.exit_code == 7
    assert result.stderr == (
        f"Error: the secret {secret} is not what was generated\n  → restore the file\n"
    )


def test_absent_database_is_7_and_the_way_to_make_it_is_said(
    postgres: str, database: Database
) -> None:
    url = postgres.format("nowhere")
    result = call(database, "users", "list", OPSAPP_DATABASE_URL=url)
    assert (result.exit_code, result.stdout) == (7, "")
    first, hint = result.stderr.splitlines()
    assert first.startswith("Error: the database cannot be reached: ")
    assert 'database "nowhere" does not exist' in first
    assert hint == (
        "  → is its name right? To make it:"
        " createdb --encoding UTF8 --template template0 --owner ROLE NAME"
    )


def test_file_that_is_made_meanwhile_was_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process finds no file while another one makes it; `flask db init` goes on from there."""
    path, connect = tmp_path / "new.sqlite", sqlite3.connect

    def connect_then_make(*args: Any, **options: Any) -> sqlite3.Connection:
        try:
            return connect(*args, **options)
        finally:
            path.touch()

    monkeypatch.setattr("opsapp.engine.connections.sqlite3.connect", connect_then_make)
    with pytest.raises(NotReady) as raised:
        open_sqlite(path)
    assert raised.value.message == f"there is no database file {path}"
    assert raised.value.hint == "flask db init"


def test_full_disk_is_not_ready(cli: Cli, database: Database, ada: str, sqlite_only: None) -> None:
    """The limit of a file's size stands in for the disk: what is there can be read."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    server = sqlite3.connect(database.url.removeprefix("sqlite:///"))
    server.execute("SELECT * FROM ops_roles").fetchall()  # Open, it keeps what readers share.
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
        status = cli("db", "status", "--format", "json")
        result = cli("doctor", "--format", "json")
        change = cli("roles", "create", "support")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        server.close()
    assert (status.exit_code, status.json["ready"], status.json["writable"]) == (6, False, False)
    assert [row["check"] for row in result.json if row["state"] == "fail"] == ["writing"]
    assert (change.exit_code, change.stdout) == (7, "")
    assert cli("db", "status").exit_code == 0


def test_file_that_another_process_writes_to_is_ready(
    cli: Cli, database: Database, sqlite_only: None
) -> None:
    with closing(sqlite3.connect(database.url.removeprefix("sqlite:///"))) as other:
        other.execute("BEGIN IMMEDIATE")
        assert cli("db", "status", "--format", "json").json["ready"] is True


def test_try_to_write_leaves_nothing(cli: Cli, database: Database) -> None:
    assert cli("db", "status").exit_code == 0
    names = {row["name"] for row in cli("query", "--tables", "--format", "json").json}
    assert "opsapp_probe" not in names
    assert database.rows("SELECT seq FROM ops_audit_head") == [(2,)]
