"""`flask db backup`: a copy is checked, and is there if and only if its event is."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask

from opsapp.database import backups
from opsapp.errors import OpsError
from tests.database.conftest import is_as_before
from tests.support import FLASK, Cli, Database, a_unit, call
from tests.support.processes import ended, gate_held, start, until


def backup_events(database: Database) -> list[tuple[str, str]]:
    rows = database.rows(
        "SELECT action, coalesce(after, before) FROM ops_audit_events"
        " WHERE action LIKE 'database:backup:%' ORDER BY seq"
    )
    return [(action, json.loads(values)["file"]) for action, values in rows]


# --- the copy and its event --------------------------------------------------


def forbid_events(database: Database) -> None:
    """Let every event fail, as a full disk does."""
    if database.is_sqlite:
        database.execute(
            "CREATE TRIGGER full_disk BEFORE INSERT ON ops_audit_events"
            " BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        return
    database.execute(
        "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE disk_full USING MESSAGE = 'disk full'; END$$"
    )
    database.execute(
        "CREATE TRIGGER full_disk BEFORE INSERT ON ops_audit_events EXECUTE FUNCTION full_disk()"
    )


def test_copy_without_its_event_takes_no_place(cli: Cli, database: Database, copy: Path) -> None:
    forbid_events(database)
    result = cli("db", "backup", str(copy), "--overwrite")
    assert (result.exit_code, result.stderr) == (
        7,
        "Error: the audit log cannot be written, so nothing was changed: disk full\n"
        "  → flask doctor\n",
    )
    assert is_as_before(copy)
    assert cli("db", "backup", "-").stdout == ""
    assert backup_events(database) == []


def test_event_whose_copy_found_no_place_is_taken_back(
    cli: Cli, database: Database, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr("opsapp.files.drafts.Path.replace", refuse)
        result = cli("db", "backup", str(copy), "--overwrite")
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: {copy} cannot be written: Operation not permitted\n",
    )
    assert is_as_before(copy)
    assert backup_events(database) == [
        ("database:backup:create", str(copy)),
        ("database:backup:fail", str(copy)),
    ]
    assert cli("audit", "verify").exit_code == 0


def test_copy_of_a_dry_run_takes_no_place(cli: Cli, copy: Path) -> None:
    assert cli("db", "backup", str(copy), "--overwrite", "--dry-run").exit_code == 0
    assert is_as_before(copy)


def test_copy_within_another_unit_waits_for_its_end(app: Flask, copy: Path) -> None:
    def give_up() -> None:
        with a_unit() as unit:
            backups.create(str(copy), overwrite=True, unit=unit)
            raise OpsError("given up")

    with pytest.raises(OpsError, match="given up"):
        give_up()
    assert is_as_before(copy)
    with a_unit() as unit:
        backups.create(str(copy), overwrite=True, unit=unit)
        assert copy.read_text() == "yesterday's"
    assert copy.stat().st_size > 1000
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_draft_stays_when_the_process_is_ended(
    database: Database, copy: Path, number: signal.Signals
) -> None:
    draft = copy.with_name(".copy.part")
    with gate_held(database):
        process = start(database, FLASK, "db", "backup", str(copy), "--overwrite")
        until(lambda: draft.exists() and draft.stat().st_size > 1000)
        process.send_signal(number)
        code = -9 if number == signal.SIGKILL else 143
        assert ended(process).exit_code == code
        until(lambda: not draft.exists())
    assert is_as_before(copy)
    assert backup_events(database) == []


def test_second_backup_of_a_name_is_busy(database: Database, copy: Path) -> None:
    draft = copy.with_name(".copy.part")
    with gate_held(database) as gate:
        process = start(database, FLASK, "db", "backup", str(copy), "--overwrite")
        until(lambda: draft.exists() and draft.stat().st_size > 1000)
        result = call(database, "db", "backup", str(copy), "--overwrite")
        assert (result.exit_code, result.stderr) == (
            75,
            f"Error: another process is writing {copy}\n  → try again when it has finished\n",
        )
        gate.exec_driver_sql("ROLLBACK")
        assert ended(process).exit_code == 0
    assert backup_events(database) == [("database:backup:create", str(copy))]


# --- stdout ------------------------------------------------------------------


def test_dash_is_stdout(database: Database, tmp_path: Path) -> None:
    done = subprocess.run(
        [FLASK, "db", "backup", "-"],
        env=database.environ,
        cwd=database.instance,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"Done, audit event 3.\n")
    assert done.stdout.startswith(b"SQLite format 3" if database.is_sqlite else b"PGDMP")
    assert not (database.instance / "-").exists()
    assert backup_events(database) == [("database:backup:create", "-")]


def test_dash_to_a_full_disk_says_what_was_done(database: Database) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [FLASK, "db", "backup", "-"],
            env=database.environ,
            cwd=database.instance,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=120,
            check=False,
        )
    assert (done.returncode, done.stderr.decode()) == (
        74,
        "Error: the output could not be written (No space left on device);"
        " the change is made, audit event 3\n",
    )


def test_dash_of_a_dry_run_prints_the_plan(cli: Cli) -> None:
    done = cli("db", "backup", "-", "--dry-run")
    assert (done.exit_code, done.stderr) == (0, "Dry run: nothing was written.\n")
    assert done.stdout.splitlines()[1].startswith("database:backup:create\tdatabase\t")


# --- a damaged sqlite file ---------------------------------------------------


def damage(file: Path, root: str) -> None:
    """Overwrite the first page of a table or an index with zeros."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        row = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [root])
        [page] = row.fetchone()
        [size] = connection.execute("PRAGMA page_size").fetchone()
    with file.open("r+b") as raw:
        raw.seek((page - 1) * size)
        raw.write(bytes(size))


@pytest.mark.parametrize("root", ["ops_users", "ix_ops_audit_events_at"])
@pytest.mark.parametrize("target", ["copy", "-"])
def test_damaged_database_replaces_no_copy(
    cli: Cli, database: Database, sqlite_only: None, copy: Path, root: str, target: str
) -> None:
    damage(database.instance / "opsapp.sqlite", root)
    file = str(copy) if target == "copy" else target
    result = cli("db", "backup", file, "--overwrite")
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr.startswith("Error: the database file is damaged: ")
    assert result.stderr.endswith("\n  → restore a backup\n")
    assert is_as_before(copy)


def test_what_is_no_database_replaces_no_copy(
    cli: Cli, database: Database, sqlite_only: None, copy: Path
) -> None:
    (database.instance / "opsapp.sqlite").write_bytes(b"no database" * 1000)
    result = cli("db", "backup", str(copy), "--overwrite")
    assert (result.exit_code, result.stderr) == (
        7,
        "Error: the database file is damaged: file is not a database\n  → restore a backup\n",
    )
    assert is_as_before(copy)


# --- pg_dump -----------------------------------------------------------------
