"""`flask jobs check | missed | schedule`, and what the doctor says of jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opsapp import clock
from opsapp.jobs import schedule
from tests.support import Cli, Database
from tests.support.jobwork import past, schedule_file

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
SLOT = datetime(2026, 6, 15, 2, 30, tzinfo=UTC)
NIGHTLY = "[jobs.backup]\ncommand = 'true'\nschedule = '30 2 * * *'\n"


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def nightly(database: Database) -> Database:
    """A nightly job in a schedule that is a month old."""
    schedule_file(database, NIGHTLY, changed=NOW - 30 * DAY)
    return database


def says(cli: Cli, *args: str, exit_code: int) -> str:
    """Return the finding of ``check`` on the only job."""
    result = cli("jobs", "check", *args, "--format", "json")
    assert result.exit_code == exit_code, result.stdout
    [row] = result.json
    assert row["state"] == ("fail" if exit_code else "ok")
    return str(row["says"])


# --- check -------------------------------------------------------------------


def test_check_of_a_job_that_is_well(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", at=SLOT, seconds=75)
    assert says(cli, exit_code=0) == "succeeded at 2026-06-15T02:30:00Z, usually 1 min 15 s"


def test_check_finds_a_failure_and_why(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", "timed-out", at=SLOT)
    nightly.execute("UPDATE ops_job_runs SET reason = 'it took longer than 2 h'")
    result = "timed-out: run 1 at 2026-06-15T02:30:00Z (it took longer than 2 h)"
    assert says(cli, exit_code=6) == result


def test_check_allows_as_many_failures_as_asked(cli: Cli, nightly: Database) -> None:
    for hour in (3, 2):
        past(nightly, "backup", "failed", at=NOW - hour * HOUR)
    assert says(cli, "--max-failures", "3", exit_code=0).startswith("failed at ")
    assert says(cli, "--max-failures", "2", exit_code=6).startswith("failed, 2 times in a row: run")


def test_check_takes_no_skipped_run_for_the_end_of_failures(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", "failed", at=NOW - 2 * HOUR)
    past(nightly, "backup", "skipped", at=NOW - HOUR)
    assert says(cli, exit_code=6).startswith("failed: run 1 ")


def test_check_finds_a_run_that_died(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", "running", at=SLOT)
    nightly.execute("UPDATE ops_job_runs SET finished_at = NULL, exit_code = NULL, seconds = NULL")
    assert says(cli, exit_code=6) == "crashed: run 1 at 2026-06-15T02:30:00Z"


def test_check_finds_a_run_that_did_not_happen(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", at=SLOT - DAY)
    assert says(cli, exit_code=6) == "it was due at 2026-06-15T02:30:00Z and did not run"


def test_check_counts_a_run_that_another_host_skipped(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", at=SLOT - DAY)
    past(nightly, "backup", "skipped", at=SLOT)
    assert says(cli, exit_code=0).startswith("skipped at ")


def test_check_of_a_job_that_never_ran_since_the_schedule_is_there(
    cli: Cli, nightly: Database
) -> None:
    assert says(cli, exit_code=6) == "it was due at 2026-06-15T02:30:00Z and did not run"


def test_check_asks_nothing_of_a_schedule_that_is_new(cli: Cli, database: Database) -> None:
    schedule_file(database, NIGHTLY, changed=NOW - HOUR)
    assert says(cli, exit_code=0) == "has not run yet"


def test_check_asks_for_a_success_not_too_long_ago(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", at=SLOT)
    assert says(cli, "backup", "--max-age", "10h", exit_code=0)
    assert says(cli, "backup", "--max-age", "9h", exit_code=6) == "no success in 9 h 0 min"


def test_check_knows_the_age_that_the_schedule_allows(cli: Cli, database: Database) -> None:
    schedule_file(database, f"{NIGHTLY}max-age = '3h'\n", changed=NOW - 30 * DAY)
    past(database, "backup", at=SLOT)
    assert says(cli, exit_code=6) == "no success in 3 h 0 min"


def test_check_of_the_shipped_schedule_that_is_not_used(cli: Cli, database: Database) -> None:
    result = cli("jobs", "check", "--format", "json")
    assert result.exit_code == 0
    assert {row["says"] for row in result.json} == {"has not run yet"}


@pytest.fixture
def shipped(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The schedule that ships, installed a month ago."""
    monkeypatch.setattr(schedule, "last_change", lambda: NOW - 30 * DAY)
    return database


def test_check_asks_nothing_of_what_ships_because_a_job_of_it_was_tried(
    cli: Cli, shipped: Database
) -> None:
    past(shipped, "checkpoint", at=NOW - 30 * MINUTE)
    assert {row["says"] for row in unwell(cli)} == set()
    assert missed(cli, "--since", "7d") == []


def test_check_asks_for_all_of_what_ships_once_it_is_served(cli: Cli, shipped: Database) -> None:
    past(shipped, "backup", at=SLOT - DAY, slot=SLOT - DAY)
    past(shipped, "backup", at=SLOT, slot=SLOT)
    assert [row["job"] for row in unwell(cli)] == [
        "send-mail", "expire-grants", "checkpoint", "prune-profiles", "prune-logins", "prune-jobs",
        "plan-idle",
    ]  # fmt: skip


