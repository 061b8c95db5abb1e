"""Jobs that really run: started, waited for, killed, and read from the history."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support import FLASK, Database, Result, run
from tests.support.processes import start, start_work, until


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


def job_killed_at_its_start(*words: str) -> None:
    """Run ``flask jobs run WORDS``, killed once the command's process is there."""
    import os
    import signal
    import sys
    from pathlib import Path

    from opsapp.jobs import guardian

    def killed(_guardian: object, child: int) -> None:
        Path("child").write_text(str(child))
        os.kill(os.getpid(), signal.SIGKILL)

    guardian.watch = killed
    from flask.cli import main

    sys.argv = ["flask", "jobs", "run", *words]
    main()


def rows(database: Database, columns: str = "status, exit_code") -> list[tuple[Any, ...]]:
    """The history, the oldest run first."""
    return database.rows(f"SELECT {columns} FROM ops_job_runs ORDER BY id")


def is_running(database: Database, name: str) -> bool:
    """Tell whether the history has an open run of the job."""
    query = "SELECT 1 FROM ops_job_runs WHERE name = :name AND finished_at IS NULL"
    return bool(database.rows(query, name=name))


def is_alive(pid: int) -> bool:
    """Tell whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_in(file: Path) -> int:
    """The process id that a command has written into the file, once it is there."""
    until(lambda: file.exists() and file.read_text().strip())
    return int(file.read_text())


def past(
    database: Database,
    name: str,
    status: str = "succeeded",
    *,
    at: datetime,
    seconds: float = 1.0,
    slot: datetime | None = None,
    printed: str | None = None,
) -> None:
    """Write a run into the history that has ended without a trace of its process."""
    database.execute(
        "INSERT INTO ops_job_runs (name, status, slot, started_at, finished_at, seconds, exit_code,"
        " attempts, command, host, pid, actor, correlation) VALUES (:name, :status, :slot, :at,"
        " :end, :seconds, :code, 1, '[\"true\"]', 'db1', 7, 'root@db1', '-')",
        name=name,
        status=status,
        slot=slot and _stored(database, slot),
        at=_stored(database, at),
        end=_stored(database, at + timedelta(seconds=seconds)),
        seconds=seconds,
        code=0 if status in ("succeeded", "skipped") else 1,
    )
    if printed is not None:
        database.execute(
            "INSERT INTO ops_job_output (run_id, stream, text)"
            " SELECT max(id), 'stdout', :printed FROM ops_job_runs",
            printed=printed,
        )


def _stored(database: Database, moment: datetime) -> datetime | str:
    """The moment as the database keeps it."""
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}" if database.is_sqlite else moment


def schedule_file(database: Database, content: str, *, changed: datetime | None = None) -> Path:
    """Give the installation a `jobs.toml`, which was changed last at that moment."""
    file = database.instance / "jobs.toml"
    file.write_text(content)
    if changed is not None:
        os.utime(file, (changed.timestamp(), changed.timestamp()))
    return file
