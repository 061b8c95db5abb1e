"""Conditions: what a database error means, by the driver's own error."""

from __future__ import annotations

import sqlite3
from typing import Any

import psycopg.errors
import pymysql.err
import pytest
from sqlalchemy.exc import OperationalError

from opsapp.engine.conditions import translate_error

OURS = ("the database is not initialised or behind", "flask db init")
THEIRS = (
    "the database is behind the application's models",
    "the application's own migrations, for example its flask db upgrade",
)


@pytest.mark.parametrize(
    ("error", "statement", "says"),
    [
        (sqlite3.OperationalError("no such table: ops_job_runs"), "", OURS),
        (sqlite3.OperationalError("no such column: nope"), "SELECT nope FROM ops_job_runs", OURS),
        (sqlite3.OperationalError("no such table: user"), "SELECT 1 FROM user", THEIRS),
        (sqlite3.OperationalError("no such column: user.about"), "", THEIRS),
        (sqlite3.OperationalError("table user has no column named about"), "", THEIRS),
        (psycopg.errors.UndefinedTable('relation "ops_users" does not exist'), "", OURS),
        (psycopg.errors.UndefinedColumn("column user.about does not exist"), "", THEIRS),
        (pymysql.err.ProgrammingError(1146, "Table 'blog.user' doesn't exist"), "", THEIRS),
        (pymysql.err.OperationalError(1054, "Unknown column 'user.about'"), "", THEIRS),
    ],
    ids=str,
)
def test_missing_table_names_the_migrations_that_make_it(
    error: Any, statement: str, says: tuple[str, str]
) -> None:
    condition = translate_error(OperationalError(statement, {}, error))
    assert condition is not None
    assert (condition.message, condition.hint) == (f"{says[0]}: {error.args[-1]}", says[1])
    assert condition.exit_code == 7


@pytest.mark.parametrize(
    ("number", "exit_code"), [(1205, 75), (1213, 75), (1142, 7), (1290, 7), (1045, 7), (2003, 7)]
)
def test_error_of_mysql_is_known_by_its_number(number: int, exit_code: int) -> None:
    condition = translate_error(
        OperationalError("", {}, pymysql.err.OperationalError(number, "words"))
    )
    assert condition is not None
    assert (condition.exit_code, condition.message.endswith(": words")) == (exit_code, True)
