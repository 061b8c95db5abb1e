"""Health checks: alive, ready, and why not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from tests.support import Database, move_core
from tests.support.web import Browser, Site


def test_ready_says_503_when_the_database_is_behind_and_healthy_all_the_same(
    web: Site, database: Database
) -> None:
    client = Browser(web.app).client
    assert (client.get("/readyz").status_code, client.get("/healthz").status_code) == (200, 200)
    move_core(database, "core0000")
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (
        503,
        {"status": "not ready", "because": "not-ready"},
    )
    assert client.get("/healthz").status_code == 200


def test_ready_says_503_when_the_database_is_another_environments(
    web: Site, database: Database
) -> None:
    database.execute("UPDATE ops_audit_head SET environment = 'staging'")
    answer = Browser(web.app).client.get("/readyz")
    assert (answer.status_code, answer.json["because"]) == (503, "refused")


def test_ready_says_503_when_the_database_is_away(
    web: Site, database: Database, sqlite_only: None
) -> None:
    from tests.support import close_connections

    close_connections()
    Path(database.url.removeprefix("sqlite:///")).unlink()
    assert Browser(web.app).client.get("/readyz").status_code == 503


def test_ready_says_503_when_nothing_can_be_written(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_connection: object) -> None:
        raise OperationalError("INSERT", {}, full)

    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorname = "SQLITE_FULL"
    monkeypatch.setattr("opsapp.database.status._write_nothing", refuse)
    assert Browser(web.app).client.get("/readyz").status_code == 503
