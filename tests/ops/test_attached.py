"""`flask ops` on applications that know nothing of it, and `Ops` in their code."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from importlib import import_module
from pathlib import Path

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp import Ops
from opsapp.extensions import db
from tests.ops.conftest import Start, memory_app
from tests.support import Cli, Database
from tests.support.forks import flask, forked

APPS = ("login_app", "security_app", "flag_app", "relation_app", "word_app", "uuid_app")
UNAUDITED = "Nothing is audited until flask ops init.\n"
NO_TABLES = "  → flask ops init\n"
OWN_FOLDER = """
from pathlib import Path
from tests.apps import login_app

app = login_app.create_app()
app.instance_path = str(Path(__file__).parent / "of-theirs")
"""


def tables(database: Database) -> set[str]:
    engine = sa.create_engine(database.url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


# --- step by step ------------------------------------------------------------


@pytest.mark.parametrize("name", APPS)
def test_every_application_is_attached_without_a_line(
    name: str, start: Start, empty_database: Database
) -> None:
    cli, theirs = start(name), tables(empty_database)
    before = cli("ops", "query", "SELECT 1 AS one")
    assert (before.exit_code, before.stdout, before.stderr) == (0, "one\n1\n", UNAUDITED)
    assert tables(empty_database) == theirs
    made = cli("ops", "init", "--no-wal", "--format", "json")
    assert (made.exit_code, json.loads(made.stdout)["changed"]) == (0, True)
    again = cli("ops", "init", "--no-wal", "--format", "json")
    assert (again.exit_code, json.loads(again.stdout)["changed"]) == (0, False)
    assert json.loads(cli("ops", "status", "--format", "json").stdout)["ready"] is True
    after = cli("ops", "query", "SELECT 1 AS one")
    assert (after.exit_code, after.stdout, after.stderr) == (0, "one\n1\n", "")
    events = cli("ops", "audit", "list", "--format", "json")
    assert [event["action"] for event in json.loads(events.stdout)] == [
        "database:schema:upgrade",
        "console:query:run",
    ]
    assert cli("ops", "audit", "verify").exit_code == 0
    dropped = cli("ops", "drop", "--yes")
    assert dropped.exit_code == 0
    assert "Left: the folder " in dropped.stderr
    assert tables(empty_database) == theirs


def test_before_init_accounts_are_read(start: Start) -> None:
    cli = start("flag_app")
    module = import_module("tests.apps.flag_app")
    with module.create_app().app_context():
        ada = module.User(email="ada@x.org", domain_name="x", global_admin=True)
        module.db.session.add(ada)
        module.db.session.commit()
        module.db.engine.dispose()
    for words, lines in (
        (("users", "show", "ada@x.org", "--fields", "ends"), ["field\tvalue", "ends\t"]),
        (
            ("users", "can", "ada@x.org", "admin"),
            ["field\tvalue", "user\tada@x.org", "permission\tadmin", "allowed\ttrue"],
        ),
        (("roles", "history"), ["at\tuser\trole\taction\tvalid_until\tby\treason\taudit_seq"]),
        (("roles", "history", "ada@x.org"), ["at\tuser"]),
    ):
        done = cli("ops", *words)
        assert (done.exit_code, done.stderr) == (0, UNAUDITED), words
        assert done.stdout.startswith("\n".join(lines)), words
    done = cli("ops", "users", "can", "ada@x.org", "editor")
    assert (done.exit_code, "no role is called editor" in done.stdout) == (6, True)
    done = cli("ops", "roles", "history", "bob@x.org")
    assert (done.exit_code, "no user bob@x.org" in done.stderr) == (4, True)


def test_before_init_what_changes_something_is_refused(start: Start) -> None:
    cli = start("login_app")
    for words in (
        ("jobs", "run", "hello", "--", "true"),
        ("shell", "--write", "-c", "1"),
        ("audit", "list"),
    ):
        answer = cli("ops", *words)
        assert answer.exit_code == 7, words
        assert answer.stderr.endswith(NO_TABLES), words


@pytest.mark.usefixtures("sqlite_only")
def test_file_that_the_application_has_not_made_is_named(
    start: Start, empty_database: Database
) -> None:
    cli, file = start("login_app"), Path(str(sa.make_url(empty_database.url).database))
    file.unlink()
    says = (
        f"Error: there is no database file {file}\n"
        "  → the application makes its own, for example by its flask db upgrade\n"
    )
    for words in (("init",), ("users", "list"), ("query", "SELECT 1")):
        answer = cli("ops", *words)
        assert (answer.exit_code, answer.stdout, answer.stderr) == (7, "", says), words
    assert not file.exists()


def test_status_of_an_application_without_tables(start: Start) -> None:
    answer = start("word_app")("ops", "status", "--format", "json")
    record = json.loads(answer.stdout)
    assert answer.exit_code == 6
    assert (record["ready"], record["revision"]) == (False, None)
    assert record["attached"] == "by flask ops, for its commands"
    assert "users" not in record


def test_status_says_that_the_code_attaches(start: Start) -> None:
    answer = start("word_app", with_ops=True)("ops", "status", "--format", "json")
    assert json.loads(answer.stdout)["attached"] == "by its own code"


def test_status_before_init_says_what_was_not_tried(start: Start) -> None:
    answer = start("login_app")("ops", "status", "--format", "json")
    row = json.loads(answer.stdout)
    assert (answer.exit_code, row["ready"], row["writable"]) == (6, False, None)


def test_doctor_says_what_is_missing(start: Start) -> None:
    answer = start("login_app")("ops", "doctor", "--format", "json")
    states = {row["check"]: row["state"] for row in json.loads(answer.stdout)}
    assert answer.exit_code == 6
    assert (states["tables"], states["autogenerate"]) == ("fail", "warn")
    assert not states.keys() & {"grants", "setting SECRET_KEY", "setting OPSAPP_URL"}


def test_drop_asks_and_dry_run_only_lists(start: Start, empty_database: Database) -> None:
    cli = start("login_app")
    assert cli("ops", "drop").stderr == UNAUDITED + "There are no tables of opsapp.\n"
    cli("ops", "init", "--no-wal", check=True)
    refused = cli("ops", "drop")
    assert (refused.exit_code, refused.stdout) == (5, "")
    tried = cli("ops", "drop", "--dry-run")
    assert (tried.exit_code, tried.stderr) == (0, "Dry run: nothing was removed.\n")
    listed = cli("ops", "drop", "--dry-run", "--format", "json")
    rows = {row["table"]: row["rows"] for row in json.loads(listed.stdout)}
    assert (rows["ops_audit_events"], rows["ops_alembic_version"]) == (1, 1)
    assert rows.keys() <= tables(empty_database)


def test_table_of_theirs_with_our_prefix_is_refused(start: Start, empty_database: Database) -> None:
    cli = start("login_app")
    engine = sa.create_engine(empty_database.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE ops_shifts (id INTEGER PRIMARY KEY)"))
    engine.dispose()
    answer = cli("ops", "init", "--no-wal")
    assert answer.exit_code == 3
    assert "Error: the database has a table ops_shifts" in answer.stderr
    assert answer.stderr.endswith("  → rename it\n")


def test_schema_of_theirs_that_is_behind_names_their_migrations(
    start: Start, empty_database: Database
) -> None:
    cli = start("login_app")
    cli("ops", "init", "--no-wal", check=True)
    engine = sa.create_engine(empty_database.url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text('ALTER TABLE "user" DROP COLUMN about_me'))
    engine.dispose()
    missing = "no such column: user.about_me"
    if not empty_database.is_sqlite:
        missing = "column user.about_me does not exist"
    says = f"the database is behind the application's models: {missing}"
    advice = "the application's own migrations, for example its flask db upgrade"
    for words in (("users", "show", "1"), ("users", "update", "1", "--username", "eve", "--yes")):
        answer = cli("ops", *words)
        assert answer.exit_code == 7
        assert answer.stderr == f"Error: {says}\n  → {advice}\n"
    findings = json.loads(cli("ops", "doctor", "--format", "json").stdout)
    [found] = [row for row in findings if row["check"] == "accounts"]
    assert (found["state"], found["says"], found["advice"]) == ("fail", says, advice)


def test_sqlite_file_keeps_its_mode_unless_told(
    start: Start, empty_database: Database, sqlite_only: None
) -> None:
    def mode() -> str:
        path = sa.make_url(empty_database.url).database or ""
        connection = sqlite3.connect(path)
        try:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])
        finally:
            connection.close()

    cli = start("login_app")
    said = cli("ops", "init")
    assert "is not in WAL mode" in said.stderr
    assert mode() == "delete"
    cli("ops", "init", "--no-wal", check=True)
    done = cli("ops", "init", "--wal", "--fields", "changed")
    assert (done.exit_code, done.stdout) == (0, "field\tvalue\nchanged\ttrue\n")
    assert mode() == "wal"
    assert "the WAL mode of the SQLite file" in cli("ops", "drop", "--yes").stderr


def test_shell_has_the_names_of_the_application(start: Start) -> None:
    cli = start("login_app")
    code = "print(app.name, User.__module__, db.session.scalar(sa.select(sa.func.count(User.id))))"
    answer = cli("ops", "shell", "--read-only", "-c", code)
    assert (answer.exit_code, answer.stdout, answer.stderr) == (
        0,
        "tests.apps.login_app tests.apps.login_app 0\n",
        UNAUDITED,
    )
    bare = cli("ops", "shell", "--read-only", "-c", "client")
    assert bare.exit_code == 1
    assert bare.stderr.endswith("\n  → app.test_client() sends requests\n")
    web = cli("ops", "shell", "--read-only", "--web", "-c", "client")
    assert (web.exit_code, web.stdout, web.stderr.splitlines()[-2:]) == (
        2,
        "",
        [
            "Error: --web: the application has no pages of opsapp",
            "  → app.test_client() sends requests, and app.url_map has the routes",
        ],
    )
    cli("ops", "init", "--no-wal", check=True)
    write = cli("ops", "shell", "--write", "-c", 'db.session.add(User(username="ada")); commit()')
    assert (write.exit_code, write.stdout, write.stderr) == (0, "", "")
    assert cli("ops", "query", 'SELECT username FROM "user"').stdout == "username\nada\n"
    actions = [row["action"] for row in json.loads(cli("ops", "audit", "list", "--format",
               "json").stdout)]  # fmt: skip
    assert actions[1:5] == [
        "console:session:open",
        "user:account:create",
        "console:changes:commit",
        "console:session:close",
    ]


def test_jobs_run_from_the_schedule_for_attached_applications(start: Start) -> None:
    cli = start("login_app")
    names = cli("ops", "jobs", "schedule", "--format", "json")
    listed = {row["name"]: row["command"] for row in json.loads(names.stdout)}
    assert listed["expire-roles"] == ["flask", "ops", "roles", "expire", "-q"]
    assert all("flask ops" in " ".join(command) for command in listed.values())
    lines = cli("ops", "jobs", "install", "--format", "crontab").stdout
    assert "flask ops jobs run expire-roles --quiet" in lines
    cli("ops", "init", "--no-wal", check=True)
    ran = cli("ops", "jobs", "run", "hello", "--", "true")
    assert (ran.exit_code, ran.stderr) == (0, "")
    history = json.loads(cli("ops", "jobs", "history", "--format", "json").stdout)
    assert [(row["name"], row["status"]) for row in history] == [("hello", "succeeded")]


# --- whose application it is -------------------------------------------------


def test_application_built_on_opsapp_has_the_commands_without_ops(cli: Cli) -> None:
    answer = cli("ops", "query", "--tables")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (
        2,
        "",
        "Error: this application is built on opsapp\n  → the same command without ops\n",
    )
    assert "  ops " not in cli("--help").stdout


def test_unexpected_error_is_logged_in_the_application_s_folder(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_args: object, **_options: object) -> None:
        raise RuntimeError("broke")

    cli = start("login_app")
    (tmp_path / "own.py").write_text(OWN_FOLDER)
    monkeypatch.setenv("FLASK_APP", str(tmp_path / "own.py"))
    monkeypatch.delitem(sys.modules, "own", raising=False)  # It was imported from another folder.
    monkeypatch.delenv("OPSAPP_INSTANCE")
    monkeypatch.setattr("opsapp.ops.promises.parts", broken)
    answer = cli("ops", "identity")
    log = tmp_path / "of-theirs" / "ops" / "errors.log"
    assert (answer.exit_code, answer.stderr.splitlines()[-1]) == (1, f"  → {log} has the details")
    assert "RuntimeError: broke" in json.loads(log.read_text())["traceback"]


def test_application_without_flask_sqlalchemy_is_told_what_to_say(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli = start("login_app")
    (tmp_path / "bare.py").write_text("from flask import Flask\napp = Flask('bare')\n")
    monkeypatch.setenv("FLASK_APP", str(tmp_path / "bare.py"))
    answer = cli("ops", "query", "--tables")
    assert (answer.exit_code, answer.stderr) == (
        7,
        "Error: this application has no Flask-SQLAlchemy that opsapp knows\n"
        "  → Ops(app, session=…, engine=…) in its code: docs/attaching.md\n",
    )


def test_ops_refuses_what_it_cannot_attach_to(app: Flask) -> None:
    with pytest.raises(TypeError, match=r"Ops\(\) has no argument 'activ'"):
        Ops(activ=None)
    for half in ({"session": object()}, {"engine": object()}):
        with pytest.raises(TypeError, match=r"needs engine=…, and it needs session=…"):
            Ops(**half)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"needs a database"):
        Ops(Flask("bare"))
    with pytest.raises(RuntimeError, match="built on it"):
        Ops(app, db)


# --- their migrations --------------------------------------------------------


def _migrations(folder: Path) -> str:
    """Return what the application's migrations do; none is written where nothing differs."""
    return "".join(path.read_text() for path in folder.glob("migrations/versions/*.py"))


