"""`flask users offboard`: everything that an account has ends, with a receipt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
    [line] = file.read_text().splitlines()
    receipt = json.loads(line)
    assert {**receipt, **row} == receipt
    assert receipt["reason"] == "left"
    assert file.stat().st_mode & 0o077 == 0
    actions = [event["action"] for event in cli("audit", "list", "--format", "json").json][-3:]
    assert sorted(actions) == ["user:account:deactivate", "user:role:revoke", "user:role:revoke"]
    assert cli("audit", "verify", "--state").exit_code == 0
    [token] = cli("users", "tokens", "list", "bob", "--format", "json").json
    assert token["state"] == "ended"


def test_offboard_again_changes_nothing(cli: Cli, work: None) -> None:
    cli("users", "offboard", "bob", "--yes", check=True)
    done = cli("users", "offboard", "bob", "--yes")
    assert (done.exit_code, done.stderr) == (0, "Already so: nothing was changed.\n")


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
    assert done.stderr.startswith("Error: End the access of bob?")
