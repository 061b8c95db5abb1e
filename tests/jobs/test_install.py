"""`flask jobs install`: what it prints for cron and systemd, and whether that is installed."""

from __future__ import annotations

import getpass
import os
import shutil
import subprocess
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from opsapp.jobs import install as installing
from opsapp.jobs import schedule
from opsapp.jobs.schedule import Job
from tests.support import FLASK, SECRETS, Cli, Database, run
from tests.support.jobwork import schedule_file
from tests.support.processes import ended, start
from tests.support.templates import Templates

TWO = """
[jobs.late]
command = "true"
schedule = "30 22 * * *"
timezone = "America/New_York"
[jobs.early]
command = "true"
schedule = "@hourly"
description = "100% early"
[jobs.off]
command = "true"
schedule = "@hourly"
enabled = false
"""


@pytest.fixture
def kind() -> str:
    """A schedule is a file."""
    return "sqlite"


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch, database: Database) -> Database:
    """A host in UTC with two jobs; the current folder has a space in its name."""
    monkeypatch.setenv("TZ", "UTC")
    schedule_file(database, TWO)
    folder = database.instance / "the folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return database


def crontab_of(database: Database) -> str:
    folder, instance = database.instance / "the folder", database.instance
    settings = f"FLASK_APP=opsapp OPSAPP_INSTANCE={instance} OPSAPP_DATABASE_URL={database.url}"
    run = f"cd '{folder}' && {settings} OPSAPP_PROFILING=off {FLASK} jobs run"
    return (
        "# BEGIN opsapp jobs (flask jobs install --format crontab)\n"
        f"@hourly {run} early --quiet\n"
        "CRON_TZ=America/New_York\n"
        f"30 22 * * * {run} late --quiet\n"
        "CRON_TZ=UTC\n"
        "# END opsapp jobs\n"
    )


def test_crontab_has_a_line_a_job_and_what_it_needs(cli: Cli, utc: Database) -> None:
    found = cli("jobs", "install", "--format", "crontab")
    assert (found.exit_code, found.stdout) == (0, crontab_of(utc))
    assert found.stderr == (
        "late run by another time zone than this host's: cronie heeds CRON_TZ, Debian's cron does"
        " not. systemd timers and flask jobs serve do.\n"
    )


