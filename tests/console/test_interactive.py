"""`flask shell` at a real terminal: prompts, colours, modes, keys, what is left."""

from __future__ import annotations

import re
import signal
import stat
from pathlib import Path

import pytest

from tests.support import SECRETS, Cli, Database, run
from tests.support.console_play import ENDLESS
from tests.support.consoles import console, plain
from tests.support.processes import until

RED = "\x1b[0;31;1m"
PRODUCTION = {"OPSAPP_ENV": "production", "OPSAPP_URL": "https://ops.example.com", **SECRETS}


FOREVER = "all(True for _ in iter(int, 1))"
"""An input that hears each signal; a sleep does not hear one that arrives as it begins."""
on_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For a test of the terminal, where the database makes no difference."""


@on_sqlite
def test_banner_says_where_one_is_in_a_few_lines(database: Database, ada: str) -> None:
    with console(database) as person:
        lines = person.wait().splitlines()
        assert lines[:2] == ["opsapp · development", "mode      write: committed changes stay"]
        assert lines[2].startswith("database  ")
        assert [line.split()[0] for line in lines[3:]] == ["session", "names", "try"]
        assert " models, 10 services, " in lines[4]
        assert len(lines) <= 12
        said = person.type("%names")
        assert "db   the database: db.session, db.engine" in said.splitlines()
        assert ":mod:" not in said
        assert "``" not in said
        assert person.type("%names a role:").strip() == 'R            a role: R("admin")'
        said = person.type("def total(n): return n / 0")
        assert "Input 'total(1)'" in person.type("total(1)")
        assert person.leave()[0] == 0
    with console(
        database, "--no-banner", "--read-only", prompt="opsapp(development:ro)>"
    ) as person:
        assert person.wait() == ""
        person.type('user = User(email="x@example.com", username="x"); db.session.add(user)')
        assert "→ rollback() first" in person.type('users.update("ada", username="ada2")')
        person.leave()


DIARY = """import opsapp
def create_app():
    return opsapp.create_app(import_name=__name__)
