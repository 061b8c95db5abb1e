"""`flask jobs list | history | show | tail | prune`: what is told of runs that have ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError

from opsapp import clock
from opsapp.engine.connections import BOOKKEEPING
from opsapp.extensions import db
from opsapp.jobs import runs
from tests.support import OPERATOR, Cli, Database
from tests.support.jobwork import past, rows, schedule_file

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def backups(database: Database) -> Database:
    """A week of backups, the third one failed."""
    schedule_file(database, "[jobs.backup]\ncommand = 'flask db backup'\nschedule = '30 2 * * *'\n")
    for day in range(7, 0, -1):
        status = "failed" if day == 5 else "succeeded"
        past(database, "backup", status, at=NOW - day * DAY, seconds=8.0 - day, printed="ok\n")
    return database


def test_list_has_the_scheduled_and_those_that_ran(cli: Cli, backups: Database) -> None:
    past(backups, "adhoc", "skipped", at=NOW - HOUR)
    backup, adhoc = cli("jobs", "list", "--format", "json").json
    assert backup == {
        "name": "backup",
        "status": "succeeded",
        "started_at": "2026-06-14T12:00:00Z",
        "seconds": 7.0,
        "usual": 4.5,
        "trend": "▂▃×▅▆▇█",
        "failures": 0,
        "run_id": 7,
        "next_at": "2026-06-16T02:30:00Z",
        "schedule": "30 2 * * *",
        "timezone": "UTC",
        "enabled": True,
        "description": "",
    }
    assert (adhoc["name"], adhoc["status"], adhoc["trend"]) == ("adhoc", "skipped", "")
    assert (adhoc["next_at"], adhoc["enabled"]) == (None, None)


def test_list_draws_the_last_ten_runs(cli: Cli, database: Database) -> None:
    for hour in range(40, 0, -1):
        past(database, "a", "failed" if hour > 10 else "succeeded", at=NOW - hour * HOUR)
    [listed] = [one for one in cli("jobs", "list", "--format", "json").json if one["name"] == "a"]
    assert listed["trend"] == "█" * 10


def test_history_is_the_newest_first_and_says_what_follows(cli: Cli, backups: Database) -> None:
    found = cli("jobs", "history", "--limit", "2", "--fields", "id,status")
    assert found.stdout == "id\tstatus\n7\tsucceeded\n6\tsucceeded\n"
    assert found.stderr == "There are more: --before 6 shows the next page, --all everything.\n"
    following = cli("jobs", "history", "--before", "6", "--limit", "2", "--fields", "id")
    assert following.stdout == "id\n5\n4\n"
    everything = cli("jobs", "history", "--all", "--fields", "id")
    assert everything.stdout.split() == ["id", *map(str, range(7, 0, -1))]


def test_history_is_filtered(cli: Cli, backups: Database) -> None:
    past(backups, "other", "failed", at=NOW - HOUR)
    failed = cli("jobs", "history", "backup", "--status", "failed", "--fields", "id").stdout
    assert failed == "id\n3\n"
    since = cli("jobs", "history", "--since", "2d", "--fields", "name,id").stdout
    assert since == "name\tid\nother\t8\nbackup\t7\nbackup\t6\n"


def test_show_and_tail_of_what_is_not_there(cli: Cli, backups: Database) -> None:
    assert (cli("jobs", "show", "99").exit_code, cli("jobs", "tail", "nobody").exit_code) == (4, 4)
    assert cli("jobs", "show", "99").stderr == "Error: no run 99\n  → flask jobs history\n"
    named = cli("jobs", "show", "backup")
    said = "'backup' is no run's number; flask jobs history [NAME] lists them\n"
    assert (named.exit_code, named.stderr.endswith(said)) == (2, True)
    assert len(cli("jobs", "show", "x" * 10_000).stderr) < 500


def test_show_limits_the_lines(cli: Cli, database: Database) -> None:
    past(database, "a", at=NOW, printed="one\ntwo\nthree\n")
    shown = cli("jobs", "show", "1", "--lines", "2", "--format", "json").json
    assert [one["line"] for one in shown["output"]] == ["two", "three"]
    assert cli("jobs", "show", "1", "--lines", "0", "--format", "json").json["output"] == []


# --- pruning -----------------------------------------------------------------


def prune(cli: Cli, *args: str) -> object:
    return cli("jobs", "prune", *args, "--yes", "--format", "json").json


def test_prune_forgets_old_runs_and_sooner_their_output(cli: Cli, backups: Database) -> None:
    found = prune(cli, "--older-than", "6d", "--output-older-than", "3d", "--keep", "1")
    assert found == {"runs": 1, "outputs": 4, "changed": True, "audit_seq": 3}
    assert [id for (id,) in rows(backups, "id")] == [2, 3, 4, 5, 6, 7]
    assert backups.rows("SELECT run_id FROM ops_job_output ORDER BY id") == [(5,), (6,), (7,)]


def test_prune_keeps_the_last_runs_of_each_job_and_those_that_go_on(
    cli: Cli, backups: Database
) -> None:
    past(backups, "yearly", at=NOW - 400 * DAY)
    backups.execute("UPDATE ops_job_runs SET finished_at = NULL, status = 'running' WHERE id = 1")
    prune(cli, "--older-than", "1d", "--keep", "2")
    assert rows(backups, "id, name") == [
        (1, "backup"),
        (6, "backup"),
        (7, "backup"),
        (8, "yearly"),
    ]


def test_prune_of_nothing_changes_nothing(cli: Cli, backups: Database) -> None:
    found = cli("jobs", "prune", "--yes", "--format", "json").json
    assert (found["changed"], found["runs"], found["outputs"]) == (False, 0, 0)


def test_prune_asks_and_shows_what_it_would_do(cli: Cli, backups: Database) -> None:
    refused = cli("jobs", "prune", "--older-than", "1d", "--keep", "1")
    assert refused.exit_code == 5
    tried = cli("jobs", "prune", "--older-than", "1d", "--keep", "1", "--dry-run")
    assert tried.exit_code == 0
    assert len(rows(backups)) == 7


def test_prune_is_audited(cli: Cli, backups: Database) -> None:
    prune(cli, "--older-than", "6d", "--keep", "1")
    [event] = cli("audit", "list", "--action", "job:history:prune", "--format", "json").json
    assert (event["subject"], event["after"]) == ("jobs", {"runs": 1, "outputs": 0})
    assert cli("audit", "list", "--subject", "jobs", "--format", "json").json == [event]


# --- a connection that breaks during the commit ------------------------------

END = runs.End(status="succeeded", exit_code=0, seconds=1.0, attempts=1)


@pytest.fixture
def run_id(app: Flask) -> int:
    """A run that has begun."""
    start = runs.Start(name="a", command=["true"], actor=OPERATOR, pid=1, correlation="-")
    begun = runs.begin(start)
    assert begun is not None
    return begun[0]


def lose_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next commit succeed, and its answer be lost."""
    dialect = db.engines[BOOKKEEPING].dialect
    commit = dialect.do_commit

    def commit_once(connection: Any) -> None:
        commit(connection)
        monkeypatch.setattr(dialect, "do_commit", commit)
        raise dialect.loaded_dbapi.OperationalError("the connection is lost")

    monkeypatch.setattr(dialect, "do_commit", commit_once)


