"""Fingerprints: the same for statements that are alike, and without what is in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsapp.engine.fingerprint import LONGEST, after_columns, brief, fingerprint

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT  a.id\n FROM a WHERE a.x = 'b'", "SELECT a.id FROM a WHERE a.x = ?"),
        ("SELECT a WHERE b IN (?, ?, ?)", "SELECT a WHERE b IN (?, …)"),
        ("SELECT a WHERE b IN (1, 2)", "SELECT a WHERE b IN (?, …)"),
        ("INSERT INTO a (b) VALUES (%(b)s), (%(c)s)", "INSERT INTO a (b) VALUES (?), …"),
        ("SELECT 1.5e3, .5, 0xFF, 12 FROM t1", "SELECT ?, ?, ?, ? FROM t1"),
        ("SELECT a::text FROM b -- 'x'\nWHERE c=$1", "SELECT a::text FROM b WHERE c=?"),
        ("SELECT :id, @p, ?1", "SELECT ?, ?, ?"),
        ("SELECT a %% 2, a %%s, 'b%%'", "SELECT a % ?, a %s, ?"),
        ('SELECT "order".id FROM "order"', 'SELECT "order".id FROM "order"'),
    ],
)
def test_fingerprint_keeps_the_statement_and_no_value(statement: str, expected: str) -> None:
    assert fingerprint(statement) == expected


@pytest.mark.parametrize(
    "statement",
    [
        f"SELECT '{SECRET}'",
        f"SELECT 'it''s {SECRET}'",
        f"SELECT E'it\\'s {SECRET}'",
        f"SELECT 'a\\', '{SECRET}'",
        f"SELECT X'00{SECRET}'",
        f"SELECT N'{SECRET}', U&'{SECRET}'",
        f"SELECT 1 /* {SECRET} */",
        f"SELECT 1 /* a /* b */ {SECRET} */",
        f"SELECT 1 -- {SECRET}",
        f"SELECT '{SECRET}",
        f"SELECT 1 /* {SECRET}",
        f"SELECT 12{SECRET}",
        f"SELECT 'O'{SECRET}', 'D'Arcy'",
        f"SELECT 1 /* /* */, '*/ {SECRET}'",
    ],
)
@pytest.mark.parametrize("names", [None, {"order"}], ids=["postgresql", "sqlite"])
def test_fingerprint_shows_no_literal(statement: str, names: set[str] | None) -> None:
    assert SECRET not in fingerprint(statement, names)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (f"SELECT $$ {SECRET} $$, a", "SELECT ?, a"),
        (f"SELECT $x$ $y$ {SECRET} $x$, a", "SELECT ?, a"),
        (f"SELECT $$ {SECRET}", "SELECT ?"),
        ("SELECT ARRAY[12, 34], b[1:2]", "SELECT ARRAY[?, …], b[?:?]"),
        (f"SELECT ARRAY[$${SECRET}$$], b[$$]{SECRET}$$]", "SELECT ARRAY[?], b[?]"),
        (f"SELECT E'a' -- '\n 'b\\'{SECRET}', c", "SELECT ?, c"),
        (f"SELECT $1$$ $1$ {SECRET}$$, c", "SELECT ??, c"),
        (f"SELECT 1 --\r'\n{SECRET}', c", "SELECT ? ?, c"),
        (f"SELECT \"a FROM b WHERE c = '{SECRET}'", "SELECT ?"),
        (f"SELECT `a FROM b WHERE c = '{SECRET}'", "SELECT ?"),
        (f"SELECT \"a = '{SECRET}' AND \"b", "SELECT ?"),
    ],
)
def test_fingerprint_reads_as_postgresql_does(statement: str, expected: str) -> None:
    assert fingerprint(statement) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (f"SELECT [it's], '{SECRET}'", 'SELECT "?", ?'),
        (f"SELECT E'a\\', '{SECRET}'", "SELECT E?, ?"),
        (f"SELECT $a$, '$a$ {SECRET}'", "SELECT ?, ?"),
        (f"SELECT $a::b({SECRET}), @c, :d, ?1", "SELECT ?, ?, ?, ?"),
        (f'SELECT "order", "{SECRET}', "SELECT ?"),
    ],
)
def test_fingerprint_reads_as_sqlite_does(statement: str, expected: str) -> None:
    assert fingerprint(statement, {"order"}) == expected


def test_name_in_double_quotes_is_shown_only_if_it_is_known() -> None:
    statement = f'SELECT "order" FROM a WHERE b = "{SECRET}"'
    assert fingerprint(statement, {"order"}) == 'SELECT "order" FROM a WHERE b = "?"'


@given(st.text())
def test_quoted_text_is_never_in_a_fingerprint(value: str) -> None:
    quoted = value.replace("'", "''")
    marked = f"SELECT 'mark{quoted}mark' FROM a"
    assert fingerprint(marked) == "SELECT ? FROM a"


@given(st.text())
def test_any_text_has_a_fingerprint_of_bounded_length(statement: str) -> None:
    assert len(fingerprint(statement * 3)) <= LONGEST


def test_long_fingerprint_is_cut() -> None:
    found = fingerprint("SELECT " + "a, " * 5000)
    assert len(found) == LONGEST
    assert found.endswith("…")


def test_brief_leaves_out_the_columns() -> None:
    columns = ", ".join(f"users.column_{number}" for number in range(9))
    assert (
        brief(f"SELECT {columns} FROM ops_users WHERE a = ?")
        == "SELECT … FROM ops_users WHERE a = ?"
    )
    assert brief("SELECT id FROM ops_users") == "SELECT id FROM ops_users"


def test_columns_that_are_left_out_end_at_the_own_from() -> None:
    columns = (
        "users.id, (SELECT max(a.at) FROM a WHERE a.user_id = users.id) AS newest, coalesce(x)"
    )
    whole = f"SELECT {columns} FROM users WHERE users.id = ?"
    assert brief(whole) == "SELECT … FROM users WHERE users.id = ?"
    assert after_columns(whole) == " FROM users WHERE users.id = ?"
    for other in ("SELECT a FROM b", "UPDATE a SET b = ?", "SELECT (SELECT a FROM b", "SELECT 1"):
        assert brief(other) == other


MANY = ", ".join(f"t.column_{number}" for number in range(9))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            f"SELECT count(*) AS c FROM (SELECT {MANY} FROM t WHERE t.a = ?) AS anon_1",
            "SELECT count(*) AS c FROM (SELECT … FROM t WHERE t.a = ?) AS anon_1",
        ),
        (
            f"WITH x AS (SELECT DISTINCT {MANY} FROM t WHERE t.a = ?) SELECT {MANY} FROM x",
            "WITH x AS (SELECT DISTINCT … FROM t WHERE t.a = ?) SELECT … FROM x",
        ),
        (
            f"SELECT {MANY} FROM t UNION ALL SELECT {MANY} FROM u WHERE u.a = ?",
            "SELECT … FROM t UNION ALL SELECT … FROM u WHERE u.a = ?",
        ),
        (
            f"select {MANY} from t join (select {MANY} from u) as v on v.a = t.a",
            "select … from t join (select … from u) as v on v.a = t.a",
        ),
        (
            f"SELECT {MANY}, (SELECT {MANY} FROM u) AS one FROM t WHERE EXISTS (SELECT ?)",
            "SELECT … FROM t WHERE EXISTS (SELECT ?)",
        ),
        (f"SELECT a IS DISTINCT FROM b, {MANY} FROM t", "SELECT … FROM t"),
        (f"SELECT extract(year FROM at), {MANY} FROM t", "SELECT … FROM t"),
        (f"SELECT {MANY}, ' FROM (' FROM \"a FROM b\"", 'SELECT … FROM "a FROM b"'),
        (f"INSERT INTO t (a, b) SELECT {MANY} FROM u", "INSERT INTO t (a, b) SELECT … FROM u"),
        (f"SELECT {MANY}", f"SELECT {MANY}"),
        ("DELETE FROM t WHERE t.a = ?", "DELETE FROM t WHERE t.a = ?"),
    ],
)
def test_columns_of_every_query_are_left_out(statement: str, expected: str) -> None:
    assert brief(statement) == expected


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("a IN (%(a_1)s::INTEGER, %(a_2)s::INTEGER)", "a IN (?::INTEGER, …)"),
        ("a IN (%(a)s::DOUBLE PRECISION[], %(b)s::DOUBLE PRECISION[])",
         "a IN (?::DOUBLE PRECISION[], …)"),
        ("VALUES (%(a)s::VARCHAR, %(b)s::INT, 0), (%(c)s::VARCHAR, %(d)s::INT, 1)",
         "VALUES (?::VARCHAR, ?::INT, ?), …"),
        ("f(%(a)s::VARCHAR, %(b)s::INT)", "f(?::VARCHAR, ?::INT)"),
    ],
)  # fmt: skip
def test_lists_of_any_length_are_one(statement: str, expected: str) -> None:
    assert fingerprint(statement) == expected
