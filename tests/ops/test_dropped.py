"""Tables of ours that were dropped, and are made again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.ops.conftest import Start
from tests.ops.test_attached import tables
from tests.support import Database


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
@pytest.mark.parametrize("way", ["drop", "by hand"])
def test_tables_that_were_dropped_are_made_again(
    kind: str, way: str, start: Start, empty_database: Database
) -> None:
    cli = start("login_app", with_ops=True)
    cli("ops", "init", "--no-wal", check=True)
    if way == "drop":
        cli("ops", "drop", "--yes", check=True)
        assert functions(empty_database) == []
    else:
        for table in sorted(name for name in tables(empty_database) if name.startswith("ops_")):
            cascade = "CASCADE" if kind == "postgresql" else ""
            empty_database.execute(f"DROP TABLE {table} {cascade}")
    made = cli("ops", "init", "--no-wal", "--format", "json")
    assert (made.exit_code, made.stderr, json.loads(made.stdout)["changed"]) == (0, "", True)
    assert cli("ops", "audit", "verify").exit_code == 0


def functions(database: Database) -> list[tuple[Any, ...]]:
    if database.url.startswith("sqlite"):
        return []
    return database.rows("SELECT proname FROM pg_proc WHERE proname LIKE 'ops%'")
