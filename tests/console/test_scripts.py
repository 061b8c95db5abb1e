"""`flask shell` without a terminal: code, files and pipes, in every mode, on record."""

from __future__ import annotations

import re
import signal
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import FLASK, SECRETS, Cli, Database, run
from tests.support.processes import ended, start, until

MAKE = 'print(create_user("carl", "carl@example.com").username)'
READ_ONLY = "Error: this session is read-only\n  → flask shell --sandbox, or --write\n"
COUNT = "SELECT count(*) FROM ops_users WHERE username = 'carl'"


def last_session(cli: Cli) -> dict[str, object]:
    """The newest session with its transcript."""
    id = cli("audit", "sessions", "--limit", "1", "--format", "json").json[0]["id"]
    found: dict[str, object] = cli("audit", "session", id, "--format", "json").json
    return found


def test_code_runs_with_the_names(database: Database, cli: Cli, ada: str) -> None:
    found = run(
        database, "shell", "-c", 'print(U("ada").id, R("admin").name, app.name, now().tzname())'
    )
    assert (found.exit_code, found.stdout, found.stderr) == (0, "1 admin opsapp UTC\n", "")
    session = last_session(cli)
    assert (session["by"], session["mode"], session["state"]) == ("code", "write", "closed")
    assert (session["transcript"], session["ended"]) == ("whole", "exit")
    lines: Any = session["lines"]
    assert [line["kind"] for line in lines] == ["input", "end"]


def test_code_that_fails_exits_1_with_its_traceback(database: Database, cli: Cli, ada: str) -> None:
    found = run(database, "shell", "-c", "print('before')\n1/0")
    assert (found.exit_code, found.stdout) == (1, "before\n")
    assert found.stderr == (
        "Traceback (most recent call last):\n"
        '  File "<-c>", line 2, in <module>\n'
        "ZeroDivisionError: division by zero\n"
    )
    assert last_session(cli)["ended"] == "error"


def test_script_finds_the_modules_beside_it(database: Database, ada: str, tmp_path: Path) -> None:
    (tmp_path / "beside_it.py").write_text("word = 'found'")
    (tmp_path / "report.py").write_text("import sys, beside_it; print(beside_it.word, sys.path[0])")
    done = run(database, "shell", f"{tmp_path}/report.py")
    assert (done.stdout, done.stderr) == (f"found {tmp_path}\n", "")


def test_single_name_is_one_and_not_its_letters(database: Database, bob: str) -> None:
    code = (
        "roles.create('support', allow='users:read'); roles.allow('support', 'audit:read');"
        " grants.grant('support', 'bob'); signin.deactivate('bob');"
        " print(U('bob').active, [r.name for r in U('bob').roles], R('support').permissions)"
    )
    found = run(database, "shell", "-c", code)
    assert (found.exit_code, found.stdout) == (
        0,
        "False ['support'] ['audit:read', 'users:read']\n",
    )


def test_condition_that_ends_code_says_what_to_do(database: Database, ada: str) -> None:
    found = run(database, "shell", "-c", "U('nobody')")
    assert found.exit_code == 4
    assert found.stderr == "Error: no user nobody\n  → flask users list --search TEXT\n"


@pytest.mark.parametrize("code", ['sql("UPDATE ops_users SET active = :no", no=False)',
                                  'sql("DELETE FROM ops_grants")'])  # fmt: skip
def test_commit_keeps_an_administrator_from_sql(database: Database, ada: str, code: str) -> None:
    found = run(database, "shell", "-c", f"{code}\ncommit()")
    assert found.exit_code == 5
    assert "Error: that would leave no active administrator who can log in" in found.stderr
    assert database.rows("SELECT active FROM ops_users") == [(True,)]
    assert database.rows("SELECT count(*) FROM ops_grants") == [(1,)]


def test_commit_without_an_administrator_is_not_refused(database: Database, ada: str) -> None:
    database.execute("UPDATE ops_users SET active = :no", no=False)
    code = "sql(\"UPDATE ops_roles SET description = 'x'\")\nprint(commit())"
    found = run(database, "shell", "-c", code)
    assert (found.exit_code, found.stdout) == (0, "{'ops_roles': '1 updated'}\n")


def test_code_that_is_no_python_exits_1(database: Database, ada: str) -> None:
    found = run(database, "shell", "-c", "print(")
    assert found.exit_code == 1
    assert "SyntaxError" in found.stderr