"""


@on_sqlite
def test_prompt_has_the_name_of_the_application(
    database: Database, ada: str, tmp_path: Path
) -> None:
    (tmp_path / "diary.py").write_text(DIARY)
    environ = {"FLASK_APP": "diary", "PYTHONPATH": str(tmp_path)}
    with console(database, prompt="diary(development:rw)>", **environ) as person:
        assert person.wait().startswith("diary · development")
        person.leave()


@on_sqlite
def test_values_and_magics_are_tables(database: Database, cli: Cli, bob: str) -> None:
    with console(database) as person:
        person.wait()
        said = person.type('U("ada")')
        assert re.search(r"^email +ada@example.com$", said, re.MULTILINE)
        assert re.search(r"^password +•••$", said, re.MULTILINE)
        said = person.type("sa.select(User.id, User.email).order_by(User.id)")
        assert said.splitlines()[:3] == ["id  email", "1  ada@example.com", "2  bob@example.com"]
        said = person.type("%sql SELECT count(*) AS n FROM ops_users")
        assert said.splitlines()[:2] == ["n", "2"]
        person.type('[U("ada").email for n in range(6)]')
        said = person.type("%queries")
        assert "6 statements" in said
        assert "Hint: 6 times" in said
        assert "SELECT … FROM ops_users WHERE" in plain(said)
        assert "6 statements" in person.type("%queries -v")
        said = person.type('%dryrun users.delete("bob")')
        assert "user:account:delete" in said
        assert "Dry run: nothing was written." in said
        assert "U(" not in person.type("x = 1")
        said = person.type('U("nobody")')
        assert "NotFound: no user nobody\n→ flask users list --search TEXT" in said
        # Colouring a traceback that is not shown would keep the person waiting.
        kept = "[e['traceback'] for e in get_ipython().history_manager.exceptions.values()]"
        assert "[[]]" in person.type(kept)
        assert person.leave()[0] == 0
    assert database.rows("SELECT count(*) FROM ops_users WHERE deleted_at IS NOT NULL") == [(0,)]


def test_changes_wait_in_memory_and_no_transaction_stays_open(
    database: Database, kind: str, ada: str
) -> None:
    with console(database) as person:
        person.wait()
        assert "1 change waits: commit() writes, rollback() forgets." in person.type(
            "db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))"
        )
        person.type("sql('SELECT count(*) FROM ops_mail_messages')")
        if kind == "postgresql":
            assert database.rows(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name LIKE 'opsapp shell%' AND state <> 'idle'"
            ) == [(0,)]
        else:
            run(database, "roles", "create", "meanwhile", check=True)
        assert "ops_mail_messages  1 inserted" in person.type("commit()")
        said = person.type("sql(\"UPDATE ops_mail_messages SET subject = 'evil'\")")
        assert "Rolled back, because no transaction stays open: ops_mail_messages" in said
        person.leave()
    assert database.rows("SELECT subject FROM ops_mail_messages WHERE kind = 'x'") == [("s",)]


def test_prompt_of_production_is_red_and_reads_only(empty_database: Database) -> None:
    run(empty_database, "db", "init", check=True, **PRODUCTION)
    with console(empty_database, prompt="opsapp(production:ro)>", **PRODUCTION) as person:
        person.until(RED + "opsapp(production:ro)>")
        said = person.type('create_user("carl", "carl@example.com")')
        assert "Refused: this session is read-only" in said
        said = person.type('sql("DELETE FROM ops_roles")')
        assert "→ this session is read-only: flask shell --sandbox, or --write" in said
        assert person.leave()[0] == 0
    assert empty_database.rows("SELECT count(*) FROM ops_roles") == [(1,)]


@on_sqlite
def test_writing_to_production_asks_why_and_for_the_name(empty_database: Database) -> None:
    run(empty_database, "db", "init", check=True, **PRODUCTION)
    with console(empty_database, "--write", **PRODUCTION) as person:
        person.until("Why do you write to production?: ")
        person.send("ticket 7\r")
        person.until("Commits are kept. Type production to go on: ")
        person.send("yes\r")
        code, said = person.ending()
    assert (code, "yes is not production; nothing was changed" in said) == (5, True)
    with console(
        empty_database, "--write", prompt="opsapp(production:rw)>", **PRODUCTION
    ) as person:
        person.until("Why do you write to production?: ")
        person.send("ticket 7\r")
        person.until("to go on: ")
        person.send("production\r")
        person.wait()
        person.type('create_user("carl", "carl@example.com")')
        assert person.leave()[0] == 0
    found = empty_database.rows(
        "SELECT reason FROM ops_audit_events WHERE action = 'user:account:create'"
    )
    assert found == [("ticket 7",)]


@on_sqlite
def test_colours_are_declined(database: Database, ada: str) -> None:
    with console(database, NO_COLOR="1") as person:
        person.wait()
        assert "\x1b[0;32" not in person.printed
        assert "\x1b[1m" not in person.printed


@on_sqlite
def test_ctrl_c_ends_the_input_and_not_the_console(database: Database, ada: str) -> None:
    with console(database) as person:
        person.wait()
        person.run(FOREVER)
        person.send("\x03")
        assert person.wait().endswith("Interrupted; %tb shows where.")
        assert FOREVER in person.type("%tb")
        person.send("half an input\x03")
        assert "2" in person.type("1 + 1")
        assert person.leave()[0] == 0


@on_sqlite
def test_sandbox_says_at_the_end_what_it_would_have_changed(database: Database, ada: str) -> None:
    with console(database, "--sandbox", prompt="opsapp(development:sandbox)>") as person:
        person.wait()
        person.type('create_user("carl", "carl@example.com")')
        assert "carl@example.com" in person.type('U("carl").email')
        code, said = person.leave()
    assert code == 0
    assert "Sandbox: nothing was saved. It would have been:" in said
    assert "\nops_users: 1 inserted" in said
    assert database.rows("SELECT count(*) FROM ops_users") == [(1,)]


@on_sqlite
@pytest.mark.parametrize("term", ["xterm", "dumb"])
def test_idle_console_rolls_back_and_leaves(
    database: Database, cli: Cli, ada: str, term: str
) -> None:
    with console(database, OPSAPP_SHELL_IDLE="0.02", TERM=term) as person:
        person.wait()
        code, said = person.ending()
    assert code == 0
    assert "No key for 0.02 minutes: rolled back, session closed." in said
    assert cli("audit", "sessions", "--format", "json").json[-1]["ended"] == "idle"


@on_sqlite
@pytest.mark.parametrize("given", ["soon", "-1", "inf"])
def test_idle_limit_is_a_number(database: Database, ada: str, given: str) -> None:
    found = run(database, "shell", "-c", "pass", OPSAPP_SHELL_IDLE=given)
    assert found.exit_code == 7
    assert "is not a number of minutes" in found.stderr


@on_sqlite
def test_kill_in_the_middle_of_an_input_loses_nothing(
    database: Database, cli: Cli, ada: str
) -> None:
    with console(database) as person:
        person.wait()
        person.run(FOREVER)
        person.kill(signal.SIGKILL)
        person.ending()
    session = cli("audit", "sessions", "--format", "json").json[-1]
    assert session["state"] == "lost"
    lines = cli("audit", "session", session["id"], "--format", "json").json["lines"]
    assert [line["text"] for line in lines] == [f"print('be' + 'gun') or {FOREVER}"]


@on_sqlite
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("is_running", [True, False], ids=["input", "prompt"])
def test_signal_to_stop_ends_in_order(
    database: Database, cli: Cli, ada: str, number: signal.Signals, is_running: bool
) -> None:
    with console(database) as person:
        person.wait()
        if is_running:
            person.run(FOREVER)
        person.kill(number)
        code, said = person.ending()
    assert code == 128 + number, said
    session = cli("audit", "sessions", "--format", "json").json[-1]
    assert (session["state"], session["ended"]) == ("closed", number.name)


BUSY = """import asyncio
async def busy():
    while True: await asyncio.sleep(0)

