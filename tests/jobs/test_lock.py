"""One run of a name at a time: on every host, whichever process is killed or restarted."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support import Cli, Database, Result, call
from tests.support.jobwork import (
    is_alive,
    is_running,
    job,
    job_killed_at_its_start,
    pid_in,
    rows,
    start_job,
    start_job_on,
)
from tests.support.processes import ended, start_work, until

CROWD = 200


def hold(database: Database, tmp_path: Path, name: str = "a") -> tuple[Any, int]:
    """A run that goes on, and its command's process."""
    script = f"echo $$ > {tmp_path}/{name}.pid; exec sleep 600"
    runner = start_job(database, name, "--", "sh", "-c", script)
    return runner, pid_in(tmp_path / f"{name}.pid")


def let_go(runner: Any) -> None:
    runner.terminate()
    ended(runner)


def test_busy_message_names_host_process_and_since_when(database: Database, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec sleep 600"
    runner = start_job_on(database, "db2", "a", "--", "sh", "-c", script)
    pid_in(tmp_path / "pid")
    [(pid, since)] = rows(database, "pid, started_at")
    found = job(database, "a", "--", "true")
    assert found.exit_code == 75
    minute = str(since)[:16].replace(" ", "T")
    assert f"Error: a is running: process {pid} on db2 since {minute}" in found.stderr
    assert (pid, found.stdout) == (runner.pid, "")
    assert rows(database, "status") == [("running",)]  # Nothing is written of who fails so.
    let_go(runner)


def test_skip_is_0_with_a_record(database: Database, tmp_path: Path) -> None:
    runner, _pid = hold(database, tmp_path)
    found = job(database, "a", "--on-busy", "skip", "--quiet", "--", "true")
    assert found == Result(0, "", "")
    assert rows(database) == [("running", None), ("skipped", 0)]
    # The question is about the run that goes on.
    listed = call(database, "jobs", "list", "--format", "json").json
    assert [one["status"] for one in listed if one["name"] == "a"] == ["running"]
    let_go(runner)


def test_wait_runs_when_the_other_has_ended(database: Database, tmp_path: Path) -> None:
    runner, _pid = hold(database, tmp_path)
    waiting = start_job(database, "a", "--on-busy", "wait", "--", "echo", "mine")
    until(lambda: is_waiting(waiting.pid, database))
    assert waiting.poll() is None
    let_go(runner)
    assert ended(waiting) == Result(0, "mine\n", "")
    assert rows(database) == [("terminated", 143), ("succeeded", 0)]


def test_signal_ends_the_wait(database: Database, tmp_path: Path) -> None:
    runner, _pid = hold(database, tmp_path)
    waiting = start_job(database, "a", "--on-busy", "wait", "--", "true")
    until(lambda: is_waiting(waiting.pid, database))
    waiting.terminate()
    assert ended(waiting).exit_code == 143
    assert rows(database) == [("running", None)]
    let_go(runner)


def is_waiting(pid: int, database: Database) -> bool:
    """Tell whether the process is at the lock: its file is open, or its session."""
    if not database.is_sqlite:
        query = (
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE '%pg_try_advisory_lock%'"
        )
        return len(database.rows(query)) == 2
    with suppress(FileNotFoundError):  # A file that was closed meanwhile.
        files = Path(f"/proc/{pid}/fd").iterdir()
        return any(file.readlink().name.endswith(".job-a.lock") for file in files)
    return False


def test_wait_is_bounded(database: Database, tmp_path: Path) -> None:
    runner, _pid = hold(database, tmp_path)
    assert job(database, "a", "--on-busy", "wait=1s", "--", "true").exit_code == 75
    let_go(runner)


def test_jobs_of_other_names_run_beside(database: Database, tmp_path: Path) -> None:
    runner, _pid = hold(database, tmp_path)
    assert job(database, "b", "--", "true").exit_code == 0
    let_go(runner)


def test_holder_killed_with_9_frees_it_and_takes_its_command_along(
    cli: Cli, database: Database, tmp_path: Path
) -> None:
    # One has left the session, and one has emptied its environment.
    far = f"setsid sh -c 'echo $$ > {tmp_path}/far; exec sleep 600' & "
    script = f"{far} echo $$ > {tmp_path}/pid; echo here; exec env -i sleep 600"
    runner = start_job(database, "a", "--", "sh", "-c", script)
    pids = pid_in(tmp_path / "pid"), pid_in(tmp_path / "far")
    assert runner.stdout is not None
    assert runner.stdout.readline() == "here\n"  # Its guardian knows the group by now.
    runner.kill()
    again = job(database, "a", "--on-busy", "wait=60s", "--", "true")
    assert ended(runner).exit_code == -signal.SIGKILL
    assert again == Result(0, "", "")
    assert not any(map(is_alive, pids))
    shown = cli("jobs", "history", "--format", "json").json
    assert [(one["status"], one["exit_code"]) for one in shown] == [
        ("succeeded", 0),
        ("crashed", None),
    ]
    assert "its runner or its host died" in shown[1]["reason"]


def test_command_is_at_no_moment_without_its_guardian(database: Database) -> None:
    runner = start_work(database, job_killed_at_its_start, "a", "--", "sleep", "600")
    assert ended(runner).exit_code == -signal.SIGKILL
    command = int((database.instance / "child").read_text())
    until(lambda: not is_alive(command))
    again = job(database, "a", "--on-busy", "wait=30s", "--", "true")
    assert again == Result(0, "", "")


def test_crashed_is_told_before_the_next_run(cli: Cli, database: Database, tmp_path: Path) -> None:
    runner, _pid = hold(database, tmp_path)
    assert [one["status"] for one in cli("jobs", "history", "--format", "json").json] == ["running"]
    runner.kill()
    ended(runner)

    def statuses() -> list[str]:
        return [one["status"] for one in cli("jobs", "history", "--format", "json").json]

    until(lambda: statuses() == ["crashed"])
    assert cli("jobs", "history", "--status", "running", "--format", "json").json == []
    assert len(cli("jobs", "history", "--status", "crashed", "--format", "json").json) == 1
    [listed] = [one for one in cli("jobs", "list", "--format", "json").json if one["name"] == "a"]
    assert (listed["status"], listed["trend"]) == ("crashed", "×")


def test_two_hosts_never_run_at_once(database: Database, tmp_path: Path) -> None:
    """Each host tries again and again; a command that meets another one says so."""
    script = (
        f"mkdir {tmp_path}/alone || touch {tmp_path}/met; sleep 0.05; rmdir {tmp_path}/alone;"
        f" echo x >> {tmp_path}/ran"
    )
    hosts = [
        start_job_on(database, host, "a", "--on-busy", "wait=60s", "--", "sh", "-c", script)
        for host in ("db1", "db2") * 3
    ]
    assert [ended(one).exit_code for one in hosts] == [0] * 6
    assert not (tmp_path / "met").exists()
    assert (tmp_path / "ran").read_text() == "x\n" * 6
    assert {host for (host,) in rows(database, "host")} == {"db1", "db2"}


def test_lock_that_was_removed_is_taken_again(
    database: Database, sqlite_only: None, tmp_path: Path
) -> None:
    script = f"echo $$ > {tmp_path}/pid; until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    runner = start_job(database, "a", "--", "sh", "-c", script)
    pid_in(tmp_path / "pid")
    [lock] = database.instance.glob("*.job-a.lock")
    lock.unlink()
    until(lock.exists)
    assert job(database, "a", "--", "true").exit_code == 75
    (tmp_path / "go").touch()
    assert ended(runner) == Result(
        0, "", "Warning: the job's lock file was removed; the lock is taken again\n"
    )
    assert rows(database) == [("succeeded", 0)]


def test_run_whose_lock_was_removed_and_taken_is_ended(
    database: Database, sqlite_only: None, tmp_path: Path
) -> None:
    runner, pid = hold(database, tmp_path)
    os.kill(runner.pid, signal.SIGSTOP)
    [lock] = database.instance.glob("*.job-a.lock")
    lock.unlink()
    other = start_job(
        database, "a", "--", "sh", "-c", f"until [ -e {tmp_path}/go ]; do sleep 0.05; done"
    )
    until(lambda: len(rows(database)) == 2)
    os.kill(runner.pid, signal.SIGCONT)
    done = ended(runner)
    assert done.exit_code == 75
    assert "its lock was lost, and another run had begun" in done.stderr
    assert not is_alive(pid)
    (tmp_path / "go").touch()
    assert ended(other).exit_code == 0
    assert rows(database, "status") == [("terminated",), ("succeeded",)]


# --- a crowd -----------------------------------------------------------------


def crowd(count: str, folder: str) -> None:
    """Run one job in so many processes at the same moment; print their exit codes."""
    import os
    import sys
    from pathlib import Path

    import opsapp
    from opsapp.actors import Actor
    from opsapp.errors import Busy, OpsError
    from opsapp.jobs import alerts, invocation, runner, runs  # noqa: F401
    from opsapp.jobs.schedule import Options

    with opsapp.without_web():
        app = opsapp.create_app()
    # Mappers and imports are 0.1 s of CPU; the children inherit them instead of doing it each.
    with app.app_context():
        runs.find_open_run("crowd")

    def try_it(gate: int, over: Path) -> int:
        os.read(gate, 1)
        job = invocation.Invocation(
            name="crowd",
            # The winner goes on until all have tried.
            command=("sh", "-c", f"until [ -e {over} ]; do sleep 0.1; done"),
            options=Options(),
            actor=Actor(kind="os", name="worker", host="here"),
        )
        ignore = (lambda _chunk: None,) * 2
        with app.app_context():
            try:
                return runner.run(job, sinks=ignore, say=lambda _text: None).exit_code
            except Busy as error:
                return error.exit_code

    gate, over = os.pipe(), Path(folder, "over")
    children = []
    for _child in range(int(count)):
        pid = os.fork()
        if pid == 0:
            os.close(gate[1])
            code = 99
            try:
                code = try_it(gate[0], over)
            except OpsError as error:
                sys.stderr.write(f"{error.message}\n")
            finally:
                os._exit(code)
        children.append(pid)
    os.close(gate[1])  # They all read its end now.
    codes = []
    while len(codes) < len(children) - 1:
        codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
    over.touch()
    codes.append(os.waitstatus_to_exitcode(os.wait()[1]))
    os.close(gate[0])
    sys.stdout.write(" ".join(map(str, sorted(codes))) + "\n")


def test_crowd_has_one_winner(database: Database, tmp_path: Path) -> None:
    result = ended(start_work(database, crowd, CROWD, tmp_path))
    assert result.exit_code == 0, result.stderr
    assert result.stdout.split() == ["0", *["75"] * (CROWD - 1)], result.stderr
    assert rows(database) == [("succeeded", 0)]


# --- the database's server restarts ------------------------------------------


def test_job_outlives_a_restart_of_the_database(
    own_server: tuple[Any, Database], tmp_path: Path
) -> None:
    server, database = own_server
    script = f"echo $$ > {tmp_path}/pid; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo ok"
    runner = start_job(database, "a", "--", "sh", "-c", script)
    pid = pid_in(tmp_path / "pid")
    server.stop()
    server.start()
    # A process that comes right now finds the lock free, and must not take it.
    assert job(database, "a", "--", "true").exit_code == 75
    assert is_alive(pid)
    (tmp_path / "go").touch()
    done = ended(runner)
    assert (done.exit_code, done.stdout) == (0, "ok\n")
    assert "the lock is taken again" in done.stderr
    assert rows(database, "status, exit_code") == [("succeeded", 0)]
    assert job(database, "a", "--", "true").exit_code == 0


def test_end_is_written_when_the_database_comes_back(
    own_server: tuple[Any, Database], tmp_path: Path
) -> None:
    server, database = own_server
    script = f"echo $$ > {tmp_path}/pid; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; exit 3"
    runner = start_job(database, "a", "--", "sh", "-c", script)
    pid = pid_in(tmp_path / "pid")
    server.stop()
    (tmp_path / "go").touch()
    until(lambda: not is_alive(pid))
    remark = "The end of a cannot be recorded yet: the database cannot be reached: "
    assert any(line.startswith(remark) for line in runner.stderr)
    server.start()
    assert ended(runner).exit_code == 3
    assert rows(database) == [("failed", 3)]


def test_run_whose_place_was_taken_is_ended(
    own_server: tuple[Any, Database], tmp_path: Path
) -> None:
    """The server cuts one session off; before the run is back another one has begun."""
    _server, database = own_server
    runner, pid = hold(database, tmp_path)
    os.kill(runner.pid, signal.SIGSTOP)
    database.rows("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
    other = start_job(database, "a", "--", "sleep", "5")
    until(lambda: len(rows(database)) == 2)
    os.kill(runner.pid, signal.SIGCONT)
    done = ended(runner)
    assert done.exit_code == 75
    assert "its lock was lost, and another run had begun" in done.stderr
    assert not is_alive(pid)
    assert ended(other).exit_code == 0
    assert rows(database, "status") == [("terminated",), ("succeeded",)]


def test_no_database_no_run(own_server: tuple[Any, Database], tmp_path: Path) -> None:
    server, database = own_server
    server.stop()
    found = job(database, "a", "--", "touch", f"{tmp_path}/ran")
    assert found.exit_code == 7
    assert not (tmp_path / "ran").exists()
    server.start()


def test_lock_is_held_on_one_connection_only(database: Database, tmp_path: Path) -> None:
    if database.is_sqlite:
        return
    runner, _pid = hold(database, tmp_path)
    until(lambda: is_running(database, "a"))
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name LIKE 'opsapp jobs run%'"
    )
    until(lambda: database.rows(query) == [(1,)])
    let_go(runner)
