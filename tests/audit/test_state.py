"""`flask audit verify --state`: what SQL did to the tables, and no event explains."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp.accounts import selfservice, signin, users
from opsapp.audit.verification import verify
from opsapp.extensions import db
from opsapp.models import ApiToken, Grant, Role, User
from opsapp.models.types import JSONWords, Number, UTCDateTime
from tests.support import PASSWORD, ROOT, Cli, Database, a_unit
from tests.support.templates import BOB, Commands

LONG_AGO = "2020-01-01 00:00:00.000000"


@pytest.fixture
def after_life() -> Commands:
    """Every verb that changes what is compared, some of them undone again."""
    return (
        *BOB,
        ("roles", "create", "support", "--allow", "users:read"),
        ("roles", "create", "old"),
        ("roles", "update", "support", "--name", "helpdesk"),
        ("roles", "grant", "helpdesk", "bob", "--until", "2999-12-31"),
        ("users", "create", "eve@example.com", "--role", "helpdesk", "--no-password"),
        ("users", "deactivate", "eve@example.com"),
        ("users", "create", "cyd@example.com", "--role", "helpdesk", "--no-password"),
        ("users", "update", "cyd@example.com", "--email", "sid@example.com", "--username", "sid"),
        ("roles", "revoke", "helpdesk", "sid"),
        ("roles", "delete", "old", "--yes"),
        ("users", "tokens", "create", "ada@example.com", "ci", "--for", "30d"),
        ("users", "tokens", "create", "bob", "ci", "--for", "30d"),
        ("users", "tokens", "create", "bob", "old", "--for", "30d"),
        ("users", "tokens", "revoke", "bob", "old", "--yes"),
        ("users", "create", "gone@example.com", "--role", "helpdesk", "--no-password"),
        ("users", "delete", "gone@example.com", "--yes"),
    )


@pytest.fixture
def life(database: Database, after_life: Commands) -> None:
    """Ada (1) is admin; Bob (2) has helpdesk (2) for a time; Eve (3) is inactive; Sid (4) has
    nothing left; user 5 is deleted."""


def test_verify_state_holds_after_every_verb(cli: Cli, life: None) -> None:
    cli("roles", "allow", "helpdesk", "audit:read", check=True)
    cli("roles", "grant", "helpdesk", "bob", "--until", "2999-01-01", "--replace-end",
        check=True)  # fmt: skip
    cli("users", "set-password", "ada@example.com", "--password-stdin",
        stdin=PASSWORD * 2, check=True)  # fmt: skip
    cli("users", "reset-access", "bob", "--yes", check=True)
    done = cli("audit", "verify", "--state", "--format", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert (done.json["says"], done.json["differences"]) == (HOLDS, [])


def test_verify_state_holds_after_what_users_do_themselves(
    app: Flask, database: Database, ada: str
) -> None:
    me = selfservice
    me.rehash_password(1, "$argon2id$rehashed", before=stored(database), unit=a_unit())
    me.set_second_factor(1, "authenticator", "sealed seed", unit=a_unit())
    me.set_recovery_codes(1, ["sealed one", "sealed two"], unit=a_unit())
    me.use_recovery_code(1, "sealed one", unit=a_unit())
    eve = users.register("eve@example.com", unit=a_unit())
    assert says() == HOLDS
    me.recover(eve.id, "$argon2id$eve", unit=a_unit())
    me.change_password(eve.id, "$argon2id$another", unit=a_unit())
    assert says() == HOLDS
    database.execute("UPDATE ops_users SET mf_recovery_codes = '[\"mine\"]' WHERE id = 1")
    assert says() == "recovery codes of user 1 is not the one of event 8"
    me.set_recovery_codes(1, [], unit=a_unit())
    database.execute("UPDATE ops_users SET tf_totp_secret = 'mine' WHERE id = 1")
    assert says() == "two-factor seed of user 1 is not the one of event 6"
    me.remove_second_factor(1, unit=a_unit())
    assert says() == HOLDS


HOLDS = "the chain holds, and the tables match it"


def says() -> str:
    db.session.rollback()
    return str(verify(state=True)["says"])


def stored(database: Database) -> str:
    return str(database.rows("SELECT password FROM ops_users WHERE id = 1")[0][0])


GRANT = (
    "INSERT INTO ops_grants (user_id, role_id, granted_at, granted_by)"
    f" VALUES (2, 1, '{LONG_AGO}', 'ada')"
)
USER = (
    "INSERT INTO ops_users (email, active, fs_uniquifier, login_count, idle_since,"
    " created_at, updated_at) VALUES ('mal@example.com', true, 'm', 0,"
    f" '{LONG_AGO}', '{LONG_AGO}', '{LONG_AGO}')"
)
TOKEN = (
    "INSERT INTO ops_api_tokens"
    " (user_id, name, key, uniquifier, created_at, created_by, valid_until)"
    f" SELECT 1, 'mal', 'k', fs_uniquifier, '{LONG_AGO}', 'ada', '2999-01-01 00:00:00.000000'"
    " FROM ops_users WHERE id = 1"
)
TAMPERING = {
    GRANT: "grant 6 (admin to user 2): no event gives it",
    USER: "user 6: no event gives it",
    TOKEN: "token 4 of user 1: no event gives it",
    "UPDATE ops_grants SET valid_until = NULL WHERE id = 2": (
        "grant 2 (helpdesk to user 2): forever, but event 9 says until 2999-12-31T23:59:59Z"
    ),
    "UPDATE ops_grants SET role_id = 1 WHERE id = 2": (
        "grant 2 (admin to user 2): no event gives it, and 1 more"
    ),
    "UPDATE ops_grants SET ended_at = NULL WHERE id = 4": (
        "grant 4 (helpdesk to user 4): by event 16 there is none"
    ),
    "DELETE FROM ops_grants WHERE id = 2": (
        "helpdesk to user 2: none, but event 9 says until 2999-12-31T23:59:59Z"
    ),
    'UPDATE ops_roles SET permissions = \'["users:read","users:write"]\' WHERE id = 2': (
        "permissions of role 2: users:read, users:write, but event 6 says users:read"
    ),
    "UPDATE ops_roles SET deleted_at = NULL WHERE id = 3": (
        "role 3: live, but event 17 says deleted"
    ),
    "UPDATE ops_roles SET name = 'other' WHERE id = 2": (
        "name of role 2: other, but event 8 says helpdesk"
    ),
    "UPDATE ops_users SET active = true WHERE id = 3": "user 3: active, but event 12 says inactive",
    "UPDATE ops_users SET email = 'mal@example.com' WHERE id = 2": (
        "e-mail of user 2 is not the one of event 5"
    ),
    "UPDATE ops_users SET username = 'mal' WHERE id = 4": (
        "username of user 4 is not the one of event 15"
    ),
    "UPDATE ops_users SET password = '$argon2id$mine' WHERE id = 1": (
        "password of user 1 is not the one of event 3"
    ),
    "UPDATE ops_users SET password = '$argon2id$mine' WHERE id = 2": (
        "password of user 2: by event 5 there is none"
    ),
    "UPDATE ops_users SET tf_primary_method = 'authenticator', tf_totp_secret = 's' WHERE id = 1": (
        "second factor of user 1: no event gives it, and 1 more"
    ),
    "UPDATE ops_users SET active = true WHERE id = 5": (
        "user 5: deleted and active, but event 24 says deleted"
    ),
    "UPDATE ops_users SET must_change_password = true WHERE id = 1": (
        "password change of user 1: no event gives it"
    ),
    "UPDATE ops_roles SET builtin = true WHERE id = 2": (
        "built-in of role 2: by event 6 there is none"
    ),
    "UPDATE ops_roles SET builtin = false WHERE id = 1": (
        "built-in of role 1: none, but event 2 says yes"
    ),
    "UPDATE ops_roles SET description = 'Harmless.' WHERE id = 1": (
        "description of role 1: Harmless., but event 2 says Holds every permission."
    ),
    "UPDATE ops_api_tokens SET key = 'k' WHERE id = 2": (
        "token 2 of user 2 is not the one of event 19"
    ),
    "UPDATE ops_api_tokens SET permissions = '[\"*\"]' WHERE id = 2": (
        "token 2 of user 2 is not the one of event 19"
    ),
    (
        "UPDATE ops_api_tokens SET user_id = 4,"
        " uniquifier = (SELECT fs_uniquifier FROM ops_users WHERE id = 4) WHERE id = 2"
    ): "token 2 of user 4: no event gives it",
    "UPDATE ops_api_tokens SET ended_at = NULL WHERE id = 3": (
        "token 3 of user 2: by event 21 there is none"
    ),
}


@pytest.mark.parametrize("sql", TAMPERING)
def test_verify_state_names_what_no_event_explains(
    cli: Cli, database: Database, life: None, sql: str
) -> None:
    database.execute(sql.replace(":", "\\:"))
    assert cli("audit", "verify").exit_code == 0
    done = cli("audit", "verify", "--state", "--format", "json")
    assert (done.exit_code, done.json["break"]) == (6, "state")
    assert done.json["says"] == TAMPERING[sql]


# --- every column ------------------------------------------------------------

ROWS: dict[Any, int] = {User: 1, Role: 2, Grant: 2, ApiToken: 2}
"""The row of each table that is edited: live, and with a value in most columns."""
OTHER_ROWS = {"ops_users.id": 6, "ops_roles.id": 3, "ops_api_tokens.ended_at": 3}
"""The rows for edits of these columns: no other refers to it, or it was revoked."""


def columns() -> Iterator[tuple[Any, sa.Column[Any]]]:
    for model in ROWS:
        yield from ((model, column) for column in model.__table__.columns)


def not_compared() -> list[str]:
    """Return the columns that docs/audit.md lists as not compared."""
    page = (ROOT / "docs/audit.md").read_text()
    table = page.partition("| not compared | reason |\n")[2].partition("\n\n")[0]
    return re.findall(r"`(ops_\w+\.\w+)`", table)


def another(column: sa.Column[Any], value: Any) -> Any:
    """Return another value for a column; one that may be empty gets a value, or loses it."""
    if column.foreign_keys:
        return 4 if column.name == "user_id" else 1
    if column.primary_key:
        return 999
    match column.type:
        case UTCDateTime():
            return None if value and column.nullable else datetime(2020, 1, 1, tzinfo=UTC)
        case sa.Boolean():
            return not value
        case Number():
            return 7
        case JSONWords():
            return ["edited"]
    return "edited"


def test_verify_state_finds_an_edit_of_every_column_or_the_page_excludes_it(
    app: Flask, database: Database, life: None
) -> None:
    selfservice.set_second_factor(1, "authenticator", "sealed seed", unit=a_unit())
    selfservice.set_recovery_codes(1, ["sealed one"], unit=a_unit())
    users.register("lone@example.com", unit=a_unit())
    assert says() == HOLDS
    unseen = []
    for model, column in columns():
        row = OTHER_ROWS.get(str(column), ROWS[model])
        table: Any = model.__table__
        with database.connect() as connection:
            value = connection.scalar(sa.select(column).where(table.c.id == row))
            edit = {column.name: another(column, value)}
            connection.execute(sa.update(table).where(table.c.id == row).values(edit))
        if says() == HOLDS:
            unseen.append(str(column))
        edited = 999 if column.primary_key else row
        with database.connect() as connection:
            undo = sa.update(table).where(table.c.id == edited)
            connection.execute(undo.values({column.name: value}))
    assert says() == HOLDS
    assert sorted(unseen) == sorted(not_compared())


def test_verify_state_finds_a_token_that_an_old_uniquifier_revives(
    app: Flask, database: Database, life: None
) -> None:
    signin.set_password("bob", PASSWORD, unit=a_unit())
    assert says() == HOLDS
    database.execute(
        "UPDATE ops_users SET fs_uniquifier ="
        " (SELECT uniquifier FROM ops_api_tokens WHERE id = 2) WHERE id = 2"
    )
    assert says() == "token 2 of user 2: by event 25 there is none"


def test_verify_state_holds_while_a_password_must_be_changed(cli: Cli, life: None) -> None:
    cli("users", "set-password", "bob", "--password-stdin", "--must-change",
        stdin=PASSWORD, check=True)  # fmt: skip
    assert cli("audit", "verify", "--state", "--format", "json").json["says"] == HOLDS
    cli("users", "delete", "bob", "--yes", check=True)
    assert cli("audit", "verify", "--state", "--format", "json").json["says"] == HOLDS
