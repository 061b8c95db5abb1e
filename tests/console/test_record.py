"""The record of `flask shell`: transcripts, and sessions that were killed."""

from __future__ import annotations

import socket
import stat
from typing import Any

import pytest

from tests.support import FLASK, Cli, Database, run
from tests.support.console_play import last_session
from tests.support.processes import ended, start


@pytest.mark.parametrize(
    ("ending", "state"), [("os._exit(0)", "lost"), ("os.kill(os.getpid(), 9)", "lost")]
)
def test_killed_session_is_on_record(
    database: Database, cli: Cli, ada: str, ending: str, state: str
) -> None:
    run(database, "shell", "-c", f"import os; {ending}")
    session = last_session(cli)
    assert session["state"] == state
    assert session["lines"][0]["text"] == f"import os; {ending}"  # type: ignore[index]
    run(database, "shell", "-c", "pass", check=True)
    events = cli("audit", "list", "--subject", f"session:{session['id']}", "--format", "json").json
    assert [event["action"] for event in events] == [
        "console:session:open",
        "console:session:lose",
    ]
    result = cli("audit", "session", str(session["id"])[:8], "--format", "json")
    assert (result.exit_code, result.json["transcript"]) == (0, "whole")


def test_edited_transcript_is_found(database: Database, cli: Cli, ada: str) -> None:
    run(database, "shell", "-c", "x = 1", check=True)
    session = last_session(cli)
    path = database.instance / "transcripts" / f"{session['id']}.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    path.chmod(0o600)
    path.write_text(path.read_text().replace("x = 1", "x = 2"))
    result = cli("audit", "session", str(session["id"]), "--format", "json")
    assert result.exit_code == 6
    assert result.json["transcript"] == "edited: line 1 does not follow from the one before"


def test_removed_transcript_is_said_to_be(database: Database, cli: Cli, ada: str) -> None:
    run(database, "shell", "-c", "x = 1", check=True)
    session = last_session(cli)
    (database.instance / "transcripts" / f"{session['id']}.jsonl").unlink()
    result = cli("audit", "session", str(session["id"]), "--format", "json")
    assert (result.exit_code, result.json["lines"]) == (6, [])
    assert result.json["transcript"] == "missing: it was written on this host, and is gone"


def test_transcript_of_another_host_is_no_finding(
    database: Database, cli: Cli, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, "shell", "-c", "x = 1", check=True)
    session = last_session(cli)
    (database.instance / "transcripts" / f"{session['id']}.jsonl").unlink()
    here = socket.gethostname()
    monkeypatch.setattr("opsapp.console.sessions.gethostname", lambda: "elsewhere")
    result = cli("audit", "session", str(session["id"]), "--format", "json")
    assert (result.exit_code, result.json["lines"]) == (0, [])
    assert result.json["transcript"] == f"not on this host; look on {here}"


def test_unknown_session_is_not_found(cli: Cli, ada: str) -> None:
    for id in ("ffffffff", "x%", "-"):
        assert cli("audit", "session", "--", id).exit_code == 4


def test_nothing_runs_without_a_transcript(database: Database, ada: str) -> None:
    (database.instance / "transcripts").write_text("in the way")
    result = run(database, "shell", "-c", "print(1)")
    assert (result.exit_code, result.stdout) == (7, "")


def test_nothing_runs_without_the_audit(database: Database, ada: str) -> None:
    database.execute("DELETE FROM ops_audit_head")
    result = run(database, "shell", "-c", "print(1)")
    assert (result.exit_code, result.stdout) == (7, "")


def test_two_sessions_have_transcripts_of_their_own(database: Database, cli: Cli, ada: str) -> None:
    waiting = "print('here', flush=True)\ninput()"
    both = [start(database, FLASK, "shell", "-c", f"{waiting}  # {n}") for n in range(2)]
    for process in both:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
    sessions = cli("audit", "sessions", "--format", "json").json
    assert [one["state"] for one in sessions] == ["open", "open"]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("\n")
        assert ended(process).exit_code == 0
    sessions = cli("audit", "sessions", "--format", "json").json
    assert [(one["state"], one["inputs"]) for one in sessions] == [("closed", 1)] * 2
    assert len(list((database.instance / "transcripts").iterdir())) == 2


def test_console_without_the_audit_hook_keeps_its_transcript(
    database: Database, cli: Cli, ada: str
) -> None:
    result = run(
        database, "shell", "-c", "import os; os.system('true')", OPSAPP_SHELL_AUDIT_HOOK="off"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    lines: Any = last_session(cli)["lines"]
    assert [line["kind"] for line in lines] == ["input", "end"]
    event = cli("audit", "list", "--action", "console:session:open", "--format", "json").json[-1]
    assert event["after"]["audit_hook"] == "off"