app = get_ipython().pt_app.app
app.on_reset += lambda _: [app.create_background_task(busy()) for _ in range(30)]
"""


@on_sqlite
def test_signal_to_stop_takes_no_step_of_the_prompts_loop_with_it(
    database: Database, ada: str, tmp_path: Path
) -> None:
    # Raised inside of a busy loop it would, one time in three, and the loop would wait forever.
    (tmp_path / "busy.py").write_text(BUSY)
    with console(database) as person:
        person.wait()
        person.type(f"%run -i {tmp_path / 'busy.py'}")
        person.kill(signal.SIGTERM)
        code, said = person.ending()
    assert code == 128 + signal.SIGTERM, said


@on_sqlite
def test_two_people_have_sessions_of_their_own(database: Database, cli: Cli, ada: str) -> None:
    with console(database) as one, console(database) as other:
        one.wait(), other.wait()
        one.type('create_user("carl", "carl@example.com")')
        assert "carl@example.com" in other.type('U("carl").email')
        assert [s["state"] for s in cli("audit", "sessions", "--format", "json").json] == [
            "open"
        ] * 2
        assert (one.leave()[0], other.leave()[0]) == (0, 0)


@on_sqlite
def test_history_is_our_own_and_private(database: Database, cli: Cli, ada: str) -> None:
    with console(database) as person:
        person.wait()
        person.type("print('remembered')")
        person.leave()
    path = database.instance / "shell" / "history.sqlite"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"remembered" in path.read_bytes()
    with console(database, "--no-history") as person:
        person.wait()
        person.type("print('forgotten')")
        person.leave()
    assert b"forgotten" not in path.read_bytes()
    assert list((database.instance / "shell").rglob("README"))  # IPython's own, which was 0644.
    rows = cli("doctor", "--format", "json").json
    assert [row["state"] for row in rows if row["check"] == "file modes"] == ["ok"]


def test_hostile_data_does_not_reach_the_terminal(database: Database, cli: Cli, bob: str) -> None:
    escape = "char(27)" if database.is_sqlite else "chr(27)"
    database.execute(f"UPDATE ops_users SET username = 'x' || {escape} || ']0;evil' WHERE id = 2")
    with console(database) as person:
        person.wait()
        for code in (
            'U("2")',
            "sa.select(User)",
            "sql('SELECT username FROM ops_users')",
            'U("2").username',
        ):
            person.send(code + "\r")
            person.until("\r\n")
            person.wait()
            assert "\x1b]0;evil" not in person.printed
            assert "x\\x1b]0;evil" in person.printed


def cpu_ticks(pid: int) -> int:
    """The processor time of a process, in hundredths of a second: SQLite computes in it."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def is_busy(database: Database) -> bool:
    """Tell whether the server runs a slow statement."""
    active = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    return not database.is_sqlite and database.rows(active) == [(1,)]


def test_ctrl_c_cancels_a_statement(database: Database, kind: str, ada: str) -> None:
    with console(database) as person:
        person.wait()
        person.type('kept = U("ada")')
        person.send(f'print("begun"); sql("{ENDLESS[kind]}")\r')
        person.until("begun\r\n")
        used = cpu_ticks(person.process.pid)
        until(lambda: is_busy(database) or cpu_ticks(person.process.pid) > used + 20)
        person.send("\x03")
        assert person.wait().endswith("Interrupted; %tb shows where.")
        assert person.type("kept.email") == "'ada@example.com'"
        assert person.type('sql("SELECT count(*) AS n FROM ops_users")').splitlines() == ["n", "1"]


def test_lost_connection_ends_with_its_input(database: Database, kind: str, ada: str) -> None:
    if kind == "sqlite":
        pytest.skip("speaks of a server")
    with console(database) as person:
        person.wait()
        lost = person.type('sql("SELECT pg_terminate_backend(pg_backend_pid())")')
        assert lost.startswith("OperationalError: terminating connection")
        assert person.type('sql("SELECT count(*) AS n FROM ops_users")').splitlines() == ["n", "1"]


@on_sqlite
def test_what_was_loaded_stays_loaded(database: Database, cli: Cli, bob: str) -> None:
    with console(database) as person:
        person.wait()
        person.type("everyone = list(db.session.scalars(sa.select(User)))")
        assert person.type("[one.email for one in everyone].count('bob@example.com')") == "1"
        assert person.type("%queries").splitlines()[-1] == "0 statements, 0.0 ms"


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_debugger_reads_and_writes_no_file(database: Database, ada: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".pdbrc").write_text("print('from a file')\n")
    with console(database, "--no-banner", HOME=str(home)) as user:
        user.wait()
        user.type("1 / 0")
        user.send("%debug\r")
        began = user.until("ipdb>")
        user.send("6 * 7\r")
        user.until("42")
        user.until("ipdb>")
        user.send("q\r")
        user.wait()
        assert user.leave()[0] == 0
    assert "from a file" not in began
    assert [file.name for file in home.iterdir()] == [".pdbrc"]
