"""System calls that kill the process or fail, chosen by their number: strace does it."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.support import Database, Result
from tests.support.forks import PATIENCE, flask, forked

FILES = "openat,pwrite64,write,fdatasync,fsync,ftruncate,unlink,rename,fcntl"
"""The calls by which a command changes its files, and locks them."""
SOCKETS = "connect,sendto,recvfrom"
"""The calls by which libpq talks to its server."""
ANSWERS = "connect,recvfrom"
"""Those whose failure is as when a server is lost; after a failed send, libpq waits for it."""


@dataclass(frozen=True)
class Fault:
    """The fault at the system call of this number.

    :param calls: the names of the calls that are counted, with commas between.
    :param does: ``signal=KILL`` or ``error=EIO``, as strace writes it.
    :param number: from 1.
    :param paths: only calls on these files are counted; empty is any.
    """

    calls: str
    does: str
    number: int
    paths: tuple[str, ...] = ()

    def options(self) -> list[str]:
        """Return the options of strace."""
        return [
            *(word for path in self.paths for word in ("-P", path)),
            *("-e", f"trace={self.calls}"),
            *("-e", f"inject={self.calls}:{self.does}:when={self.number}"),
        ]


def files_of(database: Database) -> tuple[str, ...]:
    """Return the files of a SQLite database; nothing for PostgreSQL."""
    if not database.is_sqlite:
        return ()
    file = str(database.instance / "opsapp.sqlite")
    return (file, f"{file}-wal", f"{file}-shm", f"{file}-journal")


def run_with(
    fault: Fault, database: Database, *args: str, stdin: str = "", **environ: str
) -> tuple[Result, bool]:
    """Run ``flask ARGS`` under the fault; return how it ended, and whether the fault came.

    The process is forked from one that has imported everything, and waits for its tracer.
    """
    result, log = _run_traced(fault.options(), database, *args, stdin=stdin, **environ)
    return result, re.search(r"INJECTED|killed by SIGKILL", log) is not None


def calls_of(database: Database, call: str, *args: str) -> list[str]:
    """Run ``flask ARGS``; return its calls of this name on the files of a database, in order."""
    options = [
        *(word for path in files_of(database) for word in ("-P", path)),
        "-e",
        f"trace={call}",
    ]
    result, log = _run_traced(options, database, *args)
    assert result.exit_code == 0, result
    return [line for line in log.splitlines() if line.startswith(call)]


def _run_traced(
    options: list[str], database: Database, *args: str, stdin: str = "", **environ: str
) -> tuple[Result, str]:
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"

        def trace(pid: int) -> None:
            command = ["strace", "-q", "-o", str(log), *options, "-p", str(pid)]
            tracer = stack.enter_context(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            stack.callback(tracer.wait, PATIENCE)

        done = forked(
            _traced_flask,
            *args,
            environ={**database.environ, **environ},
            folder=database.instance,
            stdin=stdin,
            begun=trace,
        )
        stack.close()
        return Result(*done), log.read_text()


def _traced_flask(*words: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        if time.monotonic() > deadline:
            sys.exit("no tracer came")
        time.sleep(0.001)
    flask(*words)


@functools.cache
def why_not() -> str | None:
    """Return the reason for which no process can be traced here; None where one can."""
    if shutil.which("strace") is None:
        return "there is no strace; on Debian: apt-get install strace"
    tried = subprocess.run(
        ["strace", "-o", os.devnull, "true"], capture_output=True, text=True, check=False
    )
    return f"ptrace is not allowed here: {tried.stderr.strip()}" if tried.returncode else None
