"""Values that cannot be read: shown as damaged in their row, named by doctor, worth nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import Cli, Database, call, disarm
from tests.support.templates import BOB, Commands
from tests.support.web import site

PREPARED: Commands = (
    *BOB,
    ("roles", "create", "support", "--allow", "users:read"),
    ("roles", "create", "auditor"),
    ("roles", "grant", "support", "bob@example.com", "--for", "7d"),
    ("users", "tokens", "create", "bob@example.com", "ci"),
    ("jobs", "run", "nightly", "--", "true"),
)


@pytest.fixture
def after_everything() -> Commands:
    return PREPARED


JSON_DAMAGE = (
    "UPDATE ops_roles SET permissions = '{' WHERE name = 'support'",
    "UPDATE ops_users SET mf_recovery_codes = '7' WHERE id = 2",
    "UPDATE ops_api_tokens SET permissions = '[1]'",
    "UPDATE ops_job_runs SET command = '" + "[" * 100_000 + "'",
    "INSERT INTO ops_profile_traces (kind, name, at, seconds, queries, query_seconds, detail)"
    " VALUES ('slow', 'GET here', '2026-01-01 00:00:00.000000', 1, 1, 1, '[')",
    "INSERT INTO ops_profile_saves (name, is_automatic, mode, subject, python, environment,"
    " made_at, made_by, detail) VALUES ('before', false, 'run', 'x', '3.11.1', 'e',"
    " '2026-01-01 00:00:00.000000', 'ada', 'null-')",
)
MOMENTS = (
    ("ops_users", "created_at", "id = 2"),
    ("ops_login_failures", "locked_until", "user_id = 2"),
    ("ops_users", "idle_since", "id = 2"),
    ("ops_roles", "created_at", "name = 'support'"),
    ("ops_grants", "valid_until", "role_id > 1"),
    ("ops_grants", "granted_at", "role_id > 1"),
    ("ops_api_tokens", "used_at", "id = 1"),
    ("ops_api_tokens", "created_at", "id = 1"),
    ("ops_job_runs", "started_at", "id = 1"),
    ("ops_job_runs", "finished_at", "id = 1"),
    ("ops_mail_messages", "created_at", "id = 1"),
    ("ops_mail_messages", "sent_at", "id = 1"),
    ("ops_logins", "at", "id = 1"),
    ("ops_user_sessions", "seen_at", "id = 1"),
)
SQLITE_DAMAGE = (
    "UPDATE ops_users SET login_count = 'many' WHERE id = 2",
    "UPDATE ops_login_failures SET count = 1e30",
    "UPDATE ops_users SET username = x'ff00' WHERE id = 2",
    "UPDATE ops_grants SET reason = CAST(x'61ff' AS TEXT), granted_by = x'00'",
    "UPDATE ops_job_runs SET seconds = 'long', exit_code = 1e30, peak_bytes = 'x', host = x'ff'",
    "UPDATE ops_profile_traces SET seconds = 'long', status = 'x', queries = x'00'",
    "UPDATE ops_api_tokens SET name = CAST(x'ff' AS TEXT)",
    "UPDATE ops_roles SET description = x'ff' WHERE name = 'auditor'",
    "UPDATE ops_mail_messages SET subject = x'ff', attempts = 'x'",
    "UPDATE ops_logins SET ip = x'ff', outcome = x'00'",
    "UPDATE ops_user_sessions SET user_agent = x'ff'",
)
ROWS = (
    "INSERT INTO ops_login_failures (key, user_id, count, failed_at)"
    " VALUES ('k', 2, 1, '2026-01-01 00:00:00.000000')",
    "INSERT INTO ops_mail_messages (about, kind, recipient, subject, body, created_at, attempts)"
    " VALUES ('user:2', 'k', 'bob@example.com', 's', 'b', '2026-01-01 00:00:00.000000', 0)",
    "INSERT INTO ops_logins (at, user_id, identity, outcome)"
    " VALUES ('2026-01-01 00:00:00.000000', 2, 'x', 'ok')",
    "INSERT INTO ops_user_sessions (user_id, key, uniquifier, opened_at, seen_at, expires_at)"
    " VALUES (2, 'k', (SELECT fs_uniquifier FROM ops_users WHERE id = 2),"
    " '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000', '2099-01-01 00:00:00.000000')",
    "INSERT INTO ops_audit_events (seq, at, actor, door, action, subject, before, after,"
    " correlation, previous, hash) VALUES (99, '2026-01-01 00:00:00.000000', '{', 'cli',"
    " 'user:role:revoke', 'users', '[', '{', 'x', 'x', 'x')",
)
FINDING = {"users can bob@example.com users:read"}


@pytest.fixture
def damaged(database: Database, after_everything: Commands) -> Database:
    """A database in which every kind of damage stands in some row."""
    moment = "soon" if database.is_sqlite else "infinity"
    times = [f"UPDATE {t} SET {c} = '{moment}' WHERE {w}" for t, c, w in MOMENTS]
    more = SQLITE_DAMAGE if database.is_sqlite else ()
    with database.connect() as connection:
        for statement in (*ROWS, *JSON_DAMAGE, *times, *more):
            connection.exec_driver_sql(statement)
    return database


LISTS = {
    "users list": "ada@example.com",
    "users list --sort created --limit 1": "ada@example.com",
    "users list --sort seen": "ada@example.com",
    "users show bob@example.com": "damaged: ",
    "users can bob@example.com users:read": "",
    "users tokens list": "damaged: [1]",
    "users sessions list": "damaged: ",
    "users logins list": "damaged: ",
    "roles list": "damaged: {",
    "roles show support": "damaged: {",
    "roles matrix": "support",
    "roles history bob@example.com": "damaged: ",
    "roles expiring": "",
    "jobs list": "",
    "jobs history": "damaged: ",
    "jobs show 1": "damaged: [[[",
    "jobs check": "",
    "audit list": "user:role:revoke",
    "audit list --subject user:2": "user:role:grant",
    "audit show 99": "unreadable",
    "mail list": "bob@example.com",
    "profile traces": "damaged: [",
    "profile show 1": "damaged: [",
    "profile report": "",
    "profile saved": "before",
}


@pytest.mark.parametrize("format", ["plain", "json", "csv", "table"])
def test_damaged_row_is_shown_among_the_others(damaged: Database, format: str) -> None:
    for command, lines in LISTS.items():
        done = call(damaged, *command.split(), "--format", format)
        code = 6 if command in FINDING else 0
        assert (command, done.exit_code) == (command, code), done.stderr
        assert lines in done.stdout, (command, done.stdout)
        if format == "json":
            json.loads(done.stdout)


def test_doctor_names_what_is_damaged_and_goes_on(damaged: Database) -> None:
    done = call(damaged, "doctor", "--format", "json")
    assert done.exit_code == 6
    checks = {row["check"]: row for row in done.json}
    finding = checks["values"]
    assert (finding["state"], finding["advice"]) == (
        "fail", "write them again, or restore a backup",
    )  # fmt: skip
    assert finding["says"].startswith("damaged: ")
    assert "and " in finding["says"]
    assert checks["administrator"]["state"] == "ok"
    assert checks["durability"]["state"] == "ok"


def test_doctor_finds_no_damage_where_there_is_none(cli: Cli, ada: str) -> None:
    checks = {row["check"]: row for row in cli("doctor", "--format", "json").json}
    assert checks["values"]["state"] == "ok"


def test_damaged_role_allows_nothing_and_is_written_anew(
    database: Database, after_everything: Commands
) -> None:
    database.execute("UPDATE ops_roles SET permissions = '{' WHERE name = 'support'")
    done = call(database, "users", "can", "bob@example.com", "users:read")
    assert done.exit_code == 6
    done = call(database, "roles", "allow", "support", "users:read", "--format", "json")
    assert (done.exit_code, done.json["permissions"]) == (0, ["users:read"])
    assert call(database, "users", "can", "bob@example.com", "users:read").exit_code == 0
    assert call(database, "audit", "verify").exit_code == 0


def test_damaged_measurement_is_named(damaged: Database) -> None:
    done = call(damaged, "profile", "diff", "before")
    assert (done.exit_code, done.stderr) == (
        1, "Error: the measurement before cannot be read: damaged: null-\n",
    )  # fmt: skip


def test_damaged_event_was_edited_whatever_it_says(
    database: Database, ada: str, sqlite_only: None
) -> None:
    call(database, "roles", "create", "x", "--reason", "damaged: a\\xff", check=True)
    disarm(database)
    database.execute("UPDATE ops_audit_events SET reason = CAST(x'61ff' AS TEXT) WHERE seq = 5")
    assert call(database, "audit", "list").exit_code == 0
    done = call(database, "audit", "verify", "--format", "json")
    assert (done.exit_code, done.json["break"], done.json["first_bad_seq"]) == (6, "edited", 5)


def test_api_lists_damaged_rows_too(damaged: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    token = call(damaged, "users", "tokens", "create", "ada@example.com", "api", "-q", check=True)
    headers = {"Authorization": f"Bearer {token.stdout.strip()}"}
    with site(damaged, monkeypatch) as web:
        client = web.app.test_client()
        answers: dict[str, Any] = {}
        for path in ("/api/users", "/api/users/2", "/api/roles", "/api/users/2/grants"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 200, (path, answer.json)
            answers[path] = answer.get_data(as_text=True)
    assert "damaged: {" in answers["/api/roles"]
    assert "ada@example.com" in answers["/api/users"]
    assert "damaged: " in answers["/api/users/2"]
