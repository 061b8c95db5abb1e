"""X-Profile: only for who may, one at a time, and never seen in the answer."""

from __future__ import annotations

import inspect
import re
import stat
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from opsapp import clock
from opsapp.accounts import tokens
from opsapp.profiling.record import profilers
from opsapp.profiling.record import tokens as profile_tokens
from opsapp.profiling.record.recorder import Recorder
from tests.support import Cli, Database, a_unit
from tests.support.recorded import SECRET, add_views, ask, flush
from tests.support.web import Browser, Site, site

PROFILE = {"X-Profile": "1"}
SAMPLE = {"X-Profile": "sample"}


def files(site: Site) -> list[Path]:
    folder = Path(site.app.instance_path) / "profiles"
    return sorted(folder.iterdir()) if folder.exists() else []


def asked(recorder: Recorder) -> list[Any]:
    """Return the requests for a profile that are not written yet."""
    kept = recorder.aggregates.traces
    return [item[2] for (kind, _), items in kept.items() if kind == "asked" for item in items]


@pytest.fixture
def outside(
    database: Database, monkeypatch: pytest.MonkeyPatch, _no_thread: None
) -> Iterator[Site]:
    """A site that is not in development."""
    database.execute("UPDATE ops_audit_head SET environment = 'staging'")
    settings = {
        "OPSAPP_PROFILING": True,
        "OPSAPP_ENV": "staging",
        "OPSAPP_URL": "http://localhost",
    }
    with site(database, monkeypatch, settings) as made:
        add_views(made.app)
        yield made


RECORDER = ("opsapp/profiling/record/", "opsapp/web/x_profile.py")
"""The files whose frames no profile shows."""


def test_every_caller_may_in_development(recorded: Site, recorder: Recorder) -> None:
    assert ask(recorded, "/busy", headers=PROFILE) == 200
    ((file),) = files(recorded)
    (recording,) = asked(recorder)
    assert recording.profile_detail["file"] == file.name
    called = {row["function"].rpartition(" in ")[2]: row["calls"] for row in
              recording.profile_detail["functions"]}  # fmt: skip
    assert called["_spin"] >= 1
    functions = [row["function"] for row in recording.profile_detail["functions"]]
    assert not [name for name in functions if name.startswith(RECORDER)]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_stacks_are_looked_at(recorded: Site, recorder: Recorder) -> None:
    assert ask(recorded, "/busy", headers=SAMPLE) == 200
    assert files(recorded) == []
    (recording,) = asked(recorder)
    functions = {name for _seconds, stack in recording.profile_detail["samples"] for name in stack}
    assert "tests/support/recorded.py in busy" in functions
    assert not [name for name in functions if name.startswith(RECORDER)]


@pytest.mark.parametrize("value", ["", "0", "2", "yes", "../../etc/passwd", "sample;1", "1 "])
def test_other_values_do_nothing(recorded: Site, recorder: Recorder, value: str) -> None:
    assert ask(recorded, "/busy", headers={"X-Profile": value}) == 200
    assert (files(recorded), asked(recorder)) == ([], [])


def test_name_of_the_file_has_nothing_of_the_request(recorded: Site) -> None:
    for path in ("/../../etc", f"/{SECRET}", "/%00", "/" + "x" * 3000):
        ask(recorded, path, headers=PROFILE)
        ask(recorded, path, headers=PROFILE, method=SECRET.upper())
    assert len(files(recorded)) == 8
    for file in files(recorded):
        when, _, rest = file.name.partition("-")
        assert len(when) == len("20261231T235959Z")
        assert (len(rest), rest[8:]) == (13, ".prof")
        assert SECRET not in file.name.lower()


def test_request_that_raises_is_profiled(recorded: Site, recorder: Recorder) -> None:
    assert ask(recorded, "/bad", headers=PROFILE) == 500
    assert len(files(recorded)) == 1
    (recording,) = asked(recorder)
    assert recording.error["type"] == "ZeroDivisionError"


