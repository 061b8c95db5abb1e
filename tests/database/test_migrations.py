"""Migrations: up, down and up again, equal to the models, and the head that the code names."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from opsapp import migrations
from opsapp.settings import config
from tests.support import ACCOUNTS, CORE, FLASK, HEAD, ROOT, Database, call, move_core, run


def test_head_is_the_newest_revision_that_alembic_finds(database: Database) -> None:
    assert run(database, "db", "heads").stdout == (
        f"{ACCOUNTS} (accounts) (head)\n{CORE} (core) (head)\n"
    )


def test_models_equal_the_migrations(database: Database) -> None:
    result = run(database, "db", "check")
    assert (result.exit_code, result.stdout) == (0, "No new upgrade operations detected.\n")


def test_upgrade_downgrade_and_upgrade_again(database: Database) -> None:
    call(database, "users", "create", "ada@example.com", "--no-password", check=True)
    assert call(database, "db", "downgrade", "base", "--yes").exit_code == 0
    left = "sqlite_master WHERE type = 'table'" if database.is_sqlite else (
        "pg_tables WHERE schemaname = 'public'"
    )  # fmt: skip
    names = "name" if database.is_sqlite else "tablename"
    tables = {row[0] for row in database.rows(f"SELECT {names} FROM {left}")}
    assert tables - {"sqlite_sequence"} == {"ops_alembic_version"}
    assert call(database, "db", "init").exit_code == 0
    assert call(database, "users", "list", "--count").stdout == "0\n"
    assert call(database, "audit", "verify").exit_code == 0


def test_database_that_is_ahead_of_the_code_refuses_changes(database: Database) -> None:
    move_core(database, "core9999")
    result = call(database, "roles", "create", "support")
    assert (result.exit_code, result.stderr) == (
        7,
        f"Error: the tables of core are at revision core9999, and this code is at {CORE}\n"
        "  → deploy the code that the database fits\n",
    )
    for verb in ("init", "current", "upgrade"):
        again = call(database, "db", verb)
        assert (again.exit_code, again.stderr) == (7, result.stderr)


@pytest.mark.parametrize("verb", ["upgrade", "downgrade"])
def test_migration_that_fails_changes_nothing(
    database: Database, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if verb == "upgrade":
        call(database, "db", "downgrade", "base", "--yes", check=True)
        # An index has no name in ops_, and two have no room for one name.
        database.execute("CREATE TABLE t AS SELECT 1 AS id")
        database.execute("CREATE INDEX ix_ops_logins_at ON t (id)")
    else:
        # Something of the application's stands on a table that would go.
        database.execute("DROP TABLE ops_audit_personal")
    args = ["head"] if verb == "upgrade" else ["base", "--yes"]
    before = database.rows("SELECT * FROM ops_alembic_version")
    result = call(database, "db", verb, *args)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the migration failed and nothing was changed: ")
    assert database.rows("SELECT * FROM ops_alembic_version") == before


def test_downgrade_asks_because_it_takes_everything(database: Database) -> None:
    result = call(database, "db", "downgrade", "base")
    assert (result.exit_code, result.stderr) == (
        5,
        "Error: Take schema changes back, with the data that they hold?"
        " Cannot ask: there is no terminal\n  → add --yes\n",
    )
    current = run(database, "db", "current").stdout
    assert sorted(current.splitlines()) == [f"{ACCOUNTS} (head)", f"{CORE} (head)"]


def test_schema_of_another_environment_is_left_alone(database: Database) -> None:
    database.execute("UPDATE ops_audit_head SET environment = 'production'")
    for verb in (["downgrade", "base", "--yes"], ["stamp", "base", "--yes"]):
        result = call(database, "db", *verb)
        assert result.exit_code == 5
        assert "is stamped production" in result.stderr


def test_new_migration_gets_the_next_number(database: Database, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for name in ("opsapp", "commands", "migrations"):
        shutil.copytree(ROOT / name, copy / name)
    done = subprocess.run(
        [FLASK, "db", "revision", "-m", "add nothing", "--head", "accounts@head"],
        env={**database.environ, "PYTHONPATH": str(copy)},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    following = migrations.our_branch("accounts").following
    (written,) = (copy / "migrations" / "accounts").glob(f"{following}*")
    assert re.fullmatch(rf"{following}[a-z]{{5}}_add_nothing\.py", written.name)


# --- scripts -----------------------------------------------------------------


@pytest.fixture
def next_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migration after those of core, and its revision."""
    copy = tmp_path / "migrations"
    shutil.copytree(ROOT / "migrations", copy)
    monkeypatch.setattr(config, "migrations_folder", lambda: copy)
    (copy / "core" / "core0002_go_on.py").write_text(
        "from alembic import op\n"
        f"revision, down_revision = 'core0002', {CORE!r}\n"
        "branch_labels = depends_on = None\n"
        "def upgrade():\n    op.execute('CREATE TABLE t (id integer)')\n"
        "def downgrade():\n    op.execute('DROP TABLE t')\n"
    )
    return "core0002"


