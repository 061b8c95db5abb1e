"""`flask ops db upgrade`: the application's own migrations, under our lock and in our audit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ops.conftest import OURS
from tests.support import ROOT, Database, Result, run

Flask = Callable[..., Result]

STEP = '''"""{summary}"""

import sqlalchemy as sa
from alembic import op

revision, down_revision = {revision!r}, {before!r}


def upgrade():
    {statement}
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "migrations"


@pytest.fixture
def flask(empty_database: Database, folder: Path) -> Flask:
    """A function that runs ``flask WORDS`` on an application whose first migration was run."""
    settings = {
        "FLASK_APP": "tests.apps.with_ops:create_app('login_app')",
        "THEIR_DATABASE_URL": empty_database.url,
        "THEIR_MIGRATIONS": str(folder),
        "PYTHONPATH": str(ROOT),
        **OURS,
    }

    def flask(*words: str) -> Result:
        return run(empty_database, *words, **settings)

    assert flask("db", "init").exit_code == 0
    # The model of accounts is ahead of the tables: there is none yet.
    step(folder, "one", None, "op.create_table('posts', sa.Column('id', sa.Integer))")
    assert flask("db", "upgrade").exit_code == 0
    assert flask("ops", "init", "--no-wal").exit_code == 0
    return flask


def step(folder: Path, revision: str, before: str | None, statement: str) -> None:
    values: dict[str, Any] = {"revision": revision, "before": before, "statement": statement}
    text = STEP.format(summary=f"Step {revision}.", **values)
    (folder / "versions" / f"{revision}.py").write_text(text)


ADD = "op.add_column('posts', sa.Column('title', sa.String(80)))"


def test_upgrade_is_planned_then_run_and_is_an_event(
    flask: Flask, folder: Path, empty_database: Database
) -> None:
    step(folder, "two", "one", ADD)
    planned = flask("ops", "db", "upgrade", "--dry-run", "--format", "json")
    assert planned.exit_code == 0, planned.stderr
    assert planned.json["plan"][0]["after"] == {"revision": "two"}
    assert empty_database.rows("SELECT version_num FROM alembic_version") == [("one",)]
    done = flask("ops", "db", "upgrade", "--reason", "release 2", "--format", "json")
    assert (done.exit_code, done.json) == (
        0,
        {
            "changed": True,
            "audit_seq": 2,
            "before": "one",
            "revision": "two",
            "steps": ["two Step two."],
        },
    )
    assert "Running upgrade one -> two, Step two." in done.stderr
    again = flask("ops", "db", "upgrade")
    assert (again.exit_code, again.stderr) == (0, "Already so: nothing was changed.\n")
    event = "SELECT action, subject, reason FROM ops_audit_events WHERE seq = 2"
    assert empty_database.rows(event) == [
        ("application:schema:upgrade", "database", "release 2"),
    ]
    assert flask("ops", "audit", "verify").exit_code == 0


def test_upgrade_that_fails_says_how_far_it_came(
    flask: Flask, folder: Path, sqlite_only: None
) -> None:
    step(folder, "two", "one", ADD)
    step(folder, "three", "two", "op.drop_table('nothing')")
    failed = flask("ops", "db", "upgrade")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr.endswith(
        "Error: flask db upgrade of the application ended with 1, at two; but the change is made,"
        " audit event 2\n  → its output is above\n"
    )
    events = flask("ops", "audit", "list", "--format", "json").json
    assert [(event["action"], event["after"]) for event in events][1:] == [
        ("application:schema:upgrade", {"revision": "two"}),
    ]


def test_upgrade_to_an_unknown_revision_is_not_found(flask: Flask) -> None:
    done = flask("ops", "db", "upgrade", "nine")
    assert (done.exit_code, done.stderr) == (
        4,
        "Error: Can't locate revision identified by 'nine'\n  → flask db history\n",
    )


def unclosed(folder: Path) -> None:
    (folder / "versions" / "broken.py").write_text("revision = (")


def gap(folder: Path) -> None:
    step(folder, "three", "nothing", "pass")


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (shutil.rmtree, "Path doesn't exist: "),
        (unclosed, "'(' was never closed"),
        (gap, "'nothing'"),
    ],
)
@pytest.mark.filterwarnings("ignore:Revision nothing referenced")
def test_migrations_that_cannot_be_read_are_an_error(
    flask: Flask, folder: Path, break_it: Callable[[Path], None], says: str
) -> None:
    break_it(folder)
    answer = flask("ops", "db", "upgrade")
    assert (answer.exit_code, answer.stdout) == (7, "")
    assert f"Error: the application's migrations cannot be read: {says}" in answer.stderr
    assert answer.stderr.endswith("  → flask db heads\n")
