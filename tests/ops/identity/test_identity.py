"""Identities: found in the small applications, and said part by part."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from opsapp.errors import Conflict, Invalid, NotFound
from opsapp.ops import arguments
from opsapp.ops.discovery import discover
from opsapp.ops.roles import Roles
from tests.ops.identity.conftest import Theirs, of, parts

SEEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


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
        ("email", "emial", "email=emial is not a column of User"),
        ("active", 7, "active=7 is not a column of User"),
        ("watch", ["about_you"], "watch=about_you is not a column of User"),
        (
            "user",
            "tests.apps.login_app:Nothing",
            "user=tests.apps.login_app:Nothing is not a mapped",
        ),
        ("user", "nothing", "user=nothing is not a mapped class"),
        ("user", dict, "user=<class 'dict'> is not a mapped class"),
        ("roles", ["admin"], "roles='admin' is not a rule"),
        ("roles", 7, "roles=7 is not a list of rules"),
        ("roles", "admin", "roles=admin is not a list of rules"),
        ("watch", 7, "watch=7 is not a set of columns"),
        ("watch", "email", "watch=email is not a set of columns"),
        ("secret", "pin", "secret=pin is not a set of columns"),
        ("protect", ["is_admni"], "protect=is_admni is not a column of User"),
        ("protect", 7, "protect=7 is not a set of columns"),
        ("keep_admin", "refused", "keep_admin=refused is not 'warn' or 'refuse'"),
        ("observe", "strictly", "observe=strictly is not 'strict'"),
        ("admin", "is_admin", "admin=is_admin is not an SQL condition"),
        ("admin", 7, "admin=7 is not an SQL condition"),
        ("active", "email", "active=User.email is not a boolean column of User"),
        ("active", "last_seen", "active=User.last_seen is not a boolean column of User"),
        ("active", (True,), "active=(…) is not a pair of a condition and a function"),
        ("active", (True, "x"), "active=(…) is not a pair of a condition and a function"),
        ("active", ("x", print), "active=x is not an SQL condition"),
        *((name, "x", f"{name}=x is not a function") for name in arguments.FUNCTIONS),
    ],
)
def test_argument_that_does_not_fit_is_named(
    theirs: Theirs, argument: str, value: Any, says: str
) -> None:
    with pytest.raises(Invalid) as error:
        theirs.identity(**{argument: value})
    assert error.value.message.startswith(says)


@of("security_app")
def test_relation_is_no_column(theirs: Theirs) -> None:
    with pytest.raises(Invalid, match=r"email=User\.roles is not a column of User"):
        theirs.identity(email=theirs.module.User.roles)


@of("login_app")
def test_arguments_beside_an_identity_are_checked(theirs: Theirs) -> None:
    with pytest.raises(Invalid, match="protect=is_admni is not a column of User"):
        theirs.identity(user=theirs.identity(), protect=["is_admni"])


@of("security_app")
def test_column_of_another_model_is_named(theirs: Theirs) -> None:
    role = theirs.module.Role
    with pytest.raises(Invalid, match=r"email=Role\.name is not a column of User"):
        theirs.identity(email=role.name)
    with pytest.raises(Invalid, match=r"roles=Role\.name is not a column of User"):
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
    assert identity.name_record(user) == {
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
    assert theirs.identity().name_record(user) is None


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
    assert identity.watched_names == {"email", "username", "active", "password", "roles"}
    assert identity.secret == {"password", "fs_uniquifier"}
    assert identity.personal == {"email", "username"}
    assert theirs.identity(watch={"email"}).watched_names == {"email"}


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


@of("hybrid_app")
def test_protected_hybrid_of_another_table_is_named(theirs: Theirs) -> None:
    with pytest.raises(Invalid) as error:
        theirs.identity(protect=["domain_is_known"])
    assert error.value.message == (
        "protect=User.domain_is_known cannot be protected: no column is known to hold it"
    )
