"""`flask jobs serve`: each slot once, on however many hosts, and a clean stop."""

from __future__ import annotations

import signal
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from opsapp.jobs import scheduler
from opsapp.jobs.schedule import Job
from tests.support import Database
from tests.support.jobwork import is_alive, pid_in, rows, schedule_file
from tests.support.processes import ended, start_work, until

NOON = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SERVING = "Serving 1 job of {}/jobs.toml.\n"


def serve(host: str, *words: str) -> None:
    """Serve on a host of this name, whose clock says that it is a second before a minute."""
    import socket
    import sys
    from datetime import timedelta

    from flask.cli import main

    from opsapp import clock
    from opsapp.jobs import scheduler

    begun = clock.now()
    ahead = timedelta(seconds=59) - timedelta(seconds=begun.second, microseconds=begun.microsecond)
    right = clock.now
    clock.now = lambda: right() + ahead
    scheduler.LOOK = 0.2
    socket.gethostname = lambda: host
    sys.argv = ["flask", "jobs", "serve", *words]
    main()


def server(database: Database, *words: str, host: str = "db1") -> subprocess.Popen[str]:
    return start_work(database, serve, host, *words)


def every_minute(database: Database, script: str, options: str = "") -> None:
    schedule_file(
        database,
        f"[jobs.a]\nschedule = '* * * * *'\ncommand = ['sh', '-c', '''{script}''']\n{options}",
    )


def stopped(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    slots = ended(process)
    return slots.exit_code, slots.stderr


# --- what is due -------------------------------------------------------------


def test_due_are_the_slots_since_the_last_look_in_order() -> None:
    often = Job(name="often", command=("true",), schedule="* * * * *")
    once = Job(name="once", command=("true",), schedule="1 12 * * *")
    off = Job(name="off", command=("true",), schedule="* * * * *", enabled=False)
    slots = scheduler.due_slots([often, once, off], NOON, NOON + 2 * MINUTE)
    assert [(slot, job.name) for slot, job in slots] == [
        (NOON + MINUTE, "often"),
        (NOON + MINUTE, "once"),
        (NOON + 2 * MINUTE, "often"),
    ]


@pytest.mark.parametrize(
    ("now", "back_to"),
    [
        (NOON + timedelta(seconds=20), NOON),  # As usual.
        (NOON + timedelta(hours=8), NOON + timedelta(hours=8) - MINUTE),  # After a sleep.
        (NOON - timedelta(seconds=1), NOON),  # The clock was put right.
        (NOON - timedelta(hours=1), NOON - timedelta(hours=1)),  # It was set back.
    ],
)
def test_what_was_slept_through_is_left_out(now: datetime, back_to: datetime) -> None:
    assert scheduler.due_since(NOON, now) == back_to


# --- serving -----------------------------------------------------------------


def test_serve_runs_a_slot_at_its_time_and_stops_with_0(database: Database) -> None:
    every_minute(database, "echo served")
    process = server(database)
    until(lambda: rows(database) == [("succeeded", 0)])
    exit_code, stderr = stopped(process)
    assert exit_code == 0
    assert stderr.startswith(SERVING.format(database.instance))
    assert stderr.endswith("Stopped.\n")
    [(slot,)] = rows(database, "slot")
    assert str(slot)[17:19] == "00"


def test_two_hosts_run_each_slot_once(database: Database) -> None:
    names = [f"job{number}" for number in range(3)]
    schedule_file(
        database,
        "".join(
            f"[jobs.{name}]\nschedule = '* * * * *'\non-busy = '{busy}'\n"
            f"command = ['sh', '-c', 'echo {name} >> {database.instance}/ran']\n"
            for name, busy in zip(names, ("skip", "fail", "wait"), strict=True)
        ),
    )
    hosts = [server(database, host=host) for host in ("db1", "db2")]
    until(lambda: [status for status, _code in rows(database)].count("succeeded") == len(names))
    # They end only after the runs that they have started, those in vain included.
    assert [stopped(host)[0] for host in hosts] == [0, 0]
    ran = rows(database, "name, status, slot")
    assert {(name, status) for name, status, _slot in ran} == {(n, "succeeded") for n in names}
    assert len(ran) == len({(name, slot) for name, _status, slot in ran})
    assert len((database.instance / "ran").read_text().split()) == len(ran)


def test_stop_lets_a_run_end_within_the_grace(database: Database) -> None:
    go = database.instance / "go"
    pid = database.instance / "pid"
    every_minute(database, f"echo $$ > {pid}; until [ -e {go} ]; do sleep 0.05; done")
    process = server(database, "--grace", "10m")
    pid_in(pid)
    process.send_signal(signal.SIGTERM)
    assert process.stderr is not None
    assert process.stderr.readline() == SERVING.format(database.instance)
    assert process.stderr.readline() == "Stopping; 1 run may end within 10 min 0 s.\n"
    go.touch()
    assert ended(process).exit_code == 0
    assert rows(database)[0] == ("succeeded", 0)


@pytest.mark.parametrize("grace", ["1s", "10m"])
def test_stop_ends_a_run_after_the_grace_or_when_told_again(database: Database, grace: str) -> None:
    pid = database.instance / "pid"
    every_minute(database, f"echo $$ > {pid}; exec sleep 600")
    process = server(database, "--grace", grace)
    command = pid_in(pid)
    process.send_signal(signal.SIGTERM)
    if grace == "10m":
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Serving")
        assert process.stderr.readline().startswith("Stopping")
        process.send_signal(signal.SIGINT)
    assert ended(process).exit_code == 0
    assert not is_alive(command)
    assert rows(database)[0] == ("terminated", 143)


def test_slot_that_finds_the_database_away_runs_when_it_is_back(
    own_server: tuple[Any, Database],
) -> None:
    away, database = own_server
    every_minute(database, "true")
    away.stop()
    process = server(database)
    assert process.stderr is not None
    process.stderr.readline()
    assert process.stderr.readline().startswith("Error: the database cannot be reached")
    away.start()
    until(lambda: rows(database)[:1] == [("succeeded", 0)])
    assert stopped(process)[0] == 0


def test_failing_run_is_said(database: Database) -> None:
    every_minute(database, "exit 3")
    process = server(database)
    assert process.stderr is not None
    process.stderr.readline()
    line = process.stderr.readline()
    assert line.startswith("a of 2")
    assert line.endswith(":00Z ended with 3.\n")
    assert stopped(process)[0] == 0


def test_file_that_becomes_wrong_is_said_and_the_last_one_stays(database: Database) -> None:
    every_minute(database, "true")
    process = server(database)
    assert process.stderr is not None
    assert process.stderr.readline() == SERVING.format(database.instance)
    file = schedule_file(database, "[jobs.a]\ncommand = 5\n")
    said = process.stderr.readline()
    assert said == (
        f"{file}: [jobs.a] command: a line, or a list of words; "
        "the last good schedule stays in use.\n"
    )
    until(lambda: rows(database) == [("succeeded", 0)])
    assert stopped(process)[0] == 0


def test_wrong_file_at_the_start_is_exit_7(database: Database) -> None:
    schedule_file(database, "[jobs.a]\ncommand = 5\n")
    slots = ended(server(database))
    assert slots.exit_code == 7
    assert slots.stderr.startswith(f"Error: {database.instance}/jobs.toml: [jobs.a] command: ")
