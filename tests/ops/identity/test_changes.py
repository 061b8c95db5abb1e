"""Identities: administrators, roles and passwords, changed as the application does."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from opsapp.errors import Conflict, Invalid, NotFound
from opsapp.ops.roles import rule_of
from tests.ops.identity.conftest import Theirs, of

WORD = "plenty of rope for 7 goats"

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


@of("security_app")
def test_administrator_is_confirmed_where_signing_in_needs_that(theirs: Theirs) -> None:
    session = theirs.db.session()
    role = theirs.module.Role(name="admin")
    user = theirs.module.User(
        email="a@example.com", active=True, password="x", fs_uniquifier="u", roles=[role]
    )
    theirs.add(user)
    assert theirs.identity().has_administrator(session) is True
    theirs.app.config["SECURITY_CONFIRMABLE"] = True
    identity = theirs.identity()
    assert identity.has_administrator(session) is False
    assert identity.passwords
    identity.passwords.prepare(WORD)(user)
    assert user.confirmed_at
    assert identity.has_administrator(session) is True
    user.confirmed_at = None
    theirs.app.config["SECURITY_LOGIN_WITHOUT_CONFIRMATION"] = True
    assert theirs.identity().has_administrator(session) is True


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
        with pytest.raises(Invalid, match=r"^(a p|password: P)assword must "):
            identity.passwords.accepts(word)


@of("login_app")
def test_password_that_is_a_common_one_is_refused(theirs: Theirs) -> None:
    passwords = theirs.identity().passwords
    assert passwords is not None
    with pytest.raises(Invalid, match="easy to guess"):
        passwords.accepts("passwordpassword")


# --- deactivation ----------------------------------------------------------------


AFTER = {
    "login_app": "may go on",
    "security_app": "ended",
    "relation_app": "refused at next request",
    "uuid_app": "may go on",
    "flag_app": "may go on",
}


@of(*AFTER)
def test_deactivation_says_what_becomes_of_sessions(
    theirs: Theirs, request: pytest.FixtureRequest
) -> None:
    name = request.node.callspec.params["theirs"]
    assert theirs.identity().after_deactivation == AFTER[name]


@of("relation_app")
def test_loader_of_an_application_decides_for_whom_sessions_may_go_on(
    theirs: Theirs, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = type(theirs.app.extensions["appbuilder"].sm)
    monkeypatch.setattr(manager, "load_user", lambda self, key: self.get_user_by_id(key))
    assert theirs.identity().after_deactivation == "may go on"
