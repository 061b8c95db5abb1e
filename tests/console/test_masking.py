"""Secrets masked in the rows that inputs read, whichever way they read them."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from opsapp.console import listeners, masking
from opsapp.console.secret_columns import of_result, secrecy_test
from opsapp.redaction import HIDDEN
from tests.support import Database, run
from tests.support.console_play import play

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
        "  → load the model: its attributes are not hidden\n"
    )
    assert database.rows("SELECT password FROM ops_users") != [("•••",)]


RAW = "(raw := db.engine.raw_connection())"
FETCH = "execute('SELECT password FROM ops_users').fetchall()"
READS = {
    "cursor": f"{RAW}.cursor().{FETCH}",
    "driver": f"{RAW}.driver_connection.{FETCH}",
    "thread": "ThreadPoolExecutor(1).submit(db.session.connection().exec_driver_sql,"
    " 'SELECT password FROM ops_users').result().all()",
    "alias": "list(sql('SELECT password AS x FROM ops_users'))",
    "expression": "list(sql('SELECT substr(password, 1, 9) AS x, 7 AS n FROM ops_users'))",
    "cte": "list(sql('WITH a AS (SELECT password AS b FROM ops_users) SELECT b AS c FROM a'))",
    "subquery": "list(sql('SELECT (SELECT password FROM ops_users) AS x'))",
    "declared": "list(sql('SELECT pin, plain, pin AS x FROM vault'))",
    "declared, raw": f"{RAW}.cursor().execute('SELECT pin, plain FROM vault').fetchall()",
}
VAULT = """
class Vault(db.Model):
    __tablename__ = "vault"
    id = sa.Column(sa.Integer, primary_key=True)
    pin = sa.Column(sa.Integer, info={"secret": True})
    plain = sa.Column(sa.String, info={"secret": False})
"""


def test_secrets_are_masked_whichever_way_an_input_reads_them(database: Database, ada: str) -> None:
    database.execute("CREATE TABLE vault (id integer PRIMARY KEY, pin integer, plain text)")
    database.execute("INSERT INTO vault VALUES (1, 1234, 'seen')")
    cells = [f"print({name!r}, {code})" for name, code in READS.items()]
    imports = "from concurrent.futures import ThreadPoolExecutor"
    printed = play(database.environ, database.instance, "read-only", [VAULT, imports, *cells])
    assert printed.splitlines()[: len(READS)] == [
        "cursor [('•••',)]",
        "driver [('•••',)]",
        "thread [('•••',)]",
        "alias [{'x': '•••'}]",
        "expression [{'x': '•••', 'n': 7}]",
        "cte [{'c': '•••'}]",
        "subquery [{'x': '•••'}]",
        "declared [{'pin': '•••', 'plain': 'seen', 'x': '•••'}]",
        "declared, raw [('•••', 'seen')]",
    ]


def test_columns_behind_a_list_of_names_are_found_by_the_server(
    database: Database, kind: str, ada: str
) -> None:
    if kind == "sqlite":
        pytest.skip("SQLite's driver does not tell which column of a table a result has")
    code = "print(sql('WITH a (x, y) AS (SELECT id, password FROM ops_users) SELECT y FROM a')[0])"
    assert run(database, "shell", "-c", code).stdout == "{'y': '•••'}\n"


MADE = (
    "array_agg(fs_uniquifier)",
    "array_agg(row(id, fs_uniquifier))",
    "array_agg(array[fs_uniquifier])",
    "json_build_array(max(fs_uniquifier))",
    "jsonb_build_object('a', max(fs_uniquifier))",
    "string_to_array(max(fs_uniquifier), 'x')",
    "regexp_matches(max(fs_uniquifier), '.*')",
    "array[max(fs_uniquifier)]",
    "array[max(fs_uniquifier)] AS x",
    "(max(fs_uniquifier), 1)",
    "row(max(fs_uniquifier), 1)",
    "array(SELECT fs_uniquifier FROM ops_users)",
    "CASE WHEN true THEN max(fs_uniquifier) END",
)
"""Expressions of PostgreSQL that carry a secret away in one value."""


def test_values_that_are_made_of_secrets_are_hidden(
    database: Database, kind: str, ada: str
) -> None:
    if kind == "sqlite":
        pytest.skip("has no such values")
    statements = [f"SELECT {made}, count(fs_uniquifier) FROM ops_users" for made in MADE]
    cells = [f"print(*sql({statement!r})[0].values())" for statement in statements]
    printed = play(database.environ, database.instance, "read-only", cells)
    assert printed.splitlines()[: len(MADE)] == ["••• 1"] * len(MADE)
    for statement in statements:
        done = run(database, "query", statement, "--format", "csv")
        assert done.stdout.splitlines()[1:] == ["•••,1"], statement


@pytest.mark.parametrize(
    ("statement", "names", "whole", "made"),
    [
        ("SELECT u.password p, id FROM u", "p id", {0}, set()),
        ("SELECT upper(password) FROM u", "upper", set(), {0}),
        ("SELECT password || email FROM u", "?column?", set(), {0}),
        ("SELECT coalesce(password, '') AS c, email e FROM u", "c e", set(), {0}),
        ("SELECT substring(password FROM 1 FOR 3) AS s FROM u", "s", set(), {0}),
        ("SELECT a.m AS e, a.p AS z FROM (SELECT m, password p FROM u) a", "e z", {1}, set()),
        ("SELECT email AS e FROM u WHERE length(password) > 3 ORDER BY 1", "e", set(), set()),
        ("SELECT CASE WHEN password IS NULL THEN 'no' END AS s FROM u", "s", set(), set()),
        ("SELECT note AS x FROM u -- password AS x", "x", set(), set()),
        ("SELECT note AS x FROM u WHERE note = 'password AS x'", "x", set(), set()),
        ("UPDATE u SET password = :p, email = :e RETURNING id AS i", "i", set(), set()),
    ],
)  # fmt: skip
def test_aliases_of_secrets_are_found(
    statement: str, names: str, whole: set[int], made: set[int]
) -> None:
    assert of_result(statement, names.split()) == (whole, made)


WORDS = ["SELECT", "password", "AS", "x", "FROM", "u", "(", ")", ",", "''", "$q$", "+", "WHERE"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS)))
def test_every_statement_is_read(words: list[str]) -> None:
    whole, made = of_result(" ".join(words), ["x", "y"])
    assert not whole & made


def test_declaration_of_a_model_counts_for_its_own_table() -> None:
    declared = {"code": {"doors": True}, "token": {"coins": False}}
    assert secrecy_test("SELECT code FROM doors", declared)("code")
    assert not secrecy_test("SELECT code FROM airports", declared)("code")
    assert not secrecy_test("SELECT token FROM coins", declared)("token")
    assert secrecy_test("SELECT token FROM api", declared)("token")


def test_database_in_memory_reads_as_before_after_the_session() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    masking.mask([engine], "none")

    def password() -> str:
        raw: Any = engine.raw_connection()
        return str(raw.cursor().execute("SELECT 'hunter2' AS password").fetchone()[0])

    assert password() == HIDDEN
    listeners.remove_all([engine])
    assert password() == "hunter2"
