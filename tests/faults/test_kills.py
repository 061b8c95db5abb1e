"""Processes that are killed: what is committed stays, and only that."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults import tally
from tests.faults.amounts import IS_LONG, dice, times, trials
from tests.faults.commands import BATCHES, BEGINNING, COMMANDS
from tests.faults.judging import (
    actions,
    assert_again_completes,
    assert_files_are_whole,
    assert_next_command_works,
    assert_promises_kept,
)
from tests.faults.racers import change_for_ever
from tests.support import FLASK, Cli, Database, Result, call, run
from tests.support.forks import forked
from tests.support.processes import ended, start, start_work, until
from tests.support.templates import Templates

KILLED = -signal.SIGKILL
KILLS = 50 if IS_LONG else 6
"""Of processes that change one database."""


# --- any command, at any moment ----------------------------------------------


def killed_after(seconds: float) -> Callable[[int], None]:
    def kill(pid: int) -> None:
        time.sleep(seconds)  # Any moment of the command will do.
        with suppress(ProcessLookupError):  # It was quicker.
            os.kill(pid, signal.SIGKILL)

    return kill


def test_kill_a_command_at_any_moment_leaves_the_old_or_the_new_state(
    templates: Templates, tmp_path: Path, kind: str
) -> None:
    chance = dice("commands", kind)
    for number in trials(3, 500):
        command = chance.choice((*COMMANDS, BATCHES))
        longest = 3 if command is BATCHES else 0.6
        with templates.copy(tmp_path / str(number), BEGINNING) as database:
            command.prepare(database)
            before = len(actions(database))
            kill = killed_after(chance.uniform(0, longest))
            result = run(database, *command.words, stdin=command.stdin, begun=kill)
            events = tuple(actions(database)[before:])
            where = f"{command.name}: {result}"
            assert result.exit_code in (KILLED, 0), where
            assert events in command.states, where
            if result.exit_code == 0 or "Done, audit event" in result.stderr:
                assert events == command.events, where
            assert_promises_kept(database, where)
            assert_files_are_whole(database)
            assert_next_command_works(database, where)
            assert_again_completes(database, command, before, where)
        shutil.rmtree(database.instance)
        tally.count("Kill at a random moment", command.name, kind, command.outcome(events))


# --- killed while it changes accounts ----------------------------------------


def killed_after_lines(file: Path, lines: int, seconds: float) -> Callable[[int], None]:
    """Kill a process so many seconds after the file has so many lines."""
    kill = killed_after(seconds)

    def wait_and_kill(pid: int) -> None:
        until(lambda: file.read_text().count("\n") >= lines or has_ended(pid))
        kill(pid)

    return wait_and_kill


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# The reader reads all events after each kill, so that many kills take several databases.
@pytest.mark.parametrize("part", range(times(1, 10)))
def test_kill_changing_processes_loses_nothing_that_was_acknowledged(
    cli: Cli, database: Database, kind: str, part: int
) -> None:
    chance = dice("changes", kind, part)
    trial = ("Kill at a random moment", "process that changes accounts", kind)
    file = database.instance / "acknowledged"
    file.touch()
    acknowledged: list[list[str]] = []
    for number in trials(KILLS, KILLS):
        lines = len(acknowledged) + chance.randrange(1, 12)
        done = forked(
            change_for_ever,
            *(f"w{number}", str(file)),
            environ=database.environ,
            folder=database.instance,
            begun=killed_after_lines(file, lines, chance.uniform(0, 0.02)),
        )
        assert done == (KILLED, "", "")
        before = len(acknowledged)
        acknowledged = [line.split() for line in file.read_text().splitlines()]
        assert_all_there(database, acknowledged[before:])

        # No process is kept out, and the numbers go on without a gap.
        [(last,)] = database.rows("SELECT max(seq) FROM ops_audit_events")
        after = cli("roles", "create", f"after-{number}")
        assert (after.exit_code, after.stderr) == (0, f"Done, audit event {last + 1}.\n")
        assert_promises_kept(database)
        tally.count(*trial, "killed")
        tally.count(*trial, "acknowledged changes, all there", len(acknowledged) - before)
    assert_all_there(database, acknowledged)


def assert_all_there(database: Database, acknowledged: list[list[str]]) -> None:
    """Find each acknowledged unit, with all its events."""
    events = set(database.rows("SELECT seq, correlation FROM ops_audit_events"))
    assert {(int(seq), id) for seq, id in acknowledged} <= events
    by_worker = "SELECT count(*) FROM ops_audit_events WHERE door = 'job' GROUP BY correlation"
    assert {count for (count,) in database.rows(by_worker)} <= {1, 3}


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
    database: Database, kind: str
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
    assert_promises_kept(database)
    tally.count("Kill at a statement", "unit of three events", kind, "old state", len(killed))


# --- killed while it makes the database --------------------------------------


def events_without_chain(database: Database) -> list[tuple[object, ...]]:
    """The events, without the id of the chain that the first one has."""
    columns = "SELECT seq, action, subject, before, after FROM ops_audit_events ORDER BY seq"
    rows = [(*row, json.loads(after)) for *row, after in database.rows(columns)]
    assert rows[0][-1].pop("chain")
    return rows


def assert_init_mends_all(database: Database, sqlite_templates: Templates) -> None:
    """Run it again: the database is as if no process had been killed."""
    again = call(database, "db", "init")
    assert again.exit_code == 0, again
    assert events_without_chain(database) == events_without_chain(sqlite_templates.of())
    assert database.rows("SELECT name, builtin FROM ops_roles") == [("admin", True)]
    assert_promises_kept(database)


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


@pytest.mark.parametrize("statement", range(1, 36) if IS_LONG else [20, 33])
def test_kill_init_at_a_statement_leaves_nothing_to_mend(
    empty_database: Database, sqlite_templates: Templates, kind: str, statement: int
) -> None:
    init = ended(start_work(empty_database, init_until, statement))
    assert init == Result(KILLED, "", "")
    assert_init_mends_all(empty_database, sqlite_templates)
    tally.count("Kill at a statement", "db init", kind, "made by the next db init")


@pytest.mark.parametrize("moment", range(times(1, 30)))
def test_kill_init_at_any_moment_leaves_nothing_to_mend(
    empty_database: Database, sqlite_templates: Templates, kind: str, moment: int
) -> None:
    init = start(empty_database, FLASK, "db", dice("verb", moment).choice(["init", "upgrade"]))
    secrets = empty_database.instance / "secrets"
    until(lambda: secrets.exists() or init.poll() is not None)
    time.sleep(dice("init", kind, moment).uniform(0, 0.3))
    init.kill()
    assert ended(init).exit_code in (KILLED, 0)  # It may have been quicker.
    assert_init_mends_all(empty_database, sqlite_templates)
    tally.count("Kill at a random moment", "db init", kind, "made by the next db init")
