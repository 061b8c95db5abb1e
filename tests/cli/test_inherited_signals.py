"""Callers that ignore or block signals: commands and jobs do not hand that down."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support import FLASK, Database, Result, run_afresh
from tests.support.forks import PATIENCE

ON_PURPOSE = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
IGNORED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1, signal.SIGPIPE)
BLOCKED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


def run_deaf(database: Database, *args: str, **environ: str) -> Result:
    """Run ``flask ARGS`` as the child of a caller that has ignored and blocked signals."""

    def be_deaf() -> None:
        for number in (*IGNORED, *ON_PURPOSE):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)

    done = subprocess.run(
        [FLASK, *args],
        env={**database.environ, **environ},
        cwd=database.instance,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        preexec_fn=be_deaf,
        restore_signals=False,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def mask_of(numbers: Iterable[int]) -> int:
    """The signals as the kernel prints them: bit 0 is signal 1."""
    return sum(1 << number - 1 for number in numbers)


@pytest.fixture
def kind() -> str:
    """SQLite alone, but where pg_dump is the point."""
    return "sqlite"


def test_job_hears_all_but_what_is_ignored_on_purpose(database: Database) -> None:
    lines = "grep -E 'Sig(Ign|Blk)' /proc/self/status"
    done = run_deaf(database, "jobs", "run", "deaf", "--", "sh", "-c", lines)
    assert (done.exit_code, done.stderr) == (0, "")
    # Signals 32 and 33 are the C library's: a program cannot restore them.
    ours = mask_of(signal.valid_signals())
    masks = {name: int(mask, 16) & ours for name, mask in map(str.split, done.stdout.splitlines())}
    assert masks == {"SigBlk:": 0, "SigIgn:": mask_of(ON_PURPOSE)}


def test_timeout_ends_a_job(database: Database) -> None:
    done = run_deaf(database, "jobs", "run", "deaf", "--timeout", "1s", "--", "sleep", "1000")
    assert (done.exit_code, done.stderr) == (
        124,
        "deaf timed-out (run 1): it took longer than 1 s.\n",
    )


def test_application_that_ignores_the_end_of_its_children(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "deaf.py").write_text(
        "import signal\n"
        "from opsapp import create_app as create\n"
        "def create_app():\n"
        "    signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "    return create()\n"
    )
    words = ("jobs", "run", "deaf", "--", "sh", "-c", "exit 3")
    done = run_afresh(database, *words, FLASK_APP="deaf", PYTHONPATH=str(tmp_path))
    assert (done.exit_code, done.stderr) == (3, "")


def test_end_of_a_measured_command_is_seen(database: Database) -> None:
    words = ("profile", "run", "--repeat", "1", "--fields", "outcomes", "--", "roles", "show", "x")
    done = run_deaf(database, *words)
    assert (done.exit_code, done.stdout) == (6, 'field\tvalue\noutcomes\t{"4": 1}\n')


@pytest.mark.parametrize("kind", ["postgresql"])
@pytest.mark.parametrize("script", ["exit 1", "kill -KILL $$"])
def test_failed_dump_replaces_no_copy(database: Database, tmp_path: Path, script: str) -> None:
    program = tmp_path / "pg_dump"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    copy = tmp_path / "copy"
    copy.write_text("yesterday's")
    path = f"{tmp_path}:/usr/bin:/bin"
    done = run_deaf(database, "db", "backup", str(copy), "--overwrite", PATH=path)
    code = "1" if script == "exit 1" else "-9"
    assert (done.exit_code, done.stderr) == (1, f"Error: pg_dump failed: it ended with {code}\n")
    assert copy.read_text() == "yesterday's"
