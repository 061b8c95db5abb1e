"""Migrations: up, down and up again, equal to the models, and the head that the code names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support import FLASK, HEAD, ROOT, Database, call, run


def test_head_is_the_newest_revision_that_alembic_finds(database: Database) -> None:
    assert run(database, "db", "heads").stdout == f"{HEAD} (head)\n"


def test_models_equal_the_migrations(database: Database) -> None:
    found = run(database, "db", "check")
    assert (found.exit_code, found.stdout) == (0, "No new upgrade operations detected.\n")


def test_upgrade_downgrade_and_upgrade_again(database: Database) -> None:
    call(database, "users", "create", "ada@example.com", "--no-password", check=True)
    assert call(database, "db", "downgrade", "base", "--yes").exit_code == 0
    left = "sqlite_master WHERE type = 'table'" if database.is_sqlite else (
        "pg_tables WHERE schemaname = 'public'"
    )  # fmt: skip
    names = "name" if database.is_sqlite else "tablename"
    tables = {row[0] for row in database.rows(f"SELECT {names} FROM {left}")}
    assert tables - {"sqlite_sequence"} == {"alembic_version"}
    assert call(database, "db", "init").exit_code == 0
    assert call(database, "users", "list", "--count").stdout == "0\n"
    assert call(database, "audit", "verify").exit_code == 0


def test_database_that_is_ahead_of_the_code_refuses_changes(database: Database) -> None:
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    found = call(database, "roles", "create", "support")
    assert (found.exit_code, found.stderr) == (
        7,
        f"Error: the database is at revision 9999, and this code is at {HEAD}\n"
        "  → deploy the code that the database fits\n",
    )
    for verb in ("init", "current", "upgrade"):
        again = call(database, "db", verb)
        assert (again.exit_code, again.stderr) == (7, found.stderr)


@pytest.mark.parametrize("verb", ["upgrade", "downgrade"])
def test_migration_that_fails_changes_nothing(
    database: Database, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "users" if verb == "downgrade" else "grants"
    if verb == "upgrade":
        call(database, "db", "downgrade", "base", "--yes", check=True)
        database.execute(f"CREATE TABLE {table} (id integer)")
    else:
        # Something of the application's stands on a table that would go.
        database.execute("DROP TABLE audit_personal")
    args = ["head"] if verb == "upgrade" else ["base", "--yes"]
    before = database.rows("SELECT * FROM alembic_version")
    found = call(database, "db", verb, *args)
    assert found.exit_code == 1
    assert found.stderr.startswith("Error: the migration failed and nothing was changed: ")
    assert database.rows("SELECT * FROM alembic_version") == before


def test_downgrade_asks_because_it_takes_everything(database: Database) -> None:
    found = call(database, "db", "downgrade", "base")
    assert (found.exit_code, found.stderr) == (
        5,
        "Error: Take schema changes back, with the data that they hold?"
        " Nobody is here to answer\n  → repeat it with --yes\n",
    )
    assert run(database, "db", "current").stdout == f"{HEAD} (head)\n"


def test_schema_of_another_environment_is_left_alone(database: Database) -> None:
    database.execute("UPDATE audit_head SET environment = 'production'")
    for verb in (["downgrade", "base", "--yes"], ["stamp", "base", "--yes"]):
        found = call(database, "db", *verb)
        assert found.exit_code == 5
        assert "is stamped production" in found.stderr


def test_new_migration_gets_the_next_number(database: Database, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    for name in ("opsapp", "commands", "migrations"):
        shutil.copytree(ROOT / name, copy / name)
    done = subprocess.run(
        [FLASK, "db", "revision", "-m", "add nothing"],
        env={**database.environ, "PYTHONPATH": str(copy)},
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    following = f"{int(HEAD) + 1:04d}"
    assert [p.name for p in (copy / "migrations" / "versions").glob(f"{following}*")] == [
        f"{following}_add_nothing.py"
    ]
