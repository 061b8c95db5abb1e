"""Behind PgBouncer: what holds is used, and what does not hold is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from opsapp.engine import connections, direct, pooler
from opsapp.errors import NotReady
from tests.support import PASSWORD, Database, Result, call, run
from tests.support.jobwork import pid_in, rows, start_job
from tests.support.pgbouncer import IGNORING, PGBOUNCER, Pooled, behind, pgbouncer
from tests.support.processes import ended, gate_held
from tests.support.templates import Templates

pytestmark = pytest.mark.skipif(
    PGBOUNCER is None, reason="there is no PgBouncer; on Debian: apt-get install pgbouncer"
)

KEEPS_NO_LOCK = (
    "Error: the pooler in front of PostgreSQL is in transaction mode, which keeps no lock\n"
    "  → OPSAPP_DIRECT_DATABASE_URL=postgresql://USER@HOST/NAME, without the pooler:"
    " docs/deploying.md\n"
)

ADVISORY = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"

Poolers = Callable[..., int]


@pytest.fixture
def kind() -> str:
    """Only PostgreSQL has poolers."""
    return "postgresql"


@pytest.fixture(scope="module")
def poolers(postgres: str) -> Iterator[Poolers]:
    """``poolers("session")`` is the port of a PgBouncer in this mode; it is started once."""
    ports: dict[tuple[object, ...], int] = {}
    with ExitStack() as stack:

        def port(mode: str, **settings: object) -> int:
            key = (mode, *settings.items())
            if key not in ports:
                ports[key] = stack.enter_context(pgbouncer(postgres, mode, **settings))
            return ports[key]

        yield port


@pytest.fixture(params=["transaction", "session"])
def mode(request: pytest.FixtureRequest) -> str:
    """The mode of the pooler; a test that takes it runs in both."""
    return str(request.param)


@pytest.fixture
def pooled(database: Database, poolers: Poolers, mode: str) -> Pooled:
    """The database through a pooler that is set as docs/deploying.md says."""
    return behind(database, poolers(mode, **IGNORING))


@pytest.fixture
def shared(database: Database, poolers: Poolers) -> Pooled:
    """The same through a pooler in transaction mode."""
    return behind(database, poolers("transaction", **IGNORING))


def engine_of(database: Database) -> sa.Engine:
    """An engine as the application has it."""
    url = connections.check_url(database.url.replace("postgresql:", "postgresql+psycopg:"))
    engine = sa.create_engine(url, **connections.options(url))
    connections.prepare(engine)
    return engine


@pytest.fixture
def another(postgresql_templates: Templates, tmp_path: Path) -> Iterator[Database]:
    """A second database of the server, which is not initialised yet."""
    with postgresql_templates.empty(tmp_path / "another") as database:
        yield database


# --- what holds --------------------------------------------------------------


def test_settings_hold_in_every_transaction(pooled: Pooled) -> None:
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "TimeZone")
    query = sa.select(*(sa.func.current_setting(name) for name in names))
    engine = engine_of(pooled)
    with engine.connect() as connection, engine.connect() as other:
        for turn in (connection, other, connection):
            assert pooler.is_pooled(turn)
            assert tuple(turn.execute(query).one()) == ("5s", "30s", "1min", "UTC")
            turn.rollback()
    engine.dispose()


def test_change_behind_a_held_gate_gives_up(pooled: Pooled, database: Database, ada: str) -> None:
    with gate_held(database):
        command = ("users", "update", ada, "--username", "countess")
        assert call(pooled, *command, OPSAPP_STATEMENT_TIMEOUT="0.1").exit_code == 124
    assert call(pooled, *command).exit_code == 0


def test_pooler_gets_back_what_it_lent(shared: Pooled) -> None:
    engine = engine_of(shared)
    with engine.connect() as connection:
        connection.execute(sa.select(1))
    engine.dispose()
    assert shared.rows("SELECT current_setting('lock_timeout')") == [("0",)]


def test_nothing_is_prepared_on_a_server_that_others_use(pooled: Pooled) -> None:
    engine = engine_of(pooled)
    with engine.connect() as connection, engine.connect() as other:
        for _ in range(8):  # The driver prepares what it has sent five times.
            for turn in (connection, other):
                assert turn.scalar(sa.text("SELECT count(*) FROM pg_prepared_statements")) == 0
                turn.rollback()
    engine.dispose()


def test_commands_do_their_work(pooled: Pooled) -> None:
    created = run(
        pooled, "create-admin", "ada", "ada@example.com", "--password-stdin", stdin=PASSWORD
    )
    assert created.exit_code == 0, created.stderr
    assert run(pooled, "audit", "verify").exit_code == 0
    assert run(pooled, "users", "list", "--fields", "email,username") == Result(
        0, "email\tusername\nada@example.com\tada\n", ""
    )
    for _ in range(2):
        result = run(pooled, "query", "SELECT current_setting('transaction_read_only') AS it")
        assert result == Result(0, "it\non\n", "")
    assert run(pooled, "shell", "--read-only", "-c", "len(User.query.all())").exit_code == 0
    several = "UPDATE ops_users SET username = 'evil'; COMMIT"
    assert run(pooled, "shell", "-c", f'sql("{several}")') == Result(
        2, "", "Error: several statements in one call\n  → send each by itself\n"
    )
    assert pooled.rows("SELECT username FROM ops_users") == [("ada",)]


def test_changes_of_a_crowd_are_one_chain(pooled: Pooled) -> None:
    emails = [f"user{number}@example.com" for number in range(4)]
    with ThreadPoolExecutor() as crowd:
        results = crowd.map(
            lambda email: run(pooled, "users", "create", email, "--no-password"), emails
        )
        assert [result.exit_code for result in results] == [0] * len(emails)
    assert run(pooled, "audit", "verify").exit_code == 0


# --- locks -------------------------------------------------------------------


@pytest.fixture
def locking(database: Database, poolers: Poolers, mode: str) -> Pooled:
    """The database as jobs can use it: in transaction mode they know the way around."""
    return behind(database, poolers(mode, **IGNORING), direct=mode == "transaction")


def test_two_runs_of_a_job_never_overlap(
    locking: Pooled, database: Database, tmp_path: Path
) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec sleep 600"
    runner = start_job(locking, "a", "--", "sh", "-c", script)
    pid_in(tmp_path / "pid")
    for _ in range(5):
        result = run(locking, "jobs", "run", "a", "--", "true")
        assert (result.exit_code, result.stdout) == (75, "")
    runner.terminate()
    ended(runner)
    assert run(locking, "jobs", "run", "a", "--", "true") == Result(0, "", "")
    assert rows(database) == [("terminated", 143), ("succeeded", 0)]


def test_database_is_made_and_saved(locking: Pooled, another: Database) -> None:
    name = make_url(another.url).database
    fresh = replace(
        locking,
        url=make_url(locking.url).set(database=name).render_as_string(hide_password=False),
        direct=locking.direct and another.url,
        instance=another.instance,
    )
    assert run(fresh, "db", "init").exit_code == 0
    assert run(fresh, "db", "backup", "copy.dump").exit_code == 0
    assert another.rows(ADVISORY) == [(0,)]


@pytest.mark.parametrize(
    "command",
    [
        ("jobs", "run", "a", "--", "touch", "it"),
        ("db", "stamp", "heads", "--yes"),
        ("db", "backup", "it"),
    ],
)
def test_lock_is_refused_that_the_pooler_would_lose(
    shared: Pooled, database: Database, command: tuple[str, ...]
) -> None:
    assert run(shared, *command) == Result(7, "", KEEPS_NO_LOCK)
    assert not (shared.instance / "it").exists()
    assert database.rows(ADVISORY) == [(0,)]


def test_doctor_says_that_no_lock_would_hold(shared: Pooled, ada: str) -> None:
    finding = locks_in(call(shared, "doctor", "--format", "json"))
    assert finding["state"] == "fail"
    assert finding["advice"].startswith("OPSAPP_DIRECT_DATABASE_URL=")


def test_doctor_finds_a_pooler_well_that_keeps_locks(locking: Pooled, ada: str) -> None:
    assert locks_in(call(locking, "doctor", "--format", "json"))["state"] == "ok"


def locks_in(report: Result) -> dict[str, str]:
    """Return doctor's finding on locks."""
    [finding] = [row for row in report.json if row["check"] == "locks"]
    return dict(finding)


