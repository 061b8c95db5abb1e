"""`flask db upgrade` and `flask db downgrade`: the plan, and the event."""

from __future__ import annotations

from opsapp import migrations
from tests.support import CORE, HEAD, Cli, Database, call


def test_upgrade_prints_each_migration_and_its_event(empty_database: Database) -> None:
    planned = call(empty_database, "db", "upgrade", "--dry-run")
    assert (planned.exit_code, planned.stderr) == (0, "Dry run: nothing was written.\n")
    shipped = [migrations.our_branch(label).revisions for label in ("core", "accounts")]
    assert planned.stdout.count("upgrade ") == sum(map(len, shipped))
    nowhere = 7 if empty_database.is_sqlite else 6  # There is no file, or no table.
    assert call(empty_database, "db", "status").exit_code == nowhere
    done = call(empty_database, "db", "upgrade")
    assert (done.exit_code, done.stdout) == (0, planned.stdout)
    assert done.stderr.endswith("Done, audit event 1.\n")
    again = call(empty_database, "db", "upgrade")
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == "Already so: nothing was changed.\n"


def test_downgrade_prints_what_it_drops(cli: Cli, bob: str) -> None:
    planned = cli("db", "downgrade", "base", "--dry-run")
    assert (planned.exit_code, planned.stderr) == (0, "Dry run: nothing was written.\n")
    assert "drops ops_users, with 2 rows\n" in planned.stdout
    assert "drops ops_grants, with 1 row\n" in planned.stdout
    assert cli("users", "list", "--count").stdout == "2\n"
    done = cli("db", "downgrade", "base", "--yes")
    assert (done.exit_code, done.stdout, done.stderr) == (0, planned.stdout, "")


def test_plan_says_from_where_to_where(cli: Cli, database: Database) -> None:
    planned = cli("db", "downgrade", "base", "--dry-run")
    assert planned.stdout.splitlines()[0] == f"from {HEAD} to nothing"


def test_dry_run_of_a_downgrade_is_refused_as_the_downgrade_is(cli: Cli, bob: str) -> None:
    for last in ("--dry-run", "--yes"):
        done = cli("db", "downgrade", "accounts@base", last)
        assert (done.exit_code, done.stdout, done.stderr) == (
            3,
            "",
            f"Error: {CORE} would be left without the tables of accounts\n"
            "  → flask db upgrade, or flask db downgrade base\n",
        )
    other = "another-key-q8Zt4vRk2Lw9XbN7cJ5hM3pF6sD1gA0yE"
    for last in ("--dry-run", "--yes"):
        assert cli("db", "downgrade", "base", last, OPSAPP_AUDIT_KEY=other).exit_code == 7


def test_plan_of_a_revision_that_is_not_there(cli: Cli, bob: str) -> None:
    done = cli("db", "downgrade", "nowhere", "--dry-run")
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr.endswith("  → flask db history\n")
