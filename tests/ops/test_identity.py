"""Identities: found in the small applications, and said part by part."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp.errors import Conflict, Invalid, NotFound
from opsapp.ops.discovery import discover
from opsapp.ops.identity import Identity
from opsapp.ops.roles import Roles, rule_of

SEEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
WORD = "plenty of rope for 7 goats"


class Theirs:
    """An application of tests/apps with its tables in memory."""

    def __init__(self, name: str) -> None:
        self.module = import_module(f"tests.apps.{name}")
        self.app: Flask = self.module.create_app()
        self.app.config["OPSAPP_AUDIT_KEY"] = "a key of this test"
        self.db = self.module.db

    @property
    def models(self) -> list[type]:
        return [mapper.class_ for mapper in self.db.Model.registry.mappers]

    def identity(self, **parts: Any) -> Identity:
        identity = discover(self.app, self.models, parts)
        assert identity is not None
        return identity

    def add(self, *rows: Any) -> None:
        self.db.session.add_all(rows)
        self.db.session.commit()


@pytest.fixture
def theirs(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Theirs]:
    """The application that the test names, with a context."""
    monkeypatch.setenv("THEIR_DATABASE_URL", "sqlite://")
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path))
    theirs = Theirs(request.param)
    with theirs.app.app_context():
        theirs.db.create_all()
        yield theirs
        theirs.db.session.remove()
        theirs.db.engine.dispose()


def of(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("theirs", names, indirect=True)


def parts(identity: Identity) -> dict[str, Any]:
    return {
        "model": identity.model.__name__,
        "key": identity.key_type.__name__,
        "email": identity.email and identity.email.name,
        "username": identity.username and identity.username.name,
        "active": identity.active and str(identity.active),
        "password": identity.passwords and identity.passwords.source,
        "roles": [f"{rule.kind} {rule.attribute.name}" for rule in identity.roles],
        "admin": identity.admin is not None,
    }


FOUND = {
    "login_app": {
        "model": "User", "key": "int", "email": "email", "username": "username", "active": None,
        "password": "User.set_password()", "roles": [], "admin": False,
    },
    "security_app": {
        "model": "User", "key": "int", "email": "email", "username": "username",
        "active": "User.active", "password": "flask_security.hash_password",
        "roles": ["relation roles"], "admin": True,
    },
    "flag_app": {
        "model": "User", "key": "str", "email": "email", "username": None,
        "active": "User.enabled", "password": "User.set_password()",
        "roles": ["flag global_admin"], "admin": True,
    },
    "relation_app": {
        "model": "User", "key": "int", "email": "email", "username": "username",
        "active": "User.active", "password": "werkzeug.security.generate_password_hash",
        "roles": ["relation roles", "relation groups"], "admin": True,
    },
    "uuid_app": {
        "model": "Account", "key": "UUID", "email": "email_address", "username": None,
        "active": "Account.is_active", "password": "Account.password = …",
        "roles": ["relation roles"], "admin": True,
    },
}  # fmt: skip


@of(*FOUND)
def test_identity_is_found_by_itself(theirs: Theirs, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["theirs"]
    assert parts(theirs.identity()) == FOUND[name]


@of("word_app")
def test_class_of_another_name_must_be_said(theirs: Theirs) -> None:
    assert discover(theirs.app, theirs.models, {}) is None
    said = parts(theirs.identity(user=theirs.module.Person))
    assert said == {
        "model": "Person", "key": "UUID", "email": "email", "username": None,
        "active": "Person.active", "password": None, "roles": ["word role"], "admin": True,
    }  # fmt: skip
    assert parts(theirs.identity(user="tests.apps.word_app:Person")) == said


@of("security_app")
def test_parts_of_a_framework_are_no_guess(theirs: Theirs) -> None:
    assert not theirs.identity().is_guessed


@of("login_app")
def test_parts_found_by_name_are_a_guess(theirs: Theirs) -> None:
    user = theirs.module.User
    assert theirs.identity().is_guessed
    said = {"user": user, "email": user.email, "username": None, "password": None}
    assert theirs.identity(**said).sources["email"] == "Ops(email=…)"


@of("login_app")
@pytest.mark.parametrize(
    ("argument", "value", "says"),
    [
        ("email", "emial", "email=emial is no column of User"),
        ("active", 7, "active=7 is no column of User"),
        ("watch", ["about_you"], "watch=about_you is no column of User"),
        ("user", "tests.apps.login_app:Nothing", "user=tests.apps.login_app:Nothing is no mapped"),
        ("user", "nothing", "user=nothing is no mapped class"),
        ("user", dict, "user=<class 'dict'> is no mapped class"),
        ("roles", ["admin"], "roles='admin' is no rule"),
    ],
)
def test_argument_that_is_no_column_is_named(
    theirs: Theirs, argument: str, value: Any, says: str
) -> None:
    with pytest.raises(Invalid, match=says.replace("(", r"\(")):
        theirs.identity(**{argument: value})


@of("security_app")
def test_column_of_another_model_is_named(theirs: Theirs) -> None:
    role = theirs.module.Role
    with pytest.raises(Invalid, match=r"email=Role\.name is no column of User"):
        theirs.identity(email=role.name)
    with pytest.raises(Invalid, match=r"roles=Role\.name is no column of User"):
        theirs.identity(roles=[Roles.word(role.name)])


@of("security_app")
def test_part_is_switched_off_by_none(theirs: Theirs) -> None:
    identity = theirs.identity(username=None, active=None, roles=None, admin=None)
    assert (identity.username, identity.active, list(identity.roles)) == (None, None, [])
    assert identity.has_administrator(theirs.db.session()) is None


# --- references ------------------------------------------------------------------


@of("login_app")
def test_account_is_found_by_key_then_by_its_names(theirs: Theirs) -> None:
    user = theirs.module.User
    theirs.add(
        user(id=1, email="Ada@Example.com", username="ada"),
        user(id=2, email="bob@example.com", username="1"),
        user(id=3, email="ADA@example.com", username="Carol"),
    )
    find = lambda reference: theirs.identity().find(theirs.db.session(), reference)  # noqa: E731
    assert [find(name).id for name in ("1", "Ada@Example.com", "carol", "BOB@example.com")] == [
        1,
        1,
        3,
        2,
    ]
    assert [find(name) for name in ("9", "nobody", "9" * 400, "\0", "²")] == [None] * 5
    with pytest.raises(Conflict, match=r"two accounts match ada@example\.com") as error:
        find("ada@example.com")
    assert error.value.hint == "name it by id"
    with pytest.raises(NotFound, match="no user nobody"):
        theirs.identity().get(theirs.db.session(), "nobody")


@of("uuid_app")
def test_key_is_a_uuid(theirs: Theirs) -> None:
    identity, key = theirs.identity(), uuid.uuid4()
    theirs.add(theirs.module.Account(id=key, email_address="ada@example.com"))
    user = identity.get(theirs.db.session(), str(key).upper())
    assert identity.subject(user) == f"user:{key}"
    assert identity.record(user)["id"] == str(key)
    assert identity.key_of(theirs.db.session(), f"user:{key}") == key
    assert identity.parse("42") is None


@of("flag_app")
def test_address_as_key_does_not_stand_in_the_subject(theirs: Theirs) -> None:
    identity = theirs.identity()
    user = theirs.module.User(email="ada@example.com")
    subject = identity.subject(user)
    assert subject.startswith("user:~")
    assert "@" not in subject
    assert len(subject) <= 64
    assert identity.subject(theirs.module.User(email="ada@example.com")) == subject
    assert identity.named(user) == {
        "token": subject.removeprefix("user:~"),
        "subject": subject,
        "salt": "",
        "value": "ada@example.com",
    }
    assert identity.personal == {"email"}


@of("login_app")
def test_number_as_key_needs_no_row_beside(theirs: Theirs) -> None:
    user = theirs.module.User(id=42)
    assert theirs.identity().subject(user) == "user:42"
    assert theirs.identity().named(user) is None


# --- reading ---------------------------------------------------------------------


@of("relation_app")
def test_record_has_no_secret(theirs: Theirs) -> None:
    role, group = theirs.module.Role(name="Admin"), theirs.module.Group(name="staff")
    user = theirs.module.User(
        id=1, email="ada@example.com", username="ada", active=True, password="hash",
        roles=[role], groups=[group], last_login=SEEN.replace(tzinfo=None),
    )  # fmt: skip
    assert theirs.identity().record(user) == {
        "id": 1,
        "email": "ada@example.com",
        "username": "ada",
        "status": "active",
        "roles": ["Admin", "staff"],
        "created_at": None,
        "last_seen_at": SEEN,
    }


@of("login_app")
def test_status_is_unknown_without_a_column(theirs: Theirs) -> None:
    assert theirs.identity().record(theirs.module.User(id=1))["status"] == "unknown"


@of("security_app")
def test_watched_secret_and_personal(theirs: Theirs) -> None:
    identity = theirs.identity()
    assert identity.watched == {"email", "username", "active", "password", "roles"}
    assert identity.secret == {"password", "fs_uniquifier"}
    assert identity.personal == {"email", "username"}
    assert theirs.identity(watch={"email"}).watched == {"email"}


CAPABILITIES = {
    "login_app": {"email", "username", "passwords", "last_seen_at"},
    "security_app": {"email", "username", "active", "passwords", "roles", "admin", "end_sessions"},
    "flag_app": {"email", "active", "passwords", "roles", "admin"},
    "relation_app": {"email", "username", "active", "passwords", "roles", "admin", "last_seen_at"},
    "uuid_app": {"email", "active", "passwords", "roles", "admin", "created_at"},
}


@of(*CAPABILITIES)
def test_capabilities(theirs: Theirs, request: pytest.FixtureRequest) -> None:
    name = request.node.callspec.params["theirs"]
    assert theirs.identity().capabilities == CAPABILITIES[name]


@of("login_app")
def test_missing_part_names_its_argument(theirs: Theirs) -> None:
    with pytest.raises(Conflict) as error:
        theirs.identity().need("active")
    assert error.value.message == "User has no column that says whether an account is active"
    assert error.value.hint == "Ops(app, db, active=User.some_column)"


# --- administrators --------------------------------------------------------------


@of("security_app", "relation_app")
def test_administrator_holds_a_role_of_that_name(theirs: Theirs) -> None:
    identity, session = theirs.identity(), theirs.db.session()
    assert identity.has_administrator(session) is False
    role = theirs.module.Role(name="Admin")
    user = theirs.module.User(email="a@example.com", active=True, password="x", roles=[role])
    if hasattr(user, "fs_uniquifier"):
        user.fs_uniquifier = "u"
    theirs.add(user)
    assert identity.has_administrator(session) is True
    user.password = None
    assert identity.has_administrator(session) is False
    user.password, user.active = "x", False
    assert identity.has_administrator(session) is False


@of("flag_app")
def test_administrator_has_the_flag(theirs: Theirs) -> None:
    identity, session = theirs.identity(), theirs.db.session()
    user = theirs.module.User(
        email="a@example.com", password="x", global_admin=True, domain_name="example.com"
    )
    theirs.add(user)
    assert identity.has_administrator(session) is True
    user.global_admin = False
    assert identity.has_administrator(session) is False


@of("login_app")
def test_nothing_says_who_administers(theirs: Theirs) -> None:
    assert theirs.identity().has_administrator(theirs.db.session()) is None


# --- roles -----------------------------------------------------------------------


@of("relation_app")
def test_role_of_two_kinds_is_named_with_its_kind(theirs: Theirs) -> None:
    theirs.add(theirs.module.Role(name="staff"), theirs.module.Group(name="staff"))
    rules, session = theirs.identity().roles, theirs.db.session()
    with pytest.raises(Conflict) as error:
        rule_of(rules, session, "staff")
    assert error.value.hint == "name it roles:staff or groups:staff"
    assert rule_of(rules, session, "groups:staff") == (rules[1], "staff")
    with pytest.raises(NotFound) as missing:
        rule_of(rules, session, "stuff")
    assert missing.value.hint == "did you mean staff?"


@of("relation_app", "uuid_app")
def test_roles_are_given_and_taken_by_the_relation(theirs: Theirs) -> None:
    identity, session = theirs.identity(), theirs.db.session()
    user = identity.model()
    setattr(user, identity.email.name, "a@example.com")
    theirs.add(theirs.module.Role(name="support"), user)
    rule = identity.roles[0]
    rule.give(session, user, "support")
    session.flush()
    assert identity.roles_of(user) == ["support"]
    assert session.scalar(sa.select(sa.func.count()).where(rule.holds("support"))) == 1
    rule.take(session, user, "support")
    session.flush()
    assert identity.roles_of(user) == []
    with pytest.raises(NotFound):
        rule.give(session, user, "nothing")


@of("word_app")
def test_word_falls_back_to_that_of_new_accounts(theirs: Theirs) -> None:
    identity, session = theirs.identity(user=theirs.module.Person), theirs.db.session()
    user = theirs.module.Person(email="a@example.com", role="admin")
    theirs.add(user, theirs.module.Person(email="b@example.com"))
    [rule] = identity.roles
    assert rule.names(session) == ["admin", "user"]
    rule.take(session, user, "admin")
    assert identity.roles_of(user) == ["user"]
    with pytest.raises(Conflict, match=r"each account of Person has a word in Person\.role"):
        rule.check_takeable("user")


# --- passwords -------------------------------------------------------------------


@of("login_app", "flag_app", "security_app", "relation_app", "uuid_app")
def test_password_is_set_as_the_application_does(theirs: Theirs) -> None:
    identity = theirs.identity()
    assert identity.passwords is not None
    user = identity.model()
    identity.passwords.accepts(WORD)
    identity.passwords.prepare(WORD)(user)
    assert identity.password is not None
    assert WORD not in identity.password.of(user)
    if identity.passwords.check is None:
        assert theirs.module.__name__ == "tests.apps.flag_app"
    else:
        assert identity.passwords.check(user, WORD)
        assert not identity.passwords.check(user, "another " + WORD)


@of("login_app", "security_app")
def test_password_that_is_easy_to_guess_is_refused(theirs: Theirs) -> None:
    identity = theirs.identity()
    assert identity.passwords is not None
    for word in ("short", "x" * 200):
        with pytest.raises(Invalid, match=r"^password: "):
            identity.passwords.accepts(word)


@of("login_app")
def test_password_that_is_a_common_one_is_refused(theirs: Theirs) -> None:
    passwords = theirs.identity().passwords
    assert passwords is not None
    with pytest.raises(Invalid, match="easy to guess"):
        passwords.accepts("passwordpassword")


# --- deactivation ----------------------------------------------------------------


AFTER = {
    "login_app": "go on",
    "security_app": "ended",
    "relation_app": "go on",
    "uuid_app": "go on",
    "flag_app": "go on",
}


@of(*AFTER)
def test_deactivation_says_what_becomes_of_sessions(
    theirs: Theirs, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["theirs"]
    assert theirs.identity().after_deactivation == AFTER[name]
