"""Inputs that end badly: the next one works, objects wait, and loaded values stay."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.exc import DBAPIError

from opsapp.actors import at_terminal
from opsapp.commands.shell.display import sql
from opsapp.console import interrupts
from opsapp.console.lifecycle import Console, open_console
from opsapp.console.modes import Mode
from opsapp.console.transactions import Remains
from opsapp.errors import NotFound, Refused
from opsapp.extensions import db
from tests.support import Database
from tests.support.processes import until


class Inputs:
    """A console whose inputs are run by a test."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.names = console.names.namespace()

    def run(self, code: str) -> tuple[BaseException | None, Remains]:
        """Run an input; return its error, and what it left."""
        self.console.before(code)
        error = None
        try:
            self.console.execute(code, "<input>", self.names)
        except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001  (as at the prompt)
            error = raised
        return error, self.console.after()

    def value(self, code: str) -> Any:
        """Return the value of an input that ends well."""
        error, _remains = self.run(f"value = {code}")
        assert error is None, (code, error)
        return self.names["value"]

    def statements(self) -> int:
        """Return how many statements the last input has sent."""
        return self.console.queries.current.count


@contextmanager
def inputs(app: Flask, mode: Mode) -> Iterator[Inputs]:
    more = {"sql": (sql, "the rows of a statement")}
    with open_console(
        app, at_terminal(), mode, reason=None, by="terminal", idle_seconds=0, more=more
    ) as console:
        yield Inputs(console)


