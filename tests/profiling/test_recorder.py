"""The recorder: it counts everything, keeps nothing that people send, and changes no answer."""

from __future__ import annotations

import builtins
import getpass
import itertools
import json
import os
import time
from typing import Any

import click
import pytest

from opsapp.cli import confirm, pager
from opsapp.console import waits
from opsapp.profiling import recorder_of
from opsapp.profiling.record import aggregates, handover, profilers, writer
from opsapp.profiling.record import recording as recording_module
from opsapp.profiling.record.recorder import Recorder
from opsapp.profiling.record.recording import Recording, current, waiting
from opsapp.profiling.record.writer import Writer
from tests.support import Database
from tests.support.recorded import SECRET, ask, flush
from tests.support.web import Site, site

COUNTS = (
    "SELECT s.name, sum(w.count), sum(w.errors), sum(w.queries) FROM ops_profile_windows w"
    " JOIN ops_profile_series s ON s.id = w.series_id WHERE s.kind = :kind GROUP BY s.name"
    " ORDER BY s.name"
)


def counts(database: Database, kind: str = "endpoint") -> list[tuple[Any, ...]]:
    return [(name, *map(int, rest)) for name, *rest in database.rows(COUNTS, kind=kind)]


def test_request_is_counted_by_its_endpoint(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    for number in range(3):
        ask(recorded, f"/five/{number}")
    assert ask(recorded, "/bad") == 500
    assert ask(recorded, "/nowhere") == 404
    assert ask(recorded, "/five/1", method="BREW") == 405
    flush(recorder)
    assert counts(database) == [
        ("GET (no such page)", 1, 0, 0),
        ("GET bad", 1, 1, 0),
        ("GET five", 3, 0, 15),
        ("OTHER (no such page)", 1, 0, 0),
    ]


def test_query_is_known_by_its_fingerprint_and_line(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    ask(recorded, "/five/1")
    ask(recorded, "/five/2")
    flush(recorder)
    ((name, caller, count),) = database.rows(
        "SELECT s.name, s.caller, w.count FROM ops_profile_series s JOIN ops_profile_windows w"
        " ON s.id = w.series_id WHERE s.kind = 'query'"
    )
    assert (name, count) == ("SELECT ? + ?", 10)
    file, _, function = caller.partition(" in ")
    assert file.startswith("tests/support/recorded.py:")
    assert function == "add_views.<locals>.five"


def everything(database: Database) -> str:
    tables = ("ops_profile_series", "ops_profile_windows", "ops_profile_traces")
    return "".join(str(database.rows(f"SELECT * FROM {table}")) for table in tables)


def test_nothing_that_is_sent_is_kept(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    sent = {"X-Secret": SECRET, "Authorization": f"Bearer {SECRET}", "Cookie": f"a={SECRET}"}
    ask(recorded, f"/secret?q={SECRET}", headers=sent)
    ask(recorded, f"/{SECRET}", headers=sent)
    ask(recorded, "/secret", method="POST", data={"password": SECRET})
    ask(recorded, "/five/1", method=SECRET.upper())
    assert ask(recorded, "/bad", headers=sent) == 500
    flush(recorder)
    kept = everything(database)
    assert "GET secret" in kept
    assert "ZeroDivisionError" in kept
    assert SECRET not in kept.lower()


def test_stream_is_counted_when_it_has_ended(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    before = current.get()
    assert ask(recorded, "/stream") == 200
    assert current.get() is before
    flush(recorder)
    assert counts(database) == [("GET stream", 1, 0, 3)]


@pytest.mark.parametrize("headers", [{}, {"X-Profile": "1"}], ids=["recorded", "asked"])
def test_answer_that_breaks_off_has_failed_whatever_status_was_sent(
    recorded: Site, recorder: Recorder, database: Database, headers: dict[str, str]
) -> None:
    with pytest.raises(ZeroDivisionError):
        ask(recorded, "/breaks", headers=headers)
    flush(recorder)
    assert counts(database) == ([] if headers else [("GET breaks", 1, 1, 0)])
    ((kind, status, detail),) = database.rows("SELECT kind, status, detail FROM ops_profile_traces")
    assert (kind, status) == ("asked" if headers else "error", None)
    assert json.loads(detail)["error"]["type"] == "ZeroDivisionError"
    assert SECRET not in detail


def test_answer_that_cannot_be_closed_has_failed(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    class Body(list[bytes]):
        def close(self) -> None:
            raise OSError("no end")

    def answering(_environ: Any, start: Any) -> Any:
        start("200 OK", [])
        return Body()

    body = recorder.around(answering)({"REQUEST_METHOD": "GET"}, lambda *_: None)
    with pytest.raises(OSError, match="no end"):
        body.close()  # type: ignore[attr-defined]
    flush(recorder)
    assert counts(database) == [("GET (no such page)", 1, 1, 0)]


def test_file_reaches_the_server_as_it_is(recorded: Site, recorder: Recorder) -> None:
    class FileWrapper:
        pass

    body = FileWrapper()
    recorded_app = recorder.around(lambda _environ, _start: body)  # type: ignore[arg-type, return-value]
    environ = {"wsgi.file_wrapper": FileWrapper, "REQUEST_METHOD": "GET"}
    assert recorded_app(environ, print) is body
    assert recorder.aggregates.running == {}


def test_error_that_reaches_the_server_is_counted(recorder: Recorder) -> None:
    def broken(_environ: Any, _start: Any) -> Any:
        raise RuntimeError("no answer")

    with pytest.raises(RuntimeError, match="no answer"):
        recorder.around(broken)({"REQUEST_METHOD": "GET"}, print)
    (minute,) = recorder.aggregates.minutes.values()
    ((name, aggregate),) = minute.names.items()
    assert (name, aggregate.count, aggregate.errors) == (("endpoint", "GET (no such page)"), 1, 1)
    assert recorder.aggregates.running == {}


def test_request_whose_error_reaches_the_server_has_its_endpoint(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    recorded.app.config["PROPAGATE_EXCEPTIONS"] = True  # As in debug mode.
    with pytest.raises(ZeroDivisionError):
        ask(recorded, "/bad")
    flush(recorder)
    assert counts(database) == [("GET bad", 1, 1, 0)]


def test_names_beyond_the_bound_are_counted_together(
    recorded: Site, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregates, "MOST_NAMES", 1)
    monkeypatch.setattr(aggregates, "MOST_STATEMENTS", 1)
    for path in ("/five/1", "/secret", "/stream", "/busy"):
        ask(recorded, path)
    (minute,) = recorder.aggregates.minutes.values()
    assert {name: aggregate.count for (_kind, name), aggregate in minute.names.items()} == {
        "GET five": 1,
        "(other)": 3,
    }
    assert [key[:2] for key in minute.statements][-1] == ("(other)", "(other)")
    assert len(minute.statements) == 2


def test_only_the_slowest_and_the_failed_are_traced(
    recorded: Site, recorder: Recorder, database: Database
) -> None:
    for _ in range(12):
        ask(recorded, "/five/1")
        ask(recorded, "/bad")
        flush(recorder)
    kept = database.rows("SELECT kind, name, count(*) FROM ops_profile_traces GROUP BY kind, name")
    assert sorted(kept) == [("error", "GET bad", 5), ("slow", "GET five", 5)]


def test_slowness_of_long_ago_is_forgotten(
    recorded: Site, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder.aggregates.floors["GET five"] = 9.0
    ask(recorded, "/five/1")
    assert recorder.aggregates.traces == {}
    later = time.time() + writer.FLOORS_SECONDS + 1
    monkeypatch.setattr(writer, "time", lambda: later)
    flush(recorder)
    ask(recorded, "/five/1")
    assert list(recorder.aggregates.traces) == [("slow", "GET five")]


def test_trace_has_the_statements_in_time_and_where_it_failed(
    recorded: Site, recorder: Recorder, cli: Any
) -> None:
    ask(recorded, "/five/1")
    ask(recorded, "/bad")
    flush(recorder)
    rows = {row["kind"]: row for row in cli("profile", "traces", "--format", "json").json}
    shown = cli("profile", "show", str(rows["slow"]["id"]), "--format", "json").json
    assert [row["statement"] for row in shown["timeline"]] == ["SELECT ? + ?"] * 5
    moments = [row["at_ms"] for row in shown["timeline"]]
    assert [0.0, *moments, shown["ms"]] == sorted([0.0, *moments, shown["ms"]])
    failed = cli("profile", "show", str(rows["error"]["id"]), "--format", "json").json
    assert failed["error"] == "ZeroDivisionError"
    assert failed["stack"][-1].endswith("in add_views.<locals>.bad")
    assert len(failed["correlation"]) == 36


def test_forked_process_begins_anew(recorded: Site, recorder: Recorder) -> None:
    ask(recorded, "/busy")
    reading, writing = os.pipe()
    parent = recorder.writer
    assert parent is not None
    child = os.fork()
    if child == 0:
        anew = recorder.writer
        same = anew is parent or anew is None or anew.process == parent.process
        os.write(writing, b"old" if same or recorder.aggregates.minutes else b"new")
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reading, 3) == b"new"
    os.close(reading)
    os.close(writing)
    assert recorder.aggregates.minutes


def test_nothing_is_recorded_when_it_is_off(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(database, monkeypatch) as off:
        assert recorder_of(off.app) is None


def test_long_request_has_its_stack_looked_at(recorder: Recorder) -> None:
    from opsapp.profiling.record.recording import Recording

    writer = recorder.writer
    assert isinstance(writer, Writer)
    recording = Recording("endpoint")
    recording.started -= 1
    recorder.aggregates.running[id(recording)] = recording
    assert writer._sample_once()
    ((seconds, stack),) = recording.samples or []
    assert seconds > 0
    assert stack[-1].endswith("in test_long_request_has_its_stack_looked_at")
    recording.started -= 4000
    writer._sample_once()
    assert recorder.aggregates.running == {}


def test_what_comes_while_it_is_written_is_written_the_next_time() -> None:
    counted = aggregates.Aggregates()

    def add(name: str, statement: str) -> None:
        recording = Recording("endpoint", name)
        recording.sent.append(((statement, None, 0), 0.0, 0.001))
        counted.add(recording, 60.0)

    add("GET first", "SELECT 1")
    (minute,) = counted.minutes.values()
    snapshot = minute.snapshot()
    add("GET second", "SELECT 2")
    minute.mark_stored(snapshot)
    changed = {
        key[1] for key, aggregate in minute.snapshot() if aggregate.count != aggregate.stored
    }
    assert changed == {"GET second", "SELECT 2"}


def test_waiting_for_a_user_is_no_time(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 107.0, 108.0])
    recording = recorder.begin("shell")
    recording.started, recording.sent = 90.0, [(("SELECT 1", None, 0), 95.0, 0.5)]
    monkeypatch.setattr(recording_module, "perf_counter", lambda: next(clock))
    with waiting():
        pass
    current.set(None)
    assert (recording.started, recording.sent[0][1:]) == (97.0, (102.0, 0.5))
    with waiting():  # Nothing is recorded here.
        pass


def test_time_of_a_user_counts_once(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 107.0])
    recording = recorder.begin("shell --plain")
    recording.started = 90.0
    monkeypatch.setattr(recording_module, "perf_counter", lambda: next(clock))
    with waiting(), waiting():  # The prompt of a console asks by input(), which waits too.
        pass
    current.set(None)
    assert recording.started == 97.0


@pytest.mark.parametrize("of", ["request", "command"])
def test_writing_of_a_profile_is_no_time(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    moments = [100.0]

    def detail(_self: object) -> dict[str, object]:
        moments[0] += 7
        return {}

    monkeypatch.setattr(recording_module, "perf_counter", lambda: moments[0])
    monkeypatch.setattr(profilers.Sampling, "detail", detail)
    monkeypatch.setattr(recorder, "writer", None)
    if of == "command":
        monkeypatch.setenv(handover.MODE, "sample")
    recording = recorder.begin("report")
    recording.started = 90.0
    if of == "request":
        recorder.profile(recording, "sample", lambda: None)
    recorder.end(recording, 0)
    assert recording.started == 97.0


@pytest.mark.parametrize("question", ["prompt", "confirm"])
def test_answer_to_a_question_is_no_time(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    moments = [100.0]
    monkeypatch.setattr(recording_module, "perf_counter", lambda: moments[0])
    monkeypatch.setattr(click, question, lambda *_words, **_how: moments.append(moments.pop() + 7))
    recording = recorder.begin("users delete")
    recording.started = 90.0
    confirm.ask("Password") if question == "prompt" else confirm.agrees("Delete?")
    current.set(None)
    assert recording.started == 97.0


@pytest.mark.parametrize("question", ["input", "getpass"])
def test_answer_to_a_question_of_the_console_is_no_time(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    moments = [100.0]
    monkeypatch.setattr(recording_module, "perf_counter", lambda: moments[0])
    module = builtins if question == "input" else getpass

    def answer(_prompt: str) -> str:
        moments[0] += 7
        return "yes"

    monkeypatch.setattr(module, question, answer)
    recording = recorder.begin("shell")
    recording.started = 90.0
    with waits.for_user():
        assert getattr(module, question)("Go on? ") == "yes"
    current.set(None)
    assert (recording.started, getattr(module, question)) == (97.0, answer)


def test_reading_in_a_pager_is_no_time(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = itertools.count(100.0)
    monkeypatch.setattr(recording_module, "perf_counter", lambda: next(moments))
    recording = recorder.begin("users list")
    recording.started = 90.0
    pager._page(["sh", "-c", "cat > /dev/null"], ["one\n", "two\n"], "")
    current.set(None)
    assert recording.started == 93.0  # Two pieces, and the end.
