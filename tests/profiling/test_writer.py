"""The writer: twice is once, processes add up, and what is away costs no request anything."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from opsapp.profiling.record.recorder import Recorder
from opsapp.profiling.record.writer import Writer
from tests.support import Database
from tests.support.processes import gate_held, until
from tests.support.recorded import ask, flush
from tests.support.server import PRODUCTION, Served, served
from tests.support.web import Site

COUNTED = (
    "SELECT coalesce(sum(w.count), 0) FROM ops_profile_windows w JOIN ops_profile_series s"
    " ON s.id = w.series_id WHERE s.kind = 'endpoint' AND s.name = :name"
)


def counted(database: Database, name: str = "GET five") -> int:
    return int(database.rows(COUNTED, name=name)[0][0])


def test_writing_again_changes_nothing(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    ask(recorded, "/five/1")
    flush(recorder)
    before = database.rows("SELECT * FROM ops_profile_windows ORDER BY series_id")
    flush(recorder)
    assert database.rows("SELECT * FROM ops_profile_windows ORDER BY series_id") == before


def test_minute_is_written_whole_each_time(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    for _ in range(3):
        ask(recorded, "/five/1")
        flush(recorder)
    assert counted(database) == 3


def test_processes_add_up(recorded: Site, recorder: Recorder, database: Database) -> None:
    for _ in range(3):
        ask(recorded, "/five/1")
        flush(recorder)
        assert recorder.writer is not None
        recorder.writer = recorder.writer.anew(recorder.aggregates)
        recorder.aggregates.minutes.clear()
    assert counted(database) == 3
    assert len(database.rows("SELECT DISTINCT process FROM ops_profile_windows")) == 3


def test_requests_of_many_threads_are_all_counted(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: ask(recorded, "/five/1"), range(40)))
    assert done == [200] * 40
    flush(recorder)
    assert counted(database) == 40


def test_database_that_is_away_is_tried_again(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    ask(recorded, "/five/1")
    database.execute("ALTER TABLE ops_profile_series RENAME TO hidden")
    assert recorder.writer is not None
    assert not recorder.writer.flush()
    assert ask(recorded, "/five/1") == 200
    database.execute("ALTER TABLE hidden RENAME TO ops_profile_series")
    flush(recorder)
    assert counted(database) == 2


def test_minute_that_could_not_be_written_for_long_is_lost_and_counted(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    for _ in range(3):
        ask(recorded, "/five/1")
    (minute,) = recorder.aggregates.minutes.values()
    minute.starts_at -= 600
    recorder.aggregates.minutes = {minute.starts_at: minute}
    database.execute("ALTER TABLE ops_profile_series RENAME TO hidden")
    writer = recorder.writer
    assert writer is not None
    assert not writer.flush()
    assert (writer.lost, recorder.aggregates.minutes) == (3, {})


def test_series_that_was_pruned_is_made_again(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    ask(recorded, "/five/1")
    flush(recorder)
    database.execute("DELETE FROM ops_profile_windows")
    database.execute("DELETE FROM ops_profile_series")
    ask(recorded, "/five/1")
    assert recorder.writer is not None
    assert not recorder.writer.flush()  # It took the series to be there still.
    flush(recorder)
    assert counted(database) == 2


def test_thread_writes_at_its_end(recorded: Site, recorder: Recorder, database: Database) -> None:
    from opsapp.profiling.record import writer as module

    writer = Writer(recorded.app, recorder.aggregates, seconds=3600)
    ask(recorded, "/five/1")
    thread = threading.Thread(target=writer._write_until_stopped)
    thread.start()
    writer._thread = thread
    writer.stop()
    assert not thread.is_alive()
    assert module.EXIT_SECONDS > 0
    assert counted(database) == 1


def test_threads_end_with_their_application(recorder: Recorder) -> None:
    from flask import Flask

    writer = Writer(Flask("gone"), recorder.aggregates, seconds=0.01)
    thread = threading.Thread(target=writer._write_until_stopped)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()


# --- a real server ---------------------------------------------------------------

ON = {"OPSAPP_PROFILING": "on"}


def health(site: Site | Served, times: int) -> None:
    with closing(site.connect()) as connection:  # type: ignore[union-attr]
        for _ in range(times):
            connection.request("GET", "/login")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 200


def test_workers_write_what_is_left_when_they_end(database: Database) -> None:
    with served(database, PRODUCTION, **ON) as site:
        for _ in range(10):
            health(site, 3)
    assert counted(database, "GET security.login") == 30


def test_killed_worker_loses_no_more_than_was_not_written(database: Database) -> None:
    one = PRODUCTION.replace("--workers 2", "--workers 1")
    assert one != PRODUCTION
    with served(database, one, **ON) as site:
        health(site, 20)
        until(lambda: counted(database, "GET security.login") == 20)
        worker = next(
            int(pid)
            for pid in Path(f"/proc/{site.process.pid}/task/{site.process.pid}/children")
            .read_text()
            .split()
        )
        import os

        os.kill(worker, signal.SIGKILL)
        until(lambda: "Booting worker" in site.log.partition(f"pid: {worker}")[2])
        health(site, 5)
    assert counted(database, "GET security.login") == 25


def test_requests_do_not_wait_for_a_locked_database(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    writer = Writer(recorded.app, recorder.aggregates, seconds=0.001)
    thread = threading.Thread(target=writer._write_until_stopped)
    with gate_held(database):
        thread.start()
        for _ in range(20):
            assert ask(recorded, "/healthz") == 200
    writer._thread = thread
    writer.stop()
    thread.join()
    assert counted(database, "GET health.healthz") == 20


@pytest.mark.parametrize("verb", ["list"])
def test_command_is_recorded_and_does_not_wait_for_a_lock(
    cli: object, database: Database, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_PROFILING", "on")
    with gate_held(database):
        assert cli("roles", verb).exit_code == 0  # type: ignore[operator]
    assert cli("roles", verb).exit_code == 0  # type: ignore[operator]
    assert cli("roles", "show", "nobody").exit_code == 4  # type: ignore[operator]
    rows = database.rows(
        "SELECT s.name, sum(w.errors) FROM ops_profile_windows w JOIN ops_profile_series s"
        " ON s.id = w.series_id WHERE s.kind = 'command' GROUP BY s.name ORDER BY s.name"
    )
    assert [(name, int(errors)) for name, errors in rows] == [("roles list", 0), ("roles show", 1)]
