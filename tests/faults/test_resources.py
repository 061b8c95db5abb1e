"""Commands without room, memory, files, a home or a place to write to: old or new state, said."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import tally
from tests.faults.amounts import IS_LONG
from tests.faults.commands import BEGINNING, flask_an_hour_ago
from tests.faults.judging import actions, assert_next_command_works, assert_promises_kept
from tests.support import FLASK, Database, Result, run
from tests.support.forks import forked
from tests.support.templates import Templates

CREATE = ("users", "create", "cyd@example.com", "--no-password")
Limit = Callable[[], None]


def limit(kind: int, most: int) -> Limit:
    return lambda: resource.setrlimit(kind, (most, most))


def ended(
    database: Database, *, shell: str = '"$@"', begin: Limit | None = None, **env: str
) -> Result:
    """Run the command from a shell line, in which ``"$@"`` is the command."""
    environ = {**database.environ, **env}
    done = subprocess.run(
        ["/bin/bash", "-o", "pipefail", "-c", shell, "bash", FLASK, *CREATE],
        env={name: value for name, value in environ.items() if value},
        cwd=database.instance,
        preexec_fn=begin,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def begun(templates: Templates, tmp_path: Path) -> Iterator[Database]:
    with templates.copy(tmp_path / "instance", BEGINNING) as database:
        yield database


def judge(trial: str, database: Database, result: Result, kind: str, before: int) -> None:
    events = actions(database)[before:]
    assert "Traceback" not in result.stderr, result
    assert events in ([], ["user:account:create"]), result
    if result.exit_code == 0:
        assert events, result
    assert_promises_kept(database, str(result))
    assert_next_command_works(database, str(result))
    state = "new state" if events else "old state"
    tally.count("Resources", trial, kind, f"{state}, exit {result.exit_code}")


# Root writes to files that are read-only, unless it gives up that capability.
UNPRIVILEGED = "setpriv --bounding-set=-dac_override " if os.getuid() == 0 else ""
OF_SQLITE = ("read-only file", "read-only folder")
"""The trials that need the file of a database."""

SURROUNDINGS = {
    "closed stdout": ({"shell": '"$@" >&-'}, 74),
    "closed stderr": ({"shell": '"$@" 2>&-'}, 0),
    "stdout is /dev/full": ({"shell": '"$@" >/dev/full'}, 74),
    "stderr is /dev/full": ({"shell": '"$@" 2>/dev/full'}, 0),
    "a reader that has gone": ({"shell": '"$@" | true'}, 141),
    "LANG=C": ({"LANG": "C", "LC_ALL": "C"}, 0),
    "no HOME": ({"HOME": ""}, 0),
    "no TMPDIR that exists": ({"TMPDIR": "/nowhere"}, 0),
    "no TERM": ({"TERM": ""}, 0),
    "16 file descriptors": ({"begin": limit(resource.RLIMIT_NOFILE, 16)}, 0),
    "7 file descriptors": ({"begin": limit(resource.RLIMIT_NOFILE, 7)}, None),
    "5 file descriptors": ({"begin": limit(resource.RLIMIT_NOFILE, 5)}, None),
    "read-only file": ({"shell": f'chmod 400 opsapp.sqlite* && {UNPRIVILEGED}"$@"'}, 7),
    "read-only folder": ({"shell": f'chmod 500 . && {UNPRIVILEGED}"$@"'}, 7),
    "256 MiB of memory": ({"begin": limit(resource.RLIMIT_AS, 256 << 20)}, 0),
    "files of 64 KiB at most": ({"begin": limit(resource.RLIMIT_FSIZE, 64 << 10)}, None),
}


TOO_MANY = re.compile(
    r"(Done, audit event \d+\.\n)?Error: \S+: Too many open files(; but the change is made, .+)?\n"
)

USUAL = ("stdout is /dev/full", "16 file descriptors", "256 MiB of memory")


@pytest.mark.parametrize("trial", SURROUNDINGS if IS_LONG else USUAL)
def test_command_in_want_of_something(begun: Database, kind: str, trial: str) -> None:
    surroundings, exit_code = SURROUNDINGS[trial]
    if trial in OF_SQLITE and kind != "sqlite":
        pytest.skip("the database is not a file")
    before = len(actions(begun))
    result = ended(begun, **surroundings)  # type: ignore[arg-type]
    for path in (begun.instance, *begun.instance.glob("opsapp.sqlite*")):
        path.chmod(0o700)
    assert result.exit_code == exit_code or exit_code is None, result
    assert result.exit_code != 1 or TOO_MANY.fullmatch(result.stderr), result
    assert exit_code is not None or result.exit_code in (0, 1, 7), result
    judge(trial, begun, result, kind, before)


@pytest.mark.usefixtures("sqlite_only")
def test_database_folder_that_is_gone_is_7(begun: Database, kind: str) -> None:
    before = len(actions(begun))
    aside = begun.instance.with_name("aside")
    begun.instance.rename(aside)
    elsewhere = Database(begun.url, aside)
    result = ended(elsewhere)
    aside.rename(begun.instance)
    assert (result.exit_code, result.stdout) == (7, "")
    judge("database folder gone", begun, result, kind, before)


# --- the clock ---------------------------------------------------------------------


def test_clock_that_was_set_back_breaks_nothing(begun: Database, kind: str) -> None:
    before = len(actions(begun))
    done = Result(*forked(flask_an_hour_ago, *CREATE, environ=begun.environ, folder=begun.instance))
    assert done.exit_code == 0, done
    [(last, previous)] = begun.rows(
        "SELECT a.at, b.at FROM ops_audit_events a JOIN ops_audit_events b ON b.seq = a.seq - 1"
        " WHERE a.seq = (SELECT max(seq) FROM ops_audit_events)"
    )
    assert last < previous
    judge("clock back an hour", begun, done, kind, before)
    assert run(begun, "audit", "verify", "--state").exit_code == 0
