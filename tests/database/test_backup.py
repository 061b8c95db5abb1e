"""`flask db backup`: a copy is checked, and is there if and only if its event is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp.database import backups
from opsapp.engine import direct
from opsapp.errors import OpsError
from tests.support import FLASK, Cli, Database, a_unit, call
from tests.support.processes import ended, gate_held, start, until

UNREACHED = "Error: the database cannot be reached: "
PRINTS_NOTHING = "Error: pg_dump failed: it ended with 1\n"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Yesterday's copy."""
    (tmp_path / "copies").mkdir()
    file = tmp_path / "copies" / "copy"
    file.write_text("yesterday's")
    return file


@pytest.fixture
def postgresql_only(kind: str) -> None:
    """For a test of what only PostgreSQL has."""
    if kind != "postgresql":
        pytest.skip("speaks of pg_dump")


def program(folder: Path, script: str) -> str:
    """A PATH on which ``pg_dump`` is this shell script."""
    folder.mkdir(exist_ok=True)
    file = folder / "pg_dump"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def is_as_before(copy: Path) -> bool:
    return [path.name for path in copy.parent.iterdir()] == ["copy"] and (
        copy.read_text() == "yesterday's"
    )


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
        "Error: the audit cannot be written, so nothing was changed: disk full\n  → flask doctor\n",
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
        "Error: the answer could not be written (No space left on device);"
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


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 1", "pg_dump failed: it ended with 1"),
        ("exit 0", "pg_restore failed: input file is too short (read 0, expected 5)"),
        ('echo rubbish >"${3#--file=}"', "pg_restore failed: input file does not appear to be a"),
        ("echo 'pg_dump: error: no room' >&2; echo 'pg_dump: hint: x' >&2; exit 1",
         "pg_dump failed: no room"),
        ("echo 'pg_dump: error: old' >&2; echo 'pg_dump: detail: 15' >&2; exit 1",
         "pg_dump failed: old; 15"),
    ],
)  # fmt: skip
def test_failed_dump_replaces_no_copy(
    database: Database, postgresql_only: None, tmp_path: Path, copy: Path, script: str, message: str
) -> None:
    path = program(tmp_path / "bin", script)
    result = call(database, "db", "backup", str(copy), "--overwrite", PATH=path)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {message}")
    assert is_as_before(copy)


def test_dump_ends_with_the_process_that_was_killed(
    database: Database, postgresql_only: None, tmp_path: Path, copy: Path
) -> None:
    path = program(tmp_path / "bin", f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    command = ("env", f"PATH={path}", FLASK, "db", "backup", str(copy), "--overwrite")
    process = start(database, *command)
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    process.kill()
    assert ended(process).exit_code == -9
    dump = Path("/proc", (tmp_path / "pid").read_text().strip(), "stat")
    until(lambda: not dump.exists() or ") Z " in dump.read_text())
    until(lambda: is_as_before(copy))


@pytest.fixture
def no_look_at_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """For URLs of servers that do not exist: no connection is tried before the dump."""

    def unconnected(engine: sa.Engine) -> AbstractContextManager[SimpleNamespace]:
        return nullcontext(SimpleNamespace(engine=engine))

    monkeypatch.setattr(direct, "connect", unconnected)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("u:p%2Bw@h/db", "dbname=db user=u host=h"),
        ("u@/db?host=a:1&host=b:2&password=p%2Bw", "dbname=db user=u host=a,b port=1,2"),
        ("u:p%2Bw@h/db?application_name=a+b&sslmode=require&options=-csearch_path%3Dapp",
         "application_name='a b' dbname=db host=h options=-csearch_path=app sslmode=require"
         " user=u"),
        ("u:p%2Bw@h/db?connect_timeout=3", "connect_timeout=3 dbname=db host=h user=u"),
    ],
)  # fmt: skip
def test_dump_is_given_the_words_of_libpq(
    database: Database,
    postgresql_only: None,
    no_look_at_the_server: None,
    tmp_path: Path,
    url: str,
    expected: str,
) -> None:
    log = tmp_path / "log"
    path = program(tmp_path / "bin", f'printf "%s\\n" "$@" "$PGPASSWORD" >{log}; exit 1')
    url = f"postgresql://{url}"
    result = call(database, "db", "backup", "copy", PATH=path, OPSAPP_DATABASE_URL=url)
    assert (result.exit_code, result.stderr) == (1, PRINTS_NOTHING)
    *words, target, password = log.read_text().splitlines()
    assert words[:2] == ["--format=custom", "--no-password"]
    conninfo = target.removeprefix("--dbname=")
    if "application_name" in conninfo:
        assert "application_name='a b'" in conninfo
        conninfo, expected = conninfo.replace("a b", "a_b"), expected.replace("a b", "a_b")
    assert set(expected.split()) <= set(conninfo.split())
    assert [word for word in conninfo.split() if word.startswith("connect_timeout=")] == [
        "connect_timeout=3" if "connect_timeout=3" in expected else "connect_timeout=5"
    ]
    assert password == "p+w"
    assert "p+w" not in "".join((*words, target))


def test_dump_shows_no_secret_of_the_url(
    database: Database, postgresql_only: None, no_look_at_the_server: None, tmp_path: Path
) -> None:
    path = program(tmp_path / "bin", "exit 0")
    url = "postgresql://h/db?sslpassword=canary"
    result = call(database, "db", "backup", "copy", PATH=path, OPSAPP_DATABASE_URL=url)
    assert (result.exit_code, result.stderr) == (
        7,
        "Error: pg_dump would show the URL's sslpassword to every user of this host\n"
        "  → write it into ~/.pg_service.conf, and service=NAME into the URL\n",
    )


@pytest.fixture
def silent_server() -> Iterator[int]:
    """The port of a server that accepts, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_server_that_never_answers_is_not_waited_for(
    database: Database, postgresql_only: None, silent_server: int, copy: Path
) -> None:
    url = f"postgresql://u@127.0.0.1:{silent_server}/db?connect_timeout=2"
    result = call(database, "db", "backup", str(copy), "--overwrite", OPSAPP_DATABASE_URL=url)
    assert result.exit_code == 7
    assert result.stderr.startswith(UNREACHED)
    assert "timeout expired" in result.stderr
    assert is_as_before(copy)


@pytest.mark.parametrize("host", ["127.0.0.1:1/db", "/db?host=127.0.0.1:1&host=127.0.0.1:1"])
def test_server_that_is_down_is_said_to_be(
    database: Database, postgresql_only: None, copy: Path, host: str
) -> None:
    url = f"postgresql://{host}"
    result = call(database, "db", "backup", str(copy), "--overwrite", OPSAPP_DATABASE_URL=url)
    assert result.exit_code == 7
    assert result.stderr.startswith(UNREACHED)
    assert "Connection refused" in result.stderr
    assert is_as_before(copy)


def test_whole_postgresql_copy_replaces_the_old_one(
    cli: Cli, postgresql_only: None, copy: Path
) -> None:
    assert cli("db", "backup", str(copy), "--overwrite").exit_code == 0
    listing = subprocess.run(
        [shutil.which("pg_restore") or "", "--list", copy], capture_output=True, check=True
    )
    assert b"TABLE DATA public ops_audit_events" in listing.stdout
