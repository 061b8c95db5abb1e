"""A failure right after the commit: the change is told as made, and its mail is not lost."""

from __future__ import annotations

import psycopg
import pytest
from flask import Flask

from opsapp import signals
from opsapp.accounts import users
from opsapp.errors import NotReady, Refused
from opsapp.mail import outbox
from tests.support import Database, Result, a_unit, call, run

CUT = """
import os
import psycopg
import opsapp
from opsapp import signals

def cut(app, **_extra):
    with psycopg.connect(os.environ["ADMIN_URL"], autocommit=True) as server:
        name = os.environ["OPSAPP_DATABASE_URL"].rpartition("/")[2].partition("?")[0]
        server.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )

for signal in (signals.user_created, signals.user_updated, signals.user_deactivated,
               signals.role_granted, signals.role_revoked, signals.user_deleted):
    signal.connect(cut)
create_app = opsapp.create_app
"""


def run_cut(database: Database, server: str, *args: str) -> Result:
    """Run a command whose database is gone from its commit on; afterwards it is there again."""
    (database.instance / "cut.py").write_text(CUT)
    admin = server.format("postgres")
    done = run(database, *args, FLASK_APP="cut", ADMIN_URL=admin)
    name = database.url.rpartition("/")[2].partition("?")[0]
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    return done


ON_POSTGRESQL = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)


@ON_POSTGRESQL
@pytest.mark.parametrize(
    ("args", "key", "mailed"),
    [
        (("users", "create", "grace@example.com", "--no-password", "--role", "admin"), "3", 3),
        (("users", "update", "ada@example.com", "--email", "ada@example.org"), "1", 1),
        (("users", "deactivate", "bob@example.com"), "2", 0),
        (("users", "delete", "bob@example.com", "--yes"), "2", 0),
    ],
)
def test_change_is_told_and_its_mail_kept_when_the_database_goes_after_the_commit(
    database: Database,
    ada: str,
    bob: str,
    postgres: str,
    args: tuple[str, ...],
    key: str,
    mailed: int,
) -> None:
    waiting = "SELECT count(*) FROM ops_mail_messages WHERE attempts = 0"
    assert database.rows(waiting) == [(0,)]

    done = run_cut(database, postgres, *args, "-q")

    assert (done.exit_code, done.stdout) == (0, f"{key}\n")
    assert "something unexpected" not in done.stderr
    assert "failed (error" not in done.stderr
    assert done.stderr.count("\n") == (mailed and mailed + 1), done.stderr
    assert database.rows(waiting) == [(mailed,)]


@ON_POSTGRESQL
def test_error_after_the_commit_says_that_the_change_is_made(
    database: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise NotReady("the server has gone", hint="flask doctor")

    monkeypatch.setattr("opsapp.cli.outcome.write_change", fail)
    done = call(database, "users", "update", ada, "--username", "countess")
    (seq,) = database.rows("SELECT seq FROM ops_audit_head")[0]
    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr == (
        f"Error: the server has gone; but the change is made, audit event {seq}\n  → flask doctor\n"
    )


def test_change_whose_mail_cannot_be_kept_is_not_made(database: Database, ada: str) -> None:
    database.execute("ALTER TABLE ops_mail_messages RENAME TO elsewhere")
    events = database.rows("SELECT seq FROM ops_audit_head")

    done = run(database, "users", "create", "grace@example.com", "--no-password")

    assert (done.exit_code, done.stdout) == (7, "")
    assert database.rows("SELECT email FROM ops_users") == [(ada,)]
    assert database.rows("SELECT seq FROM ops_audit_head") == events


def test_mail_of_a_change_that_is_undone_is_not_sent(app: Flask) -> None:
    def undo() -> None:
        with a_unit() as unit:
            users.create("grace@example.com", unit=unit)
            outbox.put(outbox.Message("test", "grace@example.com", "subject", "body"))
            unit.session.flush()
            raise Refused("no")

    with pytest.raises(Refused):
        undo()
    assert outbox.take_kept() == ()


def test_change_is_told_though_an_error_follows_the_commit(app: Flask) -> None:
    told: list[int] = []

    def hear(_app: Flask, *, user_id: int, **_extra: object) -> None:
        told.append(user_id)

    def fail(committed: bool) -> None:
        assert committed
        raise OSError("the disk is full")

    def change() -> None:
        with unit:
            users.create("grace@example.com", unit=unit)
            unit.settle(fail)

    unit = a_unit()
    with (
        signals.user_created.connected_to(hear, app),
        pytest.raises(OSError, match="the disk is full"),
    ):
        change()
    assert (unit.committed, len(told)) == (True, 1)


def test_messages_to_send_are_kept_in_constant_time(app: Flask) -> None:
    outbox.take_kept()
    messages = [outbox.Message("test", "grace@example.com", "subject", "body")] * 3
    with a_unit() as unit:
        users.create("grace@example.com", unit=unit)
        outbox.put(messages[0])
        kept = outbox._kept.get()
        outbox.put(messages[1])
        assert outbox._kept.get() is kept  # A copy for each would be quadratic.
    outbox.keep(messages[2:])
    assert len(outbox.take_kept()) == 4  # The welcome, too.
    assert outbox.take_kept() == ()
