"""One person's data as a file, and the receipt of its erasure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from opsapp import signals
from tests.support import PASSWORD, Cli, Database
from tests.support.templates import BOB, Commands

OPEN = "2090-01-01 00:00:00.000000"


@pytest.fixture
def after_year() -> Commands:
    return (
        *BOB,
        ("users", "set-password", "bob", "--password-stdin"),
        ("roles", "create", "support"),
        ("roles", "grant", "support", "bob", "--reason", "on call"),
        ("roles", "revoke", "support", "bob", "--reason", "moved on"),
        ("users", "tokens", "create", "bob", "ci"),
    )


@pytest.fixture
def year(database: Database, after_year: Commands) -> Database:
    """Bob's account after a year: a session, a login, mail, a token, and events."""
    database.execute(
        "INSERT INTO ops_user_sessions (user_id, key, uniquifier, opened_at, seen_at, expires_at,"
        " ip) SELECT id, 'the-key', fs_uniquifier, created_at, created_at, :end, '192.0.2.7'"
        " FROM ops_users WHERE username = 'bob'",
        end=OPEN,
    )
    database.execute(
        "INSERT INTO ops_logins (at, user_id, identity, outcome, ip)"
        " VALUES ('2026-01-01 10:00:00.000000', 2, 'x', 'success', '192.0.2.7')"
    )
    return database


@pytest.fixture
def orders() -> Iterator[None]:
    """An application that holds the orders of accounts."""

    def tell(_app: Flask, *, user_id: int, **_extra: Any) -> dict[str, Any]:
        return {"orders": [{"number": user_id}]}

    with signals.personal_data.connected_to(tell):
        yield


def test_data_of_a_user_is_whole_and_names_no_secret_and_no_other(
    cli: Cli, year: Database, orders: None, tmp_path: Path
) -> None:
    file = tmp_path / "bob.json"
    done = cli("users", "personal-data", "bob", str(file), "--format", "json")
    assert done.exit_code == 0, done.stderr
    counts = {"grants": 1, "sessions": 1, "tokens": 1, "logins": 1, "mail": 2, "audit": 5}
    assert {name: done.json[name] for name in counts} == counts
    assert file.stat().st_mode & 0o077 == 0
    written = file.read_text()
    held = json.loads(written)
    assert held["account"]["email"] == "bob@example.com"
    assert held["application"] == {"orders": [{"number": 2}]}
    [grant] = held["grants"]
    assert (grant["reason"], grant["end_reason"]) == ("on call", "moved on")
    assert held["sessions"][0]["ip"] == held["logins"][0]["ip"] == "192.0.2.7"
    assert held["audit"][0]["after"]["email"] == "bob@example.com"
    [[hash, uniquifier]] = year.rows(
        "SELECT password, fs_uniquifier FROM ops_users WHERE username = 'bob'"
    )
    [[key]] = year.rows("SELECT key FROM ops_api_tokens")
    for secret in (hash, uniquifier, key, "the-key", PASSWORD, "ada@example.com"):
        assert secret not in written
    [event] = cli("audit", "list", "--action", "user:data:export", "--format", "json").json
    assert [event["seq"]] == held["events"] == [done.json["audit_seq"]]


def test_data_is_not_written_over_a_file(cli: Cli, year: Database, tmp_path: Path) -> None:
    file = tmp_path / "bob.json"
    file.write_text("kept")
    done = cli("users", "personal-data", "bob", str(file))
    assert (done.exit_code, done.stdout) == (3, "")
    assert file.read_text() == "kept"
    assert cli("users", "personal-data", "nosuch", str(tmp_path / "x")).exit_code == 4


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_data_is_whole_or_not_written(cli: Cli, year: Database, tmp_path: Path) -> None:
    def fail(_app: Flask, **_payload: Any) -> None:
        raise KeyError("orders")

    with signals.personal_data.connected_to(fail):
        done = cli("users", "personal-data", "bob", str(tmp_path / "bob.json"))
    assert (done.exit_code, done.stdout) == (1, "")
    assert "could not say what it holds: 'orders'" in done.stderr
    assert list(tmp_path.glob("*bob.json*")) == []


def test_receipt_of_an_erasure_names_no_one(cli: Cli, year: Database, tmp_path: Path) -> None:
    file = tmp_path / "receipt"
    args = ("users", "delete", "bob@example.com", "--yes", "--receipt", str(file))
    done = cli(*args, "--reason", "asked for by Bob", "--format", "json")
    assert done.exit_code == 0, done.stderr
    written = file.read_text()
    assert "bob" not in written.lower()
    receipt = json.loads(written)
    assert receipt["subjects"] == ["user:2"]
    assert receipt["events"] == [done.json["audit_seq"]]
    assert receipt["erased"] == {
        "sessions": 1, "tokens": 1, "logins": 1, "lockouts": 0, "audit_names": 2, "mail": 2,
    }  # fmt: skip
    verified = cli("audit", "verify", "--state", "--checkpoint", "-", stdin=receipt["checkpoint"])
    assert verified.exit_code == 0, verified.stdout
    file.unlink()
    again = cli(*args)
    assert (again.exit_code, file.exists()) == (0, False)
