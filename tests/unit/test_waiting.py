"""Commands that are stopped, or kept waiting, at the gate: nothing is changed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support import FLASK, Database, Result, run
from tests.support.processes import ended, gate_held, start, until


def waits(database: Database, process: subprocess.Popen[str]) -> bool:
    """Tell whether the process waits at the gate."""
    if not database.is_sqlite:
        waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        return bool(database.rows(f"{waiting} AND datname = current_database()"))
    with contextlib.suppress(FileNotFoundError):  # a descriptor closed while we look
        opened = [entry.readlink() for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
        return database.instance / "opsapp.sqlite-wal" in opened
    return False


def everything(database: Database) -> list[object]:
    """The rows of every table that a change writes."""
    tables = (
        "ops_users",
        "ops_roles",
        "ops_grants",
        "ops_audit_head",
        "ops_audit_events",
        "ops_audit_personal",
    )
    return [sorted(database.rows(f"SELECT * FROM {table}"), key=repr) for table in tables]


CREATE = (FLASK, "users", "create", "q@example.com", "--no-password")


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_stop_a_command_that_waits_at_the_gate_changes_nothing(
    database: Database, number: signal.Signals, exit_code: int
) -> None:
    before = everything(database)
    with gate_held(database):
        command = start(database, *CREATE)
        until(lambda: waits(database, command))
        command.send_signal(number)
        stopped = ended(command)
    assert stopped == Result(exit_code, "", f"Stopped by {number.name}: nothing was changed.\n")
    assert everything(database) == before


def test_change_behind_a_gate_that_stays_closed_names_who_holds_it(database: Database) -> None:
    before = everything(database)
    with gate_held(database) as gate:
        pid = os.getpid() if database.is_sqlite else gate.scalar(sa.func.pg_backend_pid())
        plain, as_json = start(database, *CREATE), start(database, *CREATE, "--format", "json")
        answer, said_as_json = ended(plain), ended(as_json)
    message, hint = HELD_FILE if database.is_sqlite else HELD_ROW
    message, hint = message.replace("PID", str(pid)), hint.replace("PID", str(pid))
    assert (answer.exit_code, answer.stdout) == (75, "")
    assert re.fullmatch(f"Error: {message}\n  → {re.escape(hint)}\n", answer.stderr), answer.stderr
    error = json.loads(said_as_json.stderr)
    assert re.fullmatch(message, error.pop("message"))
    assert error == {"code": "busy", "hint": hint, "exit_code": 75}
    assert everything(database) == before


HELD_FILE = (
    r"the database has been locked for more than 5 seconds by process PID of \S+"
    r" since [\d-]+T[\d:]+Z: .+",
    "try again when it has finished; to end it: kill PID",
)
HELD_ROW = (
    r"a lock is held by a session \(server process PID of postgres, from this host\)"
    r" since [\d-]+T[\d:.]+Z: SELECT pg_backend_pid\(\) AS pg_backend_pid_1",
    'try again when it has finished; to end it: psql -c "SELECT pg_terminate_backend(PID)"',
)


def test_statement_behind_a_locked_table_names_who_holds_it(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite locks no tables")
    with gate_held(database) as holder:
        holder.exec_driver_sql("LOCK TABLE ops_users")
        holder.exec_driver_sql("SELECT 'hush'")
        result = run(database, "users", "list")
    assert result.exit_code == 75
    assert "hush" not in result.stderr
    assert "a lock is held by a session (server process " in result.stderr


def test_change_behind_a_gate_that_opens_in_time_is_made(database: Database) -> None:
    with gate_held(database) as gate:
        command = start(database, *CREATE)
        until(lambda: waits(database, command))
        gate.exec_driver_sql("ROLLBACK")
        done = ended(command)
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 3.\n")
    assert database.rows("SELECT email FROM ops_users") == [("q@example.com",)]
