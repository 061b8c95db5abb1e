"""`flask audit`: reading the chain, and finding every way it can be broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from opsapp.accounts import roles
from opsapp.actors import Actor
from opsapp.unit.chain import Checkpoint
from opsapp.unit.work import Unit
from tests.support import Cli, Database, disarm
from tests.support.templates import BOB, Commands

APPEND_ONLY = "audit events are append-only"


@pytest.fixture
def after_story() -> Commands:
    return (
        *BOB,
        ("roles", "create", "support"),
        ("roles", "grant", "support", "bob", "--reason", "on call"),
        ("roles", "revoke", "support", "bob"),
        ("roles", "delete", "support", "--yes"),
    )


@pytest.fixture
def story(database: Database, after_story: Commands) -> None:
    """Nine events: Ada made admin (3, 4), Bob made (5), a role made and given (6 to 9)."""


def events(cli: Cli, *args: str) -> list[int]:
    result = cli("audit", "list", "--format", "json", *args)
    assert result.exit_code == 0, result.stderr
    return [event["seq"] for event in result.json]


# --- reading -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--limit", "3"], [7, 8, 9]),
        (["--limit", "3", "--before", "7"], [4, 5, 6]),
        (["--all", "--limit", "1"], [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (["--action", "user:role"], [4, 7, 8]),
        (["--action", "user:role:grant"], [4, 7]),
        (["--subject", "bob"], [5, 7, 8]),
        (["--subject", "user:2"], [5, 7, 8]),
        (["--subject", "role:support"], [6, 9]),
        (["--subject", "role:2"], [6, 9]),
        (["--subject", "database"], [1]),
        (["--since", "1h", "--action", "role"], [2, 6, 9]),
        (["--until", "2020-01-01"], []),
        (["--action", "user:factor"], []),
        (["--action", "role", "--actor", "ada"], []),
    ],
    ids=lambda value: " ".join(map(str, value)),
)
def test_list_filters_and_pages(
    cli: Cli, story: None, args: list[str], expected: list[int]
) -> None:
    assert events(cli, *args) == expected


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--action", "user:rol"], "no event is a user:rol\n  → did you mean user:role?"),
        (["--action", "x:y:z"], "no event is a x:y:z\n  → flask audit list --fields action"),
        (["--actor", "bo@example.com"],
         "no event is by bo@example.com\n  → did you mean bob@example.com?"),
        (["--actor", "q"], "no event is by q\n  → flask audit list --fields actor"),
    ],
    ids=lambda value: " ".join(map(str, value)),
)  # fmt: skip
def test_list_refuses_what_no_event_has(cli: Cli, story: None, args: list[str], says: str) -> None:
    done = cli("audit", "list", *args)
    assert (done.exit_code, done.stdout, done.stderr) == (4, "", f"Error: {says}\n")


@pytest.mark.parametrize("name", ["ada", "ada@example.com", "1", "user:1"])
def test_list_finds_an_account_that_acts_by_any_name(
    app: Flask, cli: Cli, story: None, name: str
) -> None:
    ada = Actor(kind="user", name="user:1", token="ci")
    roles.create("other", unit=Unit(actor=ada, door="api"))
    assert events(cli, "--actor", name) == [10]
    event = cli("audit", "show", "10", "--format", "json").json
    assert (event["actor"], event["actor_detail"]["name"]) == (
        "ada@example.com (token ci)",
        "user:1",
    )


def test_list_filters_by_actor_and_correlation(
    cli: Cli, story: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_ACTOR", "carol")
    cli("roles", "create", "other", check=True)
    assert events(cli, "--actor", "carol") == [10]
    result = cli("audit", "show", "10", "--format", "json").json
    assert result["actor_detail"]["behind"] == "carol"
    assert "for carol" in result["actor"]
    assert events(cli, "--correlation", result["correlation"]) == [10]


def test_list_filters_by_a_part_of_the_reason(cli: Cli, story: None) -> None:
    cli("roles", "create", "other", "--reason", "Night shift 100 %", check=True)
    assert events(cli, "--reason", "night SHIFT") == [10]
    assert events(cli, "--reason", "100 %", "--since", "1h") == [10]
    assert events(cli, "--reason", "100_%") == []


def test_list_says_how_to_see_the_page_before(cli: Cli, story: None) -> None:
    result = cli("audit", "list", "--limit", "2", "--fields", "seq")
    assert result.stdout == "seq\n8\n9\n"
    assert result.stderr == "There are more: --before 8 shows the next page, --all everything.\n"
    assert cli("audit", "list", "--limit", "9", "--fields", "seq").stderr == ""


@pytest.mark.parametrize("subject", ["nobody", "role:nothing", "user:99"])
def test_list_about_an_unknown_account_is_not_found(cli: Cli, story: None, subject: str) -> None:
    assert cli("audit", "list", "--subject", subject).exit_code == 4


def test_show_of_no_event_is_not_found(cli: Cli) -> None:
    result = cli("audit", "show", "99")
    assert (result.exit_code, result.stderr) == (
        4,
        "Error: no audit event 99\n  → flask audit list\n",
    )


def test_export_carries_what_a_verifier_needs(cli: Cli, database: Database, story: None) -> None:
    from datetime import datetime

    from opsapp.unit import chain

    key = (database.instance / "secrets" / "opsapp_audit_key").read_text().encode()
    previous = chain.GENESIS
    for line in cli("audit", "export", "--format", "jsonl").stdout.splitlines():
        event = json.loads(line)
        columns = (
            event["seq"],
            datetime.fromisoformat(event["at"]),
            *(event[name] for name in ("actor", "door", "action", "subject", "reason")),
            *(event[name] for name in ("before", "after", "correlation")),
        )
        assert event["previous"] == previous
        assert event["hash"] == chain.link(key, previous, columns)
        previous = event["hash"]
    assert event["seq"] == 9


def test_database_refuses_to_change_an_event(database: Database, story: None) -> None:
    for statement in ("UPDATE ops_audit_events SET reason = 'x'", "DELETE FROM ops_audit_events"):
        with pytest.raises(Exception, match=APPEND_ONLY):
            database.execute(statement)


# --- verifying ---------------------------------------------------------------


def edit(database: Database) -> None:
    database.execute("UPDATE ops_audit_events SET reason = 'innocent' WHERE seq = 7")


def edit_the_time(database: Database) -> None:
    database.execute("UPDATE ops_audit_events SET at = '2020-01-01 00:00:00.000000' WHERE seq = 7")


def edit_the_hash(database: Database) -> None:
    database.execute(f"UPDATE ops_audit_events SET hash = '{'f' * 64}' WHERE seq = 7")


def delete(database: Database) -> None:
    database.execute("DELETE FROM ops_audit_events WHERE seq = 7")


def delete_and_renumber(database: Database) -> None:
    database.execute("DELETE FROM ops_audit_events WHERE seq = 7")
    for seq in (8, 9):
        database.execute("UPDATE ops_audit_events SET seq = seq - 1 WHERE seq = :seq", seq=seq)
    database.execute("UPDATE ops_audit_head SET seq = 8")


def swap(database: Database) -> None:
    for source, target in ((7, 70), (8, 7), (70, 8)):
        database.execute(
            "UPDATE ops_audit_events SET seq = :target WHERE seq = :source",
            source=source,
            target=target,
        )


def insert(database: Database) -> None:
    database.execute(
        "INSERT INTO ops_audit_events SELECT 10, at, actor, door, action, subject, reason, before,"
        " after, correlation, hash, hash FROM ops_audit_events WHERE seq = 9"
    )


def roll_back_the_head(database: Database) -> None:
    hash = database.rows("SELECT previous FROM ops_audit_events WHERE seq = 9")[0][0]
    database.execute("UPDATE ops_audit_head SET seq = 8, hash = :hash", hash=hash)


def cut(database: Database) -> None:
    database.execute("DELETE FROM ops_audit_events WHERE seq > 7")


def move_the_head(database: Database) -> None:
    database.execute(f"UPDATE ops_audit_head SET hash = '{'0' * 64}'")


def exchange_a_name(database: Database) -> None:
    database.execute(
        "UPDATE ops_audit_personal SET value = 'eve@example.com' WHERE value LIKE '%@%'"
    )


def take_a_name_away(database: Database) -> None:
    database.execute("DELETE FROM ops_audit_personal WHERE subject = 'user:2'")


def move_a_name(database: Database) -> None:
    database.execute("UPDATE ops_audit_personal SET subject = 'user:1' WHERE subject = 'user:2'")


def garble_the_time(database: Database) -> None:
    value = "garbage" if database.is_sqlite else "infinity"
    database.execute(f"UPDATE ops_audit_events SET at = '{value}' WHERE seq = 7")


def garble_the_json(database: Database) -> None:
    value = "x'ff00'" if database.is_sqlite else "'{'"
    database.execute(f"UPDATE ops_audit_events SET after = {value}, actor = '[1]' WHERE seq = 7")


def remove_the_head(database: Database) -> None:
    database.execute("DELETE FROM ops_audit_head")


def double_the_head(database: Database) -> None:
    database.execute(
        "INSERT INTO ops_audit_head SELECT 2, chain, environment, key_id, pepper_id, seq, hash"
        " FROM ops_audit_head"
    )


def edit_the_head(column: str, value: str) -> Callable[[Database], None]:
    def attack(database: Database) -> None:
        database.execute(f"UPDATE ops_audit_head SET {column} = {value}")

    attack.__name__ = f"edit_the_heads_{column}"
    return attack


def add_a_name(database: Database) -> None:
    database.execute(
        "INSERT INTO ops_audit_personal SELECT 'f' || substr(token, 2), subject, salt, 'eve@x.com'"
        " FROM ops_audit_personal WHERE substr(token, 1, 1) <> 'f' LIMIT 1"
    )


@pytest.mark.parametrize("attack", [garble_the_json, garble_the_time])
def test_list_shows_the_events_around_a_garbled_one(
    cli: Cli, database: Database, story: None, attack: Callable[[Database], None]
) -> None:
    disarm(database)
    attack(database)
    assert events(cli) == list(range(1, 10))


@pytest.mark.parametrize("attack", [remove_the_head, double_the_head])
def test_change_without_one_head_is_not_ready(
    cli: Cli, database: Database, story: None, attack: Callable[[Database], None]
) -> None:
    attack(database)
    result = cli("roles", "create", "other")
    assert result.exit_code == 7
    assert result.stderr.endswith("  → flask audit verify\n")
    assert cli("doctor").exit_code == 6


@pytest.mark.parametrize(
    ("attack", "seq", "broken"),
    [
        (edit, 7, "edited"),
        (edit_the_time, 7, "edited"),
        (edit_the_hash, 7, "edited"),
        (delete, 7, "missing"),
        (delete_and_renumber, 7, "replaced"),
        (swap, 7, "replaced"),
        (insert, 10, "edited"),
        (roll_back_the_head, 9, "extended"),
        (cut, 8, "cut"),
        (move_the_head, 9, "replaced"),
        (exchange_a_name, 3, "personal"),
        (take_a_name_away, 5, "personal"),
        (move_a_name, 5, "personal"),
        (garble_the_time, 7, "edited"),
        (garble_the_json, 7, "edited"),
        (remove_the_head, None, "head"),
        (double_the_head, None, "head"),
        (edit_the_head("id", "2"), None, "head"),
        (edit_the_head("chain", "'00000000-0000-0000-0000-000000000000'"), None, "head"),
        (edit_the_head("environment", "'production'"), None, "head"),
        (edit_the_head("key_id", "'0123456789abcdef'"), None, "head"),
        (add_a_name, None, "personal"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_verify_names_the_first_bad_event_and_the_kind_of_break(
    cli: Cli,
    database: Database,
    story: None,
    attack: Callable[[Database], None],
    seq: int | None,
    broken: str,
) -> None:
    assert cli("audit", "verify").exit_code == 0
    disarm(database)
    attack(database)
    result = cli("audit", "verify", "--format", "json")
    assert result.exit_code == 6
    assert (result.json["ok"], result.json["first_bad_seq"], result.json["break"]) == (
        False,
        seq,
        broken,
    )


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
            "Error: OPSAPP_AUDIT_KEY is not the key that this database's audit was begun with\n"
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


def test_list_follows_from_now_on_and_not_from_before(cli: Cli) -> None:
    done = cli("audit", "list", "--follow", "--before", "1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "Error: --follow goes on from now, --before goes back; give one\n"