@pytest.mark.parametrize("with_ops", [True, False])
def test_autogenerate_leaves_our_tables_alone_with_ops_in_the_code(
    start: Start, tmp_path: Path, with_ops: bool, sqlite_only: None
) -> None:
    cli = start("login_app", with_ops=with_ops)
    said = cli("ops", "init", "--no-wal", check=True).stderr
    assert ("would drop opsapp's tables" in said) is not with_ops
    for words in (("db", "init"), ("db", "migrate", "-m", "empty")):
        # Its env.py configures the log of its process.
        code, _out, errors = forked(flask, *words, environ=os.environ, folder=tmp_path)
        assert code == 0, errors
    assert ("drop_table" in _migrations(tmp_path)) is not with_ops


@pytest.mark.parametrize("with_ops", [True, False])
def test_env_file_of_an_older_flask_migrate_has_the_line_that_helps(
    start: Start, tmp_path: Path, with_ops: bool, sqlite_only: None
) -> None:
    cli = start("login_app", with_ops=with_ops)
    env = tmp_path / "migrations" / "env.py"
    env.parent.mkdir()
    env.write_text("context.configure(connection=connection, target_metadata=target_metadata)\n")
    assert cli("ops", "init", "--no-wal", check=True).stderr == (
        f"Warning: flask db migrate would drop opsapp's tables: {env} does not pass on"
        " configure_args. Add include_name=opsapp.ops.autogenerate.include_name"
        " to its context.configure(…).\n"
    )


def test_hook_keeps_the_application_s_own_choice() -> None:
    from flask_migrate import Migrate

    app, theirs = memory_app()
    Migrate(app, theirs, include_name=lambda name, *_rest: name != "legacy")
    Ops(app, theirs)
    chosen = app.extensions["migrate"].configure_args["include_name"]
    assert chosen("user", "table", {})
    assert not chosen("legacy", "table", {})
    assert not chosen("ops_audit_events", "table", {})
    assert not chosen("ops_alembic_version", "table", {})
    assert chosen("ops_shifts", "table", {})
    assert chosen("ops_audit_events", "index", {})


def test_hook_is_there_when_flask_migrate_comes_later() -> None:
    from flask_migrate import Migrate

    app, theirs = memory_app()
    Ops(app, theirs)
    Migrate(app, theirs)
    with app.app_context():
        chosen = app.extensions["migrate"].configure_args["include_name"]
    assert not chosen("ops_audit_events", "table", {})
