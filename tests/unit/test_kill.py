"""Processes that are killed, stopped or kept waiting: what is committed stays, and only that."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.support import FLASK, Cli, Database, Result, call, in_process, run
from tests.support.processes import ended, gate_held, start, start_work, until
from tests.support.templates import Templates

SEED = 20_261
"""Decides when each process is killed; another seed is another set of moments."""
KILLS = 15
KILLED = -signal.SIGKILL


# --- processes ---------------------------------------------------------------


def dice(*names: object) -> random.Random:
    """Random numbers that are the same in every run; the seed is shown where a test fails."""
    seed = f"{SEED} {' '.join(map(str, names))}"
    sys.stdout.write(f"seed: {seed}\n")
    return random.Random(seed)  # noqa: S311  (dice, not secrets)


# --- what is in the database -------------------------------------------------


def assert_events_and_tables_agree(database: Database) -> None:
    """Every account, role and grant has its event, and every event its change."""
    events = [
        (action, subject, json.loads(before or "{}"), json.loads(after or "{}"))
        for action, subject, before, after in database.rows(
            "SELECT action, subject, before, after FROM ops_audit_events ORDER BY seq"
        )
    ]

    def subjects(expected: str) -> list[str]:
        return [subject for action, subject, *_ in events if action == expected]

    users = [f"user:{id}" for (id,) in database.rows("SELECT id FROM ops_users ORDER BY id")]
    assert users == subjects("user:account:create")
    roles = [f"role:{id}" for (id,) in database.rows("SELECT id FROM ops_roles ORDER BY id")]
    assert roles == subjects("role:definition:create")
    granted = [
        (subject, after["role"]) for action, subject, _, after in events if action[-5:] == "grant"
    ]
    revoked = [
        (subject, before["role"])
        for action, subject, before, _ in events
        if action[-6:] == "revoke"
    ]
    ever = "SELECT g.user_id, r.name FROM ops_grants g JOIN ops_roles r ON r.id = g.role_id"
    assert [(f"user:{id}", name) for id, name in database.rows(f"{ever} ORDER BY g.id")] == granted
    over = f"{ever} WHERE g.ended_at IS NOT NULL ORDER BY g.id"
    assert [(f"user:{id}", name) for id, name in database.rows(over)] == revoked
    seqs = [seq for (seq,) in database.rows("SELECT seq FROM ops_audit_events ORDER BY seq")]
    assert database.rows("SELECT seq FROM ops_audit_head") == [(len(seqs),)]
    assert seqs == list(range(1, len(seqs) + 1))


def assert_chain_holds(cli: Cli) -> None:
    verified = cli("audit", "verify", "--format", "json")
    assert (verified.exit_code, verified.json["ok"]) == (0, True), verified


# --- killed while it changes accounts ----------------------------------------


def change_for_ever(name: str) -> None:
    """Commit units of three events and of one; after each commit say its number and id."""
    import itertools
    import sys

    import opsapp
    from opsapp.accounts import grants, roles, users
    from opsapp.actors import Actor
    from opsapp.unit.work import Unit

    def acknowledge(unit: Unit) -> None:
        sys.stdout.write(f"{unit.seq} {unit.correlation}\n")
        sys.stdout.flush()

    with opsapp.without_web():
        app = opsapp.create_app()
    actor = Actor(kind="os", name="worker")
    for number in itertools.count():
        email, role = f"{name}-{number}@example.com", f"{name}-{number}"
        with app.app_context():
            unit = Unit(actor=actor, door="job")
            with unit:
                users.create(email, unit=unit)
                roles.create(role, unit=unit)
                grants.grant(role, [email], unit=unit)
            acknowledge(unit)
            unit = Unit(actor=actor, door="job")
            grants.revoke(role, [email], unit=unit)
            acknowledge(unit)


def test_kill_changing_processes_loses_nothing_that_was_acknowledged(
    cli: Cli, database: Database, kind: str
) -> None:
    chance = dice("changes", kind)
    acknowledged = []
    for kill in range(KILLS):
        worker = start_work(database, change_for_ever, f"w{kill}")
        assert worker.stdout is not None
        lines = [worker.stdout.readline() for _ in range(chance.randrange(1, 12))]
        time.sleep(chance.uniform(0, 0.02))  # Any moment of the next change will do.
        worker.kill()
        lines += worker.stdout.readlines()
        assert ended(worker) == Result(KILLED, "", "")
        acknowledged += [line.split() for line in lines if line.endswith("\n")]

        # No process is kept out, and the numbers go on without a gap.
        [(last,)] = database.rows("SELECT max(seq) FROM ops_audit_events")
        after = cli("roles", "create", f"after-{kill}")
        assert (after.exit_code, after.stderr) == (0, f"Done, audit event {last + 1}.\n")
        assert_events_and_tables_agree(database)

    events = database.rows("SELECT seq, correlation FROM ops_audit_events ORDER BY seq")
    assert [(int(seq), id) in events for seq, id in acknowledged] == [True] * len(acknowledged)
    assert len(acknowledged) >= KILLS
    # A unit is there with all its events or with none.
    by_worker = "SELECT count(*) FROM ops_audit_events WHERE door = 'job' GROUP BY correlation"
    assert {count for (count,) in database.rows(by_worker)} == {1, 3}
    assert_chain_holds(cli)


def die_at_each_statement(*_: str) -> None:
    """Change something in one fork after the other, each killed one statement later."""
    import os
    import signal
    import sys

    import sqlalchemy as sa

    import opsapp
    from opsapp.accounts import grants, roles, users
    from opsapp.actors import Actor
    from opsapp.extensions import db
    from opsapp.unit.work import Unit

    # The notices are written after the commit, when there is nothing left to undo.
    with opsapp.without_web():
        app = opsapp.create_app({"OPSAPP_NOTICES": False})

    def change(name: str, last: int) -> None:
        passed = 0

        def die(*_: object) -> None:
            nonlocal passed
            passed += 1
            if passed == last:
                os.kill(os.getpid(), signal.SIGKILL)

        with app.app_context():
            for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
                sa.event.listen(db.engine, moment, die)
            with Unit(actor=Actor(kind="os", name="worker"), door="job") as unit:
                users.create(f"{name}@example.com", unit=unit)
                roles.create(name, unit=unit)
                grants.grant(name, [f"{name}@example.com"], unit=unit)

    for last in range(1, 1000):
        child = os.fork()
        if child == 0:
            change(f"n{last}", last)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ended_as = os.waitstatus_to_exitcode(status)
        sys.stdout.write(f"{ended_as}\n")
        if ended_as != -signal.SIGKILL:
            break


def test_kill_a_change_at_each_of_its_statements_leaves_nothing_of_it(
    cli: Cli, database: Database
) -> None:
    done = ended(start_work(database, die_at_each_statement))
    assert (done.exit_code, done.stderr) == (0, "")
    *killed, last = map(int, done.stdout.split())
    assert len(killed) > 20
    assert set(killed) == {KILLED}
    assert last == 0
    # The only one that was not killed is the only one that is there.
    survivor = f"n{len(killed) + 1}"
    assert database.rows("SELECT email FROM ops_users") == [(f"{survivor}@example.com",)]
    assert database.rows("SELECT name FROM ops_roles ORDER BY id") == [("admin",), (survivor,)]
    assert database.rows("SELECT count(*) FROM ops_audit_personal") == [(1,)]
    assert database.rows("SELECT count(*) FROM ops_audit_events WHERE door = 'job'") == [(3,)]
    assert_chain_holds(cli)


# --- killed while it makes the database --------------------------------------


def events_without_chain(database: Database) -> list[tuple[object, ...]]:
    """The events, without the id of the chain that the first one has."""
    columns = "SELECT seq, action, subject, before, after FROM ops_audit_events ORDER BY seq"
    rows = [(*row, json.loads(after)) for *row, after in database.rows(columns)]
    assert rows[0][-1].pop("chain")
    return rows


def assert_init_mends_all(
    database: Database, sqlite_templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run it again: the database is as if no process had been killed."""
    again = call(database, "db", "init")
    assert again.exit_code == 0, again
    assert events_without_chain(database) == events_without_chain(sqlite_templates.of())
    assert database.rows("SELECT name, builtin FROM ops_roles") == [("admin", True)]
    assert_chain_holds(in_process(database, monkeypatch))


