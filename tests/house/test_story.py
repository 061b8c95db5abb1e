"""An operator's first day, through real processes on both databases."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support import PASSWORD, Database, run, run_afresh


def assert_well(report: str) -> None:
    """No check has a finding, but that of the database's speed: a busy machine is slow."""
    findings = {row["check"]: row["says"] for row in json.loads(report) if row["state"] != "ok"}
    assert not findings.keys() - {"database"}, findings


def test_first_day(empty_database: Database, tmp_path: Path) -> None:
    begin = run_afresh

    def flask(*args: str, exit_code: int | None = 0, stdin: str | None = None) -> str:
        done = begin(empty_database, *args, stdin=stdin)
        assert exit_code in (None, done.exit_code), (args, done.stdout, done.stderr)
        return done.stdout

    # Morning: the database is empty, and says so; then it is ready, and stays so.
    assert run_afresh(empty_database, "db", "status").exit_code in (6, 7)
    flask("doctor", exit_code=6)
    flask("db", "init", "--wait", "30")
    flask("db", "init")

    # An administrator from a script, with a password that was generated elsewhere.
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o600)
    flask("users", "create-admin", "ada@example.com", "--password-file", str(secret))
    flask("users", "create-admin", "ada@example.com", exit_code=3)
    flask("users", "create-admin", "ada@example.com", "--if-exists", "keep")
    assert_well(flask("doctor", "--format", "json", exit_code=None))

    # From here on a process begins where importing has ended: that was seen by now.
    begin = run

    # A team, and a role for it; on call for eight hours.
    team = [f"user{number}@example.com" for number in range(5)]
    for email in team:
        flask("users", "create", email, "--no-password", "--reason", "new team")
    flask("roles", "create", "support", "--allow", "users:read", "--allow", "audit:read")
    flask("roles", "grant", "support", "-", "--reason", "OPS-1", stdin="\n".join(team))
    flask("roles", "grant", "admin", "user0@example.com", "--for", "8h", "--reason", "on call")
    flask("users", "can", "user0@example.com", "anything:at-all")
    flask("users", "can", "user1@example.com", "users:read")
    flask("users", "can", "user1@example.com", "users:write", exit_code=6)

    # Who did that? And who could do it?
    history = json.loads(
        flask("roles", "history", "user0@example.com", "--role", "admin", "--format", "json")
    )
    assert [(row["reason"], row["state"]) for row in history] == [("on call", "live")]
    listed = json.loads(flask("users", "list", "--role", "support", "--format", "json"))
    assert [user["email"] for user in listed] == team
    assert len(flask("roles", "matrix", "--users").splitlines()) == 7

    # Noon: an attacker tries to lock every account out, with every tool there is.
    flask("roles", "revoke", "admin", "ada@example.com", exit_code=5)
    flask("users", "deactivate", "ada@example.com", exit_code=5)
    flask("users", "delete", "ada@example.com", "--yes", exit_code=5)
    flask("users", "deactivate", "--never-logged-in", "--yes", exit_code=5)

    # A colleague leaves. Their changes stay readable; their name does not.
    before = json.loads(flask("users", "show", "user1@example.com", "--format", "json"))
    flask("users", "delete", "user1@example.com", "--yes", "--reason", "left")
    flask("users", "delete", "user1@example.com", "--yes")
    assert "user1" not in flask("audit", "list", "--all", "--format", "json")
    flask("roles", "history", str(before["id"]))

    # Evening: a copy, a checkpoint elsewhere, and everything still holds.
    kept = tmp_path / "checkpoints"
    kept.write_text(flask("audit", "checkpoint"))
    flask("db", "backup", str(tmp_path / "evening.backup"))
    flask("audit", "verify", "--checkpoint", str(kept))
    flask("users", "deactivate", "--idle-for", "90d", "--without-role", "admin", "--yes")
    flask("roles", "expire")
    assert_well(flask("doctor", "--format", "json", exit_code=None))