@pytest.mark.parametrize("headers", [PROFILE, SAMPLE])
def test_answer_is_the_same(recorded: Site, headers: dict[str, str]) -> None:
    for path in ("/five/1", "/bad", "/nowhere", "/stream", "/login", "/api/users"):
        answers = []
        for sent in ({}, headers):
            with recorded.app.test_client().get(path, headers=sent) as response:
                names = set(response.headers.keys()) - {"Server-Timing", "X-Profile-Trace"}
                answers.append((response.status, response.get_data(), names))
        if path not in ("/bad", "/nowhere", "/login", "/api/users"):  # They name the request.
            assert answers[0] == answers[1]
        assert (answers[0][0], answers[0][2]) == (answers[1][0], answers[1][2])


def test_profiled_request_is_not_counted(recorded: Site, recorder: Recorder) -> None:
    ask(recorded, "/busy", headers=PROFILE)
    assert not any(minute.names for minute in recorder.aggregates.minutes.values())


def test_one_at_a_time_is_profiled(recorded: Site, recorder: Recorder) -> None:
    assert profilers._turn.acquire(blocking=False)
    try:
        assert ask(recorded, "/busy", headers=PROFILE) == 200
    finally:
        profilers._turn.release()
    assert (files(recorded), asked(recorder)) == ([], [])
    assert ask(recorded, "/busy", headers=PROFILE) == 200
    assert len(files(recorded)) == 1


@pytest.mark.parametrize("in_python", [True, False])
def test_other_threads_are_not_in_the_profile(
    recorded: Site, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, in_python: bool
) -> None:
    import sys

    if not in_python and sys.version_info >= (3, 12):
        pytest.skip("from 3.12 on the profiler in C mixes threads, and is not used")
    monkeypatch.setattr(profilers, "MIXES_THREADS", in_python)
    ended = threading.Event()

    def elsewhere() -> None:
        while not ended.is_set():
            an_other_thread()

    def an_other_thread() -> None:
        pass

    thread = threading.Thread(target=elsewhere)
    thread.start()
    try:
        assert ask(recorded, "/busy", headers=PROFILE) == 200
    finally:
        ended.set()
        thread.join()
    (recording,) = asked(recorder)
    functions = str(recording.profile_detail["functions"])
    assert "_spin" in functions
    assert "an_other_thread" not in functions