def test_file_runs_with_its_arguments(
    database: Database, cli: Cli, ada: str, tmp_path: Path
) -> None:
    script = tmp_path / "report.py"
    script.write_text("import sys\nprint(__name__, sys.argv[1:], U('ada').id)\nsys.exit(3)\n")
    found = run(database, "shell", str(script), "--deep", "2026-11")
    assert (found.exit_code, found.stderr) == (3, "")
    assert found.stdout == "__main__ ['--deep', '2026-11'] 1\n"
    line = last_session(cli)["lines"][0]  # type: ignore[index]
    assert (line["name"], line["args"]) == (str(script), ["--deep", "2026-11"])
    assert line["text"] == script.read_text()


def test_file_that_is_not_there_is_not_found(database: Database, ada: str) -> None:
    found = run(database, "shell", "nowhere.py")
    assert (found.exit_code, found.stderr) == (4, "Error: there is no file nowhere.py\n")


def test_pipe_runs(database: Database, cli: Cli, ada: str) -> None:
    found = run(database, "shell", stdin="print(1 +\n  1)\n")
    assert (found.exit_code, found.stdout, found.stderr) == (0, "2\n", "")
    assert last_session(cli)["by"] == "stdin"


def test_pipe_that_fails_exits_1(database: Database, ada: str) -> None:
    assert run(database, "shell", stdin="1/0\n").exit_code == 1


def test_changes_of_services_stay_and_are_of_the_session(
    database: Database, cli: Cli, ada: str
) -> None:
    found = run(database, "shell", "--reason", "ticket 7", "-c", MAKE)
    assert (found.exit_code, found.stdout, found.stderr) == (0, "carl\n", "")
    assert database.rows(COUNT) == [(1,)]
    id = last_session(cli)["id"]
    events = cli("audit", "list", "--correlation", str(id), "--format", "json").json
    assert [(event["action"], event["door"], event["reason"]) for event in events] == [
        ("console:session:open", "shell", "ticket 7"),
        ("user:account:create", "shell", "ticket 7"),
        ("console:session:close", "shell", None),
    ]


@pytest.mark.parametrize(
    "code",
    [
        MAKE,
        "db.session.execute(sa.text(\"UPDATE ops_users SET username = 'carl'\"))\n"
        "db.session.commit()",
        "with db.engines['bookkeeping'].begin() as c: c.execute(sa.text('DELETE FROM ops_logins'))",
    ],
    ids=["service", "text", "other bind"],
)
def test_read_only_session_writes_nothing(database: Database, ada: str, code: str) -> None:
    found = run(database, "shell", "--read-only", "-c", code)
    assert found.exit_code == 5
    assert found.stderr == READ_ONLY
    assert database.rows(COUNT) == [(0,)]


def test_sandbox_works_and_leaves_nothing(database: Database, cli: Cli, ada: str) -> None:
    script = (
        f"{MAKE}\nusers.update('carl', username='karl')\nprint(U('karl').email)\n"
        "db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))\n"
        "print(commit())\n"
    )
    mail = database.rows("SELECT count(*) FROM ops_mail_messages")
    found = run(database, "shell", "--sandbox", "-c", script)
    assert (found.exit_code, found.stdout) == (
        0, "carl\ncarl@example.com\n{'ops_mail_messages': '1 inserted'}\n",
    ), found.stderr  # fmt: skip
    said = found.stderr.splitlines()
    assert said[0] == "Sandbox: nothing was saved. It would have been:"
    assert said[2] == "  user:account:update user:2: username=carl → username=karl"
    assert said[-2:] == ["  ops_mail_messages: 1 inserted", "  ops_users: 1 inserted, 1 updated"]
    assert database.rows("SELECT count(*) FROM ops_users") == [(1,)]
    assert database.rows("SELECT count(*) FROM ops_mail_messages") == mail
    actions = [event["action"] for event in cli("audit", "list", "--format", "json").json]
    assert actions[-2:] == ["console:session:open", "console:session:close"]
    assert not list((database.instance / "sandboxes").glob("*"))
    assert cli("audit", "verify").exit_code == 0


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_sandbox_without_a_place_for_its_copy_is_refused(database: Database, ada: str) -> None:
    (database.instance / "sandboxes").write_text("in the way")
    found = run(database, "shell", "--sandbox", "-c", "print(1)")
    assert (found.exit_code, found.stdout) == (7, "")
    assert re.fullmatch(r"Error: the folder .* cannot be made: Not a directory\n", found.stderr)


def test_sandbox_lets_others_write(database: Database, ada: str) -> None:
    process = start(database, FLASK, "shell", "--sandbox", "-c",
                    f"{MAKE}\nimport sys\nsys.stdout.flush()\ninput()")  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "carl\n"
    other = run(database, "users", "create", "dora@example.com", "--no-password")
    assert other.exit_code == 0, other.stderr
    assert process.stdin is not None
    process.stdin.write("\n")
    assert ended(process).exit_code == 0
    assert database.rows("SELECT email FROM ops_users ORDER BY id") == [
        ("ada@example.com",),
        ("dora@example.com",),
    ]


