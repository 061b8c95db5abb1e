"""`flask db copy`: the whole database into another one, compared, or nothing at all."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from opsapp.database import copying
from opsapp.errors import OpsError
from opsapp.extensions import db
from opsapp.models import our_tables
from tests.support import Database, Result, call, disarm
from tests.support.processes import ended, start_work
from tests.support.templates import BOB, Commands, Templates

CONTENT: Commands = (
    *BOB,
    ("roles", "create", "support", "--allow", "users:read"),
    ("roles", "grant", "support", "bob", "--until", "2090-12-31"),
    ("users", "tokens", "create", "bob", "ci"),
    ("roles", "review", "start"),
    ("users", "create", "gone@example.com", "--no-password"),
    ("users", "delete", "gone@example.com", "--yes"),
)


@pytest.fixture
def source(sqlite_templates: Templates, tmp_path: Path) -> Iterator[Database]:
    """A SQLite database with something in most tables; its last account is deleted."""
    with sqlite_templates.copy(tmp_path / "instance", CONTENT) as database:
        database.execute(
            "INSERT INTO ops_logins (at, user_id, identity, outcome)"
            " VALUES ('2020-01-01 00:00:00.000000', 2, 'bob', 'succeeded')"
        )
        yield database


@pytest.fixture
def empty(postgresql_templates: Templates, source: Database, tmp_path: Path) -> Iterator[Database]:
    """An empty PostgreSQL database, with the secrets of the source."""
    with postgresql_templates.empty(tmp_path / "target") as database:
        # The server of the tests trusts its users.
        yield Database(database.url.replace(":@", "@"), source.instance)


@pytest.fixture
def target(empty: Database) -> Database:
    """The same after `flask db init`."""
    call(empty, "db", "init", check=True)
    return empty


def copy(source: Database, target: Database, *more: str) -> Result:
    return call(source, "db", "copy", "--to", target.url, *more)


def count(database: Database) -> dict[str, int]:
    query = "SELECT count(*) FROM "
    return {table: database.rows(query + table)[0][0] for table in sorted(our_tables())}


def test_copy_to_postgresql_and_back_loses_nothing(
    source: Database, target: Database, tmp_path: Path
) -> None:
    before = count(source)
    planned = copy(source, target, "--dry-run", "--format", "json")
    assert (planned.exit_code, planned.json["plan"][0]["action"]) == (0, "database:copy:create")
    assert count(target)["ops_users"] == 0

    done = copy(source, target, "--yes", "--reason", "outgrew the file", "--format", "json")
    assert done.exit_code == 0, done.stderr
    remark = "The copy: the chain holds, and the tables match it."
    assert json.loads(done.stderr) == {"remarks": [remark]}
    assert {row["table"]: row["rows"] for row in done.json["results"]} == before
    assert count(target) == before
    event = call(source, "audit", "show", str(done.json["audit_seq"]), "--format", "json").json
    assert (event["action"], event["reason"]) == ("database:copy:create", "outgrew the file")
    assert event["after"]["rows"] == sum(before.values())

    # The id of the account that was deleted last is not used again.
    for database in (source, target):
        made = call(database, "users", "create", "new@example.com", "--no-password", "-q")
        assert made.stdout == "4\n"
    assert call(target, "audit", "verify", "--state").exit_code == 0

    back = Database(f"sqlite:///{tmp_path}/back.sqlite", source.instance)
    call(back, "db", "init", check=True)
    returned = copy(target, back, "--yes", "--format", "json")
    assert returned.exit_code == 0, returned.stderr
    assert count(back) == {row["table"]: row["rows"] for row in returned.json["results"]}
    assert call(back, "audit", "verify", "--state").exit_code == 0
    refused = pytest.raises(Exception, match="append-only")
    with refused:
        back.execute("DELETE FROM ops_audit_events")
    with refused:
        target.execute("DELETE FROM ops_audit_events")


def test_copy_refuses_a_target_that_is_not_as_new(source: Database, empty: Database) -> None:
    done = copy(source, empty, "--yes")
    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr.startswith("Error: the target is not initialised\n  → OPSAPP_DATABASE_URL=")
    call(empty, "db", "init", check=True)
    call(empty, "roles", "create", "mine", check=True)
    call(empty, "users", "create", "x@example.com", "--no-password", check=True)
    done = copy(source, empty, "--yes")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr == "Error: the target is in use: its audit log has a user:account:create\n"
    assert call(empty, "users", "list", "--count").stdout == "1\n"


def test_copy_refuses_other_secrets_and_passwords(
    source: Database, postgresql_templates: Templates, tmp_path: Path
) -> None:
    with postgresql_templates.copy(tmp_path / "other") as other:
        done = copy(source, Database(other.url.replace(":@", "@"), source.instance), "--yes")
    assert (done.exit_code, done.stdout) == (7, "")
    assert done.stderr.startswith("Error: OPSAPP_AUDIT_KEY does not match the key")
    done = call(source, "db", "copy", "--to", "postgresql://me:secret@db/ops", "--yes")
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: --to has a password, which every process of this host can read\n"
        "  → PGPASSWORD in the environment, or ~/.pgpass\n",
    )
    done = call(source, "db", "copy", "--to", source.url, "--yes")
    assert (done.exit_code, done.stderr) == (2, "Error: --to is the database itself\n")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("UPDATE ops_users SET created_at = 'never' WHERE id = 2",
         "Error: ops_users has a value that cannot be read, in created_at: damaged: never\n"
         "  → flask doctor\n"),
        ("UPDATE ops_roles SET description = 'a' || char(0) || 'b' WHERE id = 2",
         "Error: a row of ops_roles cannot be copied: "),
    ],
    ids=["unreadable", "refused"],
)  # fmt: skip
def test_copy_of_what_the_target_cannot_hold_copies_nothing(
    source: Database, target: Database, damage: str, says: str
) -> None:
    before = count(target)
    disarm(source)
    source.execute(damage)
    done = copy(source, target, "--yes")
    assert (done.exit_code, done.stdout) == (3, "")
    assert done.stderr.startswith(says)
    assert count(target) == before
    assert call(target, "audit", "verify", "--state").exit_code == 0


@pytest.fixture
def notes() -> Iterator[None]:
    """A model of the application whose column tells NULL from the null of JSON."""
    columns = sa.Column("id", sa.Integer, primary_key=True), sa.Column("body", sa.JSON)
    table = sa.Table("notes", db.metadata, *columns)
    yield
    db.metadata.remove(table)


def test_copy_keeps_null_and_the_null_of_json_apart(
    source: Database, target: Database, notes: None, tmp_path: Path
) -> None:
    back = Database(f"sqlite:///{tmp_path}/back.sqlite", source.instance)
    call(back, "db", "init", check=True)
    for database in (source, target, back):
        database.execute("CREATE TABLE notes (id integer PRIMARY KEY, body json)")
    bodies = [(1, None), (2, "null"), (3, '"NULL"'), (4, '{"a": null}')]
    for id, body in bodies:
        value = "NULL" if body is None else f"'{body}'"
        source.execute(f"INSERT INTO notes (id, body) VALUES ({id}, {value})")
    for origin, place in ((source, target), (target, back)):
        done = copy(origin, place, "--yes")
        assert done.exit_code == 0, done.stderr
        assert place.rows("SELECT id, CAST(body AS text) FROM notes ORDER BY id") == bodies


def test_copy_that_cannot_be_committed_is_taken_back_in_the_audit(
    source: Database, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_stack: ExitStack, _connection: sa.Connection, committed: bool) -> None:
        assert committed
        raise OpsError("the target is away")

    monkeypatch.setattr(copying, "_settle", fail)
    done = copy(source, target, "--yes")
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, "Error: the target is away")
    assert count(target)["ops_users"] == 0
    events = call(source, "audit", "list", "--action", "database:copy", "--format", "json").json
    assert [event["action"] for event in events] == ["database:copy:create", "database:copy:fail"]


def copy_until_killed(url: str) -> None:
    """Copy the database, and die between its event and the commit of the target."""
    import os
    import signal

    import opsapp
    from opsapp.actors import Actor
    from opsapp.database import copying
    from opsapp.unit.work import Unit

    def die(*_args: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    copying._settle = die
    unit = Unit(actor=Actor(kind="os", name="ada", host="here", terminal="none"), door="cli")
    with opsapp.create_app().app_context():
        copying.copy(copying.engine_to(url), unit=unit)


def test_copy_has_its_event_when_it_is_killed_behind_it(source: Database, target: Database) -> None:
    killed = ended(start_work(source, copy_until_killed, target.url))
    assert killed.exit_code == -signal.SIGKILL, killed.stderr
    assert count(target)["ops_users"] == 0
    events = call(source, "audit", "list", "--action", "database:copy", "--format", "json").json
    assert [event["action"] for event in events] == ["database:copy:create"]