def test_full_disk_changes_no_answer(
    recorded: Site, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(recorded.app.instance_path) / "profiles"
    folder.write_text("in the way")
    assert ask(recorded, "/busy", headers=PROFILE) == 200
    (recording,) = asked(recorder)
    assert recording.profile_detail["file"] is None
    assert "_spin" in str(recording.profile_detail["functions"])
    assert "the file of a profile was not kept" in caplog.text


def test_fault_of_the_profiler_changes_no_answer(
    recorded: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    import profile

    def broken(*_args: Any) -> None:
        raise AssertionError("Bad call")

    monkeypatch.setattr(profilers, "MIXES_THREADS", True)
    for event in ("call", "return"):
        with monkeypatch.context() as patch:
            patch.setitem(profile.Profile.dispatch, event, broken)
            assert ask(recorded, "/busy", headers=PROFILE) == 200


@pytest.mark.parametrize("headers", [PROFILE, SAMPLE])
def test_profiler_that_cannot_begin_changes_no_answer(
    recorded: Site, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    def busy(*_args: object) -> None:
        raise ValueError("Another profiling tool is already active")

    monkeypatch.setattr(profilers, "MIXES_THREADS", False)
    monkeypatch.setattr(profilers.Tracing, "start", busy)
    monkeypatch.setattr(profilers.Sampling, "start", busy)
    assert ask(recorded, "/busy", headers=headers) == 200


# --- outside of development --------------------------------------------------------


def test_stranger_causes_nothing(outside: Site) -> None:
    for sent in (PROFILE, SAMPLE, {**PROFILE, "Cookie": "opsapp_session=x"}):
        for token in ("", "x", "1.x", "9" * 300, "9999999999.AAAA"):
            assert ask(outside, "/busy", headers={**sent, "X-Profile-Token": token}) == 200
    assert files(outside) == []


def test_pass_opens_until_it_ends(outside: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    token, ends = profile_tokens.make(outside.app, timedelta(minutes=10))
    headers = {**PROFILE, "X-Profile-Token": token}
    assert ask(outside, "/busy", headers=headers) == 200
    assert len(files(outside)) == 1
    # Not the last character, of which base64 leaves some bits unread.
    moment, signature = token.split(".")
    forged = f"{moment}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}"
    ask(outside, "/busy", headers={**PROFILE, "X-Profile-Token": forged})
    later = f"{int(ends.timestamp()) + 9999}.{token.partition('.')[2]}"
    ask(outside, "/busy", headers={**PROFILE, "X-Profile-Token": later})
    assert len(files(outside)) == 1
    monkeypatch.setattr(clock, "now", lambda: ends + timedelta(seconds=1))
    ask(outside, "/busy", headers=headers)
    assert len(files(outside)) == 1


def test_who_holds_the_permission_may(outside: Site) -> None:
    outside.make("ada@example.com", role="admin")
    outside.make("bob@example.com")
    for name, expected in (("bob@example.com", 0), ("ada@example.com", 1)):
        browser = Browser(outside.app)
        browser.sign_in(name)
        with browser.get("/", headers=PROFILE) as response:
            assert response.status_code == 200
        assert len(files(outside)) == expected


def test_token_of_who_holds_the_permission_may(outside: Site) -> None:
    outside.make("ada@example.com", role="admin")
    until = clock.now() + timedelta(days=1)
    scopes = {"may": ["users:read", "profile:run"], "may-not": ["users:read"]}
    with outside.inside():
        made = {
            name: tokens.create("ada@example.com", name, allow=allow, until=until, unit=a_unit())
            for name, allow in scopes.items()
        }
    for name in scopes:
        headers = {**PROFILE, "Authorization": f"Bearer {made[name]['token']}"}
        assert ask(outside, "/api/users", headers=headers) == 200
        assert len(files(outside)) == 1
    stranger = {**PROFILE, "Authorization": "Bearer opsapp_x"}
    assert ask(outside, "/api/users", headers=stranger) == 401
    assert len(files(outside)) == 1


def test_trace_names_the_file(recorded: Site, recorder: Recorder, cli: Any) -> None:
    ask(recorded, "/busy", headers=PROFILE)
    flush(recorder)
    ((file),) = files(recorded)
    (row,) = cli("profile", "traces", "--kind", "asked", "--format", "json").json
    assert row["file"] == file.name


@pytest.mark.usefixtures("recorder")
def test_stack_inside_of_a_statement_keeps_what_sent_it() -> None:
    door = inspect.getfile(Recorder)
    stack = [
        "serve\0/srv/server.py\x001",
        f"record_request\0{door}\x002",
        f"_run\0{profilers.__file__}\x003",
        "feed\0/srv/shop.py\x004",
        f"send\0{door}\x005",
        "do_execute\0/srv/default.py\x006",
    ]
    assert profilers._inside(stack) == ("shop.py in feed", "default.py in do_execute")


def test_profiled_answer_names_its_times_and_its_trace(
    cli: Cli, recorded: Site, recorder: Recorder
) -> None:
    client = recorded.app.test_client()
    with client.get("/five/1") as plain:
        assert not {"Server-Timing", "X-Profile-Trace"} & set(plain.headers.keys())
    recorder.is_open = True
    with client.get("/five/1", headers=PROFILE) as answer:
        answer.get_data()
    assert re.fullmatch(
        r'total;dur=[\d.]+, db;dur=[\d.]+;desc="5 statements"', answer.headers["Server-Timing"]
    )
    flush(recorder)
    trace = answer.headers["X-Profile-Trace"]
    shown = cli("profile", "show", trace, "--format", "json", check=True).json
    assert (shown["name"], shown["correlation"]) == ("GET five", trace)
    missing = cli("profile", "show", "0" * 36)
    assert missing.exit_code == 4
