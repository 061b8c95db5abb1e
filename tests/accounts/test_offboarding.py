"""`flask users offboard`: everything that an account has ends, with a receipt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from opsapp.unit.receipts import Receipt
from tests.support import Cli, Database
from tests.support.templates import BOB, Commands


@pytest.fixture
def after_work() -> Commands:
    return (
        *BOB,
        ("roles", "create", "support"),
        ("roles", "create", "writer"),
        ("roles", "grant", "support", "bob"),
        ("roles", "grant", "writer", "bob", "--for", "8h"),
        ("users", "tokens", "create", "bob", "ci"),
    )


@pytest.fixture
def work(database: Database, after_work: Commands) -> None:
    """Bob has two roles and a token."""


def test_offboard_ends_everything_with_a_receipt(cli: Cli, work: None, tmp_path: Path) -> None:
    file = tmp_path / "bob.receipt"
    args = ("users", "offboard", "bob", "--yes", "--reason", "left", "--format", "json")
    done = cli(*args, "--receipt", str(file))
    assert done.exit_code == 0
    [row] = done.json["results"]
    assert row == {
        "changed": True,
        "id": 2,
        "email": "bob@example.com",
        "status": "inactive",
        "roles": ["support", "writer"],
        "sessions": 0,
        "tokens": ["ci"],
    }
    receipt = json.loads(file.read_text())
    assert receipt["accounts"] == [row]
    assert receipt["reason"] == "left"
    assert file.stat().st_mode & 0o077 == 0
    events = cli("audit", "list", "--format", "json").json[-3:]
    assert receipt["events"] == [event["seq"] for event in events]
    actions = ["user:account:deactivate", "user:role:revoke", "user:role:revoke"]
    assert sorted(event["action"] for event in events) == actions
    verified = cli("audit", "verify", "--checkpoint", "-", stdin=receipt["checkpoint"])
    assert verified.exit_code == 0, verified.stdout
    assert cli("audit", "verify", "--state").exit_code == 0
    [token] = cli("users", "tokens", "list", "bob", "--format", "json").json
    assert token["state"] == "ended"


def test_offboard_again_changes_nothing(cli: Cli, work: None, tmp_path: Path) -> None:
    cli("users", "offboard", "bob", "--yes", "--reason", "left", check=True)
    done = cli("users", "offboard", "bob", "--yes", "--receipt", str(tmp_path / "receipt"))
    assert (done.exit_code, done.stderr) == (0, "Already so: nothing was changed.\n")
    assert list(tmp_path.glob("*receipt*")) == []
    ends = [
        (grant["role"], grant["state"], grant["end_reason"])
        for grant in cli("users", "show", "bob", "--format", "json").json["grants"]
    ]
    assert ends == [("writer", "revoked", "left"), ("support", "revoked", "left")]


def test_offboard_dry_run_leaves_no_receipt(cli: Cli, work: None, tmp_path: Path) -> None:
    file = tmp_path / "bob.receipt"
    assert cli("users", "offboard", "bob", "--dry-run", "--receipt", str(file)).exit_code == 0
    assert list(tmp_path.glob("*.receipt*")) == []
    assert cli("users", "show", "bob", "--format", "json").json["status"] == "active"


def test_offboard_keeps_an_administrator(cli: Cli, work: None) -> None:
    done = cli("users", "offboard", "-", "--yes", stdin="bob\nada\n")
    assert (done.exit_code, done.stdout) == (5, "")
    assert cli("users", "show", "bob", "--format", "json").json["status"] == "active"


def test_offboard_asks_first(cli: Cli, work: None) -> None:
    done = cli("users", "offboard", "bob")
    assert (done.exit_code, done.stdout) == (5, "")
    assert done.stderr.startswith("Error: End the access of bob@example.com?")
    unknown = cli("users", "offboard", "bob", "nosuch")
    assert (unknown.exit_code, unknown.stdout) == (4, "")


@pytest.mark.parametrize("late", [False, True], ids=["before the commit", "behind it"])
def test_receipt_never_replaces_a_file_that_is_made_meanwhile(
    cli: Cli, work: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    file = tmp_path / "bob.receipt"
    name = "_settle" if late else "_fill"
    method = getattr(Receipt, name)

    def behind_another(*args: Any) -> None:
        file.write_text("of another process")
        method(*args)

    monkeypatch.setattr(Receipt, name, behind_another)
    done = cli("users", "offboard", "bob", "--yes", "--receipt", str(file))
    assert (done.exit_code, file.read_text()) == (1 if late else 3, "of another process")
    assert ("the change is made, audit event" in done.stderr) is late
    status = cli("users", "show", "bob", "--format", "json").json["status"]
    assert status == ("inactive" if late else "active")
    assert list(tmp_path.glob(".*.part")) == []
