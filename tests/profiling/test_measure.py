"""`flask profile request` and `run`: measured now, and saved."""

from __future__ import annotations

import json
import resource
import subprocess
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask, request
from werkzeug.datastructures import Headers

from opsapp.extensions import db
from opsapp.mail import outbox
from opsapp.models import MailMessage, User
from opsapp.profiling import measure
from opsapp.profiling.measure import Content, Measured
from tests.support import FLASK, Cli, Database, fields, run
from tests.support.forks import PATIENCE


def test_request_is_measured_and_saved(cli: Cli, database: Database, ada: str) -> None:
    args = ("profile", "request", "GET", "/api/users", "--as", ada, "--repeat", "12")
    found = cli(*args, "--name", "before", "--format", "json", check=True).json
    assert (found["saved"], found["subject"], found["count"]) == ("before", "GET /api/users", 12)
    assert found["outcomes"] == {"200": 12}
    assert found["queries"] >= 2
    assert 0 < found["min_ms"] <= found["p50_ms"] <= found["p95_ms"] <= found["max_ms"]
    assert database.rows("SELECT count(*) FROM ops_profile_windows") == [(0,)]
    done = cli(*args, "--name", "before")
    assert (done.exit_code, done.stderr) == (
        3, "Error: there is a measurement before\n  → --replace, or another name\n",
    )  # fmt: skip
    assert cli(*args, "--name", "before", "--replace").exit_code == 0
    assert fields(cli(*args).stdout)["saved"] == "request-3"


def test_request_of_a_stranger_is_a_strangers(cli: Cli, database: Database) -> None:
    done = cli("profile", "request", "GET", "/api/users", "--repeat", "3", "--format", "json")
    assert done.json["outcomes"] == {"401": 3}


def test_request_that_changes_asks_first(cli: Cli, database: Database, ada: str) -> None:
    args = ("profile", "request", "POST", "/api/users", "--as", ada, "--repeat", "1")
    done = cli(*args)
    assert (done.exit_code, done.stderr) == (
        5,
        "Error: Send POST /api/users for real, 1 time? Cannot ask: there is no terminal\n"
        "  → add --yes\n",
    )
    assert cli(*args, "--yes", "--format", "json").json["outcomes"] == {"422": 1}


def test_request_has_a_body_and_headers(
    cli: Cli, database: Database, ada: str, tmp_path: Path
) -> None:
    args = ("profile", "request", "POST", "/api/users", "--as", ada, "--repeat", "1", "--cold")
    document = '{"email": "eve@example.com", "username": "eve"}'
    done = cli(*args, "--json", document, "--yes", "--format", "json")
    assert done.json["outcomes"] == {"201": 1}, done.stderr
    (tmp_path / "user.json").write_text(document.replace("eve", "mallory"))
    done = cli(*args, "--json", f"@{tmp_path}/user.json", "--yes", "--format", "json")
    assert done.json["outcomes"] == {"201": 1}, done.stderr
    login = ("profile", "request", "POST", "/login", "--repeat", "1", "--yes", "--format", "json")
    done = cli(*login, "--data", "email=ada", "--header", "Accept: application/json")
    assert done.exit_code == 0, done.stderr


def test_request_has_its_headers_as_they_are(app: Flask) -> None:
    seen = []

    @app.get("/echo")
    def echo() -> str:
        names = ("Cookie", "X-Part", "Content-Type")
        seen.append([request.headers[name].replace(" ", "") for name in names])
        return ""

    fields = Headers([("cookie", "a=b"), ("X-Part", "1"), ("X-Part", "2"), ("content-type", "a/b")])
    measure.request(
        app, "GET", "/echo", user=None, repeat=1, cold=True, timeout=timedelta(seconds=60),
        content=Content(headers=fields),
    )  # fmt: skip
    assert seen == [["a=b", "1,2", "a/b"]]


