"""`flask db restore`: a copy in the place of the database, and the gap declared."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO

import pytest
import sqlalchemy as sa

from opsapp.database import dumps, restoring
from opsapp.errors import OpsError
from tests.support import Cli, Database, call
from tests.support.processes import gate_held
from tests.support.templates import Templates

WHY = ("--reason", "disk lost")


@pytest.fixture
def copy(cli: Cli, bob: str, tmp_path: Path) -> str:
    """A copy with Ada and Bob; after it a role was made."""
    file = tmp_path / "copy"
    cli("db", "backup", str(file), check=True)
    cli("roles", "create", "later", check=True)
    return str(file)


def test_restore_brings_the_copy_back_and_declares_the_gap(cli: Cli, copy: str) -> None:
    kept = cli("audit", "checkpoint").stdout
    done = cli("db", "restore", copy, *WHY, "--yes", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert (done.json["changed"], done.json["events"], done.json["lost"]) == (True, 5, 2)
    assert cli("roles", "show", "later").exit_code == 4
    verified = cli("audit", "verify", "--state", "--checkpoint", "-", "--format", "json",
                   stdin=kept)  # fmt: skip
    assert verified.exit_code == 0, verified.stdout
    [gap] = verified.json["gaps"]
    assert (gap["restored_seq"], gap["lost_seq"], gap["reason"]) == (5, 7, "disk lost")
    cli("roles", "create", "after", check=True)


def test_restore_asks_first_and_needs_a_reason(cli: Cli, copy: str) -> None:
    assert cli("db", "restore", copy, "--yes").exit_code == 2
    asked = cli("db", "restore", copy, *WHY)
    assert (asked.exit_code, asked.stdout) == (5, "")
    assert f"Error: Replace the database with {copy}?" in asked.stderr
    assert cli("roles", "show", "later").exit_code == 0


def test_restore_as_a_dry_run_shows_the_plan(cli: Cli, copy: str, database: Database) -> None:
    database.execute("CREATE TABLE made_later (id integer)")
    planned = cli("db", "restore", copy, "--dry-run", "--format", "json")
    assert (planned.exit_code, planned.stderr) == (0, "")
    [row] = planned.json["plan"]
    assert (row["action"], row["before"], row["after"]["lost"]) == (
        "database:backup:restore",
        {"events": 7},
        2,
    )
    restores, *effects = planned.json["effects"]
    assert restores.startswith("restores 5 events until 20")
    assert effects == [
        "loses 2 events, 6 to 7",
        "drops the tables that were made after the copy: made_later",
    ]
    assert cli("roles", "show", "later").exit_code == 0


def test_restore_takes_later_tables_along_and_is_an_event(
    cli: Cli, copy: str, database: Database
) -> None:
    database.execute("CREATE TABLE made_later (id integer)")
    cli("db", "restore", copy, *WHY, "--yes", check=True)
    again = cli("db", "restore", copy, *WHY, "--yes")
    assert again.exit_code == 0, again.stderr
    [event] = cli("audit", "list", "--action", "database:backup:restore", "--format", "json").json
    assert (event["reason"], event["before"]) == ("disk lost", {"events": 7})
    with pytest.raises(sa.exc.DBAPIError):
        database.rows("SELECT * FROM made_later")


@pytest.mark.parametrize("noise", [b"noise" * 100, b""])
def test_restore_refuses_what_is_no_copy(cli: Cli, copy: str, tmp_path: Path, noise: bytes) -> None:
    (tmp_path / "noise").write_bytes(noise)
    done = cli("db", "restore", str(tmp_path / "noise"), *WHY, "--yes")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "is not a backup of this database" in done.stderr
    assert cli("db", "restore", str(tmp_path / "nothing"), *WHY, "--yes").exit_code == 2
    assert cli("roles", "show", "later").exit_code == 0


def test_restore_refuses_a_copy_that_is_cut(cli: Cli, copy: str) -> None:
    whole = Path(copy).read_bytes()
    Path(copy).write_bytes(whole[: len(whole) // 2])
    done = cli("db", "restore", copy, *WHY, "--yes")
    assert (done.exit_code, done.stdout) == (2, "")
    assert cli("roles", "show", "later").exit_code == 0


def test_restore_refuses_an_audit_that_was_edited(
    cli: Cli, database: Database, tmp_path: Path
) -> None:
    if database.is_sqlite:
        database.execute("DROP TRIGGER ops_audit_events_no_update")
    else:
        database.execute("DROP TRIGGER ops_audit_events_append_only ON ops_audit_events")
    database.execute("UPDATE ops_audit_events SET reason = 'tab\t, line\n and \\' WHERE seq = 2")
    file = str(tmp_path / "copy")
    cli("db", "backup", file, check=True)
    done = cli("db", "restore", file, *WHY, "--yes")
    error = f"Error: the audit log of {file} does not hold: event 2 is not what was written\n"
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", error)


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_restore_refuses_a_copy_of_newer_code(cli: Cli, copy: str) -> None:
    with closing(sqlite3.connect(copy)) as newer:
        newer.execute(
            "UPDATE ops_alembic_version SET version_num = 'core9999' WHERE version_num LIKE 'core%'"
        )
        newer.commit()
    done = cli("db", "restore", copy, *WHY, "--yes")
    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr.startswith("Error: the tables of core are at revision core9999")
    assert cli("roles", "show", "later").exit_code == 0


def test_restore_waits_for_no_one_who_holds_the_gate(
    cli: Cli, copy: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "PATIENCE", 0.1)
    with gate_held(database):
        done = cli("db", "restore", copy, *WHY, "--yes")
    assert (done.exit_code, done.stdout) == (75, "")
    assert done.stderr.endswith(
        "Error: another process uses the database; nothing was changed\n"
        "  → stop the web server and cron, and try again\n"
    )
    assert cli("roles", "show", "later").exit_code == 0


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_restore_that_ends_in_the_middle_changes_nothing(
    cli: Cli, copy: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if it were killed: the rest of the copy, and its last word, never come.

    SQLite copies in one transaction of its own.
    """
    reading = dumps._run_pg_restore

    @contextmanager
    def cut(*words: str) -> Iterator[IO[bytes]]:
        with reading(*words) as script:
            half = script.read()
            yield io.BytesIO(half[: len(half) // 2]) if "--clean" in words else io.BytesIO(half)
            if "--clean" in words:
                raise OpsError("killed")

    monkeypatch.setattr(dumps, "_run_pg_restore", cut)
    done = cli("db", "restore", copy, *WHY, "--yes")
    assert (done.exit_code, done.stdout) == (1, "")
    assert cli("roles", "show", "later").exit_code == 0
    assert cli("audit", "verify", "--state").exit_code == 0


def test_restore_refuses_the_copy_of_another_secret(
    database: Database, cli: Cli, copy: str
) -> None:
    other = {"OPSAPP_AUDIT_KEY": "another-key-Zt4vRk2Lw9XbN7cJ5hM3pF6sD1gA0yE"}
    done = call(database, "db", "restore", copy, *WHY, "--yes", **other)
    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr.startswith("Error: OPSAPP_AUDIT_KEY does not match the key")


def test_restore_counts_the_events_of_another_history_as_lost(cli: Cli, copy: str) -> None:
    later = f"{copy}-later"
    cli("db", "backup", later, check=True)  # Events 6 to 8, of which the copy has none.
    cli("db", "restore", copy, *WHY, "--yes", check=True)
    planned = cli("db", "restore", later, *WHY, "--dry-run", "--format", "json")
    assert (planned.exit_code, planned.stderr) == (0, "")
    assert planned.json["effects"][1] == "loses 2 events, 6 to 7"
    assert planned.json["plan"][0]["after"]["lost"] == 2
    again = cli("db", "restore", later, *WHY, "--yes", "--format", "json")
    assert (again.exit_code, again.json["lost"]) == (0, 2)
    assert cli("roles", "show", "later").exit_code == 0
    assert cli("audit", "verify", "--state").exit_code == 0


def test_restore_refuses_files_whose_last_changes_are_beside_them(
    cli: Cli, copy: str, database: Database
) -> None:
    if not database.is_sqlite:
        return
    own = database.url.removeprefix("sqlite:///")
    link = f"{copy}-link"
    Path(link).symlink_to(own)
    for name in (own, link):
        done = cli("db", "restore", name, *WHY, "--yes")
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == f"Error: {name} is the database itself, and no copy of it\n"
    Path(f"{copy}-wal").write_bytes(b"pages")
    done = cli("db", "restore", copy, *WHY, "--yes")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: {copy} is incomplete without copy-wal\n"
        f"  → sqlite3 {copy} 'PRAGMA journal_mode=DELETE', and again\n"
    )
    assert cli("roles", "show", "later").exit_code == 0


@pytest.fixture
def new(templates: Templates, tmp_path: Path) -> Iterator[Database]:
    """A second database, not initialised yet."""
    with templates.empty(tmp_path / "new") as database:
        yield database


def test_restore_replaces_a_new_database_and_declares_no_gap(
    copy: str, database: Database, new: Database
) -> None:
    secrets = {
        name: (database.instance / "secrets" / name.lower()).read_text().strip()
        for name in ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY")
    }
    call(new, "db", "init", check=True, **secrets)
    planned = call(new, "db", "restore", copy, *WHY, "--dry-run", **secrets)
    assert "It replaces another database, of 2 events.\n" in planned.stderr
    call(new, "db", "restore", copy, *WHY, "--yes", check=True, **secrets)
    assert call(new, "users", "list", "--count", **secrets).stdout == "2\n"
    report = call(new, "audit", "verify", "--state", "--format", "json", **secrets).json
    assert (report["ok"], report["gaps"]) == (True, [])