def test_pooler_that_takes_turns_is_seen_through(database: Database, poolers: Poolers) -> None:
    port = poolers("transaction", **IGNORING, server_round_robin=1)
    turning = behind(database, port)
    engine = engine_of(turning)
    with ExitStack() as stack:  # Several sessions, which the pooler then hands out in turns.
        for _ in range(2):
            stack.enter_context(engine.connect()).execute(sa.select(1))
    with pytest.raises(NotReady, match="transaction mode, which keeps no lock"):
        direct.connect(engine)
    engine.dispose()


def test_direct_url_of_another_database_is_refused(shared: Pooled, another: Database) -> None:
    elsewhere = replace(shared, direct=another.url)
    name, other = "OPSAPP_DIRECT_DATABASE_URL", "OPSAPP_DATABASE_URL"
    message = f"Error: {name} points to a different database than {other}\n"
    assert run(elsewhere, "jobs", "run", "a", "--", "true") == Result(7, "", message)


def test_direct_url_that_is_none_is_named(shared: Pooled) -> None:
    message = "Error: OPSAPP_DIRECT_DATABASE_URL is for sqlite, and the database is PostgreSQL\n"
    result = call(replace(shared, direct="sqlite:///here"), "jobs", "run", "a", "--", "true")
    assert result == Result(7, "", message)


# --- what is refused at the door ---------------------------------------------


def test_refused_setting_names_the_line_that_helps(database: Database, poolers: Poolers) -> None:
    port = poolers("transaction")
    result = call(behind(database, port), "users", "list")
    assert result == Result(
        7,
        "",
        "Error: the pooler in front of PostgreSQL refuses a setting: connection failed: connection"
        f' to server at "127.0.0.1", port {port} failed: FATAL:  unsupported startup parameter:'
        " options\n  → ignore_startup_parameters = options in pgbouncer.ini: docs/deploying.md\n",
    )


def test_statement_mode_is_refused(database: Database, poolers: Poolers) -> None:
    result = call(behind(database, poolers("statement", **IGNORING)), "users", "list")
    assert result == Result(
        7,
        "",
        "Error: the pooler in front of PostgreSQL is in statement mode, which has no transactions\n"
        "  → pool_mode = transaction in pgbouncer.ini: docs/deploying.md\n",
    )


# --- without a pooler --------------------------------------------------------


def test_connection_of_its_own_server_is_no_pooled_one(database: Database) -> None:
    engine = engine_of(database)
    with engine.connect() as connection:
        assert not pooler.is_pooled(connection)
    engine.dispose()


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("", {}),
        ("-c lock_timeout=5s -cTimeZone=UTC", {"lock_timeout": "5s", "timezone": "UTC"}),
        ("--search-path=app\\,\\ public", {"search_path": "app, public"}),
        (r"-c a.b=back\\slash -c empty=", {"a.b": "back\\slash", "empty": ""}),
    ],
)
def test_settings_are_read_as_the_server_reads_them(options: str, settings: dict[str, str]) -> None:
    assert pooler._settings(options) == settings
