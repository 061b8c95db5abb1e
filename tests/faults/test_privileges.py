"""The roles of opsapp/database/roles.sql: commands work with them, and attacks do not."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

import opsapp.database
from tests.faults import tally
from tests.faults.judging import assert_promises_kept
from tests.support import PASSWORD, Database, administer, run

FILE = Path(opsapp.database.__file__).with_name("roles.sql")

WORK = (
    "users create-admin eve@example.com --password-stdin",
    "users create cyd@example.com --no-password",
    "users update cyd@example.com --username cyd",
    "roles create support --allow users:read",
    "roles update support --name desk",
    "roles allow desk roles:read",
    "roles grant desk cyd --until 2090-01-01",
    "roles revoke desk cyd",
    "roles expire",
    "roles delete desk --yes",
    "users tokens create eve@example.com ci",
    "users tokens revoke eve@example.com ci --yes",
    "users deactivate cyd",
    "users delete cyd --yes",
    "users sessions end eve@example.com --yes",
    "users logins prune --older-than 1d --yes",
    "jobs run nightly -- true",
    "jobs prune --keep 1 --yes",
    "mail send-pending",
    "db backup copy",
    "db status",
    "audit verify",
    "audit checkpoint",
)
READING = ("users list", "roles matrix", "audit list", "audit verify", "jobs list")

ATTACKS = (
    "UPDATE ops_audit_events SET actor = '{}'",
    "DELETE FROM ops_audit_events",
    "TRUNCATE ops_audit_events CASCADE",
    "DROP TABLE ops_audit_events",
    "ALTER TABLE ops_audit_events DISABLE TRIGGER ALL",
    "ALTER TABLE ops_audit_events OWNER TO CURRENT_USER",
    "DROP TRIGGER ops_audit_events_append_only ON ops_audit_events",
    "CREATE TRIGGER evil BEFORE INSERT ON ops_audit_events EXECUTE FUNCTION evil()",
    "CREATE RULE evil AS ON INSERT TO ops_audit_events DO INSTEAD NOTHING",
    "INSERT INTO ops_audit_head SELECT * FROM ops_audit_head",
    "DELETE FROM ops_audit_head",
    "UPDATE ops_audit_personal SET value = 'x'",
    "TRUNCATE ops_audit_personal",
    "DELETE FROM ops_users",
    "DELETE FROM ops_grants",
    "DELETE FROM ops_roles",
    "UPDATE ops_alembic_version SET version_num = 'x'",
    "CREATE TABLE evil (id int)",
    "CREATE SCHEMA evil",
    "CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "SET session_replication_role = replica",
    "SET ROLE postgres",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "CREATE ROLE evil",
    "COPY ops_users TO PROGRAM 'cat'",
    "COPY ops_users TO '/tmp/evil'",
    "SELECT pg_read_file('postgresql.conf')",
)
WRITES = (
    "UPDATE ops_users SET active = true",
    "INSERT INTO ops_grants (user_id) VALUES (1)",
    "UPDATE ops_audit_head SET seq = 0",
    "DELETE FROM ops_logins",
    "SELECT 1 FROM ops_audit_head FOR UPDATE",
    "SELECT nextval('ops_users_id_seq')",
)


@pytest.fixture
def kind() -> str:
    return "postgresql"


@pytest.fixture
def shared(database: Database, ada: str, postgres: str) -> Database:
    """A database whose owner has applied the file, twice as after an upgrade."""
    for role in ("opsapp_writer", "opsapp_reader"):
        if not database.rows("SELECT 1 FROM pg_roles WHERE rolname = :role", role=role):
            administer(postgres, f"CREATE ROLE {role} LOGIN")
    for _ in range(2):
        with psycopg.connect(database.url) as connection:
            connection.execute(FILE.read_text())
    return database


def as_role(database: Database, role: str) -> Database:
    url = make_url(database.url).set(username=role, password=None)
    return Database(url.render_as_string(hide_password=False), database.instance)


def assert_denied(database: Database, role: str, statements: tuple[str, ...]) -> None:
    allowed = []
    for statement in statements:
        with psycopg.connect(as_role(database, role).url) as connection:
            try:
                connection.execute(statement)
            except psycopg.errors.InsufficientPrivilege:
                tally.count("Roles of PostgreSQL", role, "PostgreSQL", "denied")
            else:
                allowed.append(statement)
            connection.rollback()
    assert allowed == []


def test_writer_does_all_work_and_none_of_the_attacks(shared: Database) -> None:
    writer = as_role(shared, "opsapp_writer")
    for words in WORK:
        done = run(writer, *words.split(), stdin=PASSWORD)
        assert (done.exit_code, words) == (0, words), done
    assert_denied(shared, "opsapp_writer", ATTACKS)
    assert_promises_kept(shared)


def test_reader_reads_and_writes_nothing(shared: Database) -> None:
    reader = as_role(shared, "opsapp_reader")
    for words in READING:
        assert run(reader, *words.split()).exit_code == 0, words
    query = run(
        shared, "query", "SELECT count(*) FROM ops_users", OPSAPP_READONLY_DATABASE_URL=reader.url
    )
    assert query.exit_code == 0, query
    change = run(reader, "roles", "create", "x")
    assert (change.exit_code, change.stdout) == (7, "")
    assert change.stderr.startswith("Error: the database cannot be written: permission denied")
    assert_denied(shared, "opsapp_reader", ATTACKS + WRITES)
