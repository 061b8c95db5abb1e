"""The observer: what an application's own code changes, in the application's transaction."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from tests.apps.relation_app import Group, Role, User
from tests.ops.observer.observing import Theirs


def ada(theirs: Theirs, **values: Any) -> User:
    """An account that is there, and of whose making nothing waits any more."""
    user = User(**{"email": "ada@x.org", "username": "ada", "active": True, **values})
    theirs.session.add(user)
    theirs.session.commit()
    theirs.database.execute("DELETE FROM ops_audit_pending")
    theirs.notices.clear()
    return user


def changes(theirs: Theirs) -> list[tuple[str, str, Any, Any]]:
    return [
        (action, subject, before and json.loads(before), after and json.loads(after))
        for action, subject, before, after in theirs.waiting()
    ]


def test_new_account_waits_with_its_names_marked_and_its_secret_hidden(theirs: Theirs) -> None:
    theirs.session.add(User(email="ada@x.org", username="ada", password="a hash", active=True))
    theirs.session.commit()
    after = {
        "active": True,
        "email": {"personal": "ada@x.org"},
        "password": "set",
        "username": {"personal": "ada"},
    }
    assert changes(theirs) == [("user:account:create", "user:1", None, after)]


def test_changed_columns_wait_with_both_values(theirs: Theirs) -> None:
    user = ada(theirs)
    assert user.active
    user.active = False
    user.password = "a hash"
    theirs.session.commit()
    before, after = {"active": True, "password": None}, {"active": False, "password": "set"}
    assert changes(theirs) == [("user:account:update", "user:1", before, after)]
    assert theirs.notices == [True]


def test_value_before_is_known_although_no_session_has_loaded_it(theirs: Theirs) -> None:
    user = ada(theirs)
    user.active = False  # The commit before has expired it.
    theirs.session.commit()
    before, after = {"active": True}, {"active": False}
    assert changes(theirs) == [("user:account:update", "user:1", before, after)]


def test_value_that_the_database_computes_is_known(theirs: Theirs) -> None:
    user = ada(theirs)
    assert user.username == "ada"
    user.username = sa.func.upper(User.username)
    theirs.session.commit()
    before, after = ({"username": {"personal": name}} for name in ("ada", "ADA"))
    assert changes(theirs) == [("user:account:update", "user:1", before, after)]


def test_same_value_and_unwatched_attribute_leave_nothing(theirs: Theirs) -> None:
    user = ada(theirs)
    theirs.observer.watch.keys = frozenset({"active"})
    user.active = True
    user.username = "grace"
    theirs.session.commit()
    assert changes(theirs) == []
    assert theirs.notices == []


def test_roles_and_groups_wait_one_by_one(theirs: Theirs) -> None:
    user = ada(theirs, roles=[Role(name="Admin")])
    user.roles = [Role(name="Editor"), Role(name="Author")]
    user.groups.append(Group(name="staff"))
    theirs.session.commit()
    assert sorted(changes(theirs), key=str) == [
        ("user:role:grant", "user:1", None, {"relation": "groups", "role": "groups:staff"}),
        ("user:role:grant", "user:1", None, {"relation": "roles", "role": "roles:Author"}),
        ("user:role:grant", "user:1", None, {"relation": "roles", "role": "roles:Editor"}),
        ("user:role:revoke", "user:1", {"relation": "roles", "role": "roles:Admin"}, None),
    ]


def test_deleted_account_waits_without_its_names(theirs: Theirs) -> None:
    theirs.session.delete(ada(theirs, password="a hash"))
    theirs.session.commit()
    assert changes(theirs) == [("user:account:delete", "user:1", {"active": True}, None)]
    assert theirs.notices == [True]


def test_rollback_leaves_nothing(theirs: Theirs) -> None:
    user = ada(theirs)
    user.active = False
    theirs.session.flush()
    theirs.session.rollback()
    with theirs.session.begin_nested() as savepoint:
        user.active = False
        theirs.session.flush()
        savepoint.rollback()
    theirs.session.commit()
    assert changes(theirs) == []


def test_savepoint_that_is_released_stays(theirs: Theirs) -> None:
    user = ada(theirs)
    with theirs.session.begin_nested():
        user.active = False
    assert theirs.notices == []
    theirs.session.commit()
    assert [action for action, *_rest in changes(theirs)] == ["user:account:update"]
    assert theirs.notices == [True]


def test_session_of_their_own_making_is_observed(theirs: Theirs) -> None:
    ada(theirs)
    with sa.orm.Session(theirs.db.engine) as session, session.begin():
        session.get_one(User, 1).active = False
    assert [action for action, *_rest in changes(theirs)] == ["user:account:update"]


# --- bulk --------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        sa.update(User).where(User.username == "ada").values(active=False),
        sa.update(User).values({User.active: sa.not_(User.active)}),
        sa.update(User.__table__).where(User.__table__.c.id == 1).values(active=False),
    ],
)
def test_update_without_objects_is_told_by_account(theirs: Theirs, statement: Any) -> None:
    ada(theirs)
    theirs.session.execute(statement)
    theirs.session.commit()
    before, after = {"active": True}, {"active": False}
    assert changes(theirs) == [("user:account:update", "user:1", before, after)]
    assert theirs.notices == [True]


def test_update_by_keys_and_by_query_are_told(theirs: Theirs) -> None:
    ada(theirs)
    theirs.session.execute(sa.update(User), [{"id": 1, "active": False}])
    theirs.session.query(User).filter(User.id == 1).update({"password": "a hash"})
    theirs.session.commit()
    assert changes(theirs) == [
        ("user:account:update", "user:1", {"active": True}, {"active": False}),
        ("user:account:update", "user:1", {"password": None}, {"password": "set"}),
    ]


def test_update_of_nothing_that_is_watched_is_not_looked_at(theirs: Theirs) -> None:
    ada(theirs)
    theirs.observer.watch.columns = frozenset({"active"})
    statements: list[str] = []
    sa.event.listen(
        theirs.db.engine, "before_cursor_execute", lambda *args: statements.append(args[2])
    )
    theirs.session.execute(sa.update(User).values(username="grace"))
    assert len(statements) == 1
    theirs.session.commit()
    assert changes(theirs) == []


def test_update_of_very_many_is_told_as_a_statement(
    theirs: Theirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsapp.ops.bulk.MOST", 1)
    theirs.session.add_all([User(username=name, active=True) for name in ("a", "b", "c")])
    theirs.session.commit()
    theirs.database.execute("DELETE FROM ops_audit_pending")
    theirs.session.execute(
        sa.update(User).where(User.username.in_(["a", "b"])).values(active=False)
    )
    theirs.session.commit()
    ((action, subject, before, after),) = changes(theirs)
    assert (action, subject, before) == ("user:account:update", "users", None)
    assert after["count"] == 2
    assert after["columns"] == ["active"]
    assert "ab_user.username IN (" in after["where"]
    assert "'a'" not in after["where"]


def test_delete_without_objects_is_told_by_account(theirs: Theirs) -> None:
    ada(theirs)
    theirs.session.execute(sa.delete(User))
    theirs.session.commit()
    assert changes(theirs) == [("user:account:delete", "user:1", {"active": True}, None)]


def test_inserts_and_writes_to_a_relation_are_told_as_statements(theirs: Theirs) -> None:
    from tests.apps.relation_app import user_roles

    ada(theirs, roles=[Role(name="Admin")])
    theirs.session.execute(sa.insert(User), [{"username": "b"}, {"username": "c"}])
    theirs.session.execute(user_roles.delete().where(user_roles.c.user_id == 1))
    theirs.session.execute(user_roles.insert().values(user_id=2, role_id=1))
    theirs.session.commit()
    where = "ab_user_role.user_id = ?"
    assert changes(theirs) == [
        ("user:account:create", "users", None, {"columns": ["username"], "count": 2}),
        ("user:roles:delete", "users", None, {"count": 1, "where": where}),
        ("user:roles:insert", "users", None, {"columns": ["role_id", "user_id"], "count": 1}),
    ]
