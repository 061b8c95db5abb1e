"""Commands that are killed at their N-th system call, or whose N-th call fails."""

from __future__ import annotations

import itertools
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import amounts, tally
from tests.faults.amounts import IS_LONG, dice, step
from tests.faults.commands import BEGINNING, COMMANDS, Command
from tests.faults.judging import (
    actions,
    assert_files_are_whole,
    assert_next_command_works,
    assert_promises_kept,
)
from tests.faults.tracing import (
    ANSWERS,
    FILES,
    SOCKETS,
    Fault,
    calls_of,
    files_of,
    run_with,
    why_not,
)
from tests.support import Database, Result, run
from tests.support.templates import Templates

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

KILL = "signal=KILL"
KILLED = -9
FAILED = re.compile("it may or may not have happened|^Error: the backup failed: ")
"""The failures that are 1: a commit in doubt, and a copy that could not be made."""
LINES = re.compile(r"(Warning: mail \d+ waits: .+\n)?(Done, .+\n)?Error: .+\n(  → .+\n)?")
"""The output of a command that failed; mail of an earlier change has a line of its own."""
SAID = ("it may or may not have happened", "but the change is made")


@dataclass(frozen=True)
class Trial:
    """One disturbed command and what it left."""

    number: int
    came: bool
    result: Result
    events: tuple[str, ...]


def disturbed(
    templates: Templates, folder: Path, command: Command, calls: str, does: str, number: int
) -> Trial:
    """Run the command with the fault on a database of its own, and judge what it leaves."""
    instance = folder / "instance"
    with templates.copy(instance, BEGINNING) as database:
        command.prepare(database)
        before = len(actions(database))
        fault = Fault(calls, does, number, files_of(database))
        result, came = run_with(fault, database, *command.words, stdin=command.stdin)
        where = f"{command.name}, {does} at {calls} number {number}: {result}"
        assert_promises_kept(database, where)
        events = tuple(actions(database)[before:])
        assert events in command.states, where
        if result.exit_code == 0:
            assert events == command.events, where
        assert_files_are_whole(database)
        assert_next_command_works(database, where)
    shutil.rmtree(instance)
    return Trial(number, came, result, events)


def tried(
    templates: Templates, folder: Path, kind: str, command: Command, does: str
) -> Iterator[Trial]:
    """Disturb the N-th call of each kind until a run passes; a short run leaves some out."""
    sockets = SOCKETS if does == KILL else ANSWERS
    calls = (FILES if kind == "sqlite" else sockets).split(",")
    chance = dice(command.name, kind, does)
    deadline = time.monotonic() + amounts.share
    for call in calls if IS_LONG else chance.sample(calls, 2):
        distance = step(10)
        number = chance.randrange(1, distance + 1)
        while (trial := disturbed(templates, folder, command, call, does, number)).came:
            yield trial
            number += distance
            if IS_LONG and time.monotonic() > deadline:
                return
        assert trial.result.exit_code == 0, trial


CHOSEN = COMMANDS if IS_LONG else COMMANDS[1:2]


@pytest.mark.parametrize("command", CHOSEN, ids=lambda command: command.name)
def test_kill_at_a_system_call_leaves_the_old_or_the_new_state(
    templates: Templates, tmp_path: Path, kind: str, command: Command
) -> None:
    for trial in tried(templates, tmp_path, kind, command, KILL):
        assert trial.result.exit_code == KILLED, trial
        tally.count("Kill at a system call", command.name, kind, command.outcome(trial.events))


@pytest.mark.parametrize("command", CHOSEN, ids=lambda command: command.name)
@pytest.mark.parametrize("errno", ["EIO", "ENOSPC", "EINTR"])
def test_failing_system_call_leaves_the_old_or_the_new_state_and_one_line(
    templates: Templates, tmp_path: Path, kind: str, command: Command, errno: str
) -> None:
    if kind == "postgresql":
        if errno == "ENOSPC":
            pytest.skip("no socket answers with ENOSPC")
        errno = errno.replace("EIO", "ECONNRESET")
    for trial in tried(templates, tmp_path, kind, command, f"error={errno}"):
        exit_code, stderr = trial.result.exit_code, trial.result.stderr
        assert exit_code in (0, 7, 74, 75) or (exit_code == 1 and FAILED.search(stderr)), trial
        assert "Traceback" not in stderr, trial
        assert "something unexpected" not in stderr, trial
        # No server is there to be lost: a lock that fails at the commit leaves no doubt.
        assert kind != "sqlite" or "the connection broke" not in stderr, trial
        if exit_code:
            assert LINES.fullmatch(stderr), trial
        if exit_code and trial.events == command.events and command.events:
            assert exit_code == 74 or any(words in stderr for words in SAID), trial
        tally.count(
            f"Failing system call ({errno})",
            command.name,
            kind,
            f"{command.outcome(trial.events)}, exit {exit_code}",
        )


# --- a lock that stays ---------------------------------------------------------------

READ_MARK = "l_start=124"
"""The byte of the ``-shm`` file by which SQLite locks the first read mark that it sets."""


@pytest.mark.usefixtures("sqlite_only")
def test_lock_that_is_not_released_keeps_no_later_transaction_from_writing(
    database: Database,
) -> None:
    job = ("jobs", "run", "nightly", "--", "true")
    run(database, *job, check=True)
    calls = calls_of(database, "fcntl", *job)
    # SQLite takes ten seconds to give up. The last one is before the end of the run is recorded.
    release = max(
        number
        for number, (before, call) in enumerate(itertools.pairwise(calls), 2)
        if "F_WRLCK" in before and "F_UNLCK" in call and READ_MARK in before and READ_MARK in call
    )
    fault = Fault("fcntl", "error=EIO", release, files_of(database))
    assert run_with(fault, database, *job) == (Result(0, "", ""), True)
    [(status, times)] = database.rows("SELECT status, count(*) FROM ops_job_runs GROUP BY status")
    assert (status, times) == ("succeeded", 3)
    assert_promises_kept(database)
