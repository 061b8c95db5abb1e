"""Tables of our own: their names, accounts apart from the core, and an application's own."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_migrate import Migrate

import opsapp
from opsapp.database import environment, setup, status
from opsapp.extensions import db
from opsapp.models import PREFIX, our_tables
from opsapp.state import EXTENSION
from opsapp.unit import invariants
from tests.support import ACCOUNTS, CORE, Database, a_unit, call, close_connections

OF_ACCOUNTS = {
    "ops_users", "ops_roles", "ops_grants", "ops_user_sessions", "ops_api_tokens", "ops_logins",
    "ops_login_failures", "ops_access_reviews", "ops_access_review_items",
}  # fmt: skip


@pytest.fixture
def empty(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """An application on a database that is not initialised yet."""
    for name, value in empty_database.environ.items():
        if name.startswith("OPSAPP_"):
            monkeypatch.setenv(name, value)
    app = opsapp.create_app()
    with app.app_context():
        yield app
    close_connections()


@pytest.fixture
def attached(empty: Flask, monkeypatch: pytest.MonkeyPatch) -> Flask:
    """An application with accounts of its own, which needs none of ours."""
    monkeypatch.setattr(invariants, "has_administrator", lambda session: False)
    parts = {"session": db.session, "engines": db.engines, "has_tables": True}
    parts |= {"ours": db.session, "our_engine": db.engine, "own": None, "separate_database": None}
    empty.extensions[EXTENSION] = SimpleNamespace(branches=("core",), **parts)
    return empty


def tables() -> set[str]:
    return set(sa.inspect(db.engine).get_table_names())


# --- names -------------------------------------------------------------------


def test_every_table_has_the_prefix(empty: Flask) -> None:
    setup.init(unit=a_unit())
    assert tables() == our_tables() | {"ops_alembic_version"}
    assert {name for name in tables() if not name.startswith(PREFIX)} == set()


def foreign(database: Database, kind: str) -> str:
    """A table, or a view, of another program with a name in our prefix."""
    what = "TABLE ops_orders (id integer)" if kind == "table" else "VIEW ops_orders AS SELECT 1"
    database.execute(f"CREATE {what}")
    return (
        "Error: the database has a table ops_orders, and names in ops_ are opsapp's\n"
        "  → rename it; or give opsapp a database of its own, in OPSAPP_DATABASE_URL\n"
    )


@pytest.mark.parametrize("what", ["table", "view"])
@pytest.mark.parametrize("words", ["init", "init --dry-run", "upgrade"])
def test_foreign_table_is_refused_before_anything_is_made(
    empty_database: Database, words: str, what: str
) -> None:
    if empty_database.is_sqlite:  # A new file would be readable by others.
        os.close(os.open(empty_database.instance / "opsapp.sqlite", os.O_CREAT, 0o600))
    said = foreign(empty_database, what)
    done = call(empty_database, "db", *words.split())
    assert (done.exit_code, done.stdout, done.stderr) == (3, "", said)
    names = "sqlite_master" if empty_database.is_sqlite else "pg_class"
    column = "name" if empty_database.is_sqlite else "relname"
    made = f"SELECT count(*) FROM {names} WHERE {column} = 'ops_audit_head'"
    assert empty_database.rows(made) == [(0,)]


def test_foreign_table_is_refused_later_too(database: Database) -> None:
    done = call(database, "db", "init")
    assert done.exit_code == 0
    said = foreign(database, "table")
    done = call(database, "db", "init")
    assert (done.exit_code, done.stdout, done.stderr) == (3, "", said)


def test_foreign_table_with_the_name_of_one_of_ours_is_refused(empty_database: Database) -> None:
    empty_database.execute("CREATE TABLE ops_users (id integer)")
    done = call(empty_database, "db", "init")
    assert done.exit_code == 3
    assert done.stderr.startswith("Error: the database has a table ops_users, and names in ops_")


# --- branches ----------------------------------------------------------------


def test_core_stands_without_accounts(attached: Flask) -> None:
    made = setup.init(unit=a_unit())
    assert (made["revision"], made["changed"]) == (CORE, True)
    assert tables() == our_tables() - OF_ACCOUNTS | {"ops_alembic_version"}
    inspector = sa.inspect(db.engine)
    referred = {
        key["referred_table"] for name in tables() for key in inspector.get_foreign_keys(name)
    }
    assert referred == {"ops_job_runs", "ops_profile_series"}
    state = status.status()
    assert (state["ready"], state["head"], state["users"], state["events"]) == (True, CORE, None, 1)
    assert setup.init(unit=a_unit())["changed"] is False


def test_accounts_may_be_added_to_a_core(attached: Flask, empty_database: Database) -> None:
    setup.init(unit=a_unit())
    close_connections()
    done = call(empty_database, "db", "init", "--format", "json")
    assert (done.json["before"], done.json["revision"]) == (CORE, f"{ACCOUNTS} {CORE}")
    assert call(empty_database, "audit", "verify").exit_code == 0


@pytest.mark.parametrize("words", ["upgrade core@head", "upgrade accounts@head", "upgrade +1"])
def test_half_of_the_tables_are_refused(empty_database: Database, words: str) -> None:
    left, missing = (CORE, "accounts") if "core" in words else (ACCOUNTS, "core")
    done = call(empty_database, "db", *words.split())
    assert (done.exit_code, done.stderr) == (
        3,
        f"Error: {left} would be left without the tables of {missing}\n"
        "  → flask db upgrade, or flask db downgrade base\n",
    )
    assert call(empty_database, "db", "init").exit_code == 0


@pytest.mark.parametrize("target", ["-1", "accounts@base", "core@base"])
def test_half_of_the_tables_are_not_taken_back(database: Database, target: str) -> None:
    done = call(database, "db", "downgrade", "--yes", "--", target)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        3, "  → flask db upgrade, or flask db downgrade base",
    )  # fmt: skip
    assert call(database, "db", "status").exit_code == 0


def test_branches_are_never_merged(database: Database) -> None:
    done = call(database, "db", "merge", "heads")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (
        2, "Error: No such command 'merge'.",
    )  # fmt: skip


# --- an application's own ----------------------------------------------------


def test_flask_migrate_of_the_application_is_left_alone(empty: Flask, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    Migrate(empty, db, directory=str(theirs))
    own = empty.extensions["migrate"]
    setup.init(unit=a_unit())
    assert empty.extensions["migrate"] is own
    with environment.bind_commands():
        assert empty.extensions["migrate"] is not own
    assert empty.extensions["migrate"] is own
    assert not theirs.exists()


def test_version_table_of_the_application_is_left_alone(database: Database) -> None:
    database.execute("CREATE TABLE alembic_version (version_num text)")
    database.execute("INSERT INTO alembic_version VALUES ('59d764057fa9')")
    for words in (("db", "init"), ("db", "current"), ("roles", "create", "support")):
        assert call(database, *words).exit_code == 0
    assert database.rows("SELECT * FROM alembic_version") == [("59d764057fa9",)]


@pytest.fixture
def file(attached: Flask, empty_database: Database, sqlite_only: None) -> Path:
    """A SQLite file that is there already, with a table of its application."""
    file = empty_database.instance / "opsapp.sqlite"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE users (id integer)")
    return file


@pytest.mark.parametrize(("wal", "mode"), [(False, "delete"), (True, "wal")])
def test_file_of_an_application_gets_wal_mode_if_it_is_asked_for(
    file: Path, wal: bool, mode: str
) -> None:
    setup.init(wal=wal, unit=a_unit())
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
