"""`flask audit verify`: every way in which the chain can be broken."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.audit.conftest import events
from tests.support import Cli, Database, disarm

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
    "text",
    ["replace(at, ' ', 'T')", "replace(at, ' ', '4')", "at || '+00:00'", "at || 'Z'", "at || '0'"],
)
def test_verify_finds_another_text_of_the_same_time(
    cli: Cli, database: Database, story: None, sqlite_only: None, text: str
) -> None:
    disarm(database)
    database.execute(
        f"UPDATE ops_audit_events SET at = {text.replace(':', chr(92) + ':')} WHERE seq = 7"
    )
    result = cli("audit", "verify", "--format", "json")
    assert (result.exit_code, result.json["break"], result.json["first_bad_seq"]) == (
        6,
        "edited",
        7,
    )


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
