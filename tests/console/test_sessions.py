"""Sessions on record, as they are read again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
from flask import Flask
from sqlalchemy import exc

from opsapp.console import sessions, transcript
from opsapp.console.modes import Mode
from opsapp.console.query_log import Queries
from opsapp.errors import Busy, InDoubt, NotReady
from opsapp.extensions import db
from tests.support import OPERATOR, Cli, Database, a_unit, run


def test_listing_asks_as_often_of_many_as_of_one(app: Flask, ada: str) -> None:
    for number in range(3):
        sessions.record_query(f"SELECT {number}", [], unit=a_unit())
    queries = Queries([db.engine])

    def asked(limit: int) -> int:
        queries.begin()
        assert len(sessions.listing(limit)) == limit
        return queries.current.count

    assert asked(1) == asked(3)


def test_listing_has_the_newest_last(app: Flask, ada: str) -> None:
    for reason in ("first", "second", "third"):
        sessions.record_query("SELECT 1", [], unit=a_unit(reason=reason))
    assert [row["reason"] for row in sessions.listing(2)] == ["second", "third"]


def deep(path: Path) -> None:
    path.chmod(0o600)
    path.write_text('{"n": 1, "text": ' + "[" * 100_000 + "]" * 100_000 + "}\n")


def less_deep(path: Path) -> None:
    path.chmod(0o600)
    path.write_text('{"n": 1, "mac": "x", "text": ' + "[" * 900 + "]" * 900 + "}\n")


def surrogate(path: Path) -> None:
    path.chmod(0o600)
    path.write_text('{"n": 1, "text": "\\ud800", "mac": "\\ud800"}\n{"n": 2, "mac": ["\\ud800"]}\n')


def scribbled(path: Path) -> None:
    path.chmod(0o600)
    path.write_bytes(b"\xff\x00\n[]\n" + b"9" * 10_000)


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def replace(path: Path) -> None:
        path.unlink()
        make(path)

    return replace


SPOILED: dict[str, Callable[[Path], object]] = {
    "deep": deep,
    "less deep": less_deep,
    "surrogate": surrogate,
    "scribbled": scribbled,
    "pipe": replaced(os.mkfifo),
    "folder": replaced(Path.mkdir),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("how", SPOILED)
@pytest.mark.parametrize("ended", ["closed", "killed"])
def test_transcript_that_was_spoiled_is_a_finding(
    how: str, ended: str, cli: Cli, database: Database, ada: str
) -> None:
    program = "1" if ended == "closed" else "import os; os._exit(9)"
    run(database, "shell", "-c", program)
    (path,) = (database.instance / "transcripts").glob("*-*.jsonl")
    SPOILED[how](path)
    opened = run(database, "shell", "-c", "print(6*7)")
    assert (opened.exit_code, opened.stdout, opened.stderr) == (0, "42\n", "")
    for form in ("json", "plain", "table"):
        shown = cli("audit", "session", path.stem, "--format", form)
        assert (shown.exit_code, shown.stderr) == (6, "")
    verdict = cli("audit", "session", path.stem, "--format", "json").json["transcript"]
    if how == "missing":
        assert verdict == "missing: it was written on this host, and is gone"
    else:
        assert verdict == "edited: line 1 does not follow from the one before"
    (state,) = [
        row["state"]
        for row in cli("audit", "sessions", "--format", "json").json
        if row["id"] == path.stem
    ]
    is_unknown = how == "missing" and ended == "killed"  # It may live on another host.
    assert state == ("open" if is_unknown else "closed" if ended == "closed" else "lost")


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_statements_that_were_spoiled_are_a_finding(cli: Cli, database: Database, ada: str) -> None:
    cli("query", "SELECT 1", check=True)
    path = database.instance / "transcripts" / "queries.jsonl"
    id = json.loads(path.read_text())["id"]
    path.write_text(json.dumps({"id": id, "statement": "\ud800"}) + "\n")
    found = cli("audit", "session", id, "--format", "json")
    assert (found.exit_code, found.json["transcript"]) == (
        6,
        "edited: its hash is not the audit log's",
    )
    path.write_bytes(b"\xff\n")
    found = cli("audit", "session", id, "--format", "json")
    assert (found.exit_code, found.json["transcript"][:8]) == (6, "missing:")
    path.unlink()
    os.mkfifo(path)
    assert cli("audit", "session", id).exit_code == 6
    refused = cli("query", "SELECT 1")
    assert (refused.exit_code, refused.stdout) == (7, "")
    assert refused.stderr.startswith(f"Error: the transcript {path} cannot be written (")


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_statement_that_is_no_unicode_is_invalid(cli: Cli, ada: str) -> None:
    found = cli("query", "SELECT '\udcff'")
    assert (found.exit_code, found.stdout) == (2, "")


# --- an end that is not recorded -------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [Busy("all locks are held"), exc.TimeoutError()],
)
def test_end_that_is_not_recorded_is_no_reason_to_run_it_again(
    app: Flask, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    session = sessions.open_session(OPERATOR, Mode.WRITE, None, by="code", wall="none")
    monkeypatch.setattr(sessions, "_record_end", Mock(side_effect=error))
    with pytest.raises(NotReady, match=r"^the end of the session is not recorded: all") as raised:
        sessions.close_session(session, outcome="exit")
    assert raised.value.hint == "the next flask shell records it"
    assert transcript.is_alive(session.id)  # The next session finds it, and records the end.
    session.transcript.seal()


def test_end_in_doubt_stays_so(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    session = sessions.open_session(OPERATOR, Mode.WRITE, None, by="code", wall="none")
    monkeypatch.setattr(sessions, "_record_end", Mock(side_effect=InDoubt("lost")))
    with pytest.raises(InDoubt):
        sessions.close_session(session, outcome="exit")
    session.transcript.seal()
