"""Handles: a lock of this process that SQLite has lost track of is gone with its connections."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from opsapp.engine import connections
from opsapp.errors import Busy

WRITING = {"writing": True}


class Driver(sqlite3.Connection):
    """A connection that knows whether it is closed, and fails when it is told to."""

    is_closed = False
    failing = ""
    """The statement, which fails as SQLite's do after a lock could not be released."""

    def execute(self, *args: object) -> sqlite3.Cursor:
        if args[0] == self.failing:
            self.fail()
        return super().execute(*args)  # type: ignore[arg-type]

    def cursor(self, *args: object) -> sqlite3.Cursor:  # type: ignore[override]
        if self.failing == "SELECT 1":
            self.fail()
        return super().cursor(*args)  # type: ignore[call-overload, no-any-return]

    def commit(self) -> None:
        if self.failing == "COMMIT":
            self.fail()
        super().commit()

    def fail(self) -> None:
        error = sqlite3.OperationalError("locking protocol")
        error.sqlite_errorname = "SQLITE_PROTOCOL"
        raise error

    def close(self) -> None:
        self.is_closed = True
        super().close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ops.sqlite"
    connections.create_sqlite(str(path), wal=True)
    return path


def opened(path: Path, **options: object) -> sa.Engine:
    engine = sa.create_engine(f"sqlite:///{path}", **options)
    connections.prepare(engine)
    opener = partial(sqlite3.connect, path, factory=Driver, isolation_level=None, timeout=0.1)
    connections.redirect(engine, opener)
    return engine


@pytest.fixture
def engine(path: Path) -> Iterator[sa.Engine]:
    engine = opened(path)
    yield engine
    engine.dispose()


@pytest.fixture
def other(path: Path) -> Iterator[sa.Engine]:
    """The engine of another pool of the process; what it returns to it is not rolled back."""
    engine = opened(path, pool_reset_on_return=None)
    yield engine
    engine.dispose()


def driver_of(connection: sa.Connection | sa.PoolProxiedConnection) -> Driver:
    proxied = connection.connection if isinstance(connection, sa.Connection) else connection
    assert isinstance(proxied.dbapi_connection, Driver)
    return proxied.dbapi_connection


def idle_driver(engine: sa.Engine, failing: str = "") -> Driver:
    """Return the driver's connection that the next one of ``engine`` uses."""
    with engine.connect() as connection:
        driver = driver_of(connection)
        driver.failing = failing
        return driver


def test_write_after_a_lock_that_stays_begins_on_another_connection(
    engine: sa.Engine, other: sa.Engine
) -> None:
    failing, idle = idle_driver(engine, "BEGIN IMMEDIATE"), idle_driver(other)
    with engine.connect() as connection, connection.execution_options(**WRITING).begin():
        assert connection.scalar(sa.text("SELECT 2")) == 2
    assert (failing.is_closed, idle.is_closed) == (True, True)


def test_read_after_a_lock_that_stays_fails_once(engine: sa.Engine, other: sa.Engine) -> None:
    failing, idle = idle_driver(engine, "SELECT 1"), idle_driver(other)
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError):
        connection.scalar(sa.text("SELECT 1"))
    assert (failing.is_closed, idle.is_closed) == (True, True)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1


def test_commit_after_a_lock_that_stays_is_not_in_doubt(engine: sa.Engine) -> None:
    failing = idle_driver(engine, "COMMIT")
    with engine.connect() as connection, pytest.raises(sa.exc.OperationalError) as raised:
        connection.execution_options(**WRITING).begin().commit()
    assert (raised.value.connection_invalidated, failing.is_closed) == (False, True)


def test_connection_in_use_is_closed_when_it_is_returned(
    engine: sa.Engine, other: sa.Engine
) -> None:
    idle_driver(engine, "BEGIN IMMEDIATE")
    with other.connect() as used:
        driver = driver_of(used)
        with engine.connect() as connection:
            connection.execution_options(**WRITING).begin()
        assert used.scalar(sa.text("SELECT 1")) == 1
        assert not driver.is_closed
    assert driver.is_closed


def lock_out(other: sa.Engine) -> Driver:
    """Leave a lock in an idle connection, as a lock that could not be released is."""
    idle = other.raw_connection()
    driver = driver_of(idle)
    driver.execute("BEGIN IMMEDIATE")
    idle.close()
    return driver


def test_write_locked_out_by_an_idle_connection_of_the_process_closes_it(
    engine: sa.Engine, other: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "LOCK_SECONDS", 0)
    driver = lock_out(other)
    with engine.connect() as connection:
        connection.execution_options(**WRITING).begin()
        assert driver.is_closed


def test_short_patience_closes_nothing(engine: sa.Engine, other: sa.Engine) -> None:
    driver = lock_out(other)
    with (
        engine.connect() as connection,
        pytest.raises(Busy, match="has been locked"),
    ):
        connection.execution_options(**WRITING, patience=0).begin()
    assert not driver.is_closed
