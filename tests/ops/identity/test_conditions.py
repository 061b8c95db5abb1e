"""Classes that inherit from the accounts, and conditions by other tables."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from opsapp.ops.attributes import condition_text
from tests.ops.identity.conftest import Find


def test_condition_is_shown_as_it_is_in_a_query_of_accounts(base: Any) -> None:
    class Group(base):
        __tablename__ = "groups"
        id = so.mapped_column(sa.Integer, primary_key=True)
        admin = so.mapped_column(sa.Boolean)

    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        group_id = so.mapped_column(sa.ForeignKey("groups.id"))
        group = so.relationship(Group)

    assert condition_text(User, User.group.has(Group.admin.is_(True))) == (
        "EXISTS (SELECT 1 FROM groups WHERE groups.id = users.group_id AND groups.admin IS true)"
    )


def test_class_that_another_of_its_name_inherits_from_holds_the_accounts(
    base: Any, find: Find
) -> None:
    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        email = so.mapped_column(sa.String(80))

    root = User

    class Login:
        class User(root):
            """The one for Flask-Login, on the same table."""

            __module__ = "logins"

    assert find().model is root
    assert issubclass(Login.User, root)
