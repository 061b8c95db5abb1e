"""Changes in two databases: intended, then done or failed, or settled after a crash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from opsapp.engine import locks
from tests.ops.separate_database.conftest import Installation, on
from tests.support import administer

GRANT = ("roles", "grant", "roles:admin", "ada", "--for", "8h", "--yes", "--fields", "user,role")
INTENT, EVENT = "intent:user:role:grant", "user:role:grant"
ADA = "user:1"
ACCEPT = ("intent:identity:accounts:accept", "identity:accounts:accept")
UNKNOWN = "Intents of unknown outcome: 2; to close them: flask ops audit settle\n"


def settled(outcome: str, stdout: str) -> None:
    rows = json.loads(stdout)["results"]
    assert [(row["action"], row["outcome"]) for row in rows] == [
        (EVENT, outcome), (ACCEPT[1], outcome),
    ]  # fmt: skip


def finding(installation: Installation) -> Any:
    rows = json.loads(installation.run("doctor", "--format", "json").stdout)
    return next(row for row in rows if row["check"] == "unfinished changes")


@on()
def test_change_is_intended_then_done(installation: Installation) -> None:
    done = installation.run(*GRANT)
    assert (done.exit_code, done.stdout) == (0, "user\trole\nada@example.com\troles:admin\n")
    assert done.stderr == (
        "Done, audit event 5; intended as 3, beside the change.\n"
        "The role ends when flask ops roles expire runs after that time.\n"
    )
    assert installation.events == [
        (2, INTENT, ADA), (3, ACCEPT[0], "identity"), (4, EVENT, ADA), (5, ACCEPT[1], "identity"),
    ]  # fmt: skip
    assert (installation.roles, installation.ends) == ([(1,), (2,)], [(ADA, "roles:admin")])
    assert installation.run("roles", "revoke", "roles:admin", "ada").exit_code == 0
    assert (installation.roles, installation.ends) == ([(2,)], [])
    refusal = installation.run("users", "deactivate", "bob")
    assert (refusal.exit_code, refusal.stdout) == (5, "")
    assert [action for _seq, action, _subject in installation.events[4:]] == [
        "intent:user:role:revoke", "user:role:revoke",
    ]  # fmt: skip
    assert json.loads(installation.run("audit", "verify", "--format", "json").stdout)["ok"]
    assert not [
        row
        for row in installation.rows(_TABLES[installation.theirs[:5]])
        if row[0].startswith("ops_")
    ]


_TABLES = {"sqlit": "SELECT name FROM sqlite_master", "mysql": "SHOW TABLES"}


@on()
@pytest.mark.parametrize(("moment", "outcome"), [("before", "failed"), ("after", "done")])
def test_kill_around_the_commit_is_settled_by_comparing(
    installation: Installation, moment: str, outcome: str
) -> None:
    killed = installation.run(*GRANT, "--reason", "cover", BREAK=f"{moment}_commit:kill")
    assert (killed.exit_code, killed.stdout) == (-9, "")
    was_made = outcome == "done"
    assert (installation.roles, installation.ends) == ([(1,), (2,)] if was_made else [(2,)], [])
    assert finding(installation) == {
        "check": "unfinished changes",
        "state": "fail",
        "says": "intents of unknown outcome: 2, the first is event 2",
        "advice": "flask ops audit settle",
    }
    assert installation.run("audit", "list").stderr == UNKNOWN
    event = json.loads(installation.run("audit", "show", "2", "--format", "json").stdout)
    assert event["outcome"] == "unknown: compare and close it by flask ops audit settle 2"
    says = json.loads(installation.run("audit", "verify", "--format", "json").stdout)["says"]
    assert says == "the chain holds; intended without an end: 2, 3"

    plan = installation.run("audit", "settle", "--dry-run", "--format", "json")
    assert json.loads(plan.stdout)["plan"][0]["after"]["outcome"] == outcome
    done = installation.run("audit", "settle", "--format", "json")
    assert done.exit_code == 0, done.stderr
    settled(outcome, done.stdout)
    assert (installation.roles, installation.ends) == (
        ([(1,), (2,)], [(ADA, "roles:admin")]) if was_made else ([(2,)], [])
    )
    event = json.loads(installation.run("audit", "show", "2", "--format", "json").stdout)
    assert event["outcome"] == outcome
    events = installation.ours.rows("SELECT action, reason FROM ops_audit_events WHERE seq > 3")
    assert events == [
        *([(EVENT, "cover"), (ACCEPT[1], "cover")] if was_made else [("audit:intent:fail", None)]),
        ("audit:intent:settle", None),
    ]
    again = installation.run("audit", "settle")
    assert (again.exit_code, again.stderr) == (0, "Already so: nothing was changed.\n")
    assert json.loads(installation.run("audit", "verify", "--format", "json").stdout)["says"] == (
        "the chain holds"
    )


@on(("sqlite", "sqlite"), ("mariadb", "sqlite"))
def test_sweep_settles_first(installation: Installation) -> None:
    installation.run(*GRANT, BREAK="after_commit:kill")
    assert installation.ends == []
    assert installation.run("roles", "expire", "-q", check=True).stdout == ""
    assert installation.ends == [(ADA, "roles:admin")]


@on(("mariadb", "sqlite"))
def test_account_changed_since_is_for_the_operator(installation: Installation) -> None:
    installation.run(*GRANT, BREAK="after_commit:kill")
    installation.execute("UPDATE ab_user SET active = 0 WHERE id = 1")
    unsettled = installation.run("audit", "settle", "--format", "json")
    assert unsettled.exit_code == 6
    settled("unknown", unsettled.stdout)
    assert len(installation.events) == 2
    missing = installation.run("audit", "settle", "--as", "done")
    assert (missing.exit_code, missing.stderr) == (2, "Error: --as needs the number of an intent\n")
    wrong = installation.run("audit", "settle", "1", "--as", "done")
    assert wrong.stderr == (
        "Error: event 1 is not an open intent\n  → flask ops audit list --action intent\n"
    )
    assert wrong.exit_code == 4
    done = installation.run(
        "audit", "settle", "2", "--as", "done", "--reason", "seen", "--format=json"
    )
    assert done.exit_code == 0
    settled("done", done.stdout)
    [(by,)] = installation.ours.rows(
        "SELECT after FROM ops_audit_events WHERE action = 'audit:intent:settle'"
    )
    assert json.loads(by) == {"by": "operator", "intents": [2, 3], "outcome": "done"}


@on()
def test_failing_commit_is_failed(installation: Installation) -> None:
    failed = installation.run(*GRANT, BREAK="before_commit:fail")
    assert (failed.exit_code, failed.stdout) == (1, "")
    assert failed.stderr.startswith("Error: something unexpected happened (error ")
    assert "the change is made" not in failed.stderr
    [(after,)] = installation.ours.rows(
        "SELECT CAST(after AS text) FROM ops_audit_events WHERE action = 'audit:intent:fail'"
    )
    assert json.loads(after) == {"because": "RuntimeError", "intents": [2, 3]}
    assert (installation.roles, installation.ends) == ([(2,)], [])
    assert finding(installation)["state"] == "ok"


@on(("mariadb", "sqlite"))
def test_connection_that_breaks_at_the_commit_is_unknown(installation: Installation) -> None:
    broken = installation.run(*GRANT, BREAK="before_commit:disconnect")
    assert (broken.exit_code, broken.stdout) == (1, "")
    assert broken.stderr == (
        "Error: the connection broke during the commit: the change may or may not have happened\n"
        "  → flask ops audit settle 2\n"
    )
    settled("failed", installation.run("audit", "settle", "--format", "json", check=True).stdout)


@on()
def test_audit_that_goes_away_after_the_commit_is_told(installation: Installation) -> None:
    lost = installation.run(*GRANT, BREAK="after_commit:hide_ours")
    assert (lost.exit_code, lost.stdout) == (1, ""), lost.stderr
    message, hint = lost.stderr.splitlines()
    assert message.startswith("Error: the event of the change could not be written: the database ")
    assert message.endswith("; but the change is made, audit event 3")
    assert hint == "  → flask ops audit settle 2"
    if not installation.ours.is_sqlite:
        server, _, name = installation.ours.url.partition("?")[0].rpartition("/")
        away = installation.run("users", "deactivate", "ada")
        assert (away.exit_code, away.stdout) == (7, "")
        postgres = installation.ours.url.replace(f"{server}/{name}", f"{server}/postgres")
        administer(postgres, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    settled("done", installation.run("audit", "settle", "--format", "json", check=True).stdout)
    assert (installation.roles, installation.ends) == ([(1,), (2,)], [(ADA, "roles:admin")])


@on()
def test_receipt_that_cannot_be_written_leaves_the_change_and_its_event(
    installation: Installation, tmp_path: Path
) -> None:
    file = tmp_path / "receipts" / "ada"
    file.parent.mkdir()
    environ = {"BREAK": "after_commit:remove_folder", "RECEIPTS": str(file.parent)}
    lost = installation.run("users", "offboard", "ada", "--yes", "--receipt", str(file), **environ)
    seq, action, _subject = installation.events[-1]
    assert not action.startswith("intent:")
    assert (lost.exit_code, lost.stdout) == (1, "")
    assert lost.stderr == (
        f"Error: {file} cannot be written: No such file or directory;"
        f" but the change is made, audit event {seq}\n"
    )
    assert finding(installation)["state"] == "ok"


@on(("mariadb", "sqlite"))
def test_dry_run_and_deletion_leave_what_they_should(installation: Installation) -> None:
    installation.run("roles", "grant", "roles:admin", "ada", "--yes", check=True)
    plan = installation.run("users", "deactivate", "ada", "--dry-run", "--format", "json")
    assert json.loads(plan.stdout)["plan"][0]["action"] == "user:account:deactivate"
    assert len(installation.events) == 4
    done = installation.run("users", "delete", "ada", "--yes")
    assert done.exit_code == 0, done.stderr
    values = installation.ours.rows("SELECT value FROM ops_audit_personal WHERE subject = 'user:1'")
    assert values == []
    assert json.loads(installation.run("audit", "verify", "--format", "json").stdout)["ok"]


@on(("sqlite", "sqlite"), ("sqlite", "postgresql"))
def test_commands_take_turns(installation: Installation) -> None:
    engine = sa.create_engine(installation.ours.url.replace("postgresql:", "postgresql+psycopg:"))
    with locks.hold_lock(engine, "gate", wait=0):
        waited = installation.run("users", "deactivate", "ada")
    engine.dispose()
    assert (waited.exit_code, waited.stdout) == (75, "")
    assert waited.stderr.startswith("Error: the lock gate is held by ")
    assert installation.events == []