def test_output_is_stored_once_though_an_answer_is_lost(
    run_id: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = runs.Unwritten()
    for number in range(3):
        output.add([("stdout", f"line {number}\n")])
        lose_the_answer(monkeypatch)
        with pytest.raises(OperationalError):
            runs.add_output(run_id, output, attempts=1)
    output.add([("stdout", "the last one\n")])
    runs.add_output(run_id, output, attempts=1)
    assert output == runs.Unwritten(after=output.after)
    assert database.rows("SELECT text FROM ops_job_output ORDER BY id") == [
        ("line 0\n",),
        ("line 1\n",),
        ("line 2\n",),
        ("the last one\n",),
    ]


def test_end_is_written_once_though_an_answer_is_lost(
    run_id: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = runs.Unwritten()
    output.add([("stdout", "half\n")])
    lose_the_answer(monkeypatch)
    with pytest.raises(OperationalError):
        runs.add_output(run_id, output, attempts=1)
    output.add([("stderr", "the rest\n")])
    lose_the_answer(monkeypatch)
    with pytest.raises(OperationalError):
        runs.finish(run_id, END, output)
    before = database.rows("SELECT finished_at FROM ops_job_runs")
    runs.finish(run_id, END, output)
    assert database.rows("SELECT text FROM ops_job_output ORDER BY id") == [
        ("half\n",),
        ("the rest\n",),
    ]
    assert database.rows("SELECT finished_at FROM ops_job_runs") == before


def test_output_that_was_not_written_is_written_then(
    run_id: int, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: Any) -> None:
        raise dialect.loaded_dbapi.OperationalError("the connection is lost")

    dialect, output = db.engines[BOOKKEEPING].dialect, runs.Unwritten()
    output.add([("stdout", "it\n")])
    with monkeypatch.context() as patch:
        patch.setattr(dialect, "do_commit", refuse)
        with pytest.raises(OperationalError):
            runs.add_output(run_id, output, attempts=1)
    runs.finish(run_id, END, output)
    assert database.rows("SELECT text FROM ops_job_output") == [("it\n",)]


def test_history_of_a_mistyped_job_names_the_nearest(cli: Cli, ada: str) -> None:
    done = cli("jobs", "history", "bakcup")
    message = "Error: no job bakcup is in the schedule or has ever run\n"
    assert (done.exit_code, done.stdout) == (4, "")
    assert done.stderr == f"{message}  → did you mean backup?\n"
    assert cli("jobs", "history", "backup").exit_code == 0
    done = cli("jobs", "check", "expire-grnts")
    assert (done.exit_code, done.stderr.splitlines()[1]) == (4, "  → did you mean expire-grants?")
