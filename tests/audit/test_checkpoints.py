"""Checkpoints: cut tails, older copies, forged lines, and the gap that a restore declares."""

from __future__ import annotations

from pathlib import Path

import pytest

from opsapp.unit.chain import Checkpoint
from tests.support import Cli, Database, disarm


def cut_cleanly(database: Database, seq: int) -> None:
    """An older copy: nothing after ``seq``, and a head that agrees."""
    disarm(database)
    database.execute("DELETE FROM ops_audit_events WHERE seq > :seq", seq=seq)
    hash = database.rows("SELECT hash FROM ops_audit_events WHERE seq = :seq", seq=seq)[0][0]
    database.execute("UPDATE ops_audit_head SET seq = :seq, hash = :hash", seq=seq, hash=hash)


@pytest.fixture
def checkpoint_file(cli: Cli, story: None, tmp_path: Path) -> str:
    """A file with the checkpoint after nine events."""
    file = tmp_path / "checkpoints"
    file.write_text(cli("audit", "checkpoint").stdout)
    return str(file)


def test_checkpoint_is_one_signed_line(cli: Cli, checkpoint_file: str) -> None:
    words = Path(checkpoint_file).read_text().split()
    assert (words[0], words[2], len(words)) == ("opsapp-audit/1", "9", 6)
    result = cli("audit", "verify", "--checkpoint", checkpoint_file, "--format", "json")
    assert (result.exit_code, result.json["checkpoints"]) == (0, 1)


def test_verify_finds_a_cut_tail_only_with_a_checkpoint(
    cli: Cli, database: Database, checkpoint_file: str
) -> None:
    cut_cleanly(database, 7)
    assert cli("audit", "verify").exit_code == 0
    result = cli("audit", "verify", "--checkpoint", checkpoint_file, "--format", "json")
    assert result.exit_code == 6
    assert (result.json["break"], result.json["first_bad_seq"]) == ("cut", 8)


def test_verify_finds_an_older_copy_that_went_on(
    cli: Cli, database: Database, checkpoint_file: str
) -> None:
    cut_cleanly(database, 7)
    for name in ("one", "two", "three"):
        cli("roles", "create", name, check=True)
    assert cli("audit", "verify").exit_code == 0
    result = cli("audit", "verify", "--checkpoint", "-", "--format", "json",
                stdin=Path(checkpoint_file).read_text())  # fmt: skip
    assert result.exit_code == 6
    assert (result.json["break"], result.json["first_bad_seq"]) == ("rewritten", 9)


def test_verify_refuses_a_forged_checkpoint(cli: Cli, checkpoint_file: str) -> None:
    forged = Path(checkpoint_file).read_text().replace(" 9 ", " 8 ")
    result = cli("audit", "verify", "--checkpoint", "-", stdin=forged)
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: checkpoint 8: the signature is not of this audit key\n",
    )
    result = cli("audit", "verify", "--checkpoint", "-", stdin="nonsense\x1b[31m\n")
    assert result.stderr == "Error: not a checkpoint line: nonsense\\x1b[31m\n"
    assert cli("audit", "verify", "--checkpoint", "-", stdin="\n").exit_code == 2


def test_verify_knows_a_checkpoint_of_another_database(
    cli: Cli, database: Database, checkpoint_file: str
) -> None:
    key = (database.instance / "secrets" / "opsapp_audit_key").read_text().strip().encode()
    ((hash, at),) = [(words[3], words[4]) for words in [Path(checkpoint_file).read_text().split()]]
    other = Checkpoint("00000000-0000-0000-0000-000000000000", 9, hash, at).line(key)
    result = cli("audit", "verify", "--checkpoint", "-", "--format", "json", stdin=other)
    assert (result.exit_code, result.json["break"]) == (6, "another-chain")


def test_verify_with_another_key_is_not_ready(cli: Cli, database: Database, story: None) -> None:
    other = "another-audit-key-q8Zt4vRk2Lw9XbN7cJ5hM3pF6sD1gA0yE"
    for args in (("audit", "verify"), ("roles", "create", "other"), ("db", "init")):
        result = cli(*args, OPSAPP_AUDIT_KEY=other)
        assert (result.exit_code, result.stdout, result.stderr) == (
            7,
            "",
            "Error: OPSAPP_AUDIT_KEY does not match the key of this database's audit log\n"
            "  → flask doctor --settings\n",
        )
    assert cli("db", "status", "--format", "json", OPSAPP_AUDIT_KEY=other).json["ready"] is False


@pytest.mark.parametrize("more", [0, 4])
def test_rebase_turns_a_restore_into_a_gap_with_its_author(
    cli: Cli, database: Database, checkpoint_file: str, more: int
) -> None:
    cut_cleanly(database, 7)
    for number in range(more):
        cli("roles", "create", f"after-{number}", check=True)
    done = cli("audit", "rebase", "--checkpoint", checkpoint_file, "--reason", "disk lost", "--yes")
    assert done.exit_code == 0, done.stderr
    result = cli("audit", "verify", "--checkpoint", checkpoint_file, "--format", "json")
    assert result.exit_code == 0
    gap = result.json["gaps"][0]
    assert (gap["lost_seq"], gap["reason"]) == (9, "disk lost")
    assert "@" in gap["declared_by"]
    assert len(result.json["gaps"]) == 1


def test_rebase_covers_nothing_beyond_what_it_declares(
    cli: Cli, database: Database, checkpoint_file: str
) -> None:
    cut_cleanly(database, 7)
    cli("audit", "rebase", "--checkpoint", checkpoint_file, "--reason", "x", "--yes", check=True)
    with Path(checkpoint_file).open("a") as file:
        file.write(cli("audit", "checkpoint").stdout)
    assert cli("audit", "verify", "--checkpoint", checkpoint_file).exit_code == 0
    cut_cleanly(database, 5)
    assert cli("audit", "verify", "--checkpoint", checkpoint_file).exit_code == 6


def test_rebase_needs_a_reason_and_a_loss(cli: Cli, checkpoint_file: str) -> None:
    args = ("audit", "rebase", "--checkpoint", checkpoint_file, "--yes")
    assert cli(*args).stderr == "Error: a restore needs a --reason\n"
    same = cli(*args, "--reason", "x")
    assert (same.exit_code, same.stderr) == (0, "Already so: nothing was changed.\n")
