"""Sessions on record, as they are read again."""

from __future__ import annotations

from flask import Flask

from opsapp.console import sessions
from opsapp.console.queries import Queries
from opsapp.extensions import db
from support import a_unit


def test_listing_asks_as_often_of_many_as_of_one(app: Flask, ada: str) -> None:
    for number in range(3):
        sessions.record_query(f"SELECT {number}", [], unit=a_unit())
    queries = Queries([db.engine], db.session())

    def asked(limit: int) -> int:
        queries.begin()
        assert len(sessions.listing(limit)) == limit
        return queries.current.count

    assert asked(1) == asked(3)


def test_listing_has_the_newest_last(app: Flask, ada: str) -> None:
    for reason in ("first", "second", "third"):
        sessions.record_query("SELECT 1", [], unit=a_unit(reason=reason))
    assert [row["reason"] for row in sessions.listing(2)] == ["second", "third"]