def apply(database: Database, script: str) -> None:
    """Run the SQL as its reader would: by `psql`, or as `sqlite3` does."""
    if database.is_sqlite:
        with closing(sqlite3.connect(database.instance / "opsapp.sqlite")) as connection:
            connection.executescript(script)
        (database.instance / "opsapp.sqlite").chmod(0o600)
        return
    done = subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", database.url],
        input=script,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_script_makes_what_upgrade_makes(empty_database: Database) -> None:
    reason = "100 % of it: it's ü \\ done"
    script = call(empty_database, "db", "upgrade", "--sql", "--reason", reason, check=True).stdout
    apply(empty_database, script)
    ((action, why, before, after),) = empty_database.rows(
        'SELECT action, reason, "before", "after" FROM ops_audit_events'
    )
    assert (action, why, before) == ("database:schema:upgrade", reason, '{"revision":null}')
    ((chain, environment),) = empty_database.rows("SELECT chain, environment FROM ops_audit_head")
    assert json.loads(after) == {"revision": HEAD, "chain": chain, "environment": environment}
    done = call(empty_database, "db", "init")
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 2.\n")
    again = call(empty_database, "db", "init")
    assert (again.exit_code, again.stderr) == (0, "Already so: nothing was changed.\n")
    assert call(empty_database, "audit", "verify").exit_code == 0
    assert call(empty_database, "db", "check").exit_code == 0


def test_script_for_a_database_that_has_its_audit_is_recorded_by_init(
    database: Database, next_migration: str
) -> None:
    script = call(database, "db", "upgrade", f"{CORE}:{next_migration}", "--sql", check=True).stdout
    assert "-- The next flask db init writes the audit event of this change.\n" in script
    apply(database, script)
    done = call(database, "db", "init", "--reason", "change 12")
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 3.\n")
    last = 'SELECT action, reason, "before", "after" FROM ops_audit_events WHERE seq = 3'
    assert database.rows(last) == [
        (
            "database:schema:notice",
            "change 12",
            f'{{"revision":"{HEAD}"}}',
            f'{{"revision":"{ACCOUNTS} {next_migration}"}}',
        )
    ]
    assert call(database, "db", "init").stderr == "Already so: nothing was changed.\n"
    assert call(database, "audit", "verify").exit_code == 0


def test_script_that_goes_back_can_be_gone_forward_from(
    database: Database, next_migration: str
) -> None:
    call(database, "db", "init", check=True)
    script = call(database, "db", "downgrade", f"{next_migration}:{CORE}", "--sql", check=True)
    apply(database, script.stdout)
    done = call(database, "db", "init", "--format", "json")
    after = f"{ACCOUNTS} {next_migration}"
    assert (done.exit_code, done.json["before"], done.json["revision"]) == (0, HEAD, after)
    assert call(database, "audit", "verify").exit_code == 0


def test_script_that_takes_everything_back_leaves_nothing(database: Database) -> None:
    apply(database, call(database, "db", "downgrade", "heads:base", "--sql", check=True).stdout)
    assert call(database, "db", "init").stderr == "Done, audit event 2.\n"
    assert call(database, "audit", "verify").exit_code == 0