@pytest.fixture
def unwatched(monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit hook would stay in the process of the tests."""
    monkeypatch.setenv("OPSAPP_SHELL_AUDIT_HOOK", "off")


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT max(i) FROM n"
SLEEPING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
NOTICE = "db.session.connection().connection.dbapi_connection.create_function('begun', 0, begun)"


def ctrl_c(inputs: Inputs, database: Database) -> None:
    """Press Ctrl-C during a statement."""
    begun = threading.Event()
    inputs.names["begun"] = lambda: begun.set() or 1

    def press() -> None:
        begun.wait() if database.is_sqlite else until(lambda: database.rows(SLEEPING) == [(1,)])
        os.kill(os.getpid(), signal.SIGINT)

    presses = threading.Thread(target=press)
    presses.start()
    statement = ENDLESS.replace("(SELECT 1", "(SELECT begun()") if database.is_sqlite else ""
    code = f"{NOTICE}\nsql('{statement}')" if statement else "sql('SELECT pg_sleep(600)')"
    error, _remains = inputs.run(code)
    presses.join()
    assert error is not None
    assert interrupts.is_interruption(error)


def typo(inputs: Inputs, database: Database) -> None:
    """Send a statement that is no SQL."""
    error, _remains = inputs.run("sql('SELEKT 1')")
    assert isinstance(error, DBAPIError)


def typo_of_a_cursor(inputs: Inputs, database: Database) -> None:
    """Send one past SQLAlchemy, which does not hear of the error."""
    error, _remains = inputs.run("c = db.engine.raw_connection(); c.cursor().execute('SELEKT 1')")
    assert error is not None


def lost_connection(inputs: Inputs, database: Database) -> None:
    """Lose the connection, and notice it by the next statement of the input."""
    end = "SELECT pg_terminate_backend(pg_backend_pid())"
    closes = "db.session.connection().connection.dbapi_connection.close()\nsql('SELECT 1')"
    error, _remains = inputs.run(closes if database.is_sqlite else f"sql('{end}')")
    assert isinstance(error, DBAPIError)
    assert error.connection_invalidated


def unnoticed_loss(inputs: Inputs, database: Database) -> None:
    """Lose the connection after the last statement of the input."""
    inputs.names["end"] = lambda: database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    close = "db.session.connection().connection.dbapi_connection.close()"
    inputs.run(f"sql('SELECT 1')\n{close if database.is_sqlite else 'end()'}")


FAULTS = [ctrl_c, typo, typo_of_a_cursor, lost_connection, unnoticed_loss]
ADD = "p = MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'); db.session.add(p)"


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("mode", list(Mode))
def test_next_input_works_after_a_fault(
    app: Flask, database: Database, ada: str, mode: Mode, fault: Callable[..., None]
) -> None:
    with inputs(app, mode) as typed:
        for objects in ("none", "loaded", "waiting"):
            if objects != "none":
                typed.run("kept = list(db.session.scalars(sa.select(User)))")
            if objects == "waiting":
                typed.run(ADD)
            fault(typed, database)
            assert typed.value("sql('SELECT 1 AS n')[0]") == {"n": 1}, objects
            if objects != "none":
                assert typed.value("[user.email for user in kept]") == [ada]
                assert typed.statements() == 0
            if objects == "waiting":
                assert typed.value("p in db.session.new and p.subject") == "s"
                assert typed.value("kept[0] in db.session")


DELETE = "DELETE FROM ops_mail_messages WHERE kind = ''"
PATIENCE = "db.session.connection().exec_driver_sql('PRAGMA busy_timeout={}')"


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "write",
    [f'sql("{DELETE}")', f"{ADD}; commit()", "db.session.execute(insert, [row, row])"],
    ids=["text", "commit", "many rows"],
)
def test_ctrl_c_ends_the_wait_for_a_lock(
    app: Flask, database: Database, ada: str, write: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(interrupts.time, "sleep", press)
    with inputs(app, Mode.WRITE) as typed:
        typed.run("row = {'kind': 'x', 'recipient': 'r', 'subject': 's', 'body': 'b'}")
        typed.run("insert = sa.insert(MailMessage)")
        with database.connect() as other:
            other.exec_driver_sql(DELETE)
            # In C it would wait for ten minutes, and hear nothing.
            error, _remains = typed.run(f"{PATIENCE.format(600_000)}; {write}")
        assert isinstance(error, KeyboardInterrupt)
        assert typed.value("sql('PRAGMA busy_timeout')[0]") == {"timeout": 600_000}


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_statement_waits_for_a_lock_as_long_as_its_driver(
    app: Flask, database: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with inputs(app, Mode.WRITE) as typed, database.connect() as other:
        other.exec_driver_sql(DELETE)
        error, _remains = typed.run(f'{PATIENCE.format(1)}; sql("{DELETE}")')
        assert str(getattr(error, "orig", None)) == "database is locked"
        monkeypatch.setattr(interrupts.time, "sleep", lambda _seconds: other.rollback())
        assert typed.value(f'{PATIENCE.format(600_000)} and sql("{DELETE}")') == 0


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (f"{ADD}; MailMessage.query.count()", None),
        ("sql(\"UPDATE ops_users SET username = 'evil'\")", None),
        ("db.session.add(MailMessage(kind='x')); db.session.flush()", DBAPIError),
        (f"{ADD}; sql('UPDATE ops_users SET active = :no', no=False); commit()", Refused),
        ("len(kept); db.session.scalars(sa.select(Role)).all(); users.update('nobody')", NotFound),
        ("m.subject = 'new'; db.session.flush()", None),
        ("db.session.begin_nested(); MailMessage.query.count()", None),
    ],
    ids=["flush", "update", "failed flush", "refused commit", "service", "change", "savepoint"],
)
def test_loaded_values_stay(app: Flask, ada: str, code: str, error: type[Exception] | None) -> None:
    with inputs(app, Mode.WRITE) as typed:
        typed.run(f"{ADD}; m = p; commit()")
        typed.run("kept = list(db.session.scalars(sa.select(User))); roles = kept[0].roles")
        raised, _remains = typed.run(code)
        assert isinstance(raised, error) if error else raised is None
        names = "[role.name for role in kept[0].roles]"
        assert typed.value(f"kept[0].email, {names}, m.body") == (ada, ["admin"], "b")
        assert typed.statements() == 0
        assert typed.value("kept[0].roles is roles")


@pytest.mark.usefixtures("unwatched")
def test_values_that_were_read_after_an_uncommitted_change_are_read_again(
    app: Flask, ada: str
) -> None:
    change = "sql(\"UPDATE ops_users SET username = 'evil'\")"
    with inputs(app, Mode.WRITE) as typed:
        typed.run(f"{change}; late = db.session.scalars(sa.select(User)).one()")
        assert typed.value("late.username") == "ada"
        typed.run(f"{change}; db.session.refresh(late)")
        assert typed.value("late.username") == "ada"
        assert typed.statements() == 0


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("mode", [Mode.WRITE, Mode.SANDBOX])
def test_relations_are_those_after_a_service(app: Flask, ada: str, mode: Mode) -> None:
    with inputs(app, mode) as typed:
        names = "[role.name for role in user.roles]"
        typed.run("user = U('ada')")
        assert typed.value(names) == ["admin"]
        typed.run("roles.create('support', allow='users:read'); grants.grant('support', 'ada')")
        assert typed.value(names) == ["admin", "support"]


@pytest.mark.usefixtures("unwatched")
def test_sandbox_survives_ctrl_c_anywhere(app: Flask, database: Database, ada: str) -> None:
    if database.is_sqlite:
        pytest.skip("speaks of one connection")

    def press(*_checkout: object) -> None:
        raise KeyboardInterrupt

    with inputs(app, Mode.SANDBOX) as typed:
        typed.run('create_user("carl", "carl@example.com")')
        sa.event.listen(db.engine, "checkout", press)
        error, remains = typed.run("sql('SELECT 1')")
        sa.event.remove(db.engine, "checkout", press)
        assert isinstance(error, KeyboardInterrupt)
        assert remains == Remains({}, 0)
        assert typed.value("U('carl').email") == "carl@example.com"


@pytest.mark.usefixtures("unwatched")
@pytest.mark.parametrize("end", ["SELECT pg_terminate_backend(pg_backend_pid())", "ROLLBACK"])
def test_sandbox_that_was_ended_begins_anew(
    app: Flask, database: Database, ada: str, end: str
) -> None:
    if database.is_sqlite:
        pytest.skip("speaks of a server")
    with inputs(app, Mode.SANDBOX) as typed:
        typed.run('create_user("carl", "carl@example.com")')
        _error, remains = typed.run(f"sql('{end}')")
        assert remains.remarks(may_commit=True) == [
            "The sandbox was ended, and its changes with it: it begins anew."
        ]
        assert typed.run(ADD)[1].remarks(may_commit=True) == [
            "1 change waits: commit() writes, rollback() forgets."
        ]
        assert typed.value("commit()") == {"ops_mail_messages": "1 inserted"}
    assert database.rows("SELECT count(*) FROM ops_mail_messages WHERE kind = 'x'") == [(0,)]