def test_what_was_not_committed_is_undone(database: Database, ada: str) -> None:
    code = "db.session.execute(sa.text(\"INSERT INTO ops_alembic_version VALUES ('x')\"))"
    found = run(database, "shell", "-c", code)
    assert found.exit_code == 1
    assert found.stderr == (
        "Not committed: ops_alembic_version (1 inserted)."
        " End the program with commit() or rollback().\n"
    )
    assert database.rows("SELECT count(*) FROM ops_alembic_version WHERE version_num = 'x'") == [
        (0,)
    ]


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
    found = cli("audit", "session", str(session["id"])[:8], "--format", "json")
    assert (found.exit_code, found.json["transcript"]) == (0, "whole")


def test_edited_transcript_is_found(database: Database, cli: Cli, ada: str) -> None:
    run(database, "shell", "-c", "x = 1", check=True)
    session = last_session(cli)
    path = database.instance / "transcripts" / f"{session['id']}.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    path.chmod(0o600)
    path.write_text(path.read_text().replace("x = 1", "x = 2"))
    found = cli("audit", "session", str(session["id"]), "--format", "json")
    assert found.exit_code == 6
    assert found.json["transcript"] == "edited: line 1 does not follow from the one before"


def test_removed_transcript_is_said_to_be(database: Database, cli: Cli, ada: str) -> None:
    run(database, "shell", "-c", "x = 1", check=True)
    session = last_session(cli)
    (database.instance / "transcripts" / f"{session['id']}.jsonl").unlink()
    found = cli("audit", "session", str(session["id"]), "--format", "json")
    assert (found.exit_code, found.json["lines"]) == (6, [])
    assert found.json["transcript"] == "missing: it was written on this host, and is gone"


def test_transcript_of_another_host_is_no_finding(
    database: Database, cli: Cli, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(database, "shell", "-c", "x = 1", check=True)
    session = last_session(cli)
    (database.instance / "transcripts" / f"{session['id']}.jsonl").unlink()
    here = socket.gethostname()
    monkeypatch.setattr("opsapp.console.sessions.gethostname", lambda: "elsewhere")
    found = cli("audit", "session", str(session["id"]), "--format", "json")
    assert (found.exit_code, found.json["lines"]) == (0, [])
    assert found.json["transcript"] == f"not on this host; look on {here}"


def test_unknown_session_is_not_found(cli: Cli, ada: str) -> None:
    for id in ("ffffffff", "x%", "-"):
        assert cli("audit", "session", "--", id).exit_code == 4


def test_nothing_runs_without_a_transcript(database: Database, ada: str) -> None:
    (database.instance / "transcripts").write_text("in the way")
    found = run(database, "shell", "-c", "print(1)")
    assert (found.exit_code, found.stdout) == (7, "")


def test_nothing_runs_without_the_audit(database: Database, ada: str) -> None:
    database.execute("DELETE FROM ops_audit_head")
    found = run(database, "shell", "-c", "print(1)")
    assert (found.exit_code, found.stdout) == (7, "")


def test_signal_ends_the_session_in_order(database: Database, cli: Cli, ada: str) -> None:
    process = start(
        database, FLASK, "shell", "-c", "print('here', flush=True)\nimport time\ntime.sleep(600)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    process.send_signal(signal.SIGTERM)
    found = ended(process)
    assert found.exit_code == 143
    assert found.stderr == "Stopped by SIGTERM; uncommitted changes are rolled back.\n"
    assert last_session(cli)["ended"] == "SIGTERM"


def test_reader_that_leaves_is_no_error(database: Database, ada: str) -> None:
    process = start(database, FLASK, "shell", "-c", "print('x\\n' * 100000)")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert ended(process).exit_code == 141


def test_nothing_of_the_current_folder_is_executed(
    database: Database, tmp_path: Path, ada: str
) -> None:
    trap = "raise SystemExit('executed ' + __name__)\n"
    names = (
        "sqlalchemy",
        "IPython",
        "readline",
        "jedi",
        "rich",
        "flask_sqlalchemy",
        "sitecustomize",
    )
    for name in (*names, "ipython_config", "startup"):
        (tmp_path / f"{name}.py").write_text(trap)
    done = subprocess.run(
        [FLASK, "shell", "-c", "print(1)"],
        env={**database.environ, "PYTHONSTARTUP": str(tmp_path / "startup.py")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


PRODUCTION = {"OPSAPP_ENV": "production", "OPSAPP_URL": "https://ops.example.com", **SECRETS}


def in_production(database: Database) -> None:
    """Let the database be production's."""
    run(database, "db", "init", check=True, **PRODUCTION)


def test_production_is_read_only_without_a_reason(empty_database: Database) -> None:
    in_production(empty_database)
    found = run(empty_database, "shell", "-c", MAKE, **PRODUCTION)
    assert (found.exit_code, found.stderr) == (5, READ_ONLY)
    for args, says in (
        ((), "needs a reason"),
        (("--reason", "ticket 7"), "This is production"),
        (("--reason", "ticket 7", "--confirm", "development"), "development is not production"),
    ):
        found = run(empty_database, "shell", "--write", *args, "-c", MAKE, **PRODUCTION)
        assert (found.exit_code, found.stdout) == (5, "")
        assert says in found.stderr
    args = ("--write", "--reason", "ticket 7", "--confirm", "production")
    found = run(empty_database, "shell", *args, "-c", MAKE, **PRODUCTION)
    assert (found.exit_code, found.stdout) == (0, "carl\n"), found.stderr


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


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))", 1),
        ("m = MailMessage(kind='x', recipient='a@b.c', subject='s', body='b')\n"
         "db.session.add(m)\ndb.session.flush()", 1),
        ("db.session.add_all(MailMessage(kind='x', recipient=f'{n}@b.c', subject='s', body='b')"
         " for n in range(2))\nMailMessage.query.count()", 2),
    ],
    ids=["added", "flushed", "autoflushed"],
)  # fmt: skip
def test_program_that_forgets_to_commit_fails(
    database: Database, ada: str, code: str, left: int
) -> None:
    found = run(database, "shell", "-c", code)
    changes = "1 change" if left == 1 else f"{left} changes"
    assert (found.exit_code, found.stderr) == (
        1,
        f"Not committed: {changes}. End the program with commit() or rollback().\n",
    )
    for mode, ending, exit_code in (
        ("--write", "commit()", 0),
        ("--write", "rollback()", 0),
        ("--write", "raise SystemExit", 1),
        ("--write", "raise SystemExit(3)", 3),
        ("--sandbox", "pass", 0),
    ):
        assert run(database, "shell", mode, "-c", f"{code}\n{ending}").exit_code == exit_code


ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_the_statement_of_a_program(
    database: Database, kind: str, cli: Cli, ada: str, number: signal.Signals
) -> None:
    statement = f"print('here', flush=True); sql('{ENDLESS[kind]}')"
    code = f"try: {statement}\nfinally: print('ended')"
    process = start(database, FLASK, "shell", "-c", code)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    if kind == "postgresql":
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        until(lambda: database.rows(sleeping) == [(1,)])
    process.send_signal(number)
    found = ended(process)
    assert (found.exit_code, found.stdout) == (128 + number, "ended\n")
    assert found.stderr == f"Stopped by {number.name}; uncommitted changes are rolled back.\n"
    assert last_session(cli)["ended"] == number.name
    if kind == "postgresql":
        assert database.rows(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid() AND state = 'active'"
        ) == [(0,)]


