"""`jobs.toml`: what it may say, what it may not, and which moments it means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from opsapp import settings
from opsapp.errors import NotFound, NotReady
from opsapp.jobs import schedule
from opsapp.jobs.fields import OnBusy
from opsapp.jobs.schedule import Job, Options
from tests.support import Cli, Database

BERLIN = "Europe/Berlin"
"""Its clocks go forward on 2026-03-29 and back on 2026-10-25, both at 01:00 UTC."""


@pytest.fixture
def kind() -> str:
    """A schedule is a file."""
    return "sqlite"


def at(moment: str) -> datetime:
    return datetime.fromisoformat(moment).replace(tzinfo=UTC)


def a_job(expression: str, timezone: str = "UTC") -> Job:
    return Job(name="a", command=("true",), schedule=expression, timezone=timezone)


def slots(job: Job, after: str, until: str) -> list[str]:
    return [f"{slot:%d %H:%M}" for slot in schedule.slots(job, at(after), at(until))]


def read(tmp_path: Path, content: str) -> dict[str, Job]:
    file = tmp_path / "jobs.toml"
    file.write_text(content)
    return schedule.load(file)


# --- moments -----------------------------------------------------------------


def test_slots_are_after_the_first_moment_and_up_to_the_last() -> None:
    found = slots(a_job("*/5 * * * *"), "2026-01-01T00:05", "2026-01-01T00:15")
    assert found == ["01 00:10", "01 00:15"]


def test_slots_follow_the_jobs_time_zone_in_winter_and_summer() -> None:
    job = a_job("0 3 * * *", BERLIN)
    assert slots(job, "2026-01-01T00:00", "2026-01-01T23:00") == ["01 02:00"]
    assert slots(job, "2026-07-01T00:00", "2026-07-01T23:00") == ["01 01:00"]


def test_fixed_time_in_the_gap_runs_once_right_after_it() -> None:
    found = slots(a_job("30 2 * * *", BERLIN), "2026-03-28T00:00", "2026-03-30T23:00")
    assert found == ["28 01:30", "29 01:00", "30 00:30"]


def test_fixed_time_that_comes_twice_runs_once() -> None:
    job = a_job("30 2 * * *", BERLIN)
    assert slots(job, "2026-10-24T00:00", "2026-10-26T23:00") == [
        "24 00:30",
        "25 00:30",
        "26 01:30",
    ]
    # Asked between the two it has had its turn.
    assert slots(job, "2026-10-25T00:45", "2026-10-26T23:00") == ["26 01:30"]


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"])
def test_every_half_hour_follows_real_time(day: str) -> None:
    found = slots(a_job("*/30 * * * *", BERLIN), f"{day}T00:00", f"{day}T02:00")
    assert found == [f"{day[-2:]} {time}" for time in ("00:30", "01:00", "01:30", "02:00")]


def test_change_of_half_an_hour_is_heeded() -> None:
    job = a_job("15 2 * * *", "Australia/Lord_Howe")  # On 2026-10-04 there is no 02:15.
    assert slots(job, "2026-10-02T00:00", "2026-10-05T00:00") == [
        "02 15:45",
        "03 15:30",
        "04 15:15",
    ]


def test_next_and_last_slot() -> None:
    job = a_job("0 0 29 2 *")
    assert schedule.next_slot(job, at("2026-01-01")) == at("2028-02-29")
    assert schedule.last_slot(job, at("2026-01-01")) == at("2024-02-29")
    assert schedule.next_slot(Job(name="a", command=("true",)), at("2026-01-01")) is None


def test_macros_mean_what_cron_says() -> None:
    assert slots(a_job("@weekly"), "2026-01-01T00:00", "2026-01-12T00:00") == [
        "04 00:00",
        "11 00:00",
    ]


# --- the file ----------------------------------------------------------------


def test_file_says_everything(tmp_path: Path) -> None:
    jobs = read(
        tmp_path,
        f"""
        timezone = "{BERLIN}"
        [jobs.plain]
        command = "flask roles expire -q"
        [jobs.all]
        command = ["sh", "-c", "echo 'a b'"]
        schedule = "@daily"
        timezone = "UTC"
        description = "Everything"
        enabled = false
        max-age = "25h"
        timeout = "1h30m"
        kill-after = "5s"
        on-busy = "wait=10m"
        retries = 3
        retry-delay = "1m"
        min-duration = "2s"
        quiet = true
        env = {{ A = "b" }}
        notify = ["ada@example.com", "https://hc.example.com/ping/{{job}}"]
        notify-after = 2
        """,
    )
    assert jobs["plain"] == Job(
        name="plain", command=("flask", "roles", "expire", "-q"), timezone=BERLIN
    )
    assert jobs["all"] == Job(
        name="all",
        command=("sh", "-c", "echo 'a b'"),
        schedule="@daily",
        description="Everything",
        enabled=False,
        max_age=timedelta(hours=25),
        options=Options(
            timeout=timedelta(minutes=90),
            kill_after=timedelta(seconds=5),
            on_busy=OnBusy("wait", timedelta(minutes=10)),
            retries=3,
            retry_delay=timedelta(minutes=1),
            min_duration=timedelta(seconds=2),
            quiet=True,
            env={"A": "b"},
            notify=("ada@example.com", "https://hc.example.com/ping/{job}"),
            notify_after=2,
        ),
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("schedule = '* * * *'", "schedule: five fields: minute, hour, day of month, month, "),
        ("schedule = '61 * * * *'", "schedule: 61 * * * *: bad minute"),
        ("schedule = '0 0 30 2 *'", "schedule: 0 0 30 2 *: bad day-of-month"),
        ("schedule = '@sometimes'", "schedule: @sometimes is not one of @yearly, "),
        ("schedule = 5", "schedule: 5 is not a line of text"),
        ("timezone = 'Mars/Olympus'", "timezone: Mars/Olympus is not a time zone such as "),
        ("timezone = '../../etc/passwd'", "timezone: ../../etc/passwd is not a time zone such as "),
        ("timeout = '10'", "timeout: '10' is not a duration such as 90s or 1h30m"),
        ("timeout = '0s'", "timeout: '0s' is not a duration such as 90s or 1h30m"),
        ("timeout = '999999999w'", "timeout: '999999999w' is not a duration such as "),
        ("on-busy = 'queue'", "on-busy: queue is not one of fail, skip, wait, wait=DURATION"),
        ("on-busy = 'skip=1m'", "on-busy: skip=1m is not one of fail, skip, wait, wait=DURATION"),
        ("retries = -1", "retries: a whole number from 0 to 1000"),
        ("retries = true", "retries: a whole number from 0 to 1000"),
        ("quiet = 'yes'", "quiet: true or false"),
        ("env = { A = 1 }", "env: a table of strings"),
        ("env = { 'A=B' = '1' }", "env: a name has no = in it"),
        ("notify = 'ada@example.com'", "notify: a list of addresses and URLs"),
        ("notify = ['ftp://x']", "notify: entry 1 is neither an address nor an http(s) URL"),
        ("description = \"a\\u001bb\"", "description: 'a\\x1bb' is not a line of text"),
    ],
)  # fmt: skip
def test_wrong_line_is_named_with_its_job_and_key(tmp_path: Path, line: str, says: str) -> None:
    with pytest.raises(NotReady) as refused:
        read(tmp_path, f"[jobs.a]\ncommand = 'true'\n{line}\n")
    assert refused.value.message.startswith(f"{tmp_path}/jobs.toml: [jobs.a] {says}")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[jobs.a]", ": [jobs.a] has no command"),
        ("[jobs.a]\ncommand = []", ": [jobs.a] command: a line, or a list of words"),
        ("[jobs.a]\ncommand = ''", ": [jobs.a] command: a line, or a list of words"),
        ("[jobs.a]\ncommand = ['']", ": [jobs.a] command: it names no program"),
        ('[jobs.a]\ncommand = "it\'s"', ": [jobs.a] command: No closing quotation"),
        ("[jobs.'a b']\ncommand = 'true'", ": [jobs.a b] is not a job: a table named with "),
        ("jobs = 1", ": [jobs] is not a table"),
        ("[job.a]", ": unknown key job in the file; did you mean jobs?"),
        (
            "[jobs.a]\ncommand = 'true'\ntimeuot = '10m'",
            ": unknown key timeuot in [jobs.a]; did you mean timeout?",
        ),
        ("[jobs.a", " cannot be read: "),
    ],
)
def test_wrong_file_is_refused(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(NotReady) as refused:
        read(tmp_path, content)
    assert refused.value.message.startswith(f"{tmp_path}/jobs.toml{says}")


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="cannot be read"):
        schedule.load(tmp_path / "away.toml")


# --- which file --------------------------------------------------------------


def test_named_file_goes_before_the_instances_and_that_before_the_shipped(tmp_path: Path) -> None:
    environ = {"OPSAPP_INSTANCE": str(tmp_path)}
    assert settings.get("OPSAPP_JOBS", environ) == settings.SHIPPED_JOBS
    (tmp_path / "jobs.toml").touch()
    assert settings.get("OPSAPP_JOBS", environ) == tmp_path / "jobs.toml"
    named = tmp_path / "other.toml"
    assert settings.get("OPSAPP_JOBS", {**environ, "OPSAPP_JOBS": str(named)}) == named


def test_wrong_file_is_one_line_and_exit_7(cli: Cli, database: Database) -> None:
    file = database.instance / "jobs.toml"
    file.write_text("[jobs.a]\ncommand = 'true'\nschedule = 'soon'\n")
    for command in ("list", "check", "schedule", "missed"):
        found = cli("jobs", command)
        assert (found.exit_code, found.stdout) == (7, "")
        assert found.stderr == (
            f"Error: {file}: [jobs.a] schedule: five fields: minute, hour, day of month, month,"
            " day of week\n"
            "  → docs/jobs.md lists the keys\n"
        )


def test_unknown_job_is_told_with_a_near_one(cli: Cli, database: Database) -> None:
    found = cli("jobs", "schedule", "bakcup")
    assert found.exit_code == NotFound.exit_code
    assert "no job bakcup in " in found.stderr
    assert "did you mean backup?" in found.stderr
