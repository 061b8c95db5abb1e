"""`flask jobs run`: what it passes on, what it writes down, how it ends what it started."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from opsapp import clock, signals
from opsapp.jobs import history
from tests.support import FLASK, Cli, Database, Result, canaries, run
from tests.support.jobwork import is_alive, job, past, pid_in, rows, start_job
from tests.support.processes import PATIENCE, ended, start, until


@pytest.fixture
def kind() -> str:
    """A process ends the same way on both databases; test_lock has the other tests."""
    return "sqlite"


def test_run_passes_the_output_and_the_exit_code_on(database: Database) -> None:
    found = job(database, "a", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert found == Result(7, "out\n", "err\n")
    assert rows(database, "name, status, exit_code, attempts") == [("a", "failed", 7, 1)]


def test_run_passes_stdin_on(database: Database) -> None:
    done = run(database, "jobs", "run", "a", "--", "cat", stdin="words\n")
    assert done == Result(0, "words\n", "")


def test_run_says_nothing_of_its_own_of_a_success(database: Database) -> None:
    assert job(database, "a", "--", "true") == Result(0, "", "")
    assert rows(database) == [("succeeded", 0)]


def test_run_a_command_of_ours_without_a_path(database: Database) -> None:
    found = job(database, "a", "--", "flask", "roles", "list", PATH="/usr/bin:/bin")
    assert found.exit_code == 0
    assert "admin" in found.stdout


@pytest.mark.parametrize(
    ("word", "code", "reason"),
    [
        ("/no/such", 127, "/no/such cannot be started: No such file or directory"),
        ("/etc/passwd", 126, "/etc/passwd cannot be started: Permission denied"),
    ],
)
def test_run_what_cannot_be_started(database: Database, word: str, code: int, reason: str) -> None:
    assert job(database, "a", "--", word) == Result(code, "", f"a failed (run 1): {reason}.\n")
    assert rows(database, "status, exit_code, reason") == [("failed", code, reason)]


@pytest.mark.parametrize(("number", "name"), [(11, "SIGSEGV"), (34, "SIGRTMIN"), (40, "signal 40")])
def test_run_a_command_that_a_signal_ends(database: Database, number: int, name: str) -> None:
    found = job(database, "a", "--", "sh", "-c", f"kill -{number} $$")
    assert found == Result(128 + number, "", f"a failed (run 1): killed by {name}.\n")


def test_quiet_run_is_silent_on_success_and_tells_all_on_failure(database: Database) -> None:
    script = "echo one; echo two >&2; exit"
    assert job(database, "a", "--quiet", "--", "sh", "-c", f"{script} 0") == Result(0, "", "")
    assert job(database, "a", "-q", "--", "sh", "-c", f"{script} 4") == Result(4, "one\n", "two\n")


def test_quiet_run_tells_all_of_much_output(database: Database) -> None:
    script = "import sys; sys.stdout.write('line\\n' * 1_000_000); sys.exit(1)"
    found = job(database, "a", "-q", "--", sys.executable, "-c", script)
    assert (found.exit_code, found.stdout) == (1, "line\n" * 1_000_000)


def test_too_fast_is_a_failure(database: Database) -> None:
    found = job(database, "a", "--min-duration", "1h", "--", "true")
    assert found.exit_code == 1
    said = r"a failed \(run 1\): it ended with 0 after \d+\.\d s, sooner than 1 h 0 min\.\n"
    assert re.fullmatch(said, found.stderr)
    assert rows(database) == [("failed", 1)]


def test_retries_end_with_the_first_success(database: Database, tmp_path: Path) -> None:
    script = f"echo x >> {tmp_path}/tries; test $(wc -l < {tmp_path}/tries) -eq 3"
    args = ("--retries", "5", "--retry-delay", "1s", "--", "sh", "-c", script)
    found = job(database, "a", *args)
    assert found == Result(
        0, "", "".join(f"a: attempt {n} failed; the next one in 1 s.\n" for n in (1, 2))
    )
    assert rows(database, "status, exit_code, attempts") == [("succeeded", 0, 3)]


def test_retries_are_bounded(database: Database) -> None:
    found = job(database, "a", "--retries", "1", "--retry-delay", "1s", "--", "sh", "-c", "exit 8")
    assert found.exit_code == 8
    assert rows(database, "status, exit_code, attempts") == [("failed", 8, 2)]


def test_env_reaches_the_command_and_its_secrets_stay_out_of_the_history(
    database: Database,
) -> None:
    args = ("--env", "API_TOKEN=sesame-open", "--", "sh", "-c", "echo $API_TOKEN $OPSAPP_JOB")
    assert job(database, "a", *args).stdout == "sesame-open a\n"
    assert database.rows("SELECT text FROM ops_job_output") == [("••• a\n",)]


def test_empty_word_is_no_program(database: Database) -> None:
    says = "Error: COMMAND names no program: its first word is empty\n"
    assert job(database, "a", "--", "") == Result(2, "", says)


def test_env_without_a_sign_is_refused(database: Database) -> None:
    found = job(database, "a", "--env", "X", "--", "true")
    assert found == Result(2, "", "Error: --env is of the form NAME=VALUE\n")


@pytest.mark.parametrize("name", ["", "a b", "../x", "-x", "a/b", "ä", "x" * 65, "a\x1b[2J"])
def test_hostile_name_is_refused(database: Database, name: str) -> None:
    found = run(database, "jobs", "run", "--", name, "true")
    assert found.exit_code == 2
    assert "\x1b" not in found.stderr
    assert rows(database) == []


def test_unknown_job_without_a_command(database: Database) -> None:
    found = job(database, "nobody")
    assert found.exit_code == 4
    assert found.stderr.startswith("Error: no job nobody in ")


# --- bounds ------------------------------------------------------------------


def test_timeout_ends_grandchildren_too(database: Database, tmp_path: Path) -> None:
    # One stays in the group, one leaves it and its session; both ignore SIGTERM.
    script = f"""
        trap '' TERM
        sh -c 'trap "" TERM; echo $$ > {tmp_path}/near; sleep 600' &
        setsid sh -c 'trap "" TERM; echo $$ > {tmp_path}/far; sleep 600' &
        wait; sleep 600"""
    found = job(database, "a", "--timeout", "1s", "--kill-after", "1s", "--", "sh", "-c", script)
    assert found == Result(124, "", "a timed-out (run 1): it took longer than 1 s.\n")
    assert rows(database) == [("timed-out", 124)]
    assert not is_alive(pid_in(tmp_path / "near"))
    assert not is_alive(pid_in(tmp_path / "far"))


def test_timeout_lets_the_command_end_by_itself(database: Database, tmp_path: Path) -> None:
    script = f"trap 'echo done > {tmp_path}/told; exit 0' TERM; sleep 600 & wait"
    args = ("--timeout", "1s", "--kill-after", "10m", "--", "sh", "-c", script)
    assert job(database, "a", *args).exit_code == 124
    assert (tmp_path / "told").read_text() == "done\n"


def test_command_that_leaves_a_process_with_its_pipes_does_not_hold_up(database: Database) -> None:
    script = "sleep 600 & echo $!"
    found = job(database, "a", "--", "sh", "-c", script)
    assert found.exit_code == 0
    pid = int(found.stdout)
    assert is_alive(pid)  # What a command leaves behind on purpose is its own affair.
    os.kill(pid, signal.SIGKILL)


def test_what_goes_on_printing_does_not_hold_up_either(database: Database) -> None:
    script = "while sleep 0.1; do echo tick; done & echo $!"
    found = job(database, "a", "--", "sh", "-c", script)
    assert found.exit_code == 0
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    assert rows(database) == [("succeeded", 0)]


# The pipe takes some of it, and the rest has been read when the reader is found to take nothing.
PRINTS = ("head", "-c", "100000", "/dev/zero")


def test_reader_who_takes_nothing_does_not_outlast_the_timeout(database: Database) -> None:
    runner = start_job(database, "a", "--timeout", "1s", "--", *PRINTS)
    assert runner.wait(timeout=PATIENCE) == 124
    assert ended(runner).stderr.endswith("it took longer than 1 s.\n")
    assert rows(database) == [("timed-out", 124)]


def test_signal_is_heard_while_a_reader_takes_nothing(database: Database, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec {' '.join(PRINTS)}"
    runner = start_job(database, "a", "--", "sh", "-c", script)
    pid = pid_in(tmp_path / "pid")
    until(lambda: not is_alive(pid))
    runner.terminate()
    assert runner.wait(timeout=PATIENCE) == 143
    ended(runner)
    assert rows(database) == [("terminated", 143)]


def test_job_that_runs_itself_is_refused(database: Database) -> None:
    inner = (FLASK, "jobs", "run", "a", "--on-busy", "wait", "--", "true")
    says = "Error: a runs itself: it would wait for its own end (run 1)\n"
    assert job(database, "a", "--", *inner) == Result(5, "", says)
    assert rows(database) == [("failed", 5)]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_signal_to_the_runner_ends_the_command_and_is_written_down(
    database: Database, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec sleep 600"
    runner = start_job(database, "a", "--", "sh", "-c", script)
    pid = pid_in(tmp_path / "pid")
    runner.send_signal(number)
    reason = f"{number.name} to the runner"
    assert ended(runner) == Result(code, "", f"a terminated (run 1): {reason}.\n")
    assert not is_alive(pid)
    assert rows(database, "status, exit_code, reason") == [("terminated", code, reason)]


def test_signal_while_it_waits_to_try_again_ends_it(database: Database) -> None:
    args = ("--retries", "9", "--retry-delay", "1h", "--", "false")
    runner = start_job(database, "a", *args)
    assert runner.stderr is not None
    runner.stderr.readline()  # It says that it waits.
    runner.send_signal(signal.SIGTERM)
    assert ended(runner).exit_code == 143
    assert rows(database) == [("terminated", 143)]


def test_harmless_signal_is_passed_on(database: Database, tmp_path: Path) -> None:
    script = f"trap 'echo got; exit 0' USR1; echo $$ > {tmp_path}/pid; while :; do sleep 0.05; done"
    runner = start_job(database, "a", "--", "sh", "-c", script)
    pid_in(tmp_path / "pid")
    runner.send_signal(signal.SIGUSR1)
    assert ended(runner) == Result(0, "got\n", "")
    assert rows(database) == [("succeeded", 0)]


def test_closed_stdout_does_not_end_the_job(database: Database) -> None:
    script = "for n in 1 2 3 4 5; do echo $n; sleep 0.1; done; exit 5"
    ended(start(database, "sh", "-c", f"{FLASK} jobs run a -- sh -c '{script}' | true"))
    assert rows(database) == [("failed", 5)]
    assert database.rows("SELECT text FROM ops_job_output") == [("1\n2\n3\n4\n5\n",)]


def test_full_device_is_said(database: Database) -> None:
    script = f"{FLASK} jobs run a -- echo words > /dev/full"
    found = ended(start(database, "sh", "-c", script))
    assert found.exit_code == 74
    assert found.stderr.startswith(
        "Error: the command ended with 0, but its output could not be written"
    )
    assert rows(database) == [("succeeded", 0)]


# --- what is written down ----------------------------------------------------


def test_row_is_there_before_the_command_runs(database: Database) -> None:
    found = job(database, "a", "--", "flask", "jobs", "history", "--format", "json")
    [row] = json.loads(found.stdout)
    assert (row["name"], row["status"], row["finished_at"]) == ("a", "running", None)


def test_history_has_who_where_and_what(cli: Cli, database: Database) -> None:
    job(database, "a", "--", "sh", "-c", "echo x", OPSAPP_ACTOR="ada")
    shown = cli("jobs", "show", "1", "--format", "json").json
    assert shown["command"] == ["sh", "-c", "echo x"]
    assert "(for ada)@" in shown["actor"]
    assert shown["host"]
    assert shown["pid"] > 1
    assert shown["output"] == [{"stream": "stdout", "line": "x"}]
    assert shown["seconds"] < 30


def test_history_finds_the_audit_events_that_a_job_caused(cli: Cli, database: Database) -> None:
    job(database, "a", "--", "flask", "roles", "create", "support")
    cli("roles", "create", "other")
    shown = cli("jobs", "show", "1", "--format", "json").json
    assert [event["action"] for event in shown["events"]] == ["role:definition:create"]
    events = cli("audit", "list", "--correlation", shown["correlation"], "--format", "json").json
    assert [(event["door"], event["seq"]) for event in events] == [
        ("job", shown["events"][0]["seq"])
    ]


def test_peak_memory_is_the_commands(cli: Cli, database: Database) -> None:
    big = "x = bytearray(300_000_000); import time; time.sleep(0.1)"
    job(database, "big", "--", sys.executable, "-c", big)
    job(database, "small", "--", "sleep", "0.7")
    peaks = [row[0] for row in rows(database, "peak_bytes")]
    assert 300_000_000 < peaks[0] < 400_000_000
    assert peaks[1] < 10_000_000  # And not the runner's own.


def test_output_is_kept_to_its_last_64_kib_without_secrets(cli: Cli, database: Database) -> None:
    script = (
        "import sys\n"
        "for n in range(20_000): print(n, 'password=hunter22', 'postgresql://u:hunter23@h/d')\n"
        "sys.stderr.write('\\x1b[2Jgone\\u202e\\x00\\n')\n"
    )
    job(database, "a", "-q", "--", sys.executable, "-c", script)
    shown = cli("jobs", "show", "1", "--lines", "100000", "--format", "json").json["output"]
    out = [one["line"] for one in shown if one["stream"] == "stdout"]
    assert out[-1] == "19999 password=••• postgresql://u:•••@h/d"
    # Counted as printed (52 bytes a line): what is shown is shorter, without its secrets.
    assert len(out) >= 64 * 1024 // 52
    assert len("\n".join(out)) <= 2 * 64 * 1024
    assert not any("hunter" in line for line in out)
    assert [one["line"] for one in shown if one["stream"] == "stderr"] == [
        "\\x1b[2Jgone\\u202e\\x00"
    ]


def test_command_line_is_kept_without_secrets(cli: Cli, database: Database) -> None:
    job(database, "a", "--", "sh", "-c", "exit 0", "--password", "hunter22", "--token=abcdefgh")
    command = cli("jobs", "show", "1", "--format", "json").json["command"]
    assert "hunter22" not in str(command)
    assert "abcdefgh" not in str(command)


def test_settings_that_are_secret_stay_out(cli: Cli, database: Database) -> None:
    job(database, "a", "--", "sh", "-c", "cat $OPSAPP_INSTANCE/secrets/*")
    canaries.forget_printed()
    shown = cli("jobs", "show", "1", "--format", "json").json["output"]
    assert {one["line"].strip("•") for one in shown} == {""}


def test_tail_follows_a_job_that_runs(database: Database, tmp_path: Path) -> None:
    script = f"echo one; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo two"
    runner = start_job(database, "a", "--", "sh", "-c", script)
    until(lambda: database.rows("SELECT 1 FROM ops_job_output"))
    tail = start(database, FLASK, "jobs", "tail", "a", "--follow", "--fields", "line")
    assert tail.stdout is not None
    assert [tail.stdout.readline() for _ in range(2)] == ["line\n", "one\n"]
    (tmp_path / "go").touch()
    assert tail.stdout.readline() == "two\n"
    assert ended(runner).exit_code == 0
    assert tail.stderr is not None
    assert re.fullmatch(r"a succeeded \(run 1\) after \d.* s\.\n", tail.stderr.readline())
    tail.send_signal(signal.SIGINT)
    assert ended(tail).exit_code == 130


def test_tail_is_of_the_run_that_goes_on_and_not_of_one_that_was_skipped(
    app: Flask, cli: Cli, database: Database
) -> None:
    now = clock.now()
    past(database, "a", at=now, printed="working\n")
    for _time in range(20):
        past(database, "a", "skipped", at=now)
    assert [one["line"] for one in cli("jobs", "tail", "a", "--format", "json").json] == ["working"]
    assert [one["line"] for one in history.lines_since("a", 0)] == ["working"]


def test_tail_shows_what_a_killed_run_printed(cli: Cli, database: Database) -> None:
    runner = start_job(database, "a", "--", "sh", "-c", "echo last words; sleep 600")
    until(lambda: database.rows("SELECT 1 FROM ops_job_output"))
    runner.kill()
    ended(runner)
    assert cli("jobs", "tail", "a").stdout == "stream\tline\nstdout\tlast words\n"
    # What it had started is ended first.
    until(lambda: cli("jobs", "history", "--fields", "status").stdout == "status\ncrashed\n")


def test_signals_of_a_run_are_sent(
    database: Database, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[dict[str, Any]] = []

    def receive(_app: Any, **payload: Any) -> None:
        heard.append({"statuses": rows(database, "status"), **payload})

    with signals.job_started.connected_to(receive), signals.job_finished.connected_to(receive):
        assert cli("jobs", "run", "a", "--", "sh", "-c", "exit 3").exit_code == 3
    started, finished = heard
    assert (started["name"], started["run_id"]) == ("a", 1)
    # Each is said once it is written down.
    assert (started["statuses"], finished["statuses"]) == ([("running",)], [("failed",)])
    assert (finished["status"], finished["exit_code"]) == ("failed", 3)
    assert finished["correlation"] == started["correlation"]
