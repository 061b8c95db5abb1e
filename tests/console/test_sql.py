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


@pytest.mark.parametrize(
    "first",
    ["SELECT 1", *(f"UPDATE ops_users SET username = 'evil'{end}" for end in ("", "; COMMIT"))],
)
def test_several_statements_are_refused(
    database: Database, ada: str, kind: str, first: str
) -> None:
    done = run(database, "shell", "-c", f'sql("{first}; SELECT 2")')
    if kind == "sqlite":
        assert done.exit_code == 1
        assert "You can only execute one statement at a time.\n" in done.stderr
    else:
        assert (done.exit_code, done.stderr) == (
            2,
            "Error: several statements in one call\n  → send each by itself\n",
        )
    assert database.rows("SELECT username FROM ops_users") == [("ada",)]


def test_rows_are_written_to_a_file(database: Database, ada: str, tmp_path: Path) -> None:
    folder = tmp_path
    printed = play(
        database.environ,
        database.instance,
        "write",
        [
            f"%sql -o {folder}/rows.csv SELECT id, email, password FROM ops_users",
            f"%sql -o {folder}/rows.json SELECT id, email FROM ops_users",
            f"%sql -o {folder}/rows.xls SELECT not_run",
            f"%sql -o {folder}/none.csv UPDATE ops_users SET active = NULL WHERE 1 = 2",
            f"%sql -o {database.instance}/mail/rows.csv SELECT 1 AS one",
            "%sql -x SELECT id, email FROM ops_users",
            "%sql --al SELECT id, email FROM ops_users",
            "%sql -o",
        ],
    )
    assert "Invalid: -o needs a file\n" in printed
    assert "Invalid: no such option: --al\n  → %sql has -x, --all and -o FILE\n" in printed
    assert (folder / "rows.csv").read_text() == "id,email,password\n1,ada@example.com,•••\n"
    assert json.loads((folder / "rows.json").read_text()) == [{"id": 1, "email": "ada@example.com"}]
    assert f"{folder}/rows.csv has 1 row." in printed
    assert "Invalid: " in printed
    assert "rows.xls ends in none of .csv, .json, .jsonl" in printed
    assert "Error: " not in printed  # The database was not asked.
    assert "none.csv is not written: the statement returns no rows." in printed
    assert not (folder / "none.csv").exists()
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
    cells = ["%tables grant", "%schema ops_grants", '%schema "ops_roles";']
    printed = play(database.environ, database.instance, "read-only", cells)
    assert "ops_grants  table" in printed
    assert "ops_users.id" in printed
    assert "description  " in printed


def test_tables_of_a_sandbox_are_listed(database: Database, ada: str) -> None:
    cells = ["sql('CREATE TABLE mine (a integer)'); commit()", "%tables mine", "%schema mine"]
    printed = play(database.environ, database.instance, "sandbox", cells)
    assert "mine  table" in printed
    assert "a       INTEGER" in printed


def test_magic_without_an_answer_says_so(database: Database, ada: str) -> None:
    cells = ["%tables zz", "%names zz", "%queries -q", "%schema", "%schema zz", "%dryrun"]
    printed = play(database.environ, database.instance, "read-only", cells)
    assert printed.splitlines() == [
        "No tables.",
        "No names.",
        "Warning: Input is not a terminal (fd=0).",
        "Invalid: no such option: -q",
        "  → %queries has -v",
        "Invalid: %schema needs a table",
        "  → %tables lists them",
        "NotFound: no table zz",
        "  → %tables lists them",
        "Invalid: %dryrun needs a call",
        '  → %dryrun users.delete("bob")',
    ]


def test_statement_is_taken_as_it_is_written(database: Database, ada: str) -> None:
    printed = play(
        database.environ,
        database.instance,
        "read-only",
        [
            "id = 1",
            """%sql -x SELECT '{id}' AS a, '$id' AS b, '%s' AS c, '{"a": 1}' AS d""",
            "%sql SELECT id\n  FROM ops_users -- all\n WHERE id = :id;",
            "rows = %sql SELECT email\nFROM ops_users",
            "print(rows[0])",
            "text = '''\n%sql SELECT\n'''\nprint(len(text))",
            "%sql SELECT 5 AS five\nprint('then', id)",
            "%sql SELECT '''",
            "%sql SELEC id\nFROM ops_users",
        ],
    )
    assert 'a  {id}\nb  $id\nc  %s\nd  {"a": 1}\n' in printed
    assert "id\n 1\n{'email': 'ada@example.com'}\n13\nthen 1\n" in printed
    assert printed.count("  → it was: SELEC") == 2
    assert "SyntaxError" not in printed
    assert "IndentationError" not in printed
