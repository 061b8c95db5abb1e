"""The jobs that ship in `jobs.toml`, run as cron runs them."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from opsapp import clock, settings
from opsapp.jobs import schedule
from tests.support import Cli, Database, Result, disarm, expire_grants
from tests.support.jobwork import job, past, schedule_file
from tests.support.templates import BOB, Commands

SHIPPED = schedule.load(settings.SHIPPED_JOBS)


@pytest.fixture
def after_bob() -> Commands:
    """An administrator, and Bob."""
    return BOB


def recipe(database: Database, name: str, **environ: str) -> Result:
    """The recipe, run to its end, and what it said."""
    return job(database, name, **environ)


def test_every_recipe_is_tried_here() -> None:
    tried = Path(__file__).read_text()
    assert [name for name in SHIPPED if f'recipe(database, "{name}"' not in tried] == []


def test_schedule_ships_with_descriptions_and_bounds() -> None:
    assert [job.name for job in SHIPPED.values() if not job.description] == []
    assert [job.name for job in SHIPPED.values() if job.options.timeout is None] == []


def test_send_mail_sends_what_waits(
    cli: Cli, database: Database, after_bob: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What was sent is empty; a message that could not be sent is made by a server that is away.
    monkeypatch.setenv("MAIL_SERVER", "127.0.0.1")
    monkeypatch.setenv("MAIL_PORT", "9")
    cli("users", "create", "carol@example.com", "--no-password", check=True)
    monkeypatch.delenv("MAIL_SERVER")
    waiting = "SELECT count(*) FROM ops_mail_messages WHERE next_at IS NOT NULL"
    assert database.rows(waiting) == [(1,)]
    database.execute("UPDATE ops_mail_messages SET next_at = created_at WHERE next_at IS NOT NULL")
    found = recipe(database, "send-mail")
    assert (found.exit_code, found.json["recipient"]) == (0, "carol@example.com")
    assert database.rows(waiting) == [(0,)]


def test_expire_grants_marks_what_is_past(
    cli: Cli, database: Database, after_bob: Commands
) -> None:
    cli("roles", "create", "support", check=True)
    cli("roles", "grant", "support", "bob@example.com", "--for", "1h", check=True)
    expire_grants(database)
    assert recipe(database, "expire-grants").exit_code == 0
    [event] = cli("audit", "list", "--action", "user:role:expire", "--format", "json").json
    assert event["door"] == "job"


def test_checkpoint_adds_a_line_and_finds_a_forgery(
    cli: Cli, database: Database, after_bob: Commands, tmp_path: Path
) -> None:
    file = tmp_path / "checkpoints"
    assert recipe(database, "checkpoint", CHECKPOINTS=str(file)).exit_code == 0
    cli("roles", "create", "support", check=True)
    assert recipe(database, "checkpoint", CHECKPOINTS=str(file)).exit_code == 0
    assert len(file.read_text().splitlines()) == 2
    # It is in the instance folder otherwise, where `flask doctor` looks for what others can read.
    assert file.stat().st_mode & 0o077 == 0
    disarm(database)
    database.execute("UPDATE ops_audit_events SET reason = 'forged' WHERE seq = 2")
    forged = recipe(database, "checkpoint", CHECKPOINTS=str(file))
    assert forged.exit_code == 6
    assert len(file.read_text().splitlines()) == 2


def test_backup_keeps_the_last_copies_and_no_other_files(
    database: Database, tmp_path: Path, postgres: str
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for day in range(1, 16):
        (folder / f"opsapp-202601{day:02d}T023000Z.backup").write_text("old")
    (folder / "a-precious.backup").write_text("mine")
    found = recipe(database, "backup", BACKUPS=str(folder))
    assert found.exit_code == 0, found.stderr
    kept = sorted(path.name for path in folder.iterdir())
    assert len(kept) == 14 + 1
    assert kept[0] == "a-precious.backup"
    assert kept[1] == "opsapp-20260103T023000Z.backup"
    assert (folder / kept[-1]).stat().st_size > 1000
    assert (folder / kept[-1]).stat().st_mode & 0o077 == 0


def test_backup_that_fails_removes_nothing(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for day in range(1, 20):
        (folder / f"opsapp-202601{day:02d}T023000Z.backup").write_text("old")
    shipped = settings.SHIPPED_JOBS.read_text()
    schedule_file(database, shipped.replace("flask db backup", "false"))
    assert recipe(database, "backup", BACKUPS=str(folder)).exit_code == 1
    assert len(list(folder.iterdir())) == 19


def test_prune_logins_forgets_old_ones(cli: Cli, database: Database, after_bob: Commands) -> None:
    for at in ("2020-01-01 10:00:00.000000", f"{clock.now():%F %T.%f}"):
        database.execute(
            "INSERT INTO ops_logins (at, identity, outcome) VALUES (:at, 'x', 'unknown')", at=at
        )
    assert recipe(database, "prune-logins").exit_code == 0
    assert database.rows("SELECT count(*) FROM ops_logins") == [(1,)]


def test_prune_profiles_leaves_what_is_young(cli: Cli, database: Database) -> None:
    assert cli("roles", "list", check=True)
    found = recipe(database, "prune-profiles", OPSAPP_PROFILING="on")
    assert (found.exit_code, found.stderr) == (0, "")


def test_prune_jobs_forgets_old_ones(cli: Cli, database: Database) -> None:
    for number in range(25):
        past(database, "a", at=clock.now() - timedelta(days=400 + number), printed="old\n")
    past(database, "a", at=clock.now() - timedelta(days=40), printed="old\n")
    past(database, "a", at=clock.now() - timedelta(days=20), printed="young\n")
    assert recipe(database, "prune-jobs").exit_code == 0
    assert database.rows("SELECT count(*) FROM ops_job_runs WHERE name = 'a'") == [(20,)]
    assert database.rows("SELECT text FROM ops_job_output") == [("young\n",), ("7\n",)]


def test_idle_accounts_are_told_first_and_then_deactivated(
    cli: Cli, database: Database, after_bob: Commands
) -> None:
    past = "'2025-01-01 00:00:00.000000'" if database.is_sqlite else "'2025-01-01T00:00:00Z'"
    database.execute(f"UPDATE ops_users SET idle_since = {past}")
    planned = recipe(database, "plan-idle")
    assert planned.exit_code == 0
    assert [one["subject"] for one in map(json.loads, planned.stdout.splitlines())] == ["user:2"]
    assert cli("users", "show", "bob", "--format", "json").json["status"] == "active"
    assert recipe(database, "deactivate-idle").exit_code == 0
    assert cli("users", "show", "bob", "--format", "json").json["status"] == "inactive"
    assert cli("users", "show", "ada", "--format", "json").json["status"] == "active"
