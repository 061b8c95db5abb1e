"""`flask db restore`: a copy in the place of the database, and the gap declared."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Cli, Database, call

WHY = ("--reason", "disk lost")


@pytest.fixture
def copy(cli: Cli, bob: str, tmp_path: Path) -> str:
    """A copy with Ada and Bob; after it a role was made."""
    file = tmp_path / "copy"
    cli("db", "backup", str(file), check=True)
    cli("roles", "create", "later", check=True)
    return str(file)


def test_restore_brings_the_copy_back_and_declares_the_gap(cli: Cli, copy: str) -> None:
    kept = cli("audit", "checkpoint").stdout
    done = cli("db", "restore", copy, *WHY, "--yes", "--format", "json")
    assert done.exit_code == 0, done.stderr
    assert (done.json["changed"], done.json["events"], done.json["lost"]) == (True, 5, 2)
    assert cli("roles", "show", "later").exit_code == 4
    verified = cli("audit", "verify", "--state", "--checkpoint", "-", "--format", "json",
                   stdin=kept)  # fmt: skip
    assert verified.exit_code == 0, verified.stdout
    [gap] = verified.json["gaps"]
    assert (gap["restored_seq"], gap["lost_seq"], gap["reason"]) == (5, 7, "disk lost")
    cli("roles", "create", "after", check=True)


def test_restore_asks_first_and_needs_a_reason(cli: Cli, copy: str) -> None:
    assert cli("db", "restore", copy, "--yes").exit_code == 2
    assert cli("db", "restore", copy, *WHY).exit_code == 5
    planned = cli("db", "restore", copy, *WHY, "--dry-run")
    assert planned.exit_code == 0
    assert cli("roles", "show", "later").exit_code == 0


def test_restore_refuses_what_is_no_copy(
    cli: Cli, database: Database, copy: str, tmp_path: Path
) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(b"noise" * 100)
    done = cli("db", "restore", str(noise), *WHY, "--yes")
    reason = (
        "file is not a database"
        if database.is_sqlite
        else "input file does not appear to be a valid archive"
    )
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {noise} is no copy of this database: {reason}")
    assert done.stderr.count("\n") == 1
    assert cli("roles", "show", "later").exit_code == 0


def test_restore_refuses_the_copy_of_another_secret(
    database: Database, cli: Cli, copy: str
) -> None:
    other = {"OPSAPP_AUDIT_KEY": "another-key-Zt4vRk2Lw9XbN7cJ5hM3pF6sD1gA0yE"}
    done = call(database, "db", "restore", copy, *WHY, "--yes", **other)
    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr.startswith("Error: OPSAPP_AUDIT_KEY is not the key")
