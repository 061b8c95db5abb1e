"""`flask doctor`: every check of an application, well and unwell."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from opsapp import clock
from opsapp.doctor import server
from tests.support import SECRETS, Cli, Database, call
from tests.support.findings import findings
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
    "alerts",
    "profiles",
    "clock",
    "disk",
    "durability",
    "locks",
]


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


def test_latency_is_the_shortest_of_three_round_trips(
    cli: Cli, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([0.5, 0.02, 0.4])
    monkeypatch.setattr("opsapp.database.status._round_trip", lambda: next(seconds))
    assert cli("db", "status", "--format", "json").json["latency_ms"] == 20.0
    assert list(seconds) == []


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [(-1, 1, "ok"), (1, 1, "warn"), (-1, -1, "warn")],
    ids=["slow answer", "ahead", "behind"],
)
def test_time_of_an_answer_is_no_skew_of_the_clock(
    cli: Cli, ada: str, monkeypatch: pytest.MonkeyPatch, before: int, after: int, state: str
) -> None:
    hours = iter([before, after])
    fast = SimpleNamespace(now=lambda: clock.now() + timedelta(hours=next(hours)))
    monkeypatch.setattr(server, "clock", fast)
    rows = cli("doctor", "--format", "json").json
    assert [row["state"] for row in rows if row["check"] == "clock"] == [state]


def test_doctor_misses_an_administrator_who_can_log_in(cli: Cli) -> None:
    result = cli("doctor", "--format", "json")
    assert result.exit_code == 6
    assert findings(result) == {
        "administrator": (
            "fail",
            "no active, confirmed account with a password holds admin permanently",
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
    assert found["grants"] == ("warn", "1 expired grant not marked yet", "flask roles expire")


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


def test_doctor_of_a_database_that_is_away_still_reports(database: Database) -> None:
    url = "postgresql://nobody:canary-secret@127.0.0.1:1/nothing"
    result = call(database, "doctor", "--format", "json", OPSAPP_DATABASE_URL=url)
    assert result.exit_code == 6
    assert findings(result)["database"][0] == "fail"
    assert findings(result)["database"][2] == "see docs/troubleshooting.md"
    assert "canary" not in result.stdout + result.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("OPSAPP_AUDIT_KEY", "does not match the key of this database's audit log"),
        ("SECURITY_PASSWORD_SALT", "does not match the one this database was created with"),
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
    refusing = [("roles", "create", "other"), ("db", "init"), ("audit", "verify", "--state")]
    if name == "OPSAPP_AUDIT_KEY":
        refusing.append(("audit", "checkpoint"))
    for words in refusing:
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
