"""Alerts of jobs: pings in the manner of healthchecks, mail on failure and recovery."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from opsapp import settings
from opsapp.errors import NotReady
from opsapp.jobs import alerts
from opsapp.jobs.runs import End
from opsapp.jobs.schedule import Options
from tests.support import FLASK, Cli, Database
from tests.support.jobwork import job, pid_in, rows, schedule_file, start_job
from tests.support.processes import ended, start


class Pings:
    """An HTTP server that notes who calls; it may answer badly, or not before it is let."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.status = 200
        self.is_open = threading.Event()
        self.is_open.set()
        self.url = ""


@pytest.fixture
def pings() -> Iterator[Pings]:
    found = Pings()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            found.calls.append((self.path.partition("?")[0], body))
            found.is_open.wait(60)
            self.send_response(found.status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            found.calls.append((self.path, "a redirect was followed"))

        def log_message(self, *_args: object) -> None:
            """A server of a test says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/ping/{{job}}"
    yield found
    found.is_open.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def kind() -> str:
    """Whom alerts reach is the same on both databases."""
    return "sqlite"


def mail(cli: Cli) -> list[Any]:
    """The messages that are kept, the oldest first."""
    return sorted(cli("mail", "list", "--format", "json").json, key=lambda one: one["id"])


# --- pings -------------------------------------------------------------------


def test_pings_tell_start_and_exit_code(database: Database, pings: Pings) -> None:
    assert job(database, "a", "--", "true", OPSAPP_JOBS_NOTIFY=pings.url).stderr == ""
    job(database, "b", "--", "sh", "-c", "exit 3", OPSAPP_JOBS_NOTIFY=pings.url)
    assert pings.calls == [
        ("/ping/a/start", ""),
        ("/ping/a/0", "the command ended with 0"),
        ("/ping/b/start", ""),
        ("/ping/b/3", "the command ended with another code, or too soon"),
    ]


def test_start_is_told_while_the_command_runs(database: Database, pings: Pings) -> None:
    schedule_file(database, f"[jobs.a]\ncommand = 'cat'\nnotify = ['{pings.url}']\n")
    runner = start(database, FLASK, "jobs", "run", "a")
    while not pings.calls:
        assert runner.poll() is None
    assert pings.calls == [("/ping/a/start", "")]
    assert ended(runner).exit_code == 0
    assert pings.calls[1:] == [("/ping/a/0", "the command ended with 0")]


@pytest.mark.parametrize("status", [302, 303, 307, 308, 404, 500])
def test_refused_ping_fails_no_job(database: Database, pings: Pings, status: int) -> None:
    pings.status = status
    found = job(database, "a", "--", "true", OPSAPP_JOBS_NOTIFY=pings.url)
    assert found.exit_code == 0
    host = pings.url.split("/")[2]
    assert found.stderr == f"Warning: the ping to {host} failed: HTTP {status}\n" * 2
    assert [path for path, _body in pings.calls] == ["/ping/a/start", "/ping/a/0"]
    assert rows(database) == [("succeeded", 0)]


def test_ping_without_a_server_fails_no_job(database: Database) -> None:
    url = "http://user:hunter22@127.0.0.1:9/secret-uuid"
    found = job(database, "a", "--", "true", OPSAPP_JOBS_NOTIFY=url)
    warning = "Warning: the ping to 127.0.0.1:9 failed: Connection refused\n"
    assert (found.exit_code, found.stderr) == (0, warning * 2)


def test_ping_that_hangs_is_given_up_and_the_lock_is_free_meanwhile(
    database: Database, pings: Pings
) -> None:
    pings.is_open.clear()
    schedule_file(database, f"[jobs.a]\ncommand = 'true'\nnotify = ['{pings.url}']\n")
    runner = start(database, FLASK, "jobs", "run", "a")
    while rows(database, "status") != [("succeeded",)]:
        assert runner.poll() is None
    assert job(database, "a", "--", "true").exit_code == 0  # With no notify of its own.
    assert ended(runner).exit_code == 0


def test_url_that_hangs_keeps_no_other_from_its_ping(
    pings: Pings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "PING_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        options = Options(notify=(hanging, pings.url), notify_after=1)
        told = alerts.Alerts("a", options, "-")
        told.note_start(1, crashed=0)
        told.note_end(None, End(status="succeeded", exit_code=0, seconds=0.0, attempts=1))
        told.send()
    assert [path for path, _says in pings.calls] == ["/ping/a/start", "/ping/a/0"]


# --- mail --------------------------------------------------------------------


def test_mail_tells_the_first_failure_and_the_recovery(cli: Cli, database: Database) -> None:
    notify = {"OPSAPP_JOBS_NOTIFY": "ops@example.com, ada@example.com"}
    job(database, "a", "--", "sh", "-c", "echo no room; exit 3", **notify)
    first, second = mail(cli)
    assert [first["recipient"], second["recipient"]] == ["ops@example.com", "ada@example.com"]
    assert first["subject"] == "opsapp: a failed (exit 3)"
    job(database, "a", "--", "false", **notify)  # Twice as many: told again.
    job(database, "a", "--", "false", **notify)  # Three are not worth a message.
    job(database, "a", "--", "true", **notify)
    job(database, "a", "--", "true", **notify)
    assert [one["subject"] for one in mail(cli)[::2]] == [
        "opsapp: a failed (exit 3)",
        "opsapp: a failed (exit 1)",
        "opsapp: a has recovered",
    ]


def test_mail_has_what_one_asks_first(cli: Cli, database: Database) -> None:
    secret = "--password=hunter22"
    script = "echo out of room; echo $1; exit 3"
    environ = {"OPSAPP_JOBS_NOTIFY": "ops@example.com"}
    job(database, "a", "--", "sh", "-c", script, "x", secret, **environ)
    [written] = (database.instance / "mail").glob("*.log")
    lines = written.read_text().partition("\n\n")[2].splitlines()
    assert lines[:3] == ["Job: a", "Status: failed", "Exit code: 3"]
    assert lines[6:8] == ["Failures in a row: 1", "Details: flask jobs show 1"]
    assert lines[9:11] == ["stdout: out of room", "stdout: --password=•••"]


def test_mail_waits_for_as_many_failures_as_asked(cli: Cli, database: Database) -> None:
    notify = {"OPSAPP_JOBS_NOTIFY": "ops@example.com", "OPSAPP_JOBS_NOTIFY_AFTER": "2"}
    job(database, "a", "--", "false", **notify)
    assert mail(cli) == []
    job(database, "a", "--", "false", **notify)
    assert len(mail(cli)) == 1


def test_recovery_of_what_was_not_told_is_not_told(cli: Cli, database: Database) -> None:
    notify = {"OPSAPP_JOBS_NOTIFY": "ops@example.com", "OPSAPP_JOBS_NOTIFY_AFTER": "2"}
    job(database, "a", "--", "false", **notify)
    job(database, "a", "--", "true", **notify)
    assert mail(cli) == []


def test_next_run_tells_that_the_last_one_died(cli: Cli, database: Database) -> None:
    file = database.instance / "pid"
    runner = start_job(database, "a", "--", "sh", "-c", f"echo $$ > {file}; exec sleep 600")
    pid_in(file)
    runner.kill()
    ended(runner)
    args = ("--on-busy", "wait=30s", "--", "true")
    job(database, "a", *args, OPSAPP_JOBS_NOTIFY="ops@example.com")
    assert [one["subject"] for one in mail(cli)] == ["opsapp: a crashed", "opsapp: a has recovered"]


def test_job_has_targets_of_its_own(cli: Cli, database: Database) -> None:
    schedule_file(
        database,
        "[jobs.own]\ncommand = 'false'\nnotify = ['own@example.com']\n"
        "[jobs.silent]\ncommand = 'false'\nnotify = []\n",
    )
    for name in ("own", "silent"):
        job(database, name, OPSAPP_JOBS_NOTIFY="ops@example.com")
    assert [one["recipient"] for one in mail(cli)] == ["own@example.com"]


# --- the setting -------------------------------------------------------------


@pytest.mark.parametrize(
    "value", ["nobody", "ftp://x/y", "http://", "ada@example.com file:///etc/passwd"]
)
def test_wrong_target_is_refused_before_anything_runs(database: Database, value: str) -> None:
    found = job(database, "a", "--", "true", OPSAPP_JOBS_NOTIFY=value)
    number = len(value.split())
    assert (found.exit_code, found.stdout) == (7, "")
    assert found.stderr == (
        f"Error: OPSAPP_JOBS_NOTIFY: entry {number} is neither an address nor an http(s) URL\n"
    )
    assert rows(database) == []


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "1001", "٣"])
def test_wrong_number_of_failures_is_refused(value: str) -> None:
    with pytest.raises(NotReady, match="is not a number from 1 to 1000"):
        settings.get("OPSAPP_JOBS_NOTIFY_AFTER", {"OPSAPP_JOBS_NOTIFY_AFTER": value})


def test_urls_of_pings() -> None:
    url = "https://hc.example.com/{job}/?x=1"
    found = alerts.ping_url(url, "a/b", "start", "run-1")
    assert found == "https://hc.example.com/a%2Fb/start?x=1&rid=run-1"


def test_credentials_of_a_url_become_a_header() -> None:
    found = alerts.without_credentials("https://ada:p%40ss@hc.example.com:8443/x?y=1")
    assert found == ("https://hc.example.com:8443/x?y=1", {"Authorization": "Basic YWRhOnBAc3M="})
    assert alerts.without_credentials("https://hc.example.com/x") == (
        "https://hc.example.com/x",
        {},
    )


def test_targets_are_secret(cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPSAPP_JOBS_NOTIFY", "https://hc.example.com/very-secret-uuid")
    printed = cli("doctor", "--format", "json").stdout
    assert "very-secret" not in printed
    shown = job(database, "a", "--", "sh", "-c", "echo $OPSAPP_JOBS_NOTIFY >&2; exit 1")
    assert shown.exit_code == 1
    assert "very-secret" not in json.dumps(cli("jobs", "show", "1", "--format", "json").json)
