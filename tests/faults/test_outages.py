"""A database server that goes away and comes back: no acknowledged change is lost or made twice."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults import tally
from tests.faults.amounts import IS_LONG, times
from tests.faults.judging import assert_promises_kept
from tests.faults.servers import Server, server, standby
from tests.support import Database, run
from tests.support.pgbouncer import IGNORING, PGBOUNCER, behind, pgbouncer
from tests.support.processes import ended, start_work, until

IN_DOUBT = "it may or may not have happened"


# --- what goes on meanwhile ---------------------------------------------------


def create_roles_for_ever() -> None:
    """Create one role after the other on the same connections; say how each attempt ended."""
    import itertools
    import sys
    import time

    from sqlalchemy.exc import DBAPIError

    import opsapp
    from opsapp.accounts import roles
    from opsapp.actors import Actor
    from opsapp.engine.conditions import explained
    from opsapp.errors import Conflict, OpsError
    from opsapp.unit.work import Unit

    with opsapp.without_web():
        app = opsapp.create_app()

    def attempt(name: str) -> str:
        unit = Unit(actor=Actor(kind="os", name="worker"), door="job")
        try:
            with app.app_context():
                roles.create(name, unit=unit)
        except Conflict:
            return "there"  # The answer to an earlier COMMIT was lost.
        except (OpsError, DBAPIError) as error:
            condition = error if isinstance(error, OpsError) else explained(error)
            if condition is None:
                raise
            doubt = "doubt" if "may or may not" in condition.message else "failed"
            return f"{doubt} {condition.exit_code}"
        return "done"

    for number in itertools.count():
        while True:
            outcome = attempt(f"worker-{number}")
            sys.stdout.write(f"worker-{number} {outcome}\n")
            sys.stdout.flush()
            if outcome in ("done", "there"):
                break
            time.sleep(0.05)  # The server is away; to ask again at once gains nothing.


class Traffic:
    """Commands and a process that change accounts, and the names that each acknowledged."""

    def __init__(self, database: Database) -> None:
        self.acknowledged: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self._database = database
        self._over = threading.Event()
        self._worker = start_work(database, create_roles_for_ever)
        self._threads = [threading.Thread(target=t) for t in (self._listen, self._command)]
        for thread in self._threads:
            thread.start()

    def _listen(self) -> None:
        assert self._worker.stdout is not None
        for line in self._worker.stdout:
            name, outcome = line.strip().split(" ", 1)
            self.outcomes[f"process: {outcome}"] += 1
            if outcome in ("done", "there"):
                self.acknowledged.append(name)

    def _command(self) -> None:
        for number in itertools.count():
            if self._over.is_set():
                return
            done = run(self._database, "roles", "create", f"command-{number}")
            doubt = "doubt" if IN_DOUBT in done.stderr else "failed"
            self.outcomes[
                f"command: {f'{doubt} {done.exit_code}' if done.exit_code else 'done'}"
            ] += 1
            if done.exit_code == 0:
                self.acknowledged.append(f"command-{number}")

    def goes_on(self, more: int = 3) -> None:
        """Wait until the process and the commands have each acknowledged so many more."""
        begun = Counter(name.split("-")[0] for name in self.acknowledged)
        until(
            lambda: all(
                Counter(name.split("-")[0] for name in self.acknowledged)[kind]
                >= begun[kind] + more
                for kind in ("worker", "command")
            )
        )

    def stop(self) -> None:
        """End it; what the process acknowledged last is heard."""
        self._over.set()
        self._worker.kill()
        for thread in self._threads:
            thread.join()
        ended(self._worker)


@contextmanager
def traffic(database: Database) -> Iterator[Traffic]:
    """Have accounts changed meanwhile."""
    going_on = Traffic(database)
    try:
        going_on.goes_on()
        yield going_on
        going_on.goes_on()
    finally:
        going_on.stop()


# --- how it is judged ----------------------------------------------------------


HONEST = {"done", "there", "failed 7", "failed 75", "doubt 1"}


def assert_all_acknowledged_are_there(outage: str, database: Database, seen: Traffic) -> None:
    names = Counter(name for (name,) in database.rows("SELECT name FROM ops_roles"))
    assert [name for name in seen.acknowledged if names[name] != 1] == []
    assert {outcome.split(": ")[1] for outcome in seen.outcomes} <= HONEST
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
    with traffic(database) as seen:
        for _ in range(times(1, 15)):
            outage(primary)
            seen.goes_on(2)
    assert_all_acknowledged_are_there(outage.__name__.replace("_", " "), database, seen)


@pytest.mark.skipif(PGBOUNCER is None, reason="there is no PgBouncer")
def test_server_behind_a_pooler_has_all_that_was_acknowledged(
    primary: Server, tmp_path: Path
) -> None:
    direct = made(primary.url.format("postgres"), tmp_path / "instance")
    settings = {**IGNORING, "server_login_retry": 1}
    with (
        pgbouncer(primary.url, "transaction", **settings) as port,
        traffic(behind(direct, port, direct=True)) as seen,
    ):
        for _ in range(times(1, 10)):
            crash_and_start(primary)
            seen.goes_on(2)
    assert_all_acknowledged_are_there("crash behind PgBouncer (transaction mode)", direct, seen)


def test_standby_that_is_promoted_has_all_that_was_acknowledged(tmp_path: Path) -> None:
    for number in range(times(1, 5)):
        with server() as primary, standby(primary) as follower:
            hosts = f"127.0.0.1:{primary.port},127.0.0.1:{follower.port}"
            url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
            database = made(url, tmp_path / str(number))
            with traffic(database) as seen:
                primary.crash()
                follower.control("promote")
                follower.execute("ALTER SYSTEM SET synchronous_standby_names = ''")
                follower.execute("SELECT pg_reload_conf()")
            judged = Database(follower.url.format("postgres"), database.instance)
            assert_all_acknowledged_are_there("failover to a standby", judged, seen)
