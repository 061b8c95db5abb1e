"""`flask query`: every value as the database has it, in every format, and parameters that are."""

from __future__ import annotations

import csv
import json

import pytest

from tests.support import Cli, Database

on_postgresql = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
on_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)

AS_TEXT = [
    ("timestamptz", "infinity"),
    ("timestamp", "-infinity"),
    ("date", "infinity"),
    ("date", "0044-03-15 BC"),
    ("timestamptz", "0044-03-15 12:00:00+00 BC"),
    ("timestamp", "294276-12-31 00:00:00"),
    ("time", "24:00:00"),
    ("timetz", "24:00:00+00"),
    ("timetz", "12:00:00.5+02"),
    ("interval", "1 mon"),
    ("interval", "-1 years -2 mons +3 days -04:05:06.789"),
    ("interval", "infinity"),
    ("int4range", "[1,5)"),
    ("daterange", "[2020-01-01,infinity)"),
    ("int4multirange", "{[1,3),[5,7)}"),
    ("int[]", "[2:3]={5,6}"),
    ("mood", "sad"),
    ("mood[]", "{sad,ok}"),
    ("pair", '(1,"a b")'),
    ("pair[]", '{"(1,x)"}'),
    ("floats", "(1.5,2.5]"),
    ("bit varying", "10101"),
    ("money", "$12.50"),
    ("inet", "::ffff:1.2.3.4"),
    ("inet", "192.168.0.1/24"),
    ("cidr", "10.0.0.0/8"),
    ("macaddr", "08:00:2b:01:02:03"),
    ("point", "(1,2)"),
    ("regclass", "ops_users"),
    ("tsvector", "'a' 'b'"),
    ("numeric", "NaN"),
    ("numeric", "-Infinity"),
    ("float8", "Infinity"),
    ("numeric", "12345678901234567890.123456789"),
    ("numeric", "9" * 5000),
    ("numeric", "-0.12345678901234567890"),
    ("json", '{"a":1,"a":2}'),
    ("json", "[" * 900 + "]" * 900),
    ("json", "9" * 5000),
]
"""Types, and values that Python's or JSON's own would change; the answer is the server's text."""

TYPED: list[tuple[str, str, object]] = [
    ("int8", "9223372036854775807", 9223372036854775807),
    ("positive", "3", 3),
    ("float4", "1.1", 1.1),
    ("numeric", "12.10", 12.1),
    ("oid", "7", 7),
    ("timestamptz", "2020-01-01 00:00:00.123456+01", "2019-12-31T23:00:00.123456Z"),
    ("timestamp", "2020-01-01 00:00:00", "2020-01-01T00:00:00"),
    ("bytea", r"\x00ff", "0x00ff"),
    ("int[]", "{{1,2},{3,NULL}}", [[1, 2], [3, None]]),
    ("text[]", '{"a,b","",NULL}', ["a,b", "", None]),
    ("date[]", "{infinity,2020-01-01}", ["infinity", "2020-01-01"]),
    ("interval[]", "{1 mon}", ["1 mon"]),
    ("jsonb", '{"a": [null, 1.5, 1e400]}', {"a": [None, 1.5, 10**400]}),
    ("jsonb", '{"a": 1.00000000000000000001}', {"a": "1.00000000000000000001"}),
    ("jsonb", '{"password": "x"}', {"password": "•••"}),
    ("json", '{"password":"x","password":"y"}', "•••"),
    ("json", r'"\ud800"', "\ud800"),
]


@pytest.fixture
def types(database: Database) -> None:
    database.execute("CREATE TYPE mood AS ENUM ('sad', 'ok')")
    database.execute("CREATE DOMAIN positive AS integer CHECK (value > 0)")
    database.execute("CREATE TYPE pair AS (a integer, b text)")
    database.execute("CREATE TYPE floats AS RANGE (subtype = float8)")
    name = database.rows("SELECT current_database()")[0][0]
    for setting in ("datestyle = 'German, DMY'", "intervalstyle = 'sql_standard'"):
        database.execute(f'ALTER DATABASE "{name}" SET {setting}')


@on_postgresql
def test_values_of_postgresql_are_exact_in_every_format(cli: Cli, types: None) -> None:
    asked = [(kind, value, value) for kind, value in AS_TEXT] + TYPED
    casts = (f"$q${value}$q$::{kind} AS v{number}" for number, (kind, value, _) in enumerate(asked))
    statement = "SELECT " + ", ".join(casts)
    expected = {f"v{number}": answer for number, (_k, _v, answer) in enumerate(asked)}
    for name, form in (("json", "json"), ("jsonl", "jsonl")):
        found = cli("query", "-", "--format", form, stdin=statement, check=True)
        answer = json.loads(found.stdout)
        assert (answer[0] if name == "json" else answer) == expected
    cells = [_as_cell(answer) for answer in expected.values()]
    lines = cli("query", "-", "--format", "csv", stdin=statement, check=True).stdout
    assert next(reversed(list(csv.reader(lines.splitlines())))) == cells
    lines = cli("query", "-", "--format", "plain", stdin=statement, check=True).stdout
    assert lines.split("\n")[1].split("\t") == cells