def test_line_of_the_crontab_runs(database: Database) -> None:
    schedule_file(database, "[jobs.a]\ncommand = 'echo done'\nschedule = '@hourly'\n")
    printed = run(database, "jobs", "install", "--format", "crontab").stdout.splitlines()[1]
    command = printed.removeprefix("@hourly ")
    # cron gives a command next to nothing.
    found = subprocess.run(
        ["sh", "-c", command],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert (found.stdout, found.stderr) == ("", "")
    assert database.rows("SELECT name, status FROM job_runs") == [("a", "succeeded")]


def test_percent_in_a_path_is_escaped_for_cron(
    cli: Cli, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule_file(database, TWO)
    folder = tmp_path / "100%"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert "100\\%" in cli("jobs", "install", "--format", "crontab").stdout
    units = cli("jobs", "install", "--format", "systemd").stdout
    assert f"WorkingDirectory={tmp_path}/100%%\n" in units


def test_crontab_that_matches(cli: Cli, utc: Database, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(f"MAILTO=ada\n{crontab_of(utc)}0 0 * * * other\n")
    found = cli("jobs", "install", "--format", "crontab", "--check", "--file", str(file))
    assert (found.exit_code, found.stdout) == (0, "")
    assert found.stderr.endswith("What is installed matches.\n")


def test_crontab_that_differs_is_shown_and_exit_6(cli: Cli, utc: Database, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(crontab_of(utc).replace("@hourly", "@daily"))
    found = cli("jobs", "install", "--format", "crontab", "--check", "--file", str(file))
    assert found.exit_code == 6
    changed = [line[:8] for line in found.stdout.splitlines() if line[:2] in ("-@", "+@")]
    assert changed == ["-@daily ", "+@hourly"]
    assert found.stderr.endswith("What is installed does not match.\n")


def test_crontab_that_is_not_installed_at_all(cli: Cli, utc: Database, tmp_path: Path) -> None:
    args = ("--check", "--file", str(tmp_path / "away"))
    found = cli("jobs", "install", "--format", "crontab", *args)
    assert (found.exit_code, found.stdout.count("\n+")) == (6, 6 + 1)


def test_crontab_without_a_crontab_program(
    cli: Cli, utc: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    found = cli("jobs", "install", "--format", "crontab", "--check")
    assert found.exit_code == 7
    assert found.stderr.endswith(
        "Error: there is no crontab program here\n  → --file FILE names a crontab\n"
    )


def test_hostile_line_in_the_crontab_is_made_safe(cli: Cli, utc: Database, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(crontab_of(utc).replace("@hourly", "\x1b[2J@hourly"))
    found = cli("jobs", "install", "--format", "crontab", "--check", "--file", str(file))
    assert "\x1b" not in found.stdout
    assert "-\\x1b[2J@hourly" in found.stdout


def test_crontab_leaves_the_folder_as_it_is_named() -> None:
    place = installing.Place(
        flask="/opt/flask", folder="/srv/my  app", environ={}, user="ops", timezone="UTC"
    )
    job = Job(name="a", command=("true",), schedule="@daily")
    lines = installing.crontab([job], place).splitlines()
    assert lines[1] == "@daily cd '/srv/my  app' && /opt/flask jobs run a --quiet"


def test_production_from_exported_settings_runs_from_cron(
    templates: Templates, tmp_path: Path
) -> None:
    files = {}
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value)
        files[f"{name}_FILE"] = str(tmp_path / name)
    environ = {"OPSAPP_ENV": "production", "OPSAPP_ACTOR": "ada", **files}
    with templates.copy(tmp_path / "instance", OPSAPP_ENV="production", **SECRETS) as database:
        schedule_file(database, "[jobs.a]\ncommand = 'flask audit verify'\nschedule = '@daily'\n")
        found = run(database, "jobs", "install", "--format", "crontab", **environ)
        assert (found.exit_code, found.stderr) == (0, "")
        command = found.stdout.splitlines()[1].removeprefix("@daily ")
        assert "OPSAPP_ACTOR" not in command
        done = subprocess.run(
            ["env", "-i", "sh", "-c", command], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def a_place(written: str = "", **environ: str) -> installing.Place:
    return installing.Place(
        flask="/opt/flask",
        folder="/srv",
        environ=environ,
        user="ops",
        timezone="UTC",
        written=frozenset(written.split()),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", "never"),
        ("OPSAPP_JOBS_NOTIFY", "https://hc.example.com/uuid"),
        ("OPSAPP_DATABASE_URL", "postgresql://ops:never@db/opsapp"),
        ("DATABASE_URL", "postgresql://ops@db/opsapp?password=never"),
        ("OPSAPP_READONLY_DATABASE_URL", "no URL"),
    ],
)
def test_secret_is_named_and_not_carried(name: str, value: str) -> None:
    place = a_place(**{name: value})
    assert (place.carried, place.left_out) == ({}, [name])
    assert a_place(written=name, **{name: value}).left_out == []


def test_what_dotenv_says_is_not_carried_but_which_installation_it_is() -> None:
    settings = {"OPSAPP_ENV": "production", "MAIL_SERVER": "smtp", "PGPASSFILE": "/srv/.pgpass"}
    assert a_place(**settings).carried == settings
    place = a_place("OPSAPP_ENV MAIL_SERVER", **settings)
    assert place.carried == {"OPSAPP_ENV": "production", "PGPASSFILE": "/srv/.pgpass"}


def test_secrets_that_cron_would_miss_are_said(
    cli: Cli, utc: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = utc.instance / "the folder"
    for name in ("SECRET_KEY", "MAIL_PASSWORD"):
        monkeypatch.setenv(name, "never-shown")
    said = (
        f"MAIL_PASSWORD, SECRET_KEY are secrets and not in what is printed: {folder}/.env is the"
        f" place, readable by {getpass.getuser()} alone.\n"
    )
    found = cli("jobs", "install", "--format", "crontab")
    assert (found.exit_code, said in found.stderr) == (0, True)
    assert "never-shown" not in found.stdout + found.stderr
    (folder / ".env").write_text("SECRET_KEY=never-shown\nMAIL_PASSWORD=another\n")
    assert "MAIL_PASSWORD is a secret and" in cli("jobs", "install", "--format", "systemd").stderr


@pytest.mark.parametrize("expression", ["0 0 L * *", "0 0 * * MON#2", "0 0 LW * *"])
def test_what_cron_does_not_know_is_refused(cli: Cli, database: Database, expression: str) -> None:
    schedule_file(database, f"[jobs.a]\ncommand = 'true'\nschedule = '{expression}'\n")
    found = cli("jobs", "install", "--format", "crontab")
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == (
        f"Error: the schedule {expression} of a is not known to cron\n"
        "  → flask jobs install --format systemd, or flask jobs serve\n"
    )


def test_last_weekday_is_refused_for_systemd(cli: Cli, database: Database) -> None:
    schedule_file(database, "[jobs.a]\ncommand = 'true'\nschedule = '0 0 LW * *'\n")
    found = cli("jobs", "install", "--format", "systemd")
    assert (found.exit_code, found.stdout) == (2, "")


# --- systemd -----------------------------------------------------------------


def test_units_are_a_timer_and_a_service_a_job(cli: Cli, utc: Database) -> None:
    found = cli("jobs", "install", "--format", "systemd")
    assert found.exit_code == 0
    names = [line for line in found.stdout.splitlines() if line.startswith("# ")]
    assert names == [
        f"# /etc/systemd/system/opsapp-job-{name}"
        for name in ("early.service", "early.timer", "late.service", "late.timer")
    ]
    assert "Description=opsapp job early: 100%% early\n" in found.stdout
    assert "OnCalendar=*-*-* 22:30:00 America/New_York\n" in found.stdout
    assert f"\nEnvironment=OPSAPP_INSTANCE={utc.instance}\n" in found.stdout
    assert f"\nExecStart={FLASK} jobs run late --quiet\n" in found.stdout


def install(printed: str, folder: Path) -> None:
    """Write the units as the headings say."""
    for unit in printed.split(f"# {folder}/")[1:]:
        name, _, content = unit.partition("\n")
        (folder / name).write_text(content.rstrip("\n") + "\n")


def test_units_that_are_installed_match_until_one_goes(
    cli: Cli, utc: Database, tmp_path: Path
) -> None:
    folder = tmp_path / "units"
    folder.mkdir()
    args = ("jobs", "install", "--format", "systemd", "--directory", str(folder))
    install(cli(*args).stdout, folder)
    assert (cli(*args, "--check").exit_code, cli(*args, "--check").stdout) == (0, "")
    (folder / "opsapp-job-late.timer").unlink()
    found = cli(*args, "--check")
    assert found.exit_code == 6
    assert f"+# {folder}/opsapp-job-late.timer\n" in found.stdout


def test_variables_and_quotes_in_a_folder_reach_systemd(tmp_path: Path) -> None:
    place = installing.Place(
        flask="/opt/a $b/flask",
        folder="/srv",
        environ={"OPSAPP_INSTANCE": '/srv/$x "y"', "SECRET_KEY": "never"},
        user="ops",
        timezone="UTC",
    )
    job = Job(name="a", command=("true",), schedule="@daily")
    service = installing.units([job], place)["opsapp-job-a.service"]
    assert 'Environment="OPSAPP_INSTANCE=/srv/$x \\"y\\""\n' in service
    assert 'ExecStart="/opt/a $$b/flask" jobs run a --quiet\n' in service
    assert "never" not in service


needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def told_by_systemd(calendar: str) -> list[datetime]:
    """When systemd itself says that the timer comes, the next dozen times."""
    found = subprocess.run(
        [
            "systemd-analyze",
            "calendar",
            "--iterations=12",
            f"--base-time={NOW:%F %T} UTC",
            calendar,
        ],
        env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line.partition(": ")[::2] for line in found.stdout.splitlines()]
    moments = [says for what, says in lines if what.strip().startswith(("Next elapse", "Iter"))]
    return [
        datetime.strptime(one, "%a %Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC) for one in moments
    ]


@needs_systemd
@pytest.mark.parametrize(
    "expression",
    [
        "*/5 * * * *", "30 2 * * *", "0 6 * * MON", "0 6 1,15 * FRI", "0 0 L * *", "0 0 * * 5L",
        "0 0 * * MON#2", "0 12 */2 * MON", "5 4 * JAN-MAR 1-5", "@weekly", "0 0 13 * 5",
        "0 0 29 2 *", "15 10 * * 0,7", "*/7 1-3 * * *", "0 0 31 * *", "0 3 * * 6#5", "0 0 1 * 5L",
    ],
)  # fmt: skip
def test_systemd_reads_the_same_moments(expression: str) -> None:
    job = Job(name="a", command=("true",), schedule=expression)
    wanted = list(islice(schedule.slots(job, NOW), 12))
    told = {moment for line in installing.on_calendar(job) for moment in told_by_systemd(line)}
    assert sorted(told)[: len(wanted)] == wanted


@needs_systemd
def test_systemd_accepts_the_units(database: Database, tmp_path: Path) -> None:
    schedule_file(database, TWO)
    args = ("jobs", "install", "--format", "systemd", "--directory", str(tmp_path))
    install(run(database, *args).stdout, tmp_path)
    units = sorted(map(str, tmp_path.glob("opsapp-job-*")))
    assert len(units) == 4
    verified = ended(start(database, "systemd-analyze", "verify", "--man=no", *units))
    told = [line for line in verified.stderr.splitlines() if "opsapp-job-" in line]
    assert told == []
