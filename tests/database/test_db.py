"""`flask db`: init, status, backup, and Flask-Migrate's verbs beside them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import ACCOUNTS, CORE, FLASK, HEAD, Cli, Database, administer, call, run


def test_init_makes_an_empty_database_ready_and_audits_it(empty_database: Database) -> None:
    done = call(empty_database, "db", "init", "--format", "json", "--reason", "first day")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.json == {
        "changed": True,
        "audit_seq": 2,
        "revision": HEAD,
        "before": None,
        "environment": "development",
    }
    events = empty_database.rows("SELECT action, reason FROM ops_audit_events ORDER BY seq")
    assert events == [
        ("database:schema:upgrade", "first day"),
        ("role:definition:create", "first day"),
    ]
    assert empty_database.rows("SELECT name, builtin FROM ops_roles")[0][0] == "admin"


def test_init_dry_run_touches_nothing(empty_database: Database) -> None:
    planned = call(empty_database, "db", "init", "--dry-run", "--format", "json")
    assert (planned.exit_code, planned.json["changed"]) == (0, True)
    assert [step["action"] for step in planned.json["plan"]] == ["database:schema:upgrade"]
    if empty_database.is_sqlite:
        assert not (empty_database.instance / "opsapp.sqlite").exists()
    else:
        assert empty_database.rows("SELECT count(*) FROM pg_tables WHERE schemaname='public'") == [
            (0,)
        ]


def test_init_keeps_the_file_from_others(empty_database: Database, sqlite_only: None) -> None:
    call(empty_database, "db", "init", check=True)
    file = empty_database.instance / "opsapp.sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert empty_database.rows("PRAGMA journal_mode") == [("wal",)]


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_database_of_another_encoding_is_refused(
    postgres: str, tmp_path: Path, encoding: str
) -> None:
    name = f"test_{encoding.lower()}"
    making = f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0"
    administer(postgres, f"{making} LC_COLLATE 'C' LC_CTYPE 'C'")
    database = Database(postgres.format(name), tmp_path)
    message = f"the database {name} has the encoding {encoding}, and UTF8 is needed"
    advice = "make another: createdb --encoding UTF8 --template template0 --owner ROLE NAME"
    try:
        result = call(database, "db", "init")
        assert (result.exit_code, result.stderr) == (7, f"Error: {message}\n  → {advice}\n")
        [check] = (row for row in call(database, "doctor", "--format", "json").json
                  if row["check"] == "database")  # fmt: skip
        assert (check["state"], check["says"], check["advice"]) == ("fail", message, advice)
    finally:
        administer(postgres, f"DROP DATABASE {name} WITH (FORCE)")


def test_init_of_another_environment_is_refused(database: Database) -> None:
    secrets = {name: "0123456789abcdef0123456789abcdef-" + name for name in SECRETS}
    done = call(database, "db", "init", OPSAPP_ENV="staging", **secrets)
    assert (done.exit_code, done.stderr) == (
        5,
        "Error: this database is stamped development, and OPSAPP_ENV is staging\n"
        "  → flask doctor\n",
    )


SECRETS = ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY")


def test_init_waits_for_the_server_and_gives_up(empty_database: Database) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    done = call(empty_database, "db", "init", "--wait", "0.3", OPSAPP_DATABASE_URL=url)
    assert done.exit_code == 7
    assert done.stderr.startswith("Error: the database cannot be reached: connection failed")


def test_short_form_is_the_same_command(empty_database: Database) -> None:
    assert call(empty_database, "init-db", "-q").stdout == f"{HEAD}\n"
    again = call(empty_database, "init-db", "-q")
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")


def test_status_of_a_ready_database(cli: Cli, ada: str) -> None:
    result = cli("db", "status", "--format", "json")
    assert result.exit_code == 0
    status = result.json
    assert (status["ready"], status["revision"], status["head"]) == (True, HEAD, HEAD)
    assert (status["users"], status["roles"], status["grants"], status["events"]) == (1, 1, 1, 4)
    assert status["latency_ms"] > 0
    assert status["size_bytes"] > 0


def test_status_of_an_uninitialised_database_is_behind(empty_database: Database) -> None:
    result = call(empty_database, "db", "status", "--format", "json")
    if empty_database.is_sqlite:
        assert result.exit_code == 7
        assert json.loads(result.stderr)["hint"] == "flask db init"
    else:
        assert result.exit_code == 6
        assert (result.json["revision"], result.json["behind"]) == (None, True)


def test_status_hides_the_password(cli: Cli, database: Database, kind: str) -> None:
    if kind == "sqlite":
        pytest.skip("SQLite has no password")
    url = database.url.replace("postgres:@", "postgres:canary-secret@")
    result = call(database, "db", "status", OPSAPP_DATABASE_URL=url)
    assert result.exit_code == 0, result.stderr
    assert "canary" not in result.stdout + result.stderr
    assert "postgres:***@" in result.stdout


@pytest.mark.usefixtures("sqlite_only")
def test_path_that_begins_with_two_slashes_is_the_same_file(
    database: Database, tmp_path: Path
) -> None:
    url = database.url.replace("sqlite:////", "sqlite://///")
    assert url != database.url
    for words in (("db", "status"), ("db", "backup", str(tmp_path / "copy")), ("db", "init")):
        done = call(database, *words, OPSAPP_DATABASE_URL=url)
        assert done.exit_code == 0, done.stderr


# --- backup ------------------------------------------------------------------


def restored(database: Database, copy: Path, tmp_path: Path, server: str | None) -> Database:
    """A database made of the copy."""
    if database.is_sqlite:
        file = tmp_path / "restored.sqlite"
        shutil.copy(copy, file)
        return Database(f"sqlite:///{file}", database.instance)
    from tests.support import administer

    assert server is not None
    administer(server, "CREATE DATABASE restored")
    target = server.format("restored")
    subprocess.run(["pg_restore", f"--dbname={target}", str(copy)], check=True, timeout=60)
    return Database(target, database.instance)


def test_backup_is_a_whole_private_copy(
    cli: Cli, database: Database, ada: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    copy = tmp_path / "copy"
    done = cli("db", "backup", str(copy), "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert done.json["bytes"] == copy.stat().st_size
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir() if "part" in path.name] == []
    server = None if database.is_sqlite else request.getfixturevalue("postgres")
    copied = restored(database, copy, tmp_path, server)
    try:
        listing = call(copied, "users", "list", "--format", "json", check=True)
        assert [user["email"] for user in listing.json] == [ada]
        assert call(copied, "audit", "verify").exit_code == 0
        if copied.is_sqlite:  # Else pages and commands would block each other.
            assert copied.rows("PRAGMA journal_mode") == [("wal",)]
    finally:
        if server is not None:
            from tests.support import administer

            administer(server, "DROP DATABASE restored WITH (FORCE)")
    assert cli("audit", "list", "--action", "database:backup", "--fields", "seq").stdout == (
        "seq\n5\n"
    )


def test_backup_over_a_file_is_a_conflict(cli: Cli, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.write_text("precious")
    result = cli("db", "backup", str(copy))
    assert (result.exit_code, result.stderr) == (
        3,
        f"Error: {copy} exists already\n  → --overwrite replaces it\n",
    )
    assert copy.read_text() == "precious"
    assert cli("db", "backup", str(copy), "--overwrite").exit_code == 0
    assert copy.read_bytes() != b"precious"


def test_backup_dry_run_leaves_no_file(cli: Cli, database: Database, tmp_path: Path) -> None:
    done = cli("db", "backup", str(tmp_path / "copy"), "--dry-run")
    assert done.exit_code == 0
    assert not (tmp_path / "copy").exists()
    assert database.rows("SELECT seq FROM ops_audit_head") == [(2,)]


def test_backup_without_pg_dump_says_what_to_install(database: Database, kind: str) -> None:
    if kind == "sqlite":
        pytest.skip("SQLite needs no program")
    path = str(Path(FLASK).parent)
    result = call(database, "db", "backup", "copy", PATH=path)
    assert (result.exit_code, result.stderr) == (
        7,
        "Error: pg_dump is not on the PATH\n  → install the PostgreSQL client programs\n",
    )


def test_backup_tells_of_a_pg_dump_that_says_nothing(
    database: Database, kind: str, tmp_path: Path
) -> None:
    if kind == "sqlite":
        pytest.skip("SQLite needs no program")
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    result = call(database, "db", "backup", "copy", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (result.exit_code, result.stderr) == (1, "Error: pg_dump failed: it ended with 3\n")


# --- Flask-Migrate's verbs ---------------------------------------------------


def test_verbs_of_flask_migrate_are_there(database: Database) -> None:
    result = call(database, "db", "--help")
    verbs = ["check", "current", "downgrade", "edit", "heads", "history", "migrate"]
    assert [verb for verb in verbs if f"\n  {verb} " not in result.stdout] == []
    current = run(database, "db", "current").stdout
    assert sorted(current.splitlines()) == [f"{ACCOUNTS} (head)", f"{CORE} (head)"]
    assert call(database, "db", "check").exit_code == 0


def test_looking_at_an_absent_file_does_not_make_it(
    empty_database: Database, sqlite_only: None
) -> None:
    result = call(empty_database, "db", "current")
    assert result.exit_code == 7
    assert not (empty_database.instance / "opsapp.sqlite").exists()


def test_upgrade_alone_stamps_the_database_and_is_audited(empty_database: Database) -> None:
    done = call(empty_database, "db", "upgrade")
    assert done.exit_code == 0, done.stderr
    rows = empty_database.rows("SELECT environment, seq FROM ops_audit_head")
    assert rows == [("development", 1)]
    assert call(empty_database, "audit", "verify").exit_code == 0


def test_stamp_is_audited(database: Database) -> None:
    database.execute("DELETE FROM ops_alembic_version")
    call(database, "db", "stamp", "head", "--yes", "--reason", "moved", check=True)
    result = call(
        database, "audit", "list", "--action", "database:schema:stamp", "--format", "json"
    )
    assert result.json[0]["after"] == {"revision": HEAD}


def test_migration_leaves_the_loggers_of_others_alone(app: object) -> None:
    import logging

    from opsapp.database import setup
    from tests.support import a_unit

    before = logging.getLogger("another.library")
    setup.init(unit=a_unit())
    assert before.disabled is False


def test_backup_runs_while_another_process_writes(
    database: Database, sqlite_only: None, tmp_path: Path
) -> None:
    writer = sqlite3.connect(database.instance / "opsapp.sqlite", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE ops_audit_head SET chain = 'open'")
    try:
        result = call(database, "db", "backup", str(tmp_path / "copy"))
    finally:
        writer.execute("ROLLBACK")
        writer.close()
    # The copy is made; only its audit event has to wait for the writer, and gives up.
    assert result.exit_code == 75
    assert not (tmp_path / "copy").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["instance"]


def test_backup_ends_although_others_keep_writing(
    cli: Cli, database: Database, sqlite_only: None, tmp_path: Path
) -> None:
    file, most = database.instance / "opsapp.sqlite", 2000
    with closing(sqlite3.connect(file, isolation_level=None)) as filler:
        filler.execute("CREATE TABLE filler AS SELECT randomblob(40000000) AS x")
        filler.execute("CREATE TABLE ticks (x)")
    ended = threading.Event()

    def write() -> int:
        with closing(sqlite3.connect(file, isolation_level=None, timeout=10)) as writer:
            for number in range(most):
                writer.execute("INSERT INTO ticks VALUES (1)")
                if ended.wait(0.001):
                    return number
        return most

    with ThreadPoolExecutor() as pool:
        written = pool.submit(write)
        done = cli("db", "backup", str(tmp_path / "copy"))
        ended.set()
        assert done.exit_code == 0, done.stderr
        assert written.result() < most
