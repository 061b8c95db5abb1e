"""A role that the application's own code gives by the column of its key."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm as so

from opsapp.errors import Refused
from opsapp.ops.roles import Roles
from tests.apps import bitmask_app
from tests.apps.bitmask_app import Role, User
from tests.ops.observer.observing import People, Theirs, observed
from tests.support import Database

Watched = Callable[..., Theirs]


@pytest.fixture
def watched(database: Database, app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """Call it to have the application observed; it has the roles admin and user."""
    url = database.url.replace("postgresql:", "postgresql+psycopg:")
    monkeypatch.setenv("THEIR_DATABASE_URL", url)
    so.configure_mappers()  # The relation is the other side of Role.users.
    administers = User.role.has(Role.name == "admin")
    rule = Roles.relation(User.role, Role.name)
    people = People(User, {"email", "role"}, roles=[rule], personal={"email"}, admin=administers)
    with ExitStack() as stack:

        def watched(**options: Any) -> Theirs:
            their_app = bitmask_app.create_app()
            context = observed(their_app, bitmask_app.db, people, database, app, **options)
            theirs = stack.enter_context(context)
            theirs.session.add_all([Role(name="admin", permissions=7), Role(name="user")])
            theirs.session.commit()
            return theirs

        yield watched


def key(theirs: Theirs, role: str) -> UUID:
    query = sa.select(Role.id).where(Role.name == role)
    id: UUID = theirs.session.scalars(query).one()
    return id


def told(theirs: Theirs) -> list[tuple[str, Any]]:
    """Return the rows that wait, each with the side that a role is on."""
    theirs.session.commit()
    rows = [
        (action.removeprefix("user:"), json.loads(after or before))
        for action, _subject, before, after in theirs.waiting()
    ]
    theirs.database.execute("DELETE FROM ops_audit_pending")
    return rows


def role(name: str) -> dict[str, str]:
    return {"role": name, "relation": "role"}


def test_role_by_its_key_is_granted_and_revoked_as_by_the_relation(watched: Watched) -> None:
    theirs = watched()
    admin, user = key(theirs, "admin"), key(theirs, "user")
    ada = User(role_id=user)
    theirs.session.add(ada)
    assert told(theirs) == [("account:create", {}), ("role:grant", role("user"))]
    ada.role_id = admin
    both = [("role:revoke", role("user")), ("role:grant", role("admin"))]
    assert told(theirs) == both
    theirs.notices.clear()
    ada.role = theirs.session.get(Role, user)
    assert told(theirs) == [("role:revoke", role("admin")), ("role:grant", role("user"))]
    theirs.session.execute(sa.update(User).values(role_id=admin))
    assert told(theirs) == both
    ada.role_id = None
    assert told(theirs) == [("role:revoke", role("admin"))]
    assert theirs.notices == [True, True, True]
    theirs.session.delete(ada)
    assert told(theirs) == [("account:delete", {})]
    theirs.session.add(User(role=theirs.session.get(Role, user)))
    assert told(theirs) == [("account:create", {}), ("role:grant", role("user"))]


def test_key_of_no_role_is_told_by_its_value(watched: Watched) -> None:
    theirs = watched()
    missing = uuid4()
    if not theirs.database.is_sqlite:
        pytest.skip("its foreign keys are checked")
    theirs.session.execute(sa.text("PRAGMA foreign_keys = off"))
    theirs.session.add(User(role_id=missing))
    assert told(theirs) == [("account:create", {}), ("role:grant", role(str(missing)))]


def test_last_administrator_is_kept_from_the_key_too(watched: Watched) -> None:
    theirs = watched(keep_admin="refuse")
    user = key(theirs, "user")
    ada = User(role_id=key(theirs, "admin"))
    theirs.session.add(ada)
    theirs.session.commit()
    ada.role_id = user
    with pytest.raises(Refused, match="no active administrator"):
        theirs.session.commit()
    theirs.session.rollback()


def test_protected_relation_is_protected_by_its_key_too(watched: Watched) -> None:
    theirs = watched(protect=["role"])
    admin = key(theirs, "admin")
    ada = User()
    theirs.session.add(ada)
    theirs.session.commit()
    ada.role_id = admin
    with pytest.raises(Refused, match=r"User\.role_id is protected: only opsapp changes it"):
        theirs.session.commit()
    theirs.session.rollback()
    with pytest.raises(Refused, match="is protected"):
        theirs.session.execute(sa.update(User).values(role_id=admin))
    theirs.session.rollback()
