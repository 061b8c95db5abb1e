"""Edits of the audit by its database's owner: each is found, and each cut against a checkpoint."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp.accounts import grants, roles, users
from opsapp.audit import checkpoints
from opsapp.audit.verification import verify
from opsapp.errors import NotReady
from opsapp.extensions import db
from opsapp.unit.chain import Checkpoint
from tests.faults import tally
from tests.faults.amounts import dice, trials
from tests.support import PASSWORD, Database, a_unit, disarm

TABLES = ("ops_audit_events", "ops_audit_head", "ops_audit_personal")
Rows = list[dict[str, Any]]
Edit = Callable[[random.Random, Rows], None]


@pytest.fixture
def history(app: Flask, database: Database) -> None:
    """A chain of a dozen events, whose triggers its owner has dropped."""
    users.create_admin("ada@example.com", password=PASSWORD, unit=a_unit())
    for number in range(3):
        users.create(f"u{number}@example.com", unit=a_unit(reason="new here"))
        roles.create(f"role-{number}", unit=a_unit())
        grants.grant(f"role-{number}", [f"u{number}@example.com"], unit=a_unit())
    disarm(database)
    db.session.rollback()


# --- edits ---------------------------------------------------------------------


def change_a_value(chance: random.Random, rows: Rows) -> None:
    row = chance.choice(rows)
    column = chance.choice(list(row))
    value = row[column]
    if isinstance(value, int):
        row[column] = value + chance.choice([-1, 1, 7])
    elif isinstance(value, str) and value:
        place = chance.randrange(len(value))
        letter = chance.choice("0123456789abcxyz{}\"' :\u00e9")
        row[column] = value[:place] + letter + value[place + chance.randrange(2) :]
    elif value is None or isinstance(value, str):
        row[column] = chance.choice(["x", "{}", '{"role":"admin"}'])
    else:
        row[column] = value.replace(microsecond=(value.microsecond + 1) % 1_000_000)


def exchange_values(chance: random.Random, rows: Rows) -> None:
    first, second = chance.choice(rows), chance.choice(rows)
    column = chance.choice([name for name in first if name not in ("seq", "id", "token")])
    first[column], second[column] = second[column], first[column]


def remove(chance: random.Random, rows: Rows) -> None:
    rows.pop(chance.randrange(len(rows)))


def remove_and_renumber(chance: random.Random, rows: Rows) -> None:
    remove(chance, rows)
    for number, row in enumerate(rows, start=1):
        if "seq" in row:
            row["seq"] = number


def swap(chance: random.Random, rows: Rows) -> None:
    first, second = chance.choice(rows), chance.choice(rows)
    for key in ("seq", "token"):
        if key in first:
            first[key], second[key] = second[key], first[key]


def add_a_copy(chance: random.Random, rows: Rows) -> None:
    copy = dict(chance.choice(rows))
    for key, value in (("seq", len(rows) + 1), ("id", 2), ("token", "f" * 32)):
        if key in copy:
            copy[key] = value
    rows.append(copy)


EDITS: tuple[Edit, ...] = (
    *(change_a_value, exchange_values, remove, remove_and_renumber, swap, add_a_copy),
)


# --- the tables ------------------------------------------------------------------


class Tables:
    """The tables of the audit, taken out and put back as their owner can."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        with connection.begin():
            self.original = {name: self._taken(name) for name in TABLES}

    def _taken(self, table: str) -> Rows:
        order = {"ops_audit_head": "id", "ops_audit_personal": "token"}.get(table, "seq")
        query = sa.text(f"SELECT * FROM {table} ORDER BY {order}")
        return [dict(row) for row in self._connection.execute(query).mappings()]

    def put(self, table: str, rows: Rows) -> bool:
        """Replace the rows of a table; return False where the database does not hold them."""
        names = list(self.original[table][0])
        values = ", ".join(f":{name}" for name in names)
        insert = f"INSERT INTO {table} ({', '.join(map(_quoted, names))}) VALUES ({values})"
        try:
            with self._connection.begin():
                self._connection.execute(sa.text(f"DELETE FROM {table}"))
                if rows:
                    self._connection.execute(sa.text(insert), rows)
        except sa.exc.DBAPIError:
            return False
        return True


@pytest.fixture
def tables(history: None, database: Database) -> Iterator[Tables]:
    """The tables, on one connection that waits for no disk: the edits are what is tried."""
    engine = sa.create_engine(database.url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "PRAGMA synchronous = OFF" if database.is_sqlite else "SET synchronous_commit = off"
        )
        connection.commit()
        yield Tables(connection)
    engine.dispose()


def _quoted(name: str) -> str:
    return f'"{name}"'


def is_found(lines: list[Checkpoint]) -> bool:
    try:
        return not verify(lines)["ok"]
    except NotReady:
        return True  # The head names another key or chain.
    finally:
        db.session.rollback()


# --- the tests -------------------------------------------------------------------


def test_random_edits_are_found_each_and_every_one(tables: Tables, kind: str) -> None:
    line = checkpoints.checkpoint()
    kept = checkpoints.checkpoints([line])
    assert not is_found(kept)
    chance = dice("tampering", kind)
    edits, missed = 0, []
    for _ in trials(60, 10_000):
        table, edit, rows = edited(chance, tables)
        edits += 1
        if not is_found(kept):
            missed.append((table, edit.__name__, different(tables.original[table], rows)))
        tables.put(table, tables.original[table])
    assert missed == []
    assert not is_found(kept)
    tally.count("Tampering", "random edit", kind, "found", edits)


def edited(chance: random.Random, tables: Tables) -> tuple[str, Edit, Rows]:
    """Change a table in a way that the database takes."""
    while True:
        table, edit = chance.choice(TABLES), chance.choice(EDITS)
        rows = [dict(row) for row in tables.original[table]]
        edit(chance, rows)
        if rows != tables.original[table] and tables.put(table, rows):
            return table, edit, rows


def different(before: Rows, after: Rows) -> Rows:
    return [row for row in after if row not in before]


def test_cut_of_any_length_is_found_with_a_checkpoint(tables: Tables, kind: str) -> None:
    kept = checkpoints.checkpoints([checkpoints.checkpoint()])
    db.session.rollback()
    events, [head] = tables.original["ops_audit_events"], tables.original["ops_audit_head"]
    for length in range(1, len(events)):
        rest = events[:-length]
        tables.put("ops_audit_events", rest)
        tables.put("ops_audit_head", [{**head, "seq": rest[-1]["seq"], "hash": rest[-1]["hash"]}])
        assert verify(kept)["break"] == "cut"
        db.session.rollback()
        tally.count("Tampering", "tail cut off cleanly", kind, "found")