def unwell(cli: Cli) -> list[dict[str, Any]]:
    return [row for row in cli("jobs", "check", "--format", "json").json if row["state"] != "ok"]


def test_check_of_what_is_not_there(cli: Cli, nightly: Database) -> None:
    result = cli("jobs", "check", "nobody")
    assert (result.exit_code, result.stdout) == (4, "")
    assert result.stderr == (
        "Error: no job nobody is enabled or has ever run\n  → flask jobs list\n"
    )


def test_check_answers_nagios(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", at=SLOT)
    well = cli("jobs", "check", "--nagios")
    assert (well.exit_code, well.stdout) == (0, "JOBS OK - 1 job is well | jobs=1 failing=0\n")
    past(nightly, "a", "failed", at=NOW - HOUR)
    nightly.execute("UPDATE ops_job_runs SET reason = 'x | y' WHERE name = 'a'")
    bad = cli("jobs", "check", "--nagios")
    assert (bad.exit_code, bad.stdout) == (
        2,
        "JOBS CRITICAL - 1 of 2 jobs: a failed: run 2 at 2026-06-15T11:00:00Z (x / y)"
        " | jobs=2 failing=1\n",
    )


def test_doctor_tells_of_jobs_that_fail(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", "failed", at=SLOT)
    rows = cli("doctor", "--format", "json").json
    [row] = [row for row in rows if row["check"] == "jobs"]
    assert row == {
        "state": "warn",
        "check": "jobs",
        "says": "1 of 1: backup failed: run 1 at 2026-06-15T02:30:00Z",
        "advice": "flask jobs check",
    }


# --- missed ------------------------------------------------------------------


def missed(cli: Cli, *args: str) -> list[str]:
    result = cli("jobs", "missed", *args, "--format", "json")
    assert result.exit_code == (6 if result.json else 0)
    return [row["slot"][5:16] for row in result.json]


def test_missed_finds_the_slots_at_which_nothing_began(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", at=SLOT - 4 * DAY)
    past(nightly, "backup", "failed", at=SLOT - 2 * DAY)  # It happened.
    past(nightly, "backup", "skipped", at=SLOT, slot=SLOT)
    assert missed(cli, "--since", "7d") == ["06-12T02:30", "06-14T02:30"]


def test_missed_takes_a_late_run_for_its_slot(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", at=SLOT - DAY)
    past(nightly, "backup", at=SLOT + 6 * HOUR)
    assert missed(cli) == []


def test_missed_is_patient_for_two_minutes(
    cli: Cli, nightly: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    past(nightly, "backup", at=SLOT - DAY)
    monkeypatch.setattr(clock, "now", lambda: SLOT + MINUTE)
    assert missed(cli) == []
    monkeypatch.setattr(clock, "now", lambda: SLOT + 3 * MINUTE)
    assert missed(cli) == ["06-15T02:30"]


def test_missed_asks_of_no_time_before_the_first_run(cli: Cli, nightly: Database) -> None:
    past(nightly, "backup", at=SLOT)
    assert missed(cli, "--since", "30d") == []


def test_missed_follows_the_clocks(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: datetime(2026, 10, 26, 12, 0, tzinfo=UTC))
    content = f"{NIGHTLY}timezone = 'Europe/Berlin'\n"
    schedule_file(database, content, changed=datetime(2026, 10, 24, 12, 0, tzinfo=UTC))
    rows = cli("jobs", "missed", "--since", "3d", "--format", "json").json
    assert [(row["slot"], row["local"]) for row in rows] == [
        ("2026-10-25T00:30:00Z", "2026-10-25 02:30 +02:00 Europe/Berlin"),
        ("2026-10-26T01:30:00Z", "2026-10-26 02:30 +01:00 Europe/Berlin"),
    ]


# --- schedule ----------------------------------------------------------------


def test_schedule_prints_both_times_the_first_run_first(cli: Cli, database: Database) -> None:
    schedule_file(
        database,
        f"{NIGHTLY}timezone = 'America/New_York'\n"
        "[jobs.hourly]\ncommand = 'true'\nschedule = '@hourly'\n"
        "[jobs.off]\ncommand = 'true'\nschedule = '@hourly'\nenabled = false\n"
        "[jobs.by-hand]\ncommand = 'true'\n",
    )
    result = cli("jobs", "schedule", "--limit", "2")
    assert result.stdout.splitlines() == [
        "at\tlocal\tin\tname\tschedule",
        "2026-06-15T13:00:00Z\t2026-06-15 13:00 +00:00 UTC\t1 h 0 min\thourly\t@hourly",
        "2026-06-15T14:00:00Z\t2026-06-15 14:00 +00:00 UTC\t2 h 0 min\thourly\t@hourly",
        "2026-06-16T06:30:00Z\t2026-06-16 02:30 -04:00 America/New_York\t18 h 30 min\tbackup"
        "\t30 2 * * *",
        "2026-06-17T06:30:00Z\t2026-06-17 02:30 -04:00 America/New_York\t42 h 30 min\tbackup"
        "\t30 2 * * *",
    ]


def test_schedule_needs_no_database(cli: Cli, database: Database) -> None:
    if database.is_sqlite:
        (database.instance / "opsapp.sqlite").unlink()
    schedule_file(database, NIGHTLY)
    assert cli("jobs", "schedule", "backup", "--fields", "name").stdout == "name\nbackup\n"
