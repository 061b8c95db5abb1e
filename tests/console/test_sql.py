"""SQL in the console: whole results, plans, files, and secrets masked for inputs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import Database, run
from tests.support.console_play import play

MANY = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2500) "


def test_result_is_whole_in_programs_and_inputs(database: Database, ada: str) -> None:
    code = (
        f"rows = sql('{MANY} SELECT x FROM n'); print(len(rows), rows[-1], rows[-1]['x']);"
        " print(rows)"
    )
    done = run(database, "shell", "-c", code)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "2500 {'x': 2500} 2500"
    assert lines[-1] == "(30 of 2500 rows)"


def test_parameters_may_have_any_name(database: Database, ada: str) -> None:
    code = (
        "print(list(sql('SELECT :limit AS a, :statement AS b, :params AS c',"
        " limit='1', statement='2', params='3')))"
    )
    done = run(database, "shell", "-c", code)
    assert done.stdout == "[{'a': '1', 'b': '2', 'c': '3'}]\n", done.stderr


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
        assert "Run: 1 rows" in printed
    else:
        assert "  ->  Index Scan using pk_ops_users on ops_users u" in printed
        assert "Execution Time:" in printed
    assert "\nFalse\n" in printed
    assert "Rolled back" not in printed


def test_rows_are_written_to_a_file(database: Database, ada: str, tmp_path: Path) -> None:
    folder = tmp_path
    printed = play(
        database.environ,
        database.instance,
        "read-only",
        [
            f"%sql -o {folder}/rows.csv SELECT id, email, password FROM ops_users",
            f"%sql -o {folder}/rows.json SELECT id, email FROM ops_users",
            f"%sql -o {folder}/rows.xls SELECT id, email FROM ops_users",
            f"%sql -o {database.instance}/mail/rows.csv SELECT 1 AS one",
            "%sql -x SELECT id, email FROM ops_users",
            "%sql --al SELECT id, email FROM ops_users",
        ],
    )
    assert "Invalid: no such option: --al\n  → %sql has -x, --all and -o FILE\n" in printed
    assert (folder / "rows.csv").read_text() == "id,email,password\n1,ada@example.com,•••\n"
    assert json.loads((folder / "rows.json").read_text()) == [{"id": 1, "email": "ada@example.com"}]
    assert f"1 rows are in {folder}/rows.csv." in printed
    assert "Invalid: " in printed
    assert "rows.xls ends in none of .csv, .json, .jsonl" in printed
    assert "rows.csv belongs to this installation" in printed
    assert "Row 1\nid     1\nemail  ada@example.com" in printed


def test_all_rows_and_columns_are_printed_on_demand(database: Database, ada: str) -> None:
    columns = ", ".join(f"'{'wide' * 20}{n}' AS c{n}" for n in range(20))
    printed = play(
        database.environ,
        database.instance,
        "read-only",
        [f"%sql --all {MANY} SELECT x, {columns} FROM n", "%sql --all SELECT 1 AS x WHERE 1 = 2"],
    )
    lines = printed.splitlines()
    heads = [line.split() for line in lines if line.split()[:1] == ["x"]]
    assert heads == 3 * [["x", *(f"c{n}" for n in range(20))]]  # In tables of a thousand rows.
    rows = [line.split() for line in lines if "wide" in line]
    assert [row[0] for row in rows] == [str(n) for n in range(1, 2501)]
    assert {tuple(row[1:]) for row in rows} == {tuple(f"{'wide' * 20}{n}" for n in range(20))}
    assert "No rows." in lines


def test_statement_without_rows_says_how_many_it_changed(database: Database, ada: str) -> None:
    printed = play(
        database.environ,
        database.instance,
        "sandbox",
        [
            "print(sql('CREATE TABLE a_table (a integer)'))",
            "print(sql('CREATE TABLE b (a integer)'), sql('INSERT INTO b VALUES (1), (2)'))",
            *("%sql -x", "%sql --all", "%sql -o rows.csv", "%sql"),
        ],
    )
    assert "\n0\n" in f"\n{printed}"
    assert "\n0 2\n" in printed
    assert printed.count("%sql needs a statement: %sql SELECT id, email FROM ops_users\n") == 4


def test_tables_and_columns_are_listed(database: Database, ada: str) -> None:
    printed = play(
        database.environ, database.instance, "read-only", ["%tables grant", "%schema ops_grants"]
    )
    assert "ops_grants  table" in printed
    assert "ops_users.id" in printed


READ = (
    "with db.engine.connect() as c: rows = c.execute({}).mappings().all()\n"
    "print([{{k: v for k, v in r.items() if k in ('password', 'p')}} for r in rows])"
)


def test_secrets_are_masked_for_every_query_of_an_input(database: Database, ada: str) -> None:
    for statement in (
        "sa.text('SELECT * FROM ops_users')",
        "sa.text('SELECT password AS p FROM ops_users')",
        "sa.select(User.__table__)",
        "sa.select(User)",
        "sa.select(User.__table__.c.password)",
    ):
        done = run(database, "shell", "-c", READ.format(statement))
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout in ("[{'password': '•••'}]\n", "[{'p': '•••'}]\n"), statement
    done = run(database, "shell", "-c", "print(db.session.execute(sa.select(User.password)).all())")
    assert done.stdout == "[('•••',)]\n"


def test_services_and_models_read_secrets_whole(database: Database, ada: str) -> None:
    code = (
        "user = U('ada'); before = user.password; print(before[:9], R('admin').name);"
        " db.session.expire_all(); print(User.query.first().password == before);"
        " db.session.refresh(user, ['password']); print(user.password == before);"
        " print([user.password == before for user, in db.session.execute(sa.select(User))])"
    )
    done = run(database, "shell", "-c", code)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["$argon2id admin", "True", "True", "[True]"]


def test_masked_value_is_never_written(database: Database, ada: str) -> None:
    code = (
        "secret = sql('SELECT password FROM ops_users')[0]['password']\n"
        "sql('UPDATE ops_users SET password = :secret', secret=secret)"
    )
    done = run(database, "shell", "-c", code)
    assert (done.exit_code, done.stdout) == (5, "")
    assert done.stderr == (
        "Error: a hidden value cannot be sent to the database\n"
        "  → load the model: its attributes are whole\n"
    )
    assert database.rows("SELECT password FROM ops_users") != [("•••",)]
