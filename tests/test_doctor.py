"""`flask doctor`: every check, well and unwell."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from opsapp import clock
from opsapp.doctor import server
from tests.support import SECRETS, Cli, Database, Result, call
from tests.support.jobwork import past
from tests.support.templates import ADA, Templates
from tests.support.web import site

CHECKS = [
    "setting names",
    "setting OPSAPP_ENV",
    "setting SECRET_KEY",
    "setting SECURITY_PASSWORD_SALT",
    "setting OPSAPP_AUDIT_KEY",
    "setting OPSAPP_URL",
    "file modes",
    "database",
    "migrations",
    "writing",
    "environment",
    "administrator",
    "grants",
    "audit",
    "values",
    "mail",
    "jobs",
    "profiles",
    "clock",
    "disk",
    "durability",
    "locks",
]


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no finding."""
    monkeypatch.setattr(server, "SLOW_MILLISECONDS", 60_000)


def findings(result: Result) -> dict[str, tuple[str, str, str | None]]:
    """What is not well: state, words and advice by check."""
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return {
        row["check"]: (row["state"], row["says"], row["advice"])
        for row in rows
        if row["state"] != "ok"
    }


def test_doctor_finds_a_good_installation_well(cli: Cli, ada: str) -> None:
    result = cli("doctor", "--format", "json")
    assert findings(result) == {}
    assert result.exit_code == 0
    assert [row["check"] for row in result.json] == CHECKS


