"""Dry runs that can be reviewed: names, what else ends, and every change in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask import Flask

from opsapp.accounts import users as service
from opsapp.cli import outcome
from opsapp.extensions import db
from tests.support import PASSWORD, Cli, Database, a_unit
from tests.support.templates import BOB, Commands


@pytest.fixture
def after_token() -> Commands:
    return (
        *BOB,
        ("roles", "create", "support"),
        ("users", "tokens", "create", "bob", "ci"),
    )


@pytest.fixture
def token(database: Database, after_token: Commands) -> None:
    """Bob has a token."""


def test_dry_run_names_people(cli: Cli, token: None) -> None:
    done = cli("roles", "grant", "support", "bob", "--dry-run")
    assert done.stdout.splitlines()[1].startswith("user:role:grant\tbob@example.com\t")
    done = cli("users", "create", "cyd@example.com", "--no-password", "--dry-run")
    assert done.stdout.splitlines()[1].startswith("user:account:create\tcyd@example.com\t")


def test_dry_run_names_an_account_that_would_be_new_in_each_row(cli: Cli, token: None) -> None:
    for args in (
        ("users", "create", "cyd@example.com", "--role", "support", "--no-password"),
        ("users", "create-admin", "cyd@example.com", "--password-stdin"),
    ):
        done = cli(*args, "--dry-run", "--fields", "action,name", stdin=PASSWORD)
        assert (done.exit_code, done.stdout) == (
            0,
            "action\tname\nuser:account:create\tcyd@example.com\nuser:role:grant\tcyd@example.com\n",
        )


@pytest.mark.parametrize("count", [2, 101])
def test_dry_run_of_an_import_names_up_to_100_accounts(
    cli: Cli, token: None, tmp_path: Path, count: int
) -> None:
    users = [f"user{number}@example.com" for number in range(count)]
    rows = "".join(f"{email},support\n" for email in users)
    (tmp_path / "new.csv").write_text(f"email,roles\n{rows}")
    args = ("users", "import", str(tmp_path / "new.csv"), "--dry-run", "--format", "json")
    [step] = cli(*args, "--plan", str(tmp_path / "plan")).json["plan"]
    assert (step["name"], step["after"]["created"]) == ("new.csv", count)
    assert step["after"].get("accounts") == (users if count == 2 else None)
    holders = users if count == 2 else count
    gift = {"role": "support", "valid_until": None, "holders": holders}
    assert step["after"]["roles"] == [gift]
    [line] = (tmp_path / "plan").read_text().splitlines()
    assert json.loads(line)["after"]["accounts"] == users


def test_dry_run_takes_the_fields_of_its_rows(cli: Cli, token: None) -> None:
    args = ("roles", "grant", "support", "bob", "--dry-run")
    assert cli(*args, "--fields", "name,action").stdout == (
        "name\taction\nbob@example.com\tuser:role:grant\n"
    )
    assert cli(*args, "--fields", "valid_until").exit_code == 2


@pytest.mark.parametrize(
    ("args", "effect"),
    [
        (("deactivate", "bob"), "ends 1 token of bob@example.com"),
        (("deactivate", "--search", "bob", "--yes"), "ends 1 token of bob@example.com"),
        (("offboard", "bob"), "ends 1 token of bob@example.com"),
        (("reset-access", "bob"), "ends 1 token of bob@example.com"),
        (("update", "bob", "--email", "bo@example.com"), "ends 1 token of bob@example.com"),
        (
            ("delete", "bob"),
            "erases address, username, password, 1 token, 1 message, 2 names of the audit log"
            " of bob@example.com",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_dry_run_says_what_else_ends(
    cli: Cli, token: None, args: tuple[str, ...], effect: str
) -> None:
    done = cli("users", *args, "--dry-run")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (0, f"It {effect}.")
    done = cli("users", *args, "--dry-run", "--format", "json")
    assert done.json["effects"] == [effect]


def test_effects_that_are_not_listed_are_counted(
    cli: Cli, token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("users", "create", "eve@example.com", "--no-password", check=True)
    cli("users", "tokens", "create", "eve@example.com", "ci", check=True)
    monkeypatch.setattr(outcome, "MOST_EFFECTS", 1)
    args = ("users", "deactivate", "bob", "eve@example.com", "--dry-run", "--yes")
    done = cli(*args)
    assert (done.exit_code, done.stderr.splitlines()) == (
        0,
        [
            "It ends 1 token of bob@example.com.",
            "Effects that are not listed: 1; --format json has all.",
            "Dry run: nothing was written.",
        ],
    )
    assert len(cli(*args, "--format", "json").json["effects"]) == 2


def test_plan_has_every_change_of_many(app: Flask, cli: Cli, token: None, tmp_path: Path) -> None:
    users = [f"user{number}@example.com" for number in range(101)]
    for email in users:
        service.create(email, unit=a_unit())
    db.session.remove()
    file = tmp_path / "plan"
    args = ("users", "deactivate", "--search", "user", "--dry-run")
    done = cli(*args, "--plan", str(file), "--fields", "name,after", "--format", "json")
    [row] = done.json["plan"]
    assert row == {"name": "101 users", "after": {"active": False, "count": 101}}
    assert [json.loads(line)["name"] for line in file.read_text().splitlines()] == users


def test_plan_without_a_dry_run_is_refused(cli: Cli, token: None) -> None:
    done = cli("users", "deactivate", "bob", "--plan", "plan")
    assert (done.exit_code, done.stderr) == (2, "Error: --plan requires --dry-run\n")
