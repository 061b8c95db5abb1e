"""A database server that goes away and comes back: no acknowledged change is lost or made twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import tally
from tests.faults.amounts import IS_LONG, trials
from tests.faults.judging import assert_promises_kept
from tests.faults.servers import Server, server, standby
from tests.faults.traffic import ROWS, Traffic, traffic
from tests.support import PASSWORD, Database, run
from tests.support.pgbouncer import IGNORING, PGBOUNCER, behind, pgbouncer

SOURCES = ("command", "process", "job", "file", "shell", "request")
LASTING = ("command", "process") if not IS_LONG else SOURCES
"""The kinds of work during the outages that are tried more often."""

HONEST = {"done", "there", "failed 7", "failed 75", "doubt 1", "failed 503", "doubt 500"}
"""The permitted ends of an attempt; 503 and 500 are answers of the API."""

# --- how it is judged ----------------------------------------------------------


def assert_all_acknowledged_are_there(outage: str, database: Database, seen: Traffic) -> None:
    assert {outcome.split(": ")[1] for outcome in seen.outcomes} <= HONEST, seen.outcomes
    there = Counter(name for (name,) in database.rows("SELECT name FROM ops_roles"))
    there += Counter(
        job for (job,) in database.rows("SELECT name FROM ops_job_runs WHERE status = 'succeeded'")
    )
    emails = [email.split("@")[0] for (email,) in database.rows("SELECT email FROM ops_users")]
    there += Counter(email for email in emails if not email.startswith("file-"))
    files = Counter(email.rpartition("-")[0] for email in emails if email.startswith("file-"))
    there += Counter(file for file, rows in files.items() if rows == ROWS)
    assert [name for name in seen.acknowledged if there[name] != 1] == []
    for name, correlation in seen.doubts:
        result = run(database, "audit", "list", "--correlation", correlation, "--format", "json")
        assert result.exit_code == 0, result
        # The name was tried again, and was there already if and only if the event is.
        assert len(result.json) <= 1 == there[name], (name, result)
    assert_promises_kept(database)
    for outcome, number in seen.outcomes.items():
        tally.count("Outages", outage, "PostgreSQL", outcome, number)


pytestmark = pytest.mark.usefixtures("postgres")  # It makes the user that servers run as.


@pytest.fixture
def primary() -> Iterator[Server]:
    """A server of this test's own."""
    with server() as primary:
        yield primary


def made(url: str, instance: Path) -> Database:
    """Make an installation on a server of this test's own."""
    instance.mkdir(mode=0o700)
    database = Database(url, instance)
    run(database, "db", "init", check=True)
    words = ("users", "create-admin", "ada@example.com", "--password-stdin")
    run(database, *words, stdin=PASSWORD, check=True)
    return database


# --- outages -------------------------------------------------------------------


def crash_and_start(server: Server) -> None:
    server.crash()
    server.start()


def restart(server: Server) -> None:
    server.control("restart", "--mode", "fast")


def end_sessions(server: Server) -> None:
    server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'"
        " AND pid <> pg_backend_pid()"
    )


OUTAGES = (crash_and_start, restart, end_sessions)


@pytest.mark.parametrize("outage", OUTAGES if IS_LONG else OUTAGES[:1])
def test_server_that_comes_back_has_all_that_was_acknowledged(
    primary: Server, tmp_path: Path, outage: Callable[[Server], None]
) -> None:
    database = made(primary.url.format("postgres"), tmp_path / "instance")
    with traffic(database, SOURCES) as seen:
        for _ in trials(1, 15):
            outage(primary)
            seen.goes_on(SOURCES)
    assert_all_acknowledged_are_there(outage.__name__.replace("_", " "), database, seen)


@pytest.mark.skipif(PGBOUNCER is None, reason="there is no PgBouncer")
def test_server_behind_a_pooler_has_all_that_was_acknowledged(
    primary: Server, tmp_path: Path
) -> None:
    direct = made(primary.url.format("postgres"), tmp_path / "instance")
    settings = {**IGNORING, "server_login_retry": 1}
    with (
        pgbouncer(primary.url, "transaction", **settings) as port,
        traffic(behind(direct, port, direct=True), LASTING) as seen,
    ):
        for _ in trials(1, 10):
            crash_and_start(primary)
            seen.goes_on(LASTING)
    assert_all_acknowledged_are_there("crash behind PgBouncer (transaction mode)", direct, seen)


def test_standby_that_is_promoted_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    for number in trials(1, 10):
        with server() as primary, standby(primary) as follower:
            hosts = f"127.0.0.1:{primary.port},127.0.0.1:{follower.port}"
            url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
            database = made(url, tmp_path / str(number))
            with traffic(database, LASTING) as seen:
                primary.crash()
                follower.control("promote")
                follower.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
                follower.execute("SELECT pg_reload_conf()")
            judged = Database(follower.url.format("postgres"), database.instance)
            assert_all_acknowledged_are_there("failover to a standby", judged, seen)