def test_doctor_finds_a_slow_database(cli: Cli, ada: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SLOW_MILLISECONDS", -1)
    state, message, advice = findings(cli("doctor", "--format", "json"))["database"]
    assert (state, advice) == ("warn", "look for a slow network or a busy server")
    assert message.endswith(" ms")


def test_doctor_misses_an_administrator_who_can_log_in(cli: Cli) -> None:
    result = cli("doctor", "--format", "json")
    assert result.exit_code == 6
    assert findings(result) == {
        "administrator": (
            "fail",
            "no active account with a password holds admin for ever",
            "flask users create-admin EMAIL",
        )
    }


@pytest.mark.parametrize(
    ("damage", "check", "state", "advice"),
    [
        ("UPDATE ops_alembic_version SET version_num = 'core0000' WHERE version_num LIKE 'core%'",
         "migrations", "fail", "flask db init"),
        ("UPDATE ops_audit_head SET environment = 'staging'", "environment", "fail",
         "set OPSAPP_ENV, or connect to the other database"),
        ("UPDATE ops_audit_head SET seq = seq + 1", "audit", "fail", "flask audit verify"),
    ],
)  # fmt: skip
def test_doctor_finds_damage(
    cli: Cli, database: Database, ada: str, damage: str, check: str, state: str, advice: str
) -> None:
    database.execute(damage)
    result = cli("doctor", "--format", "json")
    assert result.exit_code == 6
    assert (findings(result)[check][0], findings(result)[check][2]) == (state, advice)


def test_doctor_takes_an_empty_database_for_what_it_is(empty_database: Database) -> None:
    if empty_database.is_sqlite:
        (empty_database.instance / "opsapp.sqlite").touch(mode=0o600)
    result = findings(call(empty_database, "doctor", "--format", "json"))
    # Stamped, it would be taken for one that has the tables.
    assert result["migrations"] == ("fail", "the database is not initialised", "flask db init")
    assert call(empty_database, "db", "init").exit_code == 0


def test_doctor_finds_grants_past_their_end(cli: Cli, database: Database, bob: str) -> None:
    cli("roles", "grant", "admin", "bob", "--for", "1h", check=True)
    database.execute(
        "UPDATE ops_grants SET valid_until = '2020-01-01 00:00:00.000000' WHERE user_id = 2"
    )
    found = findings(cli("doctor", "--format", "json"))
    assert found["grants"] == ("warn", "1 past their end and unmarked", "flask roles expire")


def test_doctor_waits_for_the_sweep_of_grants(cli: Cli, database: Database, bob: str) -> None:
    cli("roles", "grant", "admin", "bob", "--for", "1h", check=True)
    end = (clock.now() - timedelta(minutes=5)).strftime("%Y-%m-%d %H:%M:%S")
    database.execute(f"UPDATE ops_grants SET valid_until = '{end}' WHERE user_id = 2")
    assert "grants" not in findings(cli("doctor", "--format", "json"))


def test_doctor_compares_the_tables_with_the_audit(cli: Cli, database: Database, bob: str) -> None:
    database.execute(
        "INSERT INTO ops_grants (user_id, role_id, granted_at, granted_by)"
        " VALUES (2, 1, '2026-01-01 00:00:00.000000', 'ada')"
    )
    done = cli("doctor", "--format", "json")
    assert (done.exit_code, findings(done)) == (
        6,
        {
            "audit": (
                "fail",
                "grant 2 (admin to user 2): no event gives it",
                "flask audit verify --state",
            )
        },
    )


def test_doctor_finds_mail_that_waits(cli: Cli, database: Database, ada: str) -> None:
    database.execute(
        "UPDATE ops_mail_messages SET created_at = :at, next_at = :at, sent_at = NULL",
        at="2026-01-01 00:00:00.000000",
    )
    result = cli("doctor", "--format", "json")
    assert findings(result) == {
        "mail": (
            "warn",
            "2 messages wait, the oldest since 2026-01-01T00:00:00Z",
            "flask mail send-pending every few minutes",
        )
    }


def test_doctor_tells_what_the_mail_server_said(cli: Cli, database: Database, ada: str) -> None:
    database.execute("UPDATE ops_mail_messages SET error = 'refused', next_at = :at WHERE id = 1",
                     at="2090-01-01 00:00:00.000000")  # fmt: skip
    result = cli("doctor", "--format", "json")
    assert findings(result) == {
        "mail": ("warn", "1 message waits; the server: refused", "check MAIL_*")
    }


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_doctor_finds_a_file_out_of_wal_mode(cli: Cli, database: Database, ada: str) -> None:
    with closing(sqlite3.connect(database.instance / "opsapp.sqlite")) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    result = cli("doctor", "--format", "json")
    message = "journal_mode is delete, not wal: pages and commands block each other"
    assert (result.exit_code, findings(result)) == (
        6,
        {"durability": ("fail", message, "flask db init")},
    )
    cli("db", "init", check=True)
    assert findings(cli("doctor", "--format", "json")) == {}


def test_doctor_finds_profiles_that_no_job_compacts(
    cli: Cli, database: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_PROFILING", "on")
    cli("users", "list", check=True)
    database.execute("UPDATE ops_profile_windows SET starts_at = 1767225600")
    result = cli("doctor", "--format", "json")
    assert findings(result) == {
        "profiles": (
            "warn",
            "not compacted since 2026-01-01T00:00:00Z: the tables grow, reports get slow",
            "run the job prune-profiles every few minutes",
        )
    }
    cli("profile", "compact", check=True)
    assert findings(cli("doctor", "--format", "json")) == {}


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_doctor_says_that_nothing_is_recorded(cli: Cli, ada: str) -> None:
    result = cli("doctor", "--format", "json")
    remarks = {row["check"]: row["says"] for row in result.json}
    # The tests of other things run so.
    assert remarks["profiles"] == "OPSAPP_PROFILING is off: nothing is recorded"


def test_doctor_finds_an_address_without_tls(database: Database) -> None:
    environ = {"OPSAPP_ENV": "production", "OPSAPP_URL": "http://ops.example.com"}
    result = findings(call(database, "doctor", "--format", "json", **environ))
    assert result["setting OPSAPP_URL"][0] == "warn"


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_doctor_misses_what_mail_and_pages_need_outside_development(
    cli: Cli, database: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_ENV", "staging")
    for name in ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY"):
        file = database.instance / "secrets" / name.lower()
        monkeypatch.setenv(f"{name}_FILE", str(file))
    database.execute("UPDATE ops_audit_head SET environment = 'staging'")
    result = findings(cli("doctor", "--format", "json"))
    assert result.pop("audit")[1] == "the head's environment is not what the chain was begun with"
    assert result == {
        "setting OPSAPP_URL": (
            "warn",
            "not set: the web part does not start, and mail has no links",
            "OPSAPP_URL=https://ops.example.com",
        ),
        "mail": (
            "warn",
            "MAIL_SERVER is not set; no messages wait",
            "set MAIL_SERVER, then flask mail send-pending",
        ),
    }


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("OPSAPP_DATABSE_URL", "did you mean OPSAPP_DATABASE_URL?"),
        ("OPSAPP_AUDIT_KEY_FLIE", "did you mean OPSAPP_AUDIT_KEY_FILE?"),
        ("OPSAPP_XYZZY", "flask doctor --settings"),
    ],
)
def test_doctor_finds_a_setting_that_is_none(
    cli: Cli, ada: str, name: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "sqlite:////srv/opsapp.sqlite")
    monkeypatch.setenv("OPSAPP_JOB_RUN", "12")  # A job is told.
    result = cli("doctor", "--format", "json")
    assert findings(result) == {"setting names": ("warn", f"{name} is no setting", advice)}


def test_doctor_finds_several_settings_that_are_none(
    cli: Cli, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPSAPP_URI", "OPSAPP_DATABASE_URL_FILE"):
        monkeypatch.setenv(name, "x")
    result = findings(cli("doctor", "--format", "json"))
    assert result["setting names"][1] == "OPSAPP_DATABASE_URL_FILE, OPSAPP_URI are no settings"
    listing = cli("doctor", "--settings", "--format", "json").json
    [row] = [row for row in listing if row["name"] == "OPSAPP_READONLY_DATABASE_URL"]
    assert row["source"] == "default"


@pytest.mark.parametrize("name", ["prod", "PRODUCTION", "Live", "production "])
def test_doctor_finds_a_production_that_is_not_called_so(database: Database, name: str) -> None:
    result = findings(call(database, "doctor", "--format", "json", OPSAPP_ENV=name))
    assert result["setting OPSAPP_ENV"] == (
        "warn",
        f"{name} is not production: severe changes ask for no more than --yes",
        "OPSAPP_ENV=production, if that is meant",
    )


@pytest.mark.parametrize("name", ["production", "preproduction", "staging"])
def test_doctor_takes_an_environment_by_its_name(database: Database, name: str) -> None:
    result = findings(call(database, "doctor", "--format", "json", OPSAPP_ENV=name))
    assert "setting OPSAPP_ENV" not in result


@pytest.mark.parametrize(
    ("name", "mode", "is_found"),
    [("SECRET_KEY", 0o644, True), ("MAIL_PASSWORD", 0o604, True), ("SECRET_KEY", 0o640, False)],
)
def test_doctor_finds_secrets_from_files_that_others_can_read(
    cli: Cli,
    ada: str,
    tmp_path: Path,
    name: str,
    mode: int,
    is_found: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "secret"
    file.write_text("q8Zt4vRk2Lw9XbN7cJ5hM3pF6sD1gA0yE")
    file.chmod(mode)
    monkeypatch.setenv(f"{name}_FILE", str(file))
    result = findings(cli("doctor", "--format", "json"))
    expected = ("warn", f"others can read {file}", f"chmod o= {file}")
    assert result == ({"secret files": expected} if is_found else {})


def test_doctor_counts_no_secret_file_that_is_away(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", "/nowhere/at.all")
    rows = {row["check"]: row["state"] for row in cli("doctor", "--format", "json").json}
    assert rows["setting SECRET_KEY"] == "fail"
    assert "secret files" not in rows


def test_doctor_passes_over_a_file_that_has_just_gone(
    cli: Cli, database: Database, ada: str
) -> None:
    (database.instance / "gone").symlink_to(database.instance / "not-there")
    assert cli("doctor").exit_code == 0


def test_doctor_finds_files_that_others_can_read(cli: Cli, database: Database, ada: str) -> None:
    secret = database.instance / "secrets" / "secret_key"
    for path in (database.instance, secret.parent):
        path.chmod(0o755)
    secret.chmod(0o644)
    result = cli("doctor", "--format", "json")
    assert findings(result) == {
        "file modes": ("fail", f"others can read {secret}", f"chmod 600 {secret}")
    }


def test_doctor_passes_over_open_files_in_a_closed_folder(
    cli: Cli, database: Database, ada: str
) -> None:
    folder = database.instance / "metrics"
    folder.mkdir(mode=0o755)
    (folder / "counter_1.db").touch(mode=0o644)
    for instance, metrics, code in ((0o755, 0o700, 0), (0o700, 0o755, 0), (0o755, 0o755, 6)):
        database.instance.chmod(instance)
        folder.chmod(metrics)
        assert cli("doctor").exit_code == code


def test_doctor_fails_on_the_debugger_outside_development(database: Database) -> None:
    for environment, state in (("staging", "fail"), ("development", None)):
        environ = {"OPSAPP_ENV": environment, "FLASK_DEBUG": "1"}
        result = call(database, "doctor", "--format", "json", **environ)
        states = {row["check"]: row["state"] for row in result.json}
        assert states.get("setting FLASK_DEBUG") == state


@pytest.mark.parametrize("closed", ["", "metrics"])
def test_doctor_knows_that_a_closed_folder_keeps_others_out(
    cli: Cli, database: Database, ada: str, closed: str
) -> None:
    for path in (database.instance, database.instance / "metrics"):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    (database.instance / closed).chmod(0o700)
    for name in ("jobs.toml", "metrics/.lock", "metrics/counter_1.db"):
        (database.instance / name).touch(0o644)
        (database.instance / name).chmod(0o644)
    rows = cli("doctor", "--format", "json").json
    assert [row["state"] for row in rows if row["check"] == "file modes"] == ["ok"]


def test_doctor_of_a_database_that_is_away_still_reports(database: Database) -> None:
    url = "postgresql://nobody:canary-secret@127.0.0.1:1/nothing"
    result = call(database, "doctor", "--format", "json", OPSAPP_DATABASE_URL=url)
    assert result.exit_code == 6
    assert findings(result)["database"][0] == "fail"
    assert findings(result)["database"][2] == "see docs/troubleshooting.md"
    assert "canary" not in result.stdout + result.stderr


def test_doctor_without_secrets_in_production_names_each(database: Database) -> None:
    result = call(database, "doctor", "--format", "json", OPSAPP_ENV="production")
    assert result.exit_code == 6
    missing = [check for check in findings(result) if check.startswith("setting")]
    assert sorted(missing) == sorted(CHECKS[2:6])
    assert findings(result)["application"][0] == "fail"
    # The worst stand last, where an operator at a terminal looks.
    states = [row["state"] for row in result.json]
    assert states == sorted(states, key=["ok", "warn", "fail"].index)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("short", "SECRET_KEY is 5 bytes long; 32 are needed"),
        ("ab" * 40, "SECRET_KEY repeats a few characters; it must be random"),
    ],
)
def test_doctor_finds_a_weak_secret(database: Database, value: str, message: str) -> None:
    result = call(database, "doctor", "--format", "json", OPSAPP_ENV="production", SECRET_KEY=value)
    assert findings(result)["setting SECRET_KEY"][1] == message
    assert value not in result.stdout


def test_settings_fit_in_a_table(database: Database) -> None:
    for format in ("table", "plain", "csv"):
        result = call(database, "doctor", "--settings", "--format", format)
        assert result.exit_code == 0
        assert "OPSAPP_DATABASE_URL" in result.stdout


def test_settings_are_listed_with_their_source_and_no_secret(database: Database) -> None:
    result = call(database, "doctor", "--settings", "--format", "json", SECRET_KEY="canary-" * 8)
    rows = {row["name"]: row for row in result.json}
    assert result.exit_code == 0
    assert (rows["SECRET_KEY"]["value"], rows["SECRET_KEY"]["source"]) == ("•••", "environment")
    assert rows["OPSAPP_INSTANCE"]["value"] == str(database.instance)
    assert rows["OPSAPP_FORMAT"]["source"] == "default"
    assert "canary" not in result.stdout


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OPSAPP_AUDIT_KEY", "is not the key that this database's audit was begun with"),
        ("SECURITY_PASSWORD_SALT", "is not the one that this database was begun with"),
    ],
)
def test_secret_of_another_database_is_named_everywhere(
    cli: Cli,
    database: Database,
    ada: str,
    name: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(name, "another-secret-q8Zt4vRk2Lw9XbN7cJ5hM3pF6sD1gA0yE")
    error = f"{name} {message}"
    for words in (("roles", "create", "other"), ("db", "init")):
        result = cli(*words)
        expected = f"Error: {error}\n  → flask doctor --settings\n"
        assert (result.exit_code, result.stdout, result.stderr) == (7, "", expected)
    assert cli("db", "status", "--format", "json").json["ready"] is False
    result = cli("doctor", "--format", "json")
    assert (result.exit_code, findings(result)) == (
        6,
        {"audit": ("fail", error, "flask doctor --settings")},
    )
    with site(database, monkeypatch) as web:
        answer = web.app.test_client().get("/readyz")
    assert (answer.status_code, answer.json) == (503, {"status": "not ready", "because": error})


def test_doctor_in_production_names_what_has_never_run(
    kind: str, templates: Templates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"OPSAPP_ENV": "production", "OPSAPP_URL": "https://localhost", **SECRETS}
    with templates.copy(tmp_path / "instance", ADA, **environ) as database:
        missing = findings(call(database, "doctor", "--format", "json", **environ))
        assert {name: missing[name][1] for name in OPERATION} == OPERATION
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        with site(database, monkeypatch) as web:
            client = web.app.test_client()
            assert client.get("/readyz").status_code == 200
            strict = client.get("/readyz?strict")
            assert (strict.status_code, strict.json) == (
                503,
                {"status": "not ready", "because": "operation", "missing": [*OPERATION]},
            )
        call(database, "db", "backup", str(tmp_path / "copy"), check=True, **environ)
        past(database, "checkpoint", at=datetime(2026, 1, 1, tzinfo=UTC))
        later = findings(
            call(database, "doctor", "--format", "json", OPSAPP_TWO_FACTOR="admins", **environ)
        )
        assert later.keys() & OPERATION.keys() == {"schedule"}
        never = OPERATION["schedule"].replace("checkpoint, ", "")
        assert later["schedule"][1] == never


OPERATION = {
    "schedule": "no job has ever run by its schedule; never at all: send-mail, expire-grants,"
    " checkpoint, backup, prune-profiles, prune-logins, prune-jobs, plan-idle",
    "backup": "no backup was ever made",
    "checkpoint": "the job checkpoint has never succeeded",
    "second factor": "no account must use two factors",
}
