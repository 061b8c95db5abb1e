"""Models of accounts that a careless reading would get wrong, one kind a test."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from flask_login import UserMixin
from sqlalchemy import orm as so
from sqlalchemy.ext.hybrid import hybrid_property

from opsapp.errors import Conflict
from opsapp.ops.discovery import discover
from opsapp.ops.roles import Roles
from tests.ops.identity.conftest import Find

WORD = "plenty of rope for 7 goats"


@pytest.fixture
def session(base: type[so.DeclarativeBase]) -> Iterator[so.Session]:
    """A session on a database in memory; its tables are made when it is first asked."""
    engine = sa.create_engine("sqlite://")
    with so.Session(engine) as session:
        yield session
    engine.dispose()


def hashed(word: str) -> str:
    return f"hash of {len(word)}"


# --- passwords -------------------------------------------------------------------


def test_validator_that_hashes_gets_the_word_itself(base: Any, find: Find) -> None:
    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        password = so.mapped_column(sa.String(128))

        @so.validates("password")
        def _hash(self, _key: str, word: str) -> str:
            return hashed(word)

    passwords = find().passwords
    assert passwords is not None
    assert passwords.source == "User.password = …"
    user = User()
    passwords.prepare(WORD)(user)
    assert user.password == hashed(WORD)


def test_synonym_that_hashes_gets_the_word_itself(base: Any, find: Find) -> None:
    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        _password = so.mapped_column("password", sa.String(128))

        def _get(self) -> str:
            return str(self._password)

        def _set(self, word: str) -> None:
            self._password = hashed(word)

        password = so.synonym("_password", descriptor=property(_get, _set))

    passwords = find().passwords
    assert passwords is not None
    user = User()
    passwords.prepare(WORD)(user)
    assert user._password == hashed(WORD)
    assert "_password" in find().secret


def test_column_that_keeps_the_word_is_never_written(base: Any, find: Find) -> None:
    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        password = so.mapped_column(sa.LargeBinary(60))

    assert find().passwords is None
    with pytest.raises(Conflict) as error:
        find().need("passwords")
    assert error.value.hint == "Ops(app, db, set_password=lambda user, word: …)"


def test_setter_that_fails_on_a_trial_is_not_used(base: Any, find: Find) -> None:
    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        password_hash = so.mapped_column(sa.String(60))

        @property
        def password(self) -> str:
            raise AttributeError

        @password.setter
        def password(self, word: str) -> None:
            raise RuntimeError("no request")

    assert find().passwords is None


def test_function_of_ours_wins_over_a_method(base: Any, find: Find) -> None:
    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        password_hash = so.mapped_column(sa.String(60))

        def set_password(self, word: str) -> None:
            raise AssertionError

    def set_password(user: Any, word: str) -> None:
        user.password_hash = hashed(word)

    passwords = find(set_password=set_password).passwords
    assert passwords is not None
    user = User()
    passwords.prepare(WORD)(user)
    assert user.password_hash == hashed(WORD)
    assert find(set_password=None).passwords is None


# --- active ----------------------------------------------------------------------


class Own(UserMixin):  # type: ignore[misc]
    """The property that Flask-Login reads, from the column."""

    active: Any

    @property
    def is_active(self) -> bool:
        return bool(self.active)


@pytest.mark.parametrize(
    ("mixin", "after"), [(UserMixin, "may go on"), (Own, "refused at next request")]
)
def test_mixin_that_does_not_follow_the_column_is_told(
    base: Any, find: Find, mixin: type, after: str
) -> None:
    class User(mixin, base):  # type: ignore[misc]
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        active = so.mapped_column(sa.Boolean)

    assert str(find().active) == "User.active"
    assert find().after_deactivation == after
    assert find(end_sessions=print).after_deactivation == "ended"


def test_property_of_the_mixin_is_no_column(base: Any, find: Find) -> None:
    class User(UserMixin, base):  # type: ignore[misc]
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)

    assert find().active is None


def test_condition_with_a_setter_is_the_active_part(
    base: Any, find: Find, session: so.Session
) -> None:
    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        disabled_at = so.mapped_column(sa.DateTime)

    def set_active(user: Any, active: bool) -> None:
        user.disabled_at = None if active else sa.func.now()

    identity = find(active=(User.disabled_at.is_(None), set_active))
    base.metadata.create_all(session.connection())
    ada, bob = User(id=1), User(id=2)
    session.add_all([ada, bob])
    session.flush()
    assert identity.active is not None
    identity.active.set(bob, False)
    assert [identity.status(user) for user in (ada, bob)] == ["active", "inactive"]
    active = session.scalars(sa.select(User.id).where(identity.can_log_in())).all()
    assert active == [1]


# --- roles -----------------------------------------------------------------------


def test_word_that_decides_the_class_is_read_only(base: Any, find: Find) -> None:
    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        type = so.mapped_column(sa.String(80))
        __mapper_args__ = {"polymorphic_identity": "user", "polymorphic_on": "type"}  # noqa: RUF012

    class Admins(User):
        __mapper_args__ = {"polymorphic_identity": "admin"}  # noqa: RUF012

    [rule] = find().roles
    assert rule.read_only == "User.type decides the class of the account"
    assert rule.of(Admins()) == ["admin"]
    assert "roles" not in find().capabilities


def test_role_that_belongs_to_one_account_is_read_only(base: Any, find: Find) -> None:
    class Role(base):
        __tablename__ = "roles"
        id = so.mapped_column(sa.Integer, primary_key=True)
        name = so.mapped_column(sa.String(80))
        user_id = so.mapped_column(sa.ForeignKey("users.id"))

    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        roles = so.relationship(Role)

    [rule] = find().roles
    assert rule.read_only == "each role of User.roles belongs to one account"
    assert find().roles_of(User(roles=[Role(name="admin")])) == ["admin"]
    assert "roles" not in find().capabilities


def test_primary_group_is_one_role_that_another_replaces(
    base: Any, find: Find, session: so.Session
) -> None:
    class Group(base):
        __tablename__ = "groups"
        id = so.mapped_column(sa.Integer, primary_key=True)
        name = so.mapped_column(sa.String(80))
        admin = so.mapped_column(sa.Boolean, default=False)

    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        group_id = so.mapped_column(sa.ForeignKey("groups.id"), nullable=False)
        primary_group = so.relationship(Group)

    rule = Roles.relation(User.primary_group, Group.name)
    identity = find(roles=[rule], admin=User.primary_group.has(Group.admin.is_(True)))
    base.metadata.create_all(session.connection())
    user = User(primary_group=Group(name="Administrator", admin=True))
    session.add_all([user, Group(name="Member", admin=False)])
    session.flush()
    assert identity.has_administrator(session) is True
    rule.give(session, user, "Member")
    session.flush()
    assert identity.roles_of(user) == ["Member"]
    assert identity.has_administrator(session) is False
    with pytest.raises(Conflict, match=r"each account of User has a role in User\.primary_group"):
        rule.check_takeable("Member")


def test_role_of_an_enumeration_keeps_its_type(base: Any, find: Find, session: so.Session) -> None:
    class Kind(enum.Enum):
        member = 1
        admin = 2

    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        role = so.mapped_column(sa.Enum(Kind), default=Kind.member)

    identity = find()
    base.metadata.create_all(session.connection())
    user = User()
    session.add(user)
    session.flush()
    [rule] = identity.roles
    assert rule.names(session) == ["admin", "member"]
    rule.give(session, user, "admin")
    session.flush()
    assert user.role is Kind.admin
    assert identity.has_administrator(session) is True
    rule.take(session, user, "admin")
    session.flush()
    assert identity.roles_of(user) == ["member"]


@pytest.mark.parametrize("lazy", ["select", "dynamic", "write_only"])
def test_roles_are_held_in_any_kind_of_collection(
    base: Any, find: Find, session: so.Session, lazy: Any
) -> None:
    link = sa.Table(
        "link",
        base.metadata,
        sa.Column("user_id", sa.ForeignKey("users.id")),
        sa.Column("role_id", sa.ForeignKey("roles.id")),
    )

    class Role(base):
        __tablename__ = "roles"
        id = so.mapped_column(sa.Integer, primary_key=True)
        name = so.mapped_column(sa.String(80))

    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        roles = so.relationship(Role, secondary=link, lazy=lazy, passive_deletes=True)

    identity = find()
    base.metadata.create_all(session.connection())
    user = User()
    session.add_all([user, Role(name="support")])
    session.flush()
    [rule] = identity.roles
    rule.give(session, user, "support")
    session.flush()
    assert identity.roles_of(user) == ["support"]
    rule.take(session, user, "support")
    session.flush()
    assert identity.roles_of(user) == []


# --- keys and names --------------------------------------------------------------


def test_key_of_two_columns_is_refused(base: Any, find: Find) -> None:
    class User(base):
        __tablename__ = "users"
        tenant = so.mapped_column(sa.Integer, primary_key=True)
        number = so.mapped_column(sa.Integer, primary_key=True)

    assert discover(Flask("theirs"), [User], {}) is None
    with pytest.raises(Conflict, match="User has a key of several columns"):
        find(user=User)


def test_two_classes_of_one_name_are_no_guess(base: Any) -> None:
    class Other(so.DeclarativeBase):
        pass

    def make(of: Any, table: str) -> type:
        class User(of):
            __tablename__ = table
            id = so.mapped_column(sa.Integer, primary_key=True)

        return User

    users = [make(base, "users"), make(Other, "others")]
    assert discover(Flask("theirs"), users, {}) is None


def test_name_that_two_accounts_have_is_a_conflict(
    base: Any, find: Find, session: so.Session
) -> None:
    class User(base):
        __tablename__ = "users"
        id = so.mapped_column(sa.Integer, primary_key=True)
        name = so.mapped_column(sa.String(80))

    identity = find()
    base.metadata.create_all(session.connection())
    session.add_all([User(id=1, name="ada"), User(id=2, name="ada"), User(id=3, name="Bob")])
    session.flush()
    with pytest.raises(Conflict, match="two accounts match ada"):
        identity.find(session, "ada")
    assert identity.find(session, "2").id == 2
    assert identity.find(session, "bob").id == 3


def test_address_under_another_name_is_a_hybrid(base: Any, find: Find) -> None:
    class User(base):
        __tablename__ = "users"
        _email = so.mapped_column("email", sa.String(80), primary_key=True)

        @hybrid_property
        def email(self) -> str:
            return str(self._email)

    identity = find()
    assert (identity.key.name, str(identity.email)) == ("_email", "User.email")
    assert identity.is_opaque
    assert identity.personal == {"_email", "email"}
