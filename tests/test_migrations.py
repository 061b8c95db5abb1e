"""Migrations: up, down and up again, equal to the models, and the head that the code names."""

from __future__ import annotations

import pytest

from opsapp import config
from support import Database, run


def test_head_is_the_newest_revision_that_alembic_finds(database: Database) -> None:
    assert run(database, "db", "heads").stdout == f"{config.head_revision()} (head)\n"


def test_models_equal_the_migrations(database: Database) -> None:
    found = run(database, "db", "check")
    assert (found.exit_code, found.stdout) == (0, "No new upgrade operations detected.\n")


def test_upgrade_downgrade_and_upgrade_again(database: Database) -> None:
    run(database, "users", "create", "ada@example.com", "--no-password", check=True)
    assert run(database, "db", "downgrade", "base").exit_code == 0
    left = "sqlite_master WHERE type = 'table'" if database.is_sqlite else (
        "pg_tables WHERE schemaname = 'public'"
    )  # fmt: skip
    names = "name" if database.is_sqlite else "tablename"
    tables = {row[0] for row in database.rows(f"SELECT {names} FROM {left}")}
    assert tables - {"sqlite_sequence"} == {"alembic_version"}
    assert run(database, "db", "init").exit_code == 0
    assert run(database, "users", "list", "--count").stdout == "0\n"
    assert run(database, "audit", "verify").exit_code == 0


def test_database_that_is_ahead_of_the_code_refuses_changes(database: Database) -> None:
    database.execute("UPDATE alembic_version SET version_num = '9999'")
    found = run(database, "roles", "create", "support")
    assert (found.exit_code, found.stderr) == (
        7,
        f"Error: the database is at revision 9999, and this code is at {config.head_revision()}\n"
        "  → deploy the code that the database fits\n",
    )
    found = run(database, "db", "init")
    assert found.exit_code == 7
    assert "9999" in found.stderr


@pytest.mark.parametrize("verb", ["upgrade", "downgrade"])
def test_migration_that_fails_changes_nothing(
    database: Database, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = "users" if verb == "downgrade" else "grants"
    if verb == "upgrade":
        run(database, "db", "downgrade", "base", check=True)
        database.execute(f"CREATE TABLE {table} (id integer)")
    else:
        # Something of the application's stands on a table that would go.
        database.execute("DROP TABLE audit_personal")
    args = ["head"] if verb == "upgrade" else ["base"]
    before = database.rows("SELECT * FROM alembic_version")
    found = run(database, "db", verb, *args)
    assert found.exit_code != 0
    assert database.rows("SELECT * FROM alembic_version") == before
