"""Jobs that really run: started, waited for, killed, and read from the history."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from processes import start, start_work, until
from support import FLASK, Database, Result, run


def job(database: Database, name: str, *args: str, **environ: str) -> Result:
    """``flask jobs run NAME ARGS`` to its end."""
    return run(database, "jobs", "run", name, *args, **environ)


def start_job(database: Database, name: str, *args: str) -> subprocess.Popen[str]:
    """The same, only started."""
    return start(database, FLASK, "jobs", "run", name, *args)


def start_job_on(database: Database, host: str, name: str, *args: str) -> subprocess.Popen[str]:
    """The same, on a host of this name."""
    return start_work(database, flask_on, host, "jobs", "run", name, *args)


def flask_on(host: str, *words: str) -> None:
    """Run ``flask WORDS`` where the host has this name."""
    import socket
    import sys

    socket.gethostname = lambda: host
    from flask.cli import main

    sys.argv = ["flask", *words]
    main()


def rows(database: Database, columns: str = "status, exit_code") -> list[tuple[Any, ...]]:
    """The history, the oldest run first."""
    return database.rows(f"SELECT {columns} FROM job_runs ORDER BY id")


def is_running(database: Database, name: str) -> bool:
    """Whether the history has an open run of the job."""
    query = "SELECT 1 FROM job_runs WHERE name = :name AND finished_at IS NULL"
    return bool(database.rows(query, name=name))


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_in(file: Path) -> int:
    """The process id that a command has written into the file, once it is there."""
    until(lambda: file.exists() and file.read_text().strip())
    return int(file.read_text())
