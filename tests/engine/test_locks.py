"""Locks by their engine alone: who holds one, how long another waits, and what is left behind."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from opsapp import clock
from opsapp.engine import locks
from opsapp.errors import Busy, NotReady

NAME = "test"


@pytest.fixture(autouse=True)
def _name_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may be shared with other test processes, also with forks of this one."""
    monkeypatch.setitem(globals(), "NAME", f"test-{os.getpid()}")


@pytest.fixture
def file(tmp_path: Path) -> sa.Engine:
    """A SQLite file in a folder that is not there yet."""
    return sa.create_engine(f"sqlite:///{tmp_path}/a/b/ops.sqlite")


@pytest.fixture
def server(postgres: str) -> Iterator[sa.Engine]:
    url = postgres.format("postgres").replace("postgresql:", "postgresql+psycopg:")
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["file", "server"])
def engine(request: pytest.FixtureRequest) -> sa.Engine:
    chosen_engine: sa.Engine = request.getfixturevalue(request.param)
    return chosen_engine


def refusal(engine: sa.Engine, *, wait: float = 0) -> Busy:
    """Return the error of the lock."""
    with pytest.raises(Busy) as raised, locks.hold_lock(engine, NAME, wait=wait):
        pass
    return raised.value


class Clock:
    """A clock that only waiting moves; it may do something at a moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.pauses: list[float] = []
        self.at: dict[int, object] = {}
        monkeypatch.setattr(locks.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(locks.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)
        act = self.at.get(len(self.pauses))
        if callable(act):
            act()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_lock_is_free_again_after_it(engine: sa.Engine) -> None:
    for _ in range(2):
        with locks.hold_lock(engine, NAME, wait=0):
            assert "held by" in refusal(engine).message
            with locks.hold_lock(engine, f"{NAME}-other", wait=0):
                pass


def test_lock_is_free_again_after_an_error(engine: sa.Engine) -> None:
    def fail() -> None:
        with locks.hold_lock(engine, NAME, wait=0):
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    with locks.hold_lock(engine, NAME, wait=0):
        pass


def test_lock_that_stays_is_asked_for_until_the_wait_is_over(
    engine: sa.Engine, time: Clock
) -> None:
    with locks.hold_lock(engine, NAME, wait=0):
        refusal(engine, wait=0)
        assert time.pauses == []
        refusal(engine, wait=0.125)
        assert time.pauses == [0.05] * 3


def test_wait_ends_on_its_last_moment(
    engine: sa.Engine, time: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.25)
    with locks.hold_lock(engine, NAME, wait=0):
        refusal(engine, wait=0.5)
    assert time.pauses == [0.25] * 2


def test_lock_that_is_let_go_meanwhile_is_taken(engine: sa.Engine, time: Clock) -> None:
    held = locks.hold_lock(engine, NAME, wait=0)
    held.__enter__()
    time.at[2] = lambda: held.__exit__(None, None, None)
    with locks.hold_lock(engine, NAME, wait=5):
        assert time.pauses == [0.05] * 2
        assert "held by" in refusal(engine).message


# --- SQLite ------------------------------------------------------------------


def path_of(engine: sa.Engine) -> Path:
    return Path(f"{engine.url.database}.{NAME}.lock")


def test_file_names_its_holder(file: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/flask", "db", "init"])
    before = clock.now() - timedelta(seconds=1)
    for _ in range(2):  # What an earlier holder wrote is gone.
        with locks.hold_lock(file, NAME, wait=0):
            path = path_of(file)
            holder = json.loads(path.read_text())
            assert before <= datetime.fromisoformat(holder.pop("since")) <= clock.now()
            assert holder == {
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "user": getpass.getuser(),
                "command": "flask db init",
            }
            busy = refusal(file)
        path.write_text("x" * 500)
    assert busy.message.startswith(
        f"the lock {NAME} is held by process {os.getpid()} of {getpass.getuser()} on"
        f" {socket.gethostname()} since 20"
    )
    assert busy.message.endswith(": flask db init")
    assert busy.hint == f"try again when it has finished; to end it: kill {os.getpid()}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "written",
    [
        "",
        "[",
        "[]",
        "{}",
        '{"pid": 1, "user": "a"}',
        "7",
        '{"pid": "x", "user": "a", "host": "h", "since": "s", "command": "c"}',
    ],
)
def test_holder_that_has_not_written_its_name_is_another_process(
    file: sa.Engine, written: str
) -> None:
    with locks.hold_lock(file, NAME, wait=0):
        path_of(file).write_text(written)
        busy = refusal(file)
    assert busy.message == f"the lock {NAME} is held by another process"
    assert busy.hint == "try again when it has finished"


def test_name_of_a_holder_is_harmless(file: sa.Engine) -> None:
    holder = {"pid": "12", "user": "a\x1b", "host": "h\n", "since": "s", "command": "c"}
    with locks.hold_lock(file, NAME, wait=0):
        path_of(file).write_text(json.dumps(holder) + " " * (4096 - len(json.dumps(holder))) + "x")
        busy = refusal(file)
    assert busy.message == (f"the lock {NAME} is held by process 12 of a\\x1b on h\\x0a since s: c")
    assert busy.hint == "try again when it has finished; to end it: kill 12"


def test_lock_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a file")
    engine = sa.create_engine(f"sqlite:///{tmp_path}/a/ops.sqlite")
    with pytest.raises(NotReady) as raised, locks.hold_lock(engine, NAME, wait=0):
        pass
    assert raised.value.message == f"the lock {path_of(engine)} cannot be created: File exists"


def test_descriptor_of_a_lock_is_closed(file: sa.Engine) -> None:
    def opened() -> set[str]:
        return {str(entry.resolve()) for entry in Path("/proc/self/fd").iterdir()}

    with locks.hold_lock(file, NAME, wait=0):
        refusal(file)
        assert str(path_of(file)) in opened()
    assert str(path_of(file)) not in opened()


# --- PostgreSQL --------------------------------------------------------------


def number(words: str) -> int:
    digest = hashlib.sha256(words.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def test_number_of_a_lock_is_of_its_schema(server: sa.Engine) -> None:
    with server.connect() as connection:
        assert locks.number(connection, NAME) == number(f"opsapp {NAME}")
        assert connection.info["opsapp_schema"] == "public"
        connection.info["opsapp_schema"] = "other"  # Asked once a session.
        assert locks.number(connection, NAME) == number(f"opsapp other {NAME}")
        connection.info.clear()
        connection.exec_driver_sql("SET search_path TO pg_catalog")
        assert locks.number(connection, NAME) == number(f"opsapp pg_catalog {NAME}")
        connection.info.clear()


def test_session_of_the_server_is_named(server: sa.Engine) -> None:
    before = clock.now() - timedelta(minutes=5)
    with locks.hold_lock(server, NAME, wait=0), server.connect() as connection:
        key = locks.number(connection, NAME)
        holder = locks.holders(connection)[key]
        busy = refusal(server)
        pid = connection.scalar(
            sa.text(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = :low"
                " AND pid <> pg_backend_pid()"
            ),
            {"low": key & 0xFFFFFFFF},
        )
    name, _, since = holder.partition(" since ")
    assert name.startswith("opsapp")
    assert name.endswith(f" (server process {pid} of postgres, from this host)")
    assert before <= datetime.fromisoformat(since)
    assert busy.message == f"the lock {NAME} is held by {holder}"
    assert busy.hint == (
        f'try again when it has finished; to end it: psql -c "SELECT pg_terminate_backend({pid})"'
    )


def test_session_that_has_just_let_go_is_another_process(server: sa.Engine) -> None:
    with server.connect() as connection:
        assert locks._session(connection, 1) == (
            "another process",
            "try again when it has finished",
        )


def test_session_whose_number_is_gone_has_no_command_to_end_it(
    server: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "holders", lambda _connection: {1: "a session"})
    with server.connect() as connection:
        assert locks._session(connection, 1) == ("a session", "try again when it has finished")


def test_names_of_sessions_are_harmless_and_may_lack_a_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Connection:
        def execute(self, _query: object) -> list[tuple[object, ...]]:
            return [(5, 77, "h", "a\x1b", None, "b\x1b")]

    assert locks.holders(Connection()) == {  # type: ignore[arg-type]
        5: "a\\x1b (server process 77 of b\\x1b, from h)"
    }


def test_error_inside_is_told_though_the_server_has_ended_the_session(server: sa.Engine) -> None:
    end = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_locks"
        " WHERE locktype = 'advisory' AND objid = :low"
    )

    def fail() -> None:
        with locks.hold_lock(server, NAME, wait=0):
            with server.connect() as connection:
                connection.execute(end, {"low": locks.number(connection, NAME) & 0xFFFFFFFF})
            raise ValueError("what went wrong first")

    with pytest.raises(ValueError, match="what went wrong first"):
        fail()


def test_lock_is_let_go_in_the_session_and_not_only_with_it(
    server: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = server.connect().execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def connect(_engine: sa.Engine) -> Iterator[sa.Connection]:
        yield shared

    monkeypatch.setattr(locks.direct, "connect", connect)
    with locks.hold_lock(server, NAME, wait=0):
        pass
    with server.connect() as other:
        assert locks.number(other, NAME) not in locks.holders(other)
        with pytest.raises(ValueError, match="no"), locks.hold_lock(server, NAME, wait=0):
            raise ValueError("no")
        assert locks.number(other, NAME) not in locks.holders(other)
    shared.close()


def test_transaction_queues_up_until_its_end(server: sa.Engine, file: sa.Engine) -> None:
    with server.connect() as connection:
        with connection.begin():
            locks.queue_up(connection, NAME)
            assert locks.number(connection, NAME) in locks.holders(connection)
        assert locks.number(connection, NAME) not in locks.holders(connection)

    class OnSqlite:
        dialect = file.dialect

    locks.queue_up(OnSqlite(), NAME)  # type: ignore[arg-type]  (it is asked nothing)