def test_content_type_of_a_header_replaces_that_of_the_body(cli: Cli, ada: str) -> None:
    args = ("profile", "request", "POST", "/api/users", "--as", ada, "--repeat", "1", "--cold")
    body = ("--json", "{}", "--header", "content-type: text/plain", "--yes", "--format", "json")
    assert cli(*args, *body).json["outcomes"] == {"415": 1}


def test_account_of_a_measured_request_is_signed_out_afterwards(app: Flask, ada: str) -> None:
    timeout, before = timedelta(seconds=60), {**app.config}
    user = db.session.scalar(db.select(User))
    for who, status in ((user, 200), (None, 401)):
        done = measure.request(
            app, "GET", "/api/me", user=who, repeat=1, cold=True, timeout=timeout
        )
        assert done.outcomes == [status]
    assert app.config == before


def test_mail_of_a_request_is_sent_before_the_command_ends(
    cli: Cli, database: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_waiting, deliver, wait = threading.Event(), outbox._deliver, outbox.wait_for_thread

    def deliver_late(message: MailMessage) -> tuple[str | None, bool]:
        is_waiting.wait(PATIENCE)
        return deliver(message)

    def say_and_wait(app: Flask) -> None:
        is_waiting.set()
        wait(app)

    monkeypatch.setattr(outbox, "_deliver", deliver_late)
    monkeypatch.setattr(outbox, "wait_for_thread", say_and_wait)
    document = '{"email": "eve@example.com", "username": "eve"}'
    args = ("profile", "request", "POST", "/api/users", "--as", ada, "--repeat", "1", "--cold")
    cli(*args, "--json", document, "--yes", check=True)
    sent = (
        "SELECT recipient FROM ops_mail_messages WHERE sent_at IS NOT NULL AND recipient LIKE :to"
    )
    assert database.rows(sent, to="eve%") == [("eve@example.com",)]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--json", "{"), "--json is not valid JSON: Expecting property name"),
        (("--json", "1", "--data", "2"), "--data and --json cannot be combined"),
        (("--header", "Accept"), "--header Accept is not of the form 'NAME: VALUE'"),
        (("--data", "@nothing"), "nothing: No such file or directory"),
    ],
)
def test_request_of_another_form_is_refused(
    cli: Cli, database: Database, args: tuple[str, ...], message: str
) -> None:
    done = cli("profile", "request", "POST", "/login", *args)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {message}")


