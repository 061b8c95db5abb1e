"""Processes that race, wait or are killed: started with their pipes open, and seen to their end."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable

from support import Database, Result

PATIENCE = 120
"""Seconds after which a process that has not ended is taken to hang."""


def start(database: Database, *command: str) -> subprocess.Popen[str]:
    """Start a process that finds the database."""
    return subprocess.Popen(
        command,
        env=database.environ,
        cwd=database.instance,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_work(
    database: Database, work: Callable[..., None], *args: object
) -> subprocess.Popen[str]:
    """Run the function ``work`` in a process of its own; its arguments arrive as strings."""
    script = f"import sys\n{inspect.getsource(work)}\n{work.__name__}(*sys.argv[1:])"
    return start(database, sys.executable, "-c", script, *map(str, args))


def ended(process: subprocess.Popen[str]) -> Result:
    """Close its stdin, wait for its end, and say how it ended."""
    try:
        stdout, stderr = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    return Result(process.returncode, stdout, stderr)
