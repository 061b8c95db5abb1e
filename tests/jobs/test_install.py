"""`flask jobs install`: the lines for cron, the unit for systemd, and the check of either."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from opsapp.errors import Invalid
from opsapp.jobs import install as installing
from opsapp.jobs.schedule import Job
from tests.support import FLASK, SECRETS, Cli, Database, Result, run
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
        "late: another time zone than this host's. cronie reads CRON_TZ, Debian's cron ignores it."
        " flask jobs serve, which --format systemd runs, does not need it.\n"
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
    assert database.rows("SELECT name, status FROM ops_job_runs") == [("a", "succeeded")]


def test_percent_in_a_path_is_escaped_for_cron(
    cli: Cli, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule_file(database, TWO)
    folder = tmp_path / "100%"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert "100\\%" in cli("jobs", "install", "--format", "crontab").stdout


def test_crontab_that_matches(cli: Cli, utc: Database, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(f"MAILTO=ada\n{crontab_of(utc)}0 0 * * * other\n")
    found = cli("jobs", "install", "--format", "crontab", "--check", "--file", str(file))
    assert (found.exit_code, found.stdout) == (0, "")
    assert found.stderr.endswith("The installed lines match the schedule.\n")


def test_crontab_that_differs_is_shown_and_exit_6(cli: Cli, utc: Database, tmp_path: Path) -> None:
    file = tmp_path / "crontab"
    file.write_text(crontab_of(utc).replace("@hourly", "@daily"))
    found = cli("jobs", "install", "--format", "crontab", "--check", "--file", str(file))
    assert found.exit_code == 6
    changed = [line[:8] for line in found.stdout.splitlines() if line[:2] in ("-@", "+@")]
    assert changed == ["-@daily ", "+@hourly"]
    assert found.stderr.endswith("The installed lines do not match the schedule.\n")


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


def test_crontab_of_an_attached_application_names_its_command() -> None:
    place = installing.Place(
        flask="flask", folder="/srv", environ={}, user="ops", timezone="UTC", group=("ops",)
    )
    mark = "# BEGIN opsapp jobs (flask ops jobs install --format crontab)"
    assert installing.crontab([], place).splitlines()[0] == mark


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


def a_place(dotenv: str = "", **environ: str) -> installing.Place:
    return installing.Place(
        flask="/opt/flask",
        folder="/srv",
        environ=environ,
        user="ops",
        timezone="UTC",
        dotenv=frozenset(dotenv.split()),
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
    assert (place.carried_settings, place.missing_secrets) == ({}, [name])
    assert a_place(dotenv=name, **{name: value}).missing_secrets == []


def test_what_dotenv_says_is_not_carried_but_which_installation_it_is() -> None:
    settings = {"OPSAPP_ENV": "production", "MAIL_SERVER": "smtp", "PGPASSFILE": "/srv/.pgpass"}
    assert a_place(**settings).carried_settings == settings
    place = a_place("OPSAPP_ENV MAIL_SERVER", **settings)
    assert place.carried_settings == {"OPSAPP_ENV": "production", "PGPASSFILE": "/srv/.pgpass"}


def test_secrets_that_cron_would_miss_are_said(
    cli: Cli, utc: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = utc.instance / "the folder"
    for name in ("SECRET_KEY", "MAIL_PASSWORD"):
        monkeypatch.setenv(name, "never-shown")
    said = (
        f"MAIL_PASSWORD, SECRET_KEY are secrets and not printed. Put them into {folder}/.env,"
        f" readable by {pwd.getpwuid(os.getuid()).pw_name} alone.\n"
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


# --- systemd -----------------------------------------------------------------


def unit_of(database: Database) -> str:
    folder, instance = database.instance / "the folder", database.instance
    return (
        "[Unit]\nDescription=opsapp jobs\nAfter=network-online.target\n"
        "Wants=network-online.target\n\n"
        f"[Service]\nUser={pwd.getpwuid(os.getuid()).pw_name}\nWorkingDirectory={folder}\n"
        "EnvironmentFile=-/etc/opsapp.env\nEnvironment=FLASK_APP=opsapp\n"
        f"Environment=OPSAPP_INSTANCE={instance}\nEnvironment=OPSAPP_DATABASE_URL={database.url}\n"
        f"Environment=OPSAPP_PROFILING=off\nExecStart={FLASK} jobs serve --grace 5s\n"
        "KillMode=mixed\nTimeoutStopSec=75\nRestart=on-failure\nRestartSec=10\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def test_unit_serves_the_schedule_and_waits_for_its_slowest_job(cli: Cli, utc: Database) -> None:
    schedule_file(utc, TWO.replace("[jobs.off]", "kill-after = '1m'\n[jobs.off]"))
    result = cli("jobs", "install", "--format", "systemd")
    assert result == Result(0, unit_of(utc), "")


def test_unit_that_is_installed_matches_until_it_is_edited(
    cli: Cli, utc: Database, tmp_path: Path
) -> None:
    file = tmp_path / "opsapp-jobs.service"
    args = ("jobs", "install", "--format", "systemd")
    check = (*args, "--check", "--file", str(file))
    file.write_text(cli(*args).stdout)
    assert cli(*check) == Result(0, "", "The installed lines match the schedule.\n")
    file.write_text(file.read_text().replace("KillMode=mixed\n", ""))
    result = cli(*check)
    assert (result.exit_code, "\n+KillMode=mixed\n" in result.stdout) == (6, True)
    file.unlink()
    assert cli(*check).exit_code == 6


def test_variables_quotes_and_percents_reach_systemd() -> None:
    place = installing.Place(
        flask="/opt/a $b/flask",
        folder="/srv/100%",
        environ={"OPSAPP_INSTANCE": '/srv/$x "y"', "SECRET_KEY": "never"},
        user="ops",
        timezone="UTC",
    )
    unit = installing.unit([], place)
    assert "WorkingDirectory=/srv/100%%\n" in unit
    assert 'Environment="OPSAPP_INSTANCE=/srv/$x \\"y\\""\n' in unit
    assert 'ExecStart="/opt/a $$b/flask" jobs serve --grace 5s\n' in unit
    assert "never" not in unit


@pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
def test_systemd_accepts_the_unit(database: Database, tmp_path: Path) -> None:
    unit = tmp_path / "opsapp-jobs.service"
    unit.write_text(run(database, "jobs", "install", "--format", "systemd").stdout)
    result = ended(start(database, "systemd-analyze", "verify", "--man=no", str(unit)))
    assert [line for line in result.stderr.splitlines() if "opsapp-jobs" in line] == []


# --- both --------------------------------------------------------------------


@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\u2028"])
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("OPSAPP_URL", lambda value: a_place(OPSAPP_URL=value)),
        ("MAIL_SERVER", lambda value: a_place(MAIL_SERVER=value)),
        ("the folder", lambda value: replace(a_place(), folder=value)),
        ("the path of flask", lambda value: replace(a_place(), flask=value)),
        ("TZ", lambda value: replace(a_place(), timezone=value)),
    ],
)
def test_control_character_is_refused(
    name: str, place: Callable[[str], installing.Place], character: str
) -> None:
    job = Job(name="a", command=("true",), schedule="@daily")
    for install in (installing.crontab, installing.unit):
        with pytest.raises(Invalid) as refused:
            install([job], place(f"a{character}* * * * * evil"))
        assert refused.value.message == (
            f"{name} has a line break or a control character, which no installed line can hold"
        )


@pytest.mark.parametrize("kind", ["crontab", "systemd"])
def test_line_break_in_a_setting_or_the_folder_is_exit_2(
    cli: Cli, utc: Database, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    says = "has a line break or a control character, which no installed line can hold"
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC\n* * * * * evil")
        assert cli("jobs", "install", "--format", kind).stderr.endswith(f"Error: TZ {says}\n")
    folder = utc.instance / "a\nb"
    folder.mkdir()
    monkeypatch.chdir(folder)
    result = cli("jobs", "install", "--format", kind)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(f"Error: the folder {says}\n")


def test_user_without_a_name_is_a_number(
    cli: Cli, utc: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a user has no entry in passwd, as in a container, and maybe no LOGNAME."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MAIL_PASSWORD", "never-shown")
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    result = cli("jobs", "install", "--format", "systemd")
    assert (result.exit_code, "\nUser=54321\n" in result.stdout) == (0, True)
    assert result.stderr == (
        "MAIL_PASSWORD is a secret and not printed. Put it into /etc/opsapp.env, readable by"
        " 54321 alone.\n"
    )