def test_request_leaves_a_sample_of_its_stacks(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_PROFILING", "on")
    cli("profile", "request", "GET", "/login", "--repeat", "1", "--sample", check=True)
    (row,) = cli("profile", "traces", "--kind", "asked", "--format", "json").json
    assert (row["name"], row["status"]) == ("GET security.login", 200)
    assert row["samples"] > 0


@pytest.mark.parametrize("path", ["login", "http://x/"])
def test_request_wants_a_path(cli: Cli, database: Database, path: str) -> None:
    assert cli("profile", "request", "GET", path).exit_code == 2


STREAMS = """
import itertools
import time

import opsapp


def create_app():
    app = opsapp.create_app()

    @app.get("/huge")
    def huge():
        return (bytes(1_000_000) for _ in range(400))

    @app.get("/endless")
    def endless():
        return (bytes(1_000_000) for _ in itertools.count())

    @app.get("/silent")
    def silent():
        def parts():
            yield b"begun"
            while True:
                try:
                    time.sleep(60)
                except Exception:
                    pass

        return parts()

    @app.get("/broken")
    def broken():
        def parts():
            yield b"half"
            raise ZeroDivisionError

        return parts()

    return app
"""
"""An application whose answers are as no page's are."""
ONE_GIB = 2**30
"""Of addresses, for a process with everything imported; the answers are far longer."""


def measured(database: Database, *args: str) -> subprocess.CompletedProcess[str]:
    """`flask profile` of that application, in a process with little memory."""
    (database.instance / "streams.py").write_text(STREAMS)
    environ = {**database.environ, "FLASK_APP": "streams", "PYTHONPATH": str(database.instance)}
    return subprocess.run(
        [FLASK, "profile", *args],
        env=environ,
        cwd=database.instance,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (ONE_GIB, ONE_GIB)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("kind", ["sqlite"])
def test_huge_answer_is_read_in_little_memory(database: Database) -> None:
    args = ("request", "GET", "/huge", "--repeat", "2", "--cold", "--format", "json")
    done = measured(database, *args)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["outcomes"] == {"200": 2}


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("path", ["/endless", "/silent"])
def test_answer_without_an_end_is_given_up(database: Database, path: str) -> None:
    done = measured(database, "request", "GET", path, "--timeout", "1s")
    assert (done.returncode, done.stdout) == (124, "")
    assert done.stderr == (
        f"Error: GET {path} did not end within 1 s\n  → --timeout, if it may take longer\n"
    )
    assert database.rows("SELECT count(*) FROM ops_profile_saves") == [(0,)]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_answer_that_breaks_off_is_counted_as_failed(database: Database) -> None:
    args = ("request", "GET", "/broken", "--repeat", "3", "--cold", "--format", "json")
    done = measured(database, *args)
    assert done.returncode == 0
    assert json.loads(done.stdout)["outcomes"] == {"broken off": 3}
    assert json.loads(done.stderr)["remarks"][-1] == "3 of 3 failed."


@pytest.mark.parametrize("kind", ["sqlite"])
def test_command_without_an_end_is_killed(database: Database) -> None:
    args = ("run", "--timeout", "2s", "--yes", "--", "shell", "-c", "while True: pass")
    done = measured(database, *args)
    assert (done.returncode, done.stdout) == (124, "")
    assert done.stderr.splitlines()[0] == (
        "Error: flask shell -c while True: pass did not end within 2 s"
    )


def test_command_is_measured(cli: Cli, database: Database) -> None:
    args = ("profile", "run", "--repeat", "1", "--format", "json")
    found = cli(*args, "--", "roles", "list", "--format", "json", check=True).json
    assert (found["subject"], found["outcomes"]) == ("roles list", {"0": 1})
    assert found["peak_mib"] > 10
    done = cli(*args, "--", "roles", "show", "nobody")
    assert (done.exit_code, done.json["outcomes"]) == (6, {"4": 1})
    done = cli(*args, "--", "roles", "create", "support")
    assert done.exit_code == 5
    assert cli(*args, "--yes", "--", "roles", "create", "support").json["outcomes"] == {"0": 1}


def test_measured_command_has_failed_whatever_code_says_so() -> None:
    measured = Measured("command", outcomes=[0, 1, 6, 124, 143, -9])
    assert measured.errors == 4  # 6 says that it has found something.
    assert Measured("endpoint", outcomes=[200, 404, 500]).errors == 1


def test_measured_command_tells_its_queries_and_its_functions(
    cli: Cli, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_PROFILING", "on")
    args = ("profile", "run", "--repeat", "1", "--deep", "--format", "json")
    assert cli(*args, "--", "roles", "list").json["queries"] >= 2
    (row,) = cli("profile", "traces", "--kind", "asked", "--format", "json").json
    assert row["name"] == "roles list"
    rows = cli("profile", "top", row["file"], "--limit", "3", "--format", "json").json
    assert len(rows) == 3
    listed = cli("profile", "files", "--format", "json").json
    assert [one["file"] for one in listed] == [row["file"]]


def test_measured_command_ends_as_it_does_though_its_file_is_not_kept(
    database: Database,
) -> None:
    (database.instance / "profiles").touch()
    on = {"OPSAPP_PROFILING": "on", "OPSAPP_PROFILE_MODE": "1"}
    done = run(database, "roles", "list", **on)
    assert done.exit_code == 0
    assert done.stderr.startswith("Warning: the file of a profile was not kept: ")
