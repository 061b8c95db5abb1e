"""Repeats: lines of the application that send a statement again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp.errors import Invalid
from opsapp.extensions import db
from opsapp.profiling.record.recorder import Recorder
from opsapp.profiling.reports import Window, n_plus_one, store
from opsapp.profiling.reports.n_plus_one import Allowed
from tests.support import Cli, Database, run
from tests.support.recorded import ask, flush
from tests.support.terminals import on_terminal
from tests.support.web import Site
from tests.support.windows import a_window

LAZY = "SELECT … FROM ops_grants WHERE ops_grants.user_id = ?"


def repeat(line: str, times: int, statement: str = LAZY) -> Window:
    return a_window(
        "GET people", 10, kind="repeat", caller=line, statement=statement,
        queries=10 * times, query_seconds=0.001 * 10 * times,
    )  # fmt: skip


def test_repeats_are_listed_with_what_to_do(cli: Cli, app: Flask) -> None:
    store("one", [repeat("shop/feed.py:9 in show", 21), repeat("shop/cart.py:2 in add", 6)], [],
          limit=5)  # fmt: skip
    rows = cli("profile", "repeats", "--format", "json").json
    assert [(row["line"], row["times"], row["to_win_ms"]) for row in rows] == [
        ("shop/feed.py:9 in show", 21.0, 20.0),
        ("shop/cart.py:2 in add", 6.0, 5.0),
    ]
    done = cli("profile", "repeats", "--check", "--allow", "shop/feed.py in *=30")
    assert done.exit_code == 6
    assert "feed.py" not in done.stdout
    done = cli("profile", "repeats", "--check", "--allow", "shop/*")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 1)
    done = cli("profile", "repeats", "--check", "--allow", "shop/*=10")
    assert "feed.py" in done.stdout


def test_narrow_terminal_shows_the_statement(database: Database, app: Flask) -> None:
    store("one", [repeat("shop/feed.py:9 in show", 21)], [], limit=5)
    lines = on_terminal(database, "profile", "repeats", columns=80, NO_COLOR="1").splitlines()
    begin, end = (lines[0].index(name) for name in ("statement", "endpoint"))
    cells = [line[begin:end].strip() for line in lines[1:]]
    assert " ".join(filter(None, cells)) == LAZY, lines


def test_repeats_of_commands_are_left_out(cli: Cli, app: Flask) -> None:
    window = a_window(
        "shop import", 1, kind="repeat", caller="shop/feed.py:1 in load", statement=LAZY,
        queries=9, query_seconds=0.1,
    )  # fmt: skip
    store("one", [window, repeat("shop/cart.py:2 in add", 6)], [], limit=5)
    assert len(cli("profile", "repeats", "--format", "json").json) == 2
    (row,) = cli("profile", "repeats", "--requests", "--format", "json").json
    assert row["endpoint"] == "GET people"


def test_commands_that_come_along_are_no_finding(database: Database) -> None:
    traces_of_many = """
        INSERT INTO ops_profile_traces (kind, name, at, seconds, status, queries, query_seconds,
            detail)
        VALUES ('slow', 'GET {}', '2026-01-01 00:00:00', 1, 200, 0, 0, '{{}}')
    """
    for number in range(6):
        database.execute(traces_of_many.format(number))
    on = {"OPSAPP_PROFILING": "on"}
    for line in ("jobs list", "jobs missed", "profile prune", "doctor", "db check"):
        run(database, *line.split(), **on)
    assert database.rows("SELECT count(*) FROM ops_profile_series WHERE kind = 'repeat'")[0][0] >= 5
    done = run(database, "profile", "repeats", "--check", check=True)
    assert done.stdout == "endpoint\tline\trequests\ttimes\tto_win_ms\tadvice\tstatement\n"


@pytest.mark.parametrize("given", ["=3", "shop=x", "shop=-1"])
def test_allowed_repeat_that_is_none(given: str) -> None:
    with pytest.raises(Invalid, match="is not of the form"):
        Allowed.parse(given)


def test_advice_names_the_relationship(app: Flask) -> None:
    advice = n_plus_one.advice
    sessions = "SELECT ops_user_sessions.id FROM ops_users WHERE ops_users.id = ?"
    assert advice(sessions) == (
        "joinedload(ApiToken.user) or joinedload(Grant.user) or joinedload(UserSession.user)"
    )
    assert advice("SELECT a FROM nowhere WHERE nowhere.b = ?").startswith("ask once with IN")
    assert advice("INSERT INTO a (b) VALUES (?)").startswith("send it once")
    assert advice("SELECT ? + ?").startswith("ask once with IN")


def by_text(number: int) -> None:
    db.session.execute(sa.text(f"SELECT '{number}' AS a"))


def by_parameter(number: int) -> None:
    db.session.execute(sa.text("SELECT :n + 1"), {"n": number})


def by_list(number: int) -> None:
    db.session.execute(sa.text("SELECT 1 WHERE 1 IN :n").bindparams(
        sa.bindparam("n", range(number + 2), expanding=True)
    ))  # fmt: skip


def by_driver(number: int) -> None:
    db.session.connection().exec_driver_sql(f"SELECT {number}")


def without_parameters(number: int) -> None:
    options = {"no_parameters": True}
    db.session.connection().exec_driver_sql(f"SELECT {number}", execution_options=options)


@pytest.mark.parametrize(
    "send",
    [by_text, by_parameter, by_list, by_driver, without_parameters],
    ids=lambda f: f.__name__,
)
def test_loop_of_any_statement_is_found(
    recorded: Site, recorder: Recorder, cli: Cli, send: Any
) -> None:
    @recorded.app.get("/loop")
    def loop() -> str:
        for number in range(7):
            send(number)
        return "sent"

    assert ask(recorded, "/loop") == 200
    flush(recorder)
    (row,) = cli("profile", "repeats", "--format", "json").json
    assert (row["endpoint"], row["requests"], row["times"]) == ("GET loop", 1, 7)
    assert row["line"].startswith("tests/profiling/test_repeats.py:")
    assert row["line"].endswith(f" in {send.__name__}")
    assert "?" in row["statement"]


def test_statements_of_one_line_that_differ_are_no_repeat(
    recorded: Site, recorder: Recorder, cli: Cli
) -> None:
    @recorded.app.get("/differ")
    def differ() -> str:
        for number in range(7):
            db.session.execute(sa.text(f"SELECT 1 AS column_{'x' * number}"))
        return "sent"

    assert ask(recorded, "/differ") == 200
    flush(recorder)
    assert cli("profile", "repeats", "--format", "json").json == []


LOOP = "for n in range(8):\n    sql(f'SELECT {n}')\n"


def test_loop_of_a_program_is_a_finding_at_its_line(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "report.py"
    file.write_text(LOOP)
    for args in ((str(file),), ("-c", LOOP)):
        run(database, "shell", *args, check=True, OPSAPP_PROFILING="on")
    done = run(database, "profile", "repeats", "--format", "json", check=True)
    rows = sorted((row["line"], row["times"], row["statement"]) for row in done.json)
    assert rows == [
        ("<-c>:2 in <module>", 8, "SELECT ?"),
        ("report.py:2 in <module>", 8, "SELECT ?"),
    ]
