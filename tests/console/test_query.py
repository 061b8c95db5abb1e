"""`flask query`: it reads, it streams, it ends in time, it is on record, and it never writes."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import threading
from contextlib import closing
from time import monotonic

import pytest

from opsapp.console.query import statement as query
from opsapp.errors import TimedOut
from tests.support import FLASK, Cli, Database, call
from tests.support.processes import ended, start, until

EVERYTHING = "SELECT id, email FROM ops_users ORDER BY id"


def state(database: Database) -> list[tuple[object, ...]]:
    """Return everything that no query may change."""
    return database.rows("SELECT id, email, username, active FROM ops_users ORDER BY id")


def test_query_answers_in_every_format(cli: Cli, bob: str) -> None:
    assert cli("query", EVERYTHING).stdout == (
        "id\temail\n1\tada@example.com\n2\tbob@example.com\n"
    )
    assert cli("query", EVERYTHING, "--format", "json").json == [
        {"id": 1, "email": "ada@example.com"},
        {"id": 2, "email": "bob@example.com"},
    ]
    assert cli("query", EVERYTHING, "--format", "csv").stdout == (
        "id,email\n1,ada@example.com\n2,bob@example.com\n"
    )
    assert cli("query", EVERYTHING, "--format", "jsonl", "--fields", "email").stdout == (
        '{"email": "ada@example.com"}\n{"email": "bob@example.com"}\n'
    )


def test_query_takes_parameters(cli: Cli, bob: str) -> None:
    found = cli(
        "query",
        "SELECT id FROM ops_users WHERE email = :email AND id < :most AND '12:30' <> '5%'",
        "--param",
        "email=bob@example.com",
        "--param",
        "most=9",
    )
    assert (found.exit_code, found.stdout, found.stderr) == (0, "id\n2\n", "")


def test_query_comes_from_stdin_or_a_file(cli: Cli, database: Database, bob: str) -> None:
    assert cli("query", stdin="SELECT count(*) AS n\nFROM ops_users;\n").stdout == "n\n2\n"
    assert cli("query", "-", stdin="SELECT count(*) AS n FROM ops_users").stdout == "n\n2\n"
    path = database.instance / "report.sql"
    path.write_text("-- how many\nSELECT count(*) AS n\nFROM ops_users\n")
    assert cli("query", "--file", str(path)).stdout == "n\n2\n"


def test_query_says_that_there_is_more(cli: Cli, bob: str) -> None:
    found = cli("query", EVERYTHING, "--limit", "1")
    assert (found.exit_code, found.stdout) == (0, "id\temail\n1\tada@example.com\n")
    assert found.stderr == "There are more than 1: --limit N or --all shows them.\n"
    assert cli("query", EVERYTHING, "--limit", "2").stderr == ""
    assert cli("query", EVERYTHING, "--all").stderr == ""


WRITES = [
    "DELETE FROM ops_users",
    "/* SELECT */ UPDATE ops_users SET active = false",
    "WITH gone AS (SELECT 1) DELETE FROM ops_users",
    "INSERT INTO ops_roles (name) VALUES ('x')",
    "DROP TABLE ops_users",
    "CREATE TABLE x (y integer)",
    "PRAGMA user_version = 7",
    "ATTACH 'x.sqlite' AS x",
    "VACUUM",
    "COPY users TO '/tmp/users'",
    "BEGIN",
    "SET default_transaction_read_only = off",
]


@pytest.mark.parametrize("statement", WRITES)
def test_query_that_would_write_is_refused(
    statement: str, cli: Cli, database: Database, bob: str
) -> None:
    before = state(database)
    found = cli("query", statement)
    assert (found.exit_code, found.stdout) == (5, ""), found.stderr
    assert state(database) == before


@pytest.mark.parametrize(
    "statement",
    [
        "WITH gone AS (DELETE FROM ops_users RETURNING id) SELECT * FROM gone",
        "SELECT * INTO copied FROM ops_users",
        "SELECT nextval('ops_users_id_seq')",
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT * FROM ops_users FOR UPDATE",
        "EXPLAIN ANALYZE DELETE FROM ops_users",
        "SELECT lo_creat(-1)",
    ],
)
def test_query_that_would_write_unseen_is_refused(
    statement: str, cli: Cli, database: Database, kind: str, bob: str
) -> None:
    if kind == "sqlite":
        pytest.skip("speaks of PostgreSQL")
    before = state(database)
    found = cli("query", statement)
    assert (found.exit_code, found.stdout) == (5, ""), found.stderr
    assert state(database) == before


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1; DELETE FROM ops_users", "EXPLAIN SELECT 1; /* x */ delete FROM ops_users"],
)
def test_second_statement_that_would_write_is_refused(
    statement: str, cli: Cli, database: Database, bob: str
) -> None:
    before = state(database)
    found = cli("query", statement)
    says = "the second statement is DELETE"
    said = f"Error: the statement is not read-only ({says}); nothing was written\n"
    assert (found.exit_code, found.stdout, found.stderr) == (5, "", said)
    assert state(database) == before


def test_second_statement_is_not_run(cli: Cli, bob: str) -> None:
    found = cli("query", "SELECT 1; SELECT 2")
    said = "Error: only one statement is allowed; nothing was run\n"
    assert (found.exit_code, found.stdout, found.stderr) == (2, "", said)


@pytest.mark.parametrize(
    "statement",
    [
        "WITH gone AS (DELETE FROM ops_users RETURNING id) SELECT * FROM gone",
        "EXPLAIN ANALYZE UPDATE ops_users SET active = false",
    ],
)
def test_change_inside_of_a_statement_is_refused(statement: str, cli: Cli, bob: str) -> None:
    assert cli("query", statement).exit_code == 5


def test_remark_stands_below_the_answer(database: Database, bob: str) -> None:
    words = (FLASK, "query", EVERYTHING, "--limit", "1", "--format", "json")
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    found = subprocess.run(words, env=database.environ, text=True, check=True, **both)  # type: ignore[call-overload]
    remark = "There are more than 1: --limit N or --all shows them."
    assert found.stdout.endswith(f'}}\n]\n{{"remarks": ["{remark}"]}}\n')


@pytest.mark.parametrize("statement", ["", "  ;", "SELCT 1", "hunter2", "SELECT * FROM nothing"])
def test_query_that_is_none_is_usage(statement: str, cli: Cli, ada: str) -> None:
    found = cli("query", "-", stdin=statement)
    assert (found.exit_code, found.stdout) == (2, "")
    assert "hunter2" not in found.stderr


def test_parameter_without_a_value_is_usage(cli: Cli, ada: str) -> None:
    assert cli("query", "SELECT :x AS x", "--param", "x").exit_code == 2
    assert cli("query", "SELECT :x AS x", "--param", "y=1").exit_code == 2
    found = cli("query", "SELECT :x AS x")
    assert (found.exit_code, found.stderr.splitlines()[1:]) == (
        2,
        ["  → --param NAME=VALUE gives :NAME its value"],
    )


def test_query_hides_secrets(cli: Cli, ada: str) -> None:
    found = cli("query", "SELECT email, password, password AS other, fs_uniquifier FROM ops_users")
    assert found.exit_code == 0
    assert "argon2" not in found.stdout
    assert found.stdout.splitlines()[1].split("\t")[1] == "•••"
    assert found.stdout.splitlines()[1].split("\t")[3] == "•••"
    # Under another name SQLite reads nothing, and PostgreSQL says which column it is.
    found = cli("query", "SELECT u.fs_uniquifier AS other FROM (SELECT * FROM ops_users) AS u")
    assert found.stdout in ("other\n\n", "other\n•••\n")


def test_query_hides_secrets_in_json(cli: Cli, kind: str, ada: str) -> None:
    if kind == "sqlite":
        pytest.skip("reads no secret column at all")
    statement = "SELECT to_json(u) AS one, json_build_array(to_json(u)) AS more FROM ops_users u"
    found = cli("query", statement, "--format", "json").json[0]
    assert (found["one"]["email"], found["one"]["password"]) == (ada, "•••")
    assert found["more"][0]["fs_uniquifier"] == "•••"


def test_query_ends_in_its_time(cli: Cli, ada: str) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    found = cli("query", endless, "--timeout", "1s")
    assert (found.exit_code, found.stdout) == (124, "")
    assert found.stderr == (
        "Error: the statement took longer than 1 second\n  → --timeout 5m gives it more\n"
    )


def test_query_ends_at_ctrl_c(database: Database, ada: str) -> None:
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    process = start(database, FLASK, "query", endless, "--timeout", "10m")
    kept = database.instance / "transcripts" / "queries.jsonl"
    until(lambda: kept.exists() and kept.read_text().endswith("\n"))
    process.send_signal(signal.SIGINT)
    found = ended(process)
    assert (found.exit_code, found.stdout) == (130, "")
    assert found.stderr == "Stopped by SIGINT: nothing was changed.\n"


def test_stop_that_comes_before_the_statement_is_said_again() -> None:
    begun = threading.Event()
    told: list[bool] = []

    def stop() -> None:
        told.append(begun.is_set())
        if len(told) == 2:  # The driver has not heard the first one.
            begun.set()

    watch = query._Watch(monotonic() + 0.01, 0.01, stop)
    with pytest.raises(TimedOut), closing(watch):
        watch.call(begun.wait)
    assert told == [False, False]


def test_query_is_on_record_before_it_runs(cli: Cli, database: Database, ada: str) -> None:
    found = cli("query", "SELECT * FROM nowhere", "--reason", "ticket 7")
    assert found.exit_code == 2
    event = cli("audit", "list", "--action", "console:query", "--format", "json").json[-1]
    assert (event["reason"], event["door"]) == ("ticket 7", "cli")
    assert "nowhere" not in json.dumps(event)
    session = cli("audit", "session", event["correlation"], "--format", "json").json
    assert session["transcript"] == "whole"
    assert [line["text"] for line in session["lines"]] == ["SELECT * FROM nowhere"]


def test_statement_that_was_edited_is_found(cli: Cli, database: Database, ada: str) -> None:
    cli("query", "SELECT 1 AS one", check=True)
    kept = database.instance / "transcripts" / "queries.jsonl"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    kept.write_text(kept.read_text().replace("SELECT 1", "SELECT 2"))
    id = json.loads(kept.read_text())["id"]
    found = cli("audit", "session", id, "--format", "json")
    assert (found.exit_code, found.json["transcript"]) == (
        6,
        "edited: its hash is not the audit log's",
    )


def test_query_without_audit_is_not_run(cli: Cli, database: Database, ada: str) -> None:
    (database.instance / "transcripts").write_text("in the way")
    found = cli("query", "SELECT 1")
    assert (found.exit_code, found.stdout) == (7, "")


def test_values_are_exact_in_json(cli: Cli, kind: str, ada: str) -> None:
    statement = "SELECT 1 AS id, 2 AS id, 1.5 AS half, NULL AS missing, 'a' || :hostile AS text"
    if kind == "postgresql":
        statement += (
            ", 12.10::numeric AS money, '\\xff00'::bytea AS bytes, DATE '2026-11-24' AS day"
        )
    refused = cli("query", statement, "--param", "hostile=\u202e", "--format", "json")
    assert (refused.exit_code, refused.stdout) == (2, "")  # A terminal would obey it.
    found = cli("query", statement, "--param", "hostile=b", "--format", "json").json[0]
    assert (found["id"], found["id_2"], found["half"], found["missing"]) == (1, 2, 1.5, None)
    if kind == "postgresql":
        assert (found["money"], found["bytes"], found["day"]) == (12.1, "0xff00", "2026-11-24")


@pytest.mark.parametrize(
    "words",
    [
        ("--tables", "SELECT 1"),
        ("--schema", "ops_users", "SELECT 1"),
        ("--tables", "--schema", "ops_users"),
    ],
)
def test_one_thing_is_asked_for(cli: Cli, database: Database, words: tuple[str, ...]) -> None:
    found = cli("query", *words)
    assert (found.exit_code, found.stdout) == (2, "")
    assert found.stderr == "Error: give exactly one of SQL, --tables and --schema\n"


def test_tables_and_columns_are_listed(cli: Cli, ada: str) -> None:
    tables = cli("query", "--tables", "--format", "json").json
    assert {"name": "ops_roles", "kind": "table", "columns": 7} in tables
    columns = {
        row["column"]: row
        for row in cli("query", "--schema", "ops_grants", "--format", "json").json
    }
    assert columns["id"]["key"] is True
    assert columns["user_id"]["refers_to"] == "ops_users.id"
    found = cli("query", "--schema", "user")
    assert (found.exit_code, found.stderr) == (
        4,
        "Error: no table user\n  → did you mean ops_users?\n",
    )


def test_tables_of_other_schemas_are_listed(cli: Cli, database: Database, kind: str) -> None:
    if kind == "sqlite":
        pytest.skip("speaks of PostgreSQL")
    for statement in (
        "CREATE SCHEMA stock",
        "CREATE TABLE stock.shelves (id int PRIMARY KEY, api_key text)",
        "CREATE TABLE stock.parts (shelf_id int REFERENCES stock.shelves)",
        "CREATE MATERIALIZED VIEW names AS SELECT name FROM ops_roles",
    ):
        database.execute(statement)
    tables = cli("query", "--tables", "--format", "json").json
    assert {"name": "names", "kind": "materialized view", "columns": 1} in tables
    assert tables[-2:] == [
        {"name": "stock.parts", "kind": "table", "columns": 1},
        {"name": "stock.shelves", "kind": "table", "columns": 2},
    ]
    assert [
        row["column"] for row in cli("query", "--schema", "names", "--format", "json").json
    ] == ["name"]
    [shelf] = cli("query", "--schema", "stock.parts", "--format", "json").json
    assert shelf["refers_to"] == "stock.shelves.id"
    columns = cli("query", "--schema", "stock.shelves", "--format", "json").json
    assert [(row["column"], row["key"], row["secret"]) for row in columns] == [
        ("id", True, False),
        ("api_key", False, True),
    ]


def test_query_reads_by_the_role_for_reading(database: Database, kind: str, ada: str) -> None:
    if kind == "sqlite":
        pytest.skip("speaks of PostgreSQL")
    nobody = database.url.replace("//postgres:", "//nobody_at_all:")
    found = call(database, "query", "SELECT 1", OPSAPP_READONLY_DATABASE_URL=nobody)
    assert found.exit_code == 7
    assert 'role "nobody_at_all" does not exist' in found.stderr


def test_url_for_reading_of_another_database_is_refused(
    database: Database, kind: str, postgres: str, ada: str
) -> None:
    if kind == "sqlite":
        pytest.skip("speaks of PostgreSQL")
    other = postgres.format("postgres")
    for command in (("query", "SELECT 1"), ("shell", "--read-only", "-c", "pass")):
        found = call(database, *command, OPSAPP_READONLY_DATABASE_URL=other)
        assert (found.exit_code, found.stdout) == (7, "")
        assert "OPSAPP_READONLY_DATABASE_URL" in found.stderr