@on_postgresql
@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("'2020-01-01 00:00:00.123456Z'::timestamptz", "2020-01-01T00:00:00.123456Z"),
        ("'1 mon'::interval", "1 mon"),
        ("'[2020-01-01,infinity)'::daterange", "[2020-01-01,infinity)"),
        ("array_fill(1, ARRAY[25])", json.dumps([1] * 25)),
        ("""'{"a": [null, 1.5]}'::jsonb""", '{"a": [null, 1.5]}'),
    ],
)
def test_values_are_exact_in_a_table(value: str, cli: Cli, cell: str, ada: str) -> None:
    found = cli("query", f"SELECT {value} AS v", "--format", "table", check=True)
    assert found.stdout.split("\n", 1)[1].replace("\n", " ").strip() == cell


def _as_cell(answer: object) -> str:
    if isinstance(answer, str):
        return answer.replace("\ud800", "\\ud800")
    return json.dumps(answer)


@on_sqlite
def test_values_of_sqlite_are_exact(cli: Cli, database: Database) -> None:
    database.execute("CREATE TABLE odd (n integer)")
    database.execute("INSERT INTO odd VALUES ('text'), (9223372036854775807), (x'00ff'), (9e999)")
    database.execute("INSERT INTO odd VALUES (CAST(x'ff41' AS TEXT)), (-9e999)")
    found = cli("query", "SELECT n FROM odd ORDER BY rowid", "--format", "json", check=True)
    values = ["text", 9223372036854775807, "0x00ff", "Infinity", "0xff41", "-Infinity"]
    assert [row["n"] for row in found.json] == values


def test_colon_that_is_no_parameter_is_left_alone(cli: Cli, kind: str, ada: str) -> None:
    statement = "SELECT ':a' AS \":b\", '%' AS c, 'it''s :d' AS e, :n AS n -- :f\n/* :g */"
    found = cli("query", "-", "--param", "n=5", "--format", "json", stdin=statement, check=True)
    assert found.json == [{":b": ":a", "c": "%", "e": "it's :d", "n": 5}]


@on_postgresql
def test_colons_of_postgresql_are_left_alone(cli: Cli, ada: str) -> None:
    statement = (
        "SELECT $$:a$$ || $x$:b$x$ || E'\\':c' AS t, (ARRAY[7,8,9])[1:2] AS s,"
        " (ARRAY[7,8,9])[lo :hi] AS r, (ARRAY[7,8,9])[ :n ] AS m, '5'::int AS i,"
        " '{\"k\": \":v\"}'::jsonb ->> 'k' AS j /* :g /* :h */ :i */"
        " FROM (SELECT 1 AS lo, 2 AS hi) AS bounds WHERE 1 = :n"
    )
    found = cli("query", "-", "--param", "n=1", "--format", "json", stdin=statement, check=True)
    assert found.json == [
        {"t": ":a:b':c", "s": [7, 8], "r": [7, 8], "m": 7, "i": 5, "j": ":v"},
    ]


@pytest.mark.parametrize("value", ["9" * 5000, "1e999"])
def test_number_that_is_too_large_is_refused(value: str, cli: Cli, ada: str) -> None:
    found = cli("query", "SELECT id FROM ops_users WHERE id = :n", "--param", f"n={value}")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "number may" in found.stderr


@pytest.mark.parametrize("value", ["9" * 30, '"\\ud800"'])
def test_value_that_the_database_does_not_take_is_refused(value: str, cli: Cli, ada: str) -> None:
    found = cli(
        "query", "SELECT id FROM ops_users WHERE CAST(:n AS integer) = 1", "--param", f"n={value}"
    )
    assert (found.exit_code, found.stdout) == (2, ""), found.stderr
    assert found.stderr.startswith("Error: the database rejected the statement: ")


def test_words_that_json_has_not_are_text(cli: Cli, ada: str) -> None:
    found = cli("query", "SELECT CAST(:n AS text) AS n", "--param", "n=NaN", check=True)
    assert found.stdout == "n\nNaN\n"


def test_shell_takes_values_that_python_cannot_hold(cli: Cli, kind: str, ada: str) -> None:
    odd = "CAST(x'ff41' AS TEXT)" if kind == "sqlite" else "'infinity'::timestamptz"
    program = f"print(sql(\"SELECT {odd} AS v, ':a' AS t, :n AS n\", n=4)[0])"
    found = cli("shell", "-c", program, check=True)
    value = "b'\\xffA'" if kind == "sqlite" else "'infinity'"
    assert found.stdout == f"{{'v': {value}, 't': ':a', 'n': 4}}\n"


@pytest.mark.parametrize(
    "statement",
    ["SELECT nosuch", "SELECT nosuch FROM ops_users", "SELECT * FROM nosuch", "SELECT nosuch(1)"],
)
def test_name_that_is_not_there_is_the_statements_mistake(
    statement: str, cli: Cli, ada: str
) -> None:
    answer = cli("query", statement)
    assert (answer.exit_code, answer.stdout) == (2, "")
    message, hint = answer.stderr.splitlines()
    assert message.startswith("Error: the database rejected the statement: ")
    assert "nosuch" in message
    assert hint == "  → flask query --tables"
