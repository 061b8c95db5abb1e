"""PostgreSQL as operators have it: their URLs, their servers' settings, servers that misbehave."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import make_url

from opsapp import libpq
from opsapp.database import status
from opsapp.engine import connections, locks
from opsapp.errors import NotReady
from tests.support import PASSWORD, Cli, Database, administer, call, run, run_afresh

REACH = "Error: the database cannot be reached: "


@pytest.fixture
def kind() -> str:
    return "postgresql"


def name_of(database: Database) -> str:
    return str(make_url(database.url).database)


def with_words(url: str, **words: str) -> str:
    return make_url(url).update_query_dict(words).render_as_string(hide_password=False)


# --- a server that accepts and never answers ------------------------------------


@pytest.fixture
def silent_port() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield int(server.getsockname()[1])


@pytest.mark.parametrize(
    "words",
    [
        "db init", "users list", "jobs check --nagios", "shell --read-only -c 1", "query --tables",
    ],
)  # fmt: skip
def test_silent_server_is_7_in_every_command(
    database: Database, silent_port: int, words: str
) -> None:
    url = f"postgresql://ops@127.0.0.1:{silent_port}/x?connect_timeout=2"
    result = call(database, *words.split(), OPSAPP_DATABASE_URL=url)
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr == f"{REACH}connection timeout expired\n  → flask doctor\n"


def test_silent_server_is_asked_once(database: Database) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"postgresql://ops@127.0.0.1:{server.getsockname()[1]}/x?connect_timeout=2"
        result = run(database, "users", "list", OPSAPP_DATABASE_URL=url, OPSAPP_PROFILING="on")
        assert result.exit_code == 7
        server.setblocking(False)
        server.accept()[0].close()
        with pytest.raises(BlockingIOError):
            server.accept()


def test_doctor_and_json_tell_of_a_silent_server(database: Database, silent_port: int) -> None:
    url = f"postgresql://ops@127.0.0.1:{silent_port}/x?connect_timeout=2"
    result = call(database, "doctor", "--format", "json", OPSAPP_DATABASE_URL=url)
    assert result.exit_code == 6
    assert [row["says"] for row in result.json if row["state"] == "fail"] == [
        "the database cannot be reached: connection timeout expired"
    ]
    error = call(database, "users", "list", "--format", "json", OPSAPP_DATABASE_URL=url)
    assert json.loads(error.stderr)["code"] == "not-ready"


def test_web_answers_503_before_a_silent_server(
    database: Database, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import opsapp

    url = f"postgresql+psycopg://ops@127.0.0.1:{silent_port}/x?connect_timeout=2"
    for name, value in {**database.environ, "OPSAPP_DATABASE_URL": url}.items():
        if name.startswith("OPSAPP_"):
            monkeypatch.setenv(name, value)
    client = opsapp.create_app().test_client()
    assert client.get("/readyz").json == {"status": "not ready", "because": "not-ready"}
    answers = [client.get("/readyz"), client.get("/api/users", headers={"X-Token": "a"})]
    assert [answer.status_code for answer in answers] == [503, 401]


# --- URLs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("u:p@h:1/db", "u:p@h:1/db"),
        ("a:1,b:2/db", "/db?host=a,b&port=1,2"),
        ("u@a,b:2/db?sslmode=require", "u@/db?sslmode=require&host=a,b&port=,2"),
        ("u@[::1]:5,[::2]/d", "u@/d?host=::1,::2&port=5,"),
        ("/db?host=a:1&host=b:2", "/db?host=a,b&port=1,2"),
        ("/db?host=/run/pg&options=-c+a%3Db%20-c", "/db?host=/run/pg&options=-c%20a%3Db%20-c"),
        ("h/db?connect_timeout=3&connect_timeout=4", "h/db?connect_timeout=4"),
        ("u:p@ss/w@h/d", "u:p@ss/w@h/d"),
        ("h/db?user=\udce9", "h/db?user=%ED%B3%A9"),
    ],
)
def test_url_is_spelled_as_libpq_and_sqlalchemy_read_it(rest: str, expected: str) -> None:
    assert libpq.normalize_address(rest) == expected


@pytest.mark.parametrize("url", ["sqlite:////tmp/\udce9", "postgresql+psycopg://h/db?user=\udce9"])
def test_url_that_is_not_utf8_is_refused(url: str) -> None:
    with pytest.raises(NotReady) as refused:
        connections.check_url(url, "--to")
    assert refused.value.message == "--to is not UTF-8"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("h:x/db", "OPSAPP_DATABASE_URL has an invalid port"),
        ("h/db?foo=1", 'OPSAPP_DATABASE_URL cannot be used: invalid connection option "foo"'),
        (
            "h/db?connect_timeout=soon",
            "OPSAPP_DATABASE_URL cannot be used: bad value for connect_timeout: 'soon'",
        ),
        (
            "/db?host=a,b&port=1,2,3",
            "OPSAPP_DATABASE_URL cannot be used: number of hosts and ports don't match",
        ),
        (
            "127.0.0.1:99999/db",
            'the database cannot be reached: connection is bad: invalid port number: "99999"',
        ),
        (
            "127.0.0.1:1,127.0.0.1:2/db",
            "the database cannot be reached: connection failed: connection to server at"
            ' "127.0.0.1", port 2 failed: Connection refused',
        ),
    ],
)
def test_url_that_libpq_refuses_is_7_in_one_line(
    database: Database, url: str, message: str
) -> None:
    result = call(database, "users", "list", OPSAPP_DATABASE_URL=f"postgresql://{url}")
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr.splitlines()[0] == f"Error: {message}"


SETTINGS = (
    "SELECT current_setting('application_name') AS name, current_setting('lock_timeout') AS lock,"
    " current_setting('search_path') AS path, current_setting('TimeZone') AS zone"
)


@pytest.mark.parametrize("way", ["url", "environment", "service"])
def test_words_of_the_operator_are_kept(database: Database, tmp_path: Path, way: str) -> None:
    options = r"-csearch_path=app,public -c lock_timeout=1234ms -c timezone=Asia/Tokyo"
    url, environ = database.url, {}
    if way == "url":
        url = with_words(url, options=options, application_name="shop")
    elif way == "environment":
        environ = {"PGOPTIONS": options, "PGAPPNAME": "shop", "PGTZ": "Asia/Tokyo"}
    else:
        service = tmp_path / "service.conf"
        service.write_text(f"[shop]\noptions={options}\napplication_name=shop\n")
        url, environ = with_words(url, service="shop"), {"PGSERVICEFILE": str(service)}
    result = call(
        database, "query", SETTINGS, "--format", "json", OPSAPP_DATABASE_URL=url, **environ
    )
    [row] = result.json
    assert row["name"].startswith("shop: opsapp query ")
    assert (row["lock"], row["path"], row["zone"]) == ("1234ms", "app,public", "UTC")


def test_wait_for_a_connection_is_the_operator_s() -> None:
    ours = {"lock_seconds": 5, "statement_seconds": 30}
    assert libpq.additions({}, **ours)["connect_timeout"] == "5"
    assert "connect_timeout" not in libpq.additions({"connect_timeout": "60"}, **ours)


def test_connection_is_given_up_when_the_other_host_is_frozen() -> None:
    added = libpq.additions({"keepalives_idle": "60"}, lock_seconds=5, statement_seconds=30)
    assert "keepalives_idle" not in added
    assert (added["keepalives_count"], added["tcp_user_timeout"]) == ("3", "25000")


def test_read_only_session_goes_where_a_session_must_be_read_write(
    database: Database, ada: str
) -> None:
    url = with_words(database.url, target_session_attrs="read-write")
    result = call(
        database, "query", "SELECT email FROM ops_users", "--format", "csv", OPSAPP_DATABASE_URL=url
    )
    assert (result.exit_code, result.stdout) == (0, "email\nada@example.com\n")
    code = "print(User.query.count())"
    shell = call(database, "shell", "--read-only", "-c", code, OPSAPP_DATABASE_URL=url)
    assert (shell.exit_code, shell.stdout) == (0, "1\n")


# --- schemas --------------------------------------------------------------------


@pytest.fixture
def in_schema(empty_database: Database) -> Database:
    """An installation whose URL names the schema ``app``, beside one in ``public``."""
    empty_database.execute("CREATE SCHEMA app")
    url = with_words(empty_database.url, options="-csearch_path=app")
    return Database(url, empty_database.instance)


def test_installation_lives_in_its_schema_alone(
    in_schema: Database, empty_database: Database
) -> None:
    for words in (("db", "init"), ("create-admin", "ada", "ada@example.com"), ("db", "upgrade")):
        words = (*words, "--password-stdin") if "create-admin" in words else words
        call(in_schema, *words, stdin=PASSWORD, check=True)
    schemas = (
        "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('ops_users', 'ops_job_runs')"
    )
    assert empty_database.rows(schemas) == [("app",)]
    assert call(in_schema, "db", "status", "--format", "json").json["ready"] is True
    assert call(in_schema, "doctor").exit_code == 0
    tables = call(in_schema, "query", "--tables", "--format", "json").json
    assert {row["name"] for row in tables} >= {"ops_users", "ops_alembic_version"}
    call(empty_database, "db", "init", check=True)  # The other one, in public.
    assert call(empty_database, "users", "list", "--format", "json").json == []
    assert call(in_schema, "audit", "verify").exit_code == 0


def test_installations_in_two_schemas_share_no_lock(
    in_schema: Database, empty_database: Database
) -> None:
    for installation in (in_schema, empty_database):
        call(installation, "db", "init", check=True)
    with empty_database.connect() as ours, in_schema.connect() as theirs:
        assert locks.number(ours, "job x") != locks.number(theirs, "job x")


def test_schema_that_is_not_there_is_7(empty_database: Database) -> None:
    url = with_words(empty_database.url, options="-csearch_path=nowhere")
    result = call(empty_database, "db", "init", OPSAPP_DATABASE_URL=url)
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr.startswith("Error: the schema of the search_path is not there: ")


@pytest.mark.parametrize("verb", ["init", "upgrade"])
def test_tables_of_another_schema_are_not_taken_for_ours(
    in_schema: Database, empty_database: Database, verb: str
) -> None:
    call(in_schema, "db", "init", check=True)
    empty_database.execute("CREATE SCHEMA shop")
    url = with_words(empty_database.url, options="-csearch_path=shop,app")
    result = call(in_schema, "db", verb, OPSAPP_DATABASE_URL=url)
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr.splitlines()[0] == (
        "Error: opsapp's tables are in the schema app, and new ones would go to shop"
    )


# --- the server's own settings --------------------------------------------------

STRANGE = {
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "timezone": "Asia/Kathmandu",
    "bytea_output": "escape",
    "client_encoding": "latin1",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "extra_float_digits": "-15",
    "backslash_quote": "off",
    "work_mem": "64",
    "search_path": "strange",
    "lock_timeout": "1",
    "statement_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
}
NO_WORK = ("default_transaction_read_only",)
"""The settings that forbid the work itself: with this one, nothing can be written."""


@pytest.fixture
def strange(empty_database: Database) -> Database:
    """A database whose every setting that a user may change is turned to its strangest."""
    empty_database.execute("CREATE SCHEMA strange")
    switches = empty_database.rows(
        "SELECT name, vartype, setting, enumvals FROM pg_settings"
        " WHERE context = 'user' AND vartype IN ('bool', 'enum')"
    )
    turned = {
        name: ("off" if now == "on" else "on") if kind == "bool" else max({*others} - {now})
        for name, kind, now, others in switches
        if kind == "bool" or len(others) > 1
    }
    with empty_database.connect() as connection:
        for name, value in {**turned, **STRANGE}.items():
            if name not in NO_WORK and not name.startswith(("transaction_", "debug_")):
                change = f"ALTER DATABASE {name_of(empty_database)} SET {name} = {value!r}"
                connection.exec_driver_sql(change)
    return empty_database


def test_work_goes_on_whatever_the_server_s_settings_are(strange: Database) -> None:
    environ = {"PGDATESTYLE": "SQL, DMY", "PGTZ": "Asia/Tokyo", "PGCLIENTENCODING": "SQL_ASCII"}
    for words in (
        ("db", "init"),
        ("create-admin", "łucja", "lucja@example.com", "--password-stdin"),
        ("roles", "create", "support"),
        ("roles", "grant", "support", "lucja@example.com", "--until", "2999-01-01"),
        ("audit", "verify"),
        ("jobs", "run", "x", "--", "true"),
        ("jobs", "history", "x"),
        ("db", "upgrade"),
        ("db", "check"),
        ("db", "status"),
        ("doctor",),
        ("shell", "--sandbox", "-c", "print(User.query.one().created_at.isoformat())"),
    ):
        call(strange, *words, stdin=PASSWORD, check=True, **environ)
    query = (
        "SELECT username, 0.1::float8 + 0.2 AS f, interval '1 day 2 hours' AS i,"
        " timestamptz '2026-01-02 03:04:05+00' AS t, '\\x00ff'::bytea AS b, '\\' AS s"
        " FROM ops_users"
    )
    [row] = call(strange, "query", query, "--format", "json", check=True, **environ).json
    assert (row["username"], row["f"], row["s"]) == ("łucja", 0.30000000000000004, "\\")
    assert row["t"] == "2026-01-02T03:04:05Z"


# --- a database that cannot be written ------------------------------------------


def test_database_that_takes_no_change_is_not_ready(database: Database, ada: str, cli: Cli) -> None:
    administer(
        database.url.replace(name_of(database), "{}"),
        f"ALTER DATABASE {name_of(database)} SET default_transaction_read_only = on",
    )
    status = cli("db", "status", "--format", "json")
    assert (status.exit_code, status.json["ready"], status.json["writable"]) == (6, False, False)
    result = cli("doctor", "--format", "json")
    assert [(row["check"], row["says"]) for row in result.json if row["state"] == "fail"] == [
        ("writing", "the database cannot be written:"
         " cannot execute UPDATE in a read-only transaction"),
    ]  # fmt: skip
    change = cli("roles", "create", "support")
    assert (change.exit_code, change.stdout) == (7, "")


def test_reading_where_nothing_can_be_written_prints_no_driver_s_remark(
    database: Database,
) -> None:
    administer(
        database.url.replace(name_of(database), "{}"),
        f"ALTER DATABASE {name_of(database)} SET default_transaction_read_only = on",
    )
    result = run_afresh(database, "jobs", "check", OPSAPP_PROFILING="on")
    assert (result.exit_code, result.stderr) == (0, "")


def test_row_that_a_unit_holds_is_no_fault(app: Flask, database: Database) -> None:
    with database.connect() as other:
        other.exec_driver_sql("SELECT * FROM ops_audit_head FOR UPDATE")
        status.check_writable()
