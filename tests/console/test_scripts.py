"""`flask shell` without a terminal: code, files and pipes."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support import FLASK, Cli, Database, run
from tests.support.console_play import ENDLESS, last_session
from tests.support.processes import ended, start, until


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


@pytest.mark.usefixtures("sqlite_only")
def test_program_that_finds_the_disk_full_ends_as_a_command_does(database: Database) -> None:
    code = "sql('PRAGMA max_page_count = 1'); sql('CREATE TABLE t AS SELECT zeroblob(99999)')"
    done = run(database, "shell", "-c", code)
    assert (done.exit_code, done.stdout, done.stderr) == (
        7,
        "",
        "Error: the database cannot be written: database or disk is full\n  → flask doctor\n",
    )


def test_program_that_names_an_unknown_table_fails_with_its_traceback(database: Database) -> None:
    done = run(database, "shell", "-c", "sql('SELECT * FROM unknown')")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith('Traceback (most recent call last):\n  File "<-c>", line 1')


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


def test_signal_ends_the_session_in_order(database: Database, cli: Cli, ada: str) -> None:
    code = "print('here', flush=True)\nwhile True: pass"
    process = start(database, FLASK, "shell", "-c", code)
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


def test_error_of_the_database_shows_the_lines_of_the_program(database: Database, ada: str) -> None:
    code = "def ask():\n    sql('SELEKT 1')\nask()"
    done = run(database, "shell", "-c", code)
    assert done.exit_code == 1
    frames = [line for line in done.stderr.splitlines() if line.startswith("  File ")]
    assert frames == ['  File "<-c>", line 3, in <module>', '  File "<-c>", line 2, in ask']


def test_chained_errors_show_no_frames_of_opsapp(database: Database, ada: str) -> None:
    code = (
        "def check():\n    try: users.update('nobody', username='x')\n"
        "    except Exception as error: raise ValueError('no') from error\ncheck()"
    )
    done = run(database, "shell", "-c", code)
    assert done.exit_code == 1
    frames = [line for line in done.stderr.splitlines() if line.startswith("  File ")]
    assert frames == [
        '  File "<-c>", line 2, in check',
        '  File "<-c>", line 4, in <module>',
        '  File "<-c>", line 3, in check',
    ]
