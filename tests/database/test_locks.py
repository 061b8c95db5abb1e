"""Locks that no process outlives: held by one at a time, who says who they are."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pwd import getpwuid

import psycopg
import pytest
from flask import Flask

from opsapp.engine import locks
from opsapp.errors import Busy
from opsapp.extensions import db
from tests.support import administer


def test_lock_that_is_held_names_its_holder(app: Flask, kind: str) -> None:
    with (
        locks.hold_lock(db.engine, "migrate", wait=0),
        pytest.raises(Busy, match="the lock migrate is held by ") as raised,
        locks.hold_lock(db.engine, "migrate", wait=0),
    ):
        pass
    user = getpwuid(os.getuid()).pw_name
    process = f"process {os.getpid()} of {user} on " if kind == "sqlite" else " (server process "
    assert process in raised.value.message
    end = f"kill {os.getpid()}" if kind == "sqlite" else 'psql -c "SELECT pg_terminate_backend('
    assert f"try again when it has finished; to end it: {end}" in (raised.value.hint or "")


@pytest.fixture
def neighbour(kind: str, request: pytest.FixtureRequest) -> Iterator[psycopg.Connection]:
    """A connection to another database of the same server."""
    if kind == "sqlite":
        pytest.skip("SQLite has no server")
    server: str = request.getfixturevalue("postgres")
    administer(server, "CREATE DATABASE neighbour")
    with psycopg.connect(server.format("neighbour"), application_name="neighbour") as connection:
        yield connection
    administer(server, "DROP DATABASE neighbour WITH (FORCE)")


def test_lock_of_another_database_is_free_here(neighbour: psycopg.Connection, app: Flask) -> None:
    with db.engine.connect() as connection:
        number = locks.number(connection, "migrate")
        neighbour.execute("SELECT pg_advisory_lock(%s)", [number])
        assert locks.holders(connection) == {}


def test_holder_whom_one_may_not_see_is_told_as_far_as_known(app: Flask, kind: str) -> None:
    if kind == "sqlite":
        pytest.skip("SQLite has no roles")
    with locks.hold_lock(db.engine, "migrate", wait=0), db.engine.connect() as connection:
        connection.exec_driver_sql("CREATE ROLE plain")
        connection.exec_driver_sql("SET ROLE plain")
        [holder] = locks.holders(connection).values()
        assert re.fullmatch(r"opsapp .* \(server process \d+ of postgres, from this host\)", holder)


def fail_when_the_server_has_ended() -> None:
    end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
    with locks.hold_lock(db.engine, "migrate", wait=0):
        with db.engine.connect() as connection:
            connection.exec_driver_sql(end)
        raise ValueError("what went wrong first")


def test_error_of_what_ran_alone_is_told_though_the_server_ended(app: Flask, kind: str) -> None:
    if kind == "sqlite":
        pytest.skip("SQLite has no server")
    with pytest.raises(ValueError, match="what went wrong first"):
        fail_when_the_server_has_ended()
    with locks.hold_lock(db.engine, "migrate", wait=5):
        pass  # It is free again: the connection that had it is gone.
