"""`db.create_all()` and `db.drop_all()` of an application's developer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from opsapp.models import MailMessage, Model
from tests.support import Cli, Database
from tests.support.processes import ended, start

SCRIPT = """
import sys, opsapp
from opsapp.extensions import db
app = opsapp.create_app({"SQLALCHEMY_DATABASE_URI": sys.argv[1]})
with app.app_context():
    db.create_all()
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return str(path)


def test_database_without_our_tables_is_refused(empty_database: Database, script: str) -> None:
    done = ended(start(empty_database, sys.executable, script, empty_database.url))
    assert done.exit_code == 1
    assert done.stderr.endswith(
        "opsapp.errors.NotReady: the database is not initialised, and db.create_all() makes"
        " no audit log\n→ flask db init; in tests the fixture ops_app\n"
    )
    assert done.stderr.count("  File ") == 2


def test_initialised_database_gets_the_tables_of_models(database: Database, script: str) -> None:
    table = MailMessage.__tablename__
    database.execute(f"DROP TABLE {table}")
    done = ended(start(database, sys.executable, script, database.url))
    assert (done.exit_code, done.stderr) == (0, "")
    assert database.rows(f"SELECT count(*) FROM {table}") == [(0,)]


def test_drop_all_of_an_audited_database_is_refused(database: Database, cli: Cli) -> None:
    done = cli("shell", "-c", "db.drop_all()")
    assert (done.exit_code, done.stdout, done.stderr) == (
        5,
        "",
        "Error: db.drop_all() would drop the audit log\n"
        "  → drop the database itself; in tests the fixture ops_app makes one for each\n",
    )
    assert cli("audit", "verify").exit_code == 0


def test_database_whose_tables_were_dropped_says_the_way_out(database: Database, cli: Cli) -> None:
    with database.connect() as connection:
        Model.metadata.drop_all(connection)
    done = cli("db", "init")
    assert (done.exit_code, done.stdout, done.stderr) == (
        7,
        "",
        "Error: the database is at revision accounts0001 core0001 without opsapp's tables,"
        " which were dropped\n"
        "  → restore a backup; or drop the database, and run flask db init\n",
    )