@pytest.mark.parametrize("moment", range(3))
def test_kill_init_at_any_moment_leaves_nothing_to_mend(
    empty_database: Database,
    sqlite_templates: Templates,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    moment: int,
) -> None:
    init = start(empty_database, FLASK, "db", "init")
    secrets = empty_database.instance / "secrets"
    until(lambda: secrets.exists() or init.poll() is not None)
    time.sleep(dice("init", kind, moment).uniform(0, 0.3))
    init.kill()
    assert ended(init).exit_code in (KILLED, 0)  # It may have been quicker.
    assert_init_mends_all(empty_database, sqlite_templates, monkeypatch)


def init_until(last: str) -> None:
    """`flask db init`, killed as it sends its statement of this number."""
    import itertools
    import os
    import signal
    import sys

    import sqlalchemy as sa
    from flask.cli import main

    sent = itertools.count(1)

    @sa.event.listens_for(sa.Engine, "before_cursor_execute")
    def die(*_: object) -> None:
        if next(sent) == int(last):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.argv = ["flask", "db", "init"]
    main()


@pytest.mark.parametrize("statement", [1, 8, 14, 20, 24, 27, 29, 31, 33, 35])
def test_kill_init_at_a_statement_leaves_nothing_to_mend(
    empty_database: Database,
    sqlite_templates: Templates,
    monkeypatch: pytest.MonkeyPatch,
    statement: int,
) -> None:
    init = ended(start_work(empty_database, init_until, statement))
    assert init == Result(KILLED, "", "")
    assert_init_mends_all(empty_database, sqlite_templates, monkeypatch)


# --- stopped, or kept waiting, at the gate -----------------------------------


def waits(database: Database, process: subprocess.Popen[str]) -> bool:
    """Whether the process stands before the gate."""
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
    r"the database is being written for more than 5 seconds by process PID of \S+"
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
