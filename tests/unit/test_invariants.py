"""The invariants: an administrator stays, and a change is made by what still stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp.accounts import grants, users
from opsapp.actors import Standing
from opsapp.errors import Refused
from opsapp.extensions import db
from opsapp.models import User
from opsapp.unit import invariants
from tests.support import PASSWORD, a_unit


@pytest.fixture
def people(app: Flask) -> Iterator[None]:
    """Ada, who administers, and Bob, who does not."""
    users.create_admin("ada@example.com", password=PASSWORD, unit=a_unit())
    users.create("bob@example.com", unit=a_unit())
    yield
    db.session.rollback()


def sql(statement: str) -> None:
    db.session.execute(sa.text(statement))


# --- an administrator --------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ops_users SET active = false WHERE id = 1",
        "UPDATE ops_users SET deleted_at = '2026-01-01 00:00:00' WHERE id = 1",
        "UPDATE ops_users SET password = NULL WHERE id = 1",
        "UPDATE ops_users SET confirmed_at = NULL WHERE id = 1",
        "UPDATE ops_grants SET ended_at = '2090-01-01 00:00:00'",
        "UPDATE ops_grants SET valid_until = '2090-01-01 00:00:00'",
        "UPDATE ops_grants SET user_id = 2",
        "UPDATE ops_roles SET name = 'other' WHERE name = 'admin'",
        "UPDATE ops_roles SET deleted_at = '2026-01-01 00:00:00' WHERE name = 'admin'",
    ],
)
def test_account_that_cannot_administer_for_good_does_not_count(
    people: None, statement: str
) -> None:
    session = db.session()
    assert invariants.has_administrator(session) is True
    invariants.keep_an_administrator(session, had_one=True)
    sql(statement)
    assert invariants.has_administrator(session) is False
    with pytest.raises(Refused) as raised:
        invariants.keep_an_administrator(session, had_one=True)
    assert raised.value.message == "this would leave no active administrator who can sign in"
    assert raised.value.hint == "flask users create-admin EMAIL"
    for had_one in (False, None):
        invariants.keep_an_administrator(session, had_one=had_one)


def test_another_administrator_is_enough(people: None) -> None:
    users.create_admin("eve@example.com", password=PASSWORD, unit=a_unit())
    sql("UPDATE ops_users SET active = false WHERE id = 1")
    assert invariants.has_administrator(db.session())
    grants.grant("admin", ["bob@example.com"], unit=a_unit())
    sql("UPDATE ops_users SET active = false WHERE id IN (1, 3)")
    assert not invariants.has_administrator(db.session())  # Bob has no password.


# --- a credential ------------------------------------------------------------

ENDED, LATER = "2020-01-01 00:00:00.000000", "2090-01-01 00:00:00.000000"
SESSION = (
    "INSERT INTO ops_user_sessions"
    " (id, user_id, key, uniquifier, opened_at, seen_at, expires_at)"
    f" SELECT 7, id, 'k', fs_uniquifier, '{ENDED}', '{LATER}', '{LATER}'"
    " FROM ops_users WHERE id = 1"
)
TOKEN = (
    "INSERT INTO ops_api_tokens"
    " (id, user_id, name, key, uniquifier, created_at, created_by, valid_until)"
    f" SELECT 8, id, 'ci', 'k', fs_uniquifier, '{ENDED}', 'x', '{LATER}'"
    " FROM ops_users WHERE id = 1"
)


def standing(**values: Any) -> Standing:
    ada = db.session.get_one(User, 1)
    return replace(Standing(1, ada.fs_uniquifier), **values)


def refusal(credential: Standing) -> str:
    with pytest.raises(Refused) as raised:
        invariants.still_stands(db.session(), credential)
    return raised.value.message


@pytest.mark.parametrize("word", ["link", "session", "token"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ops_users SET active = false WHERE id = 1",
        "UPDATE ops_users SET fs_uniquifier = 'another' WHERE id = 1",
    ],
)
def test_credential_ends_with_its_account(people: None, word: str, statement: str) -> None:
    sql(SESSION)
    sql(TOKEN)
    values = {"link": {}, "session": {"session_id": 7}, "token": {"token_id": 8}}[word]
    credential = standing(**values)
    invariants.still_stands(db.session(), credential)
    sql(statement)
    assert refusal(credential) == (
        f"the {word} of this request has ended meanwhile; nothing was changed"
    )


@pytest.mark.parametrize(
    ("statement", "values", "word"),
    [
        ("DELETE FROM ops_user_sessions", {"session_id": 7}, "session"),
        (
            "UPDATE ops_user_sessions SET expires_at = '2020-01-01 00:00:00.000000'",
            {"session_id": 7},
            "session",
        ),
        (
            "UPDATE ops_user_sessions SET seen_at = '2020-01-01 00:00:00.000000'",
            {"session_id": 7},
            "session",
        ),
        ("UPDATE ops_user_sessions SET user_id = 2", {"session_id": 7}, "session"),
        ("DELETE FROM ops_api_tokens", {"token_id": 8}, "token"),
        (
            "UPDATE ops_api_tokens SET valid_until = '2020-01-01 00:00:00.000000'",
            {"token_id": 8},
            "token",
        ),
        ("UPDATE ops_api_tokens SET user_id = 2", {"token_id": 8}, "token"),
        ("DELETE FROM ops_user_sessions", {"session_id": 7, "token_id": 8}, "token"),
    ],
)
def test_credential_that_is_over_changes_nothing(
    people: None, statement: str, values: dict[str, int], word: str
) -> None:
    sql(SESSION)
    sql(TOKEN)
    credential = standing(**values)
    invariants.still_stands(db.session(), credential)
    sql(statement)
    assert refusal(credential) == (
        f"the {word} of this request has ended meanwhile; nothing was changed"
    )
    # The account alone still stands, and so does another credential of it.
    invariants.still_stands(db.session(), standing())


@pytest.mark.parametrize(
    ("table", "values"),
    [("ops_user_sessions", {"session_id": 7}), ("ops_api_tokens", {"token_id": 8})],
)
def test_another_credential_of_the_account_does_not_stand_for_it(
    people: None, table: str, values: dict[str, int]
) -> None:
    for statement in (SESSION, SESSION.replace("7, id, 'k'", "9, id, 'l'")):
        sql(statement)
    for statement in (TOKEN, TOKEN.replace("8, id, 'ci', 'k'", "10, id, 'cd', 'l'")):
        sql(statement)
    credential = standing(**values)
    invariants.still_stands(db.session(), credential)
    sql(f"DELETE FROM {table} WHERE id < 9")
    assert refusal(credential).endswith("has ended meanwhile; nothing was changed")


def test_another_account_is_none_of_this_credential(people: None) -> None:
    assert "link" in refusal(standing(user_id=2))
    assert "session" in refusal(standing(session_id=99))
