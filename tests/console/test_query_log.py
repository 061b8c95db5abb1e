"""The statements of an input: all counted and timed, repeats hinted at."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import OperationalError

from opsapp.console import query_log
from opsapp.console.query_log import Queries, Query, Report
from opsapp.extensions import db
from opsapp.models import User
from opsapp.profiling.reports import n_plus_one


def test_report_has_the_time_of_statements_that_are_not_kept(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_log, "AT_MOST", 1)
    report = Queries([db.engine]).current
    for _ in range(2):
        db.session.execute(db.text("SELECT 1"))
    assert (report.count, len(report.queries)) == (2, 1)
    assert report.milliseconds > report.queries[0].milliseconds


def test_values_of_secrets_are_hidden(app: Flask) -> None:
    log = Queries([db.engine])
    text = "SELECT id FROM ops_users WHERE username = :name AND password = :password"
    db.session.execute(db.text(text), {"name": "ada", "password": "hidden"})
    db.session.scalar(db.select(User.id).where(User.id == 7, User.password == "hidden"))
    assert [query.values() for query in log.current.queries] == [
        {"name": "ada", "password": "•••"},
        {"id_1": 7, "password_1": "•••"},
    ]


def test_values_compared_with_a_secret_are_hidden_by_any_name(app: Flask) -> None:
    log = Queries([db.engine])
    text = "SELECT id FROM ops_users WHERE email = :email AND (password = :p OR password = :n_1)"
    db.session.execute(db.text(text), {"email": "ada", "p": "hidden", "n_1": "hidden"})
    (query,) = log.current.queries
    assert query.values() == {"email": "ada", "p": "•••", "n_1": "•••"}


def test_statement_is_as_it_was_written(app: Flask) -> None:
    log = Queries([db.engine])
    text = "SELECT 5 % 2 AS rest WHERE 'a' LIKE 'a%'"
    db.session.execute(db.text(text))
    assert [query.statement for query in log.current.queries] == [text]


def test_values_without_names_are_hidden_beside_a_secret() -> None:
    assert Query("SELECT ?", 1.0, (7,)).values() == {"1": 7}
    assert Query("SELECT ? FROM u WHERE password = ?", 1.0, (7, "x")).values() == {
        "1": "•••",
        "2": "•••",
    }
    assert Query("INSERT INTO t VALUES (?)", 1.0, [(1,), (2,)]).values() == {"1": 1}


def test_hint_has_the_advice_of_the_profile() -> None:
    statement = (
        "SELECT ops_grants.id \nFROM ops_grants \nWHERE %(param_1)s = ops_grants.user_id"
        " ORDER BY ops_grants.id"
    )
    queries = [Query(statement, 1.0)] * 5 + [Query("SELECT 1", 10.0)] * 4
    (hint,) = Report(queries, count=9).hints()
    assert hint.startswith("5 times, 5.0 ms: SELECT ops_grants.id FROM ops_grants WHERE")
    assert n_plus_one.advice(" ".join(statement.split())) in hint


def test_connection_that_is_lost_while_it_is_made_is_an_error_of_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = sa.create_engine("sqlite://")
    Queries([engine])
    monkeypatch.setattr(
        engine.dialect, "initialize", lambda new: new.exec_driver_sql("SELECT missing")
    )
    with pytest.raises(OperationalError, match="no such column: missing"):
        engine.connect()