def test_error_of_sqlalchemy_shows_the_lines_of_the_program(database: Database, ada: str) -> None:
    found = run(
        database,
        "shell",
        "-c",
        "print(1)\n\nUser.query.filter_by(x=1)",
    )
    assert found.exit_code == 1
    assert found.stderr == (
        "Traceback (most recent call last):\n"
        '  File "<-c>", line 3, in <module>\n'
        'sqlalchemy.exc.InvalidRequestError: Entity namespace for "ops_users" has no property "x"\n'
    )


def test_service_is_refused_while_changes_wait(database: Database, ada: str) -> None:
    change = "sql(\"UPDATE ops_mail_messages SET subject = 'x'\")"
    add = "db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))"
    insert = f"{add}\nMailMessage.query.count()"
    for code, words in ((add, "1 change"), (insert, "1 change"), (change, "ops_mail_messages (")):
        found = run(database, "shell", "-c", f"{code}\n{MAKE}")
        assert found.exit_code == 5, found
        line, hint = found.stderr.splitlines()
        assert "a service has a transaction of its own, and there are uncommitted changes" in line
        assert words in line
        assert hint == "  → commit() or rollback() first"
    assert run(database, "shell", "-c", f"{add}\ncommit()\n{MAKE}").stdout == "carl\n"


def test_console_without_the_audit_hook_keeps_its_transcript(
    database: Database, cli: Cli, ada: str
) -> None:
    found = run(
        database, "shell", "-c", "import os; os.system('true')", OPSAPP_SHELL_AUDIT_HOOK="off"
    )
    assert (found.exit_code, found.stderr) == (0, "")
    lines: Any = last_session(cli)["lines"]
    assert [line["kind"] for line in lines] == ["input", "end"]
    event = cli("audit", "list", "--action", "console:session:open", "--format", "json").json[-1]
    assert event["after"]["audit_hook"] == "off"
