"""%explain: plans as trees, of the text that follows it."""

from __future__ import annotations

import pytest

from tests.support import Database
from tests.support.console_play import play


@pytest.mark.parametrize("mode", ["write", "sandbox"])
def test_plan_is_a_tree_of_whole_lines(database: Database, kind: str, ada: str, mode: str) -> None:
    printed = play(
        database.environ,
        database.instance,
        mode,
        [
            "id = 1",
            "%explain SELECT u.email FROM ops_users u JOIN ops_grants g ON g.user_id = u.id"
            " WHERE u.id = :id ORDER BY g.granted_at, u.email",
            "%explain sa.select(User).where(User.id == 1)",
            "%explain analyze SELECT email FROM ops_users",
            "%explain UPDATE ops_roles SET description = 'x'",
            "%explain ANALYZE UPDATE ops_roles SET description = 'x'",
            "sql('SELECT description FROM ops_roles')[0]['description'] == 'x'",
        ],
    )
    assert "SyntaxError" not in printed
    assert "Error" not in printed
    assert "…" not in printed
    if kind == "sqlite":
        assert "SEARCH u USING INTEGER PRIMARY KEY (rowid=?)" in printed
        assert "Run: 1 row" in printed
    else:
        assert "  ->  Index Scan using pk_ops_users on ops_users u" in printed
        assert "Execution Time:" in printed
    assert "\nFalse\n" in printed
    assert "Rolled back" not in printed


def test_plan_is_of_one_statement(database: Database, kind: str, ada: str) -> None:
    cells = ["%explain SELECT 1; DELETE FROM ops_mail_messages"]
    printed = play(database.environ, database.instance, "write", cells)
    errors = {
        "sqlite": "ProgrammingError: You can only execute one statement at a time.\n",
        "postgresql": "Invalid: several statements in one call\n  → send each by itself\n",
    }
    assert errors[kind] in printed


def test_plan_of_several_statements_runs_none(database: Database, ada: str) -> None:
    cell = "%explain SELECT 1; UPDATE ops_users SET username = 'evil'; COMMIT"
    play(database.environ, database.instance, "write", [cell])
    assert database.rows("SELECT username FROM ops_users") == [("ada",)]


def test_plan_of_a_typed_select_is_read_as_a_plan(database: Database, ada: str) -> None:
    cells = [
        "%explain sa.select(User.id, User.email, User.active, User.created_at)",
        "%explain sa.select(User.created_at)",
        "%explain sa.select(sa.cast(User.email, sa.JSON))",
    ]
    printed = play(database.environ, database.instance, "write", cells)
    assert "Error" not in printed
    plans = [line for line in printed.splitlines() if "scan" in line.lower()]
    assert len(plans) == 3
    assert all("ops_users" in line for line in plans)


PLANNED = [
    "select 1",
    "explain select 1;",
    "query plan select 1",
    "explain query plan select 1",
    "verbose select 1",
    "(verbose) select 1",
    "VALUES (1), (2)",
    "with x as (select 1) select * from x",
    "create table x as select 1",
    "insert into ops_roles (name) values ('x')",
    "select cast(:n as text)",
    "select\n  id\nfrom ops_roles",
    "sa.select(User).where(User.email.like('%a%'), User.id.in_([1, 2]))",
    "User.query.filter(User.created_at > datetime(2026, 1, 1, tzinfo=UTC))",
    "sa.delete(Grant).where(Grant.id == 1)",
    "statement",
]
TIMED = [
    "ANALYZE SELECT 1",
    "ANALYZE VERBOSE SELECT 1",
    "(analyze) SELECT 1",
    "(analyze, buffers) SELECT 1",
    "explain analyze SELECT 1",
    "analyze sa.select(Role.id)",
]
BROKEN = [
    *("selct 1", "replace ops_roles", "sa.select(", "'x'", "select '{", "select 'it"),
    *("(", "?", "select 1; select (", "sa select\nfrom 1"),
]


def explained(database: Database, texts: list[str]) -> list[str]:
    """Return the answer of %explain to each text."""
    names = "from datetime import UTC, datetime; n = '1'; statement = sa.select(Role.id)"
    cells = [cell for text in texts for cell in ("say('§')", f"%explain {text}", "say('§')")]
    define = "import sys; sys.stderr = sys.stdout; say = lambda mark: print(mark, end='')"
    printed = play(database.environ, database.instance, "read-only", [names, define, *cells])
    return printed.split("§")[1::2]


def test_statement_has_a_plan(database: Database, kind: str, ada: str) -> None:
    plans = dict(zip(PLANNED, explained(database, PLANNED), strict=True))
    steps = {"SCAN", "SEARCH", "No steps:"} if kind == "sqlite" else {"(cost="}
    assert {text: plan for text, plan in plans.items() if not any(s in plan for s in steps)} == {}
    if kind == "sqlite":
        of_insert = "insert into ops_roles (name) values ('x')"
        assert plans[of_insert] == "No steps: the statement searches no table.\n"


def test_analyze_has_times(database: Database, kind: str, ada: str) -> None:
    time = "Run: " if kind == "sqlite" else "Execution Time: "
    plans = explained(database, TIMED)
    assert [time in plan for plan in plans] == [True] * len(TIMED), plans


def test_text_that_is_no_statement_is_an_error_of_the_database(
    database: Database, ada: str
) -> None:
    for text, answer in zip(BROKEN, explained(database, BROKEN), strict=True):
        error, hint = answer.splitlines()
        assert error.startswith(("OperationalError: ", "ProgrammingError: "))
        assert hint.startswith("  → it was: EXPLAIN ")
        assert hint.endswith(f" {' '.join(text.split())}")


def test_explain_without_a_statement_says_so(database: Database, ada: str) -> None:
    needs = "%explain needs a statement: %explain SELECT …, or %explain sa.select(User)\n"
    assert explained(database, ["U", "", "analyze", "select :zz"]) == [
        "Invalid: U is not a statement but of type function\n",
        needs,
        needs,
        "NotFound: no variable zz for :zz\n",
    ]


def test_parameter_before_a_cast_is_bound(database: Database, kind: str, ada: str) -> None:
    (plan,) = explained(database, ["SELECT :n::text || 'x' AS a"])
    if kind == "sqlite":  # It has no such cast.
        assert plan.startswith('OperationalError: unrecognized token: ":"\n')
    else:
        assert plan.startswith("Result ")
