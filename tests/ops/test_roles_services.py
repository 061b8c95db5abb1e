"""Roles of an application granted, revoked and swept, by relation, flag and word."""

from __future__ import annotations

import threading
from datetime import timedelta
from types import SimpleNamespace

import pytest

from opsapp import Ops, clock
from opsapp.actors import Actor
from opsapp.errors import Conflict, Invalid, NotFound, Refused
from opsapp.ops import accounts, explanations, grants, listing, role_ends, roles
from opsapp.ops.listing import Filter
from opsapp.ops.subjects import this_identity
from opsapp.unit.work import Unit
from tests.ops.conftest import EMAIL, Attach, bob, let_end
from tests.support import a_unit

ROLES = {
    "security_app": "support",
    "flag_app": "admin",
    "relation_app": "roles:support",
    "uuid_app": "support",
}


@pytest.mark.parametrize("app", ROLES)
def test_role_is_granted_and_revoked_once(attach_to: Attach, app: str) -> None:
    theirs, role = attach_to(app, keep_admin="warn"), ROLES[app]
    bob(theirs)
    [row] = grants.grant(role, EMAIL, unit=a_unit(reason="on call"))
    assert (row["changed"], row["role"], row["state"]) == (True, role, "held")
    assert this_identity().roles_of(theirs.get(EMAIL)) == [role.removeprefix("roles:")]
    [row] = grants.grant(role, EMAIL, unit=a_unit())
    assert row["changed"] is False
    [row] = grants.revoke(role, EMAIL, unit=a_unit())
    assert (row["changed"], row["state"]) == (True, "revoked")
    [row] = grants.revoke(role, EMAIL, unit=a_unit())
    assert (row["changed"], row["state"]) == (False, "not held")
    assert [action for action, _subject in theirs.actions] == [
        "user:role:grant",
        "identity:accounts:accept",
        "user:role:revoke",
    ]
    assert theirs.event("user:role:grant") == (None, {"role": role, "valid_until": None})


@pytest.mark.parametrize("app", ROLES)
def test_end_of_a_role_is_a_sweep(attach_to: Attach, app: str) -> None:
    theirs, role = attach_to(app), ROLES[app]
    bob(theirs)
    until = clock.now() + timedelta(hours=8)
    [row] = grants.grant(role, EMAIL, until=until, unit=a_unit())
    assert listing.detail(EMAIL)["ends"][0]["valid_until"] == until
    assert grants.expire(unit=a_unit()) == []
    let_end(theirs)
    assert this_identity().roles_of(theirs.get(EMAIL)) == [role.removeprefix("roles:")]
    assert not grants.can(this_identity(), theirs.get(EMAIL), role)
    assert len(role_ends.passed_ends(theirs.db.session(), role_ends.LATE)) == 1
    [row] = grants.expire(unit=a_unit())
    assert (row["changed"], row["state"], row["role"]) == (True, "expired", role)
    assert this_identity().roles_of(theirs.get(EMAIL)) == []
    assert listing.detail(EMAIL)["ends"] == []
    assert theirs.actions[-1][0] == "user:role:expire"
    assert grants.expire(unit=a_unit()) == []


def test_another_end_takes_the_place_of_the_first(attach_to: Attach) -> None:
    theirs = attach_to("security_app")
    bob(theirs)
    soon, later = (clock.now() + timedelta(hours=hours) for hours in (1, 8))
    for until in (soon, later, None):
        [row] = grants.grant("support", EMAIL, until=until, replace_end=True, unit=a_unit())
        assert (row["changed"], row["valid_until"]) == (True, until)
    before, after = theirs.event("user:role:grant")
    assert before == {"role": "support", "valid_until": clock.rfc3339(later)}
    assert after == {"role": "support", "valid_until": None}
    with pytest.raises(Invalid, match="is in the past"):
        grants.grant("support", EMAIL, until=clock.now(), unit=a_unit())


@pytest.mark.parametrize(("first", "then"), [(None, 1), (1, None), (1, 8)])
def test_another_end_is_not_changed_by_the_way(
    attach_to: Attach, first: int | None, then: int | None
) -> None:
    theirs = attach_to("security_app")
    bob(theirs)
    ends_at = {hours: clock.now() + timedelta(hours=hours) for hours in (1, 8)}
    until = ends_at[first] if first else None
    grants.grant("support", EMAIL, until=until, unit=a_unit())
    with pytest.raises(Conflict, match=r"bob@example.com holds support (until|forever)"):
        grants.grant("support", EMAIL, until=ends_at[then] if then else None, unit=a_unit())
    [row] = grants.grant("support", EMAIL, until=until, unit=a_unit())
    assert row["changed"] is False


def test_administrator_with_an_end_does_not_count(attach_to: Attach) -> None:
    theirs = attach_to("security_app")
    bob(theirs)
    theirs.get(EMAIL).password = "hash"
    theirs.db.session.commit()
    grants.grant("admin", EMAIL, unit=a_unit())
    with pytest.raises(Refused, match="no active administrator"):
        grants.grant(
            "admin",
            EMAIL,
            until=clock.now() + timedelta(hours=1),
            replace_end=True,
            unit=a_unit(),
        )
    assert listing.detail(EMAIL)["ends"] == []


def test_unknown_role_is_named(attach_to: Attach) -> None:
    theirs = attach_to("security_app")
    bob(theirs)
    with pytest.raises(NotFound) as error:
        grants.grant("suport", EMAIL, unit=a_unit())
    assert (error.value.message, error.value.hint) == ("no role suport", "did you mean support?")


def test_word_takes_the_place_of_another(attach_to: Attach) -> None:
    theirs = attach_to("word_app", user="tests.apps.word_app:Person")
    person = theirs.module.Person
    theirs.add(person(email=EMAIL), person(email="ada@example.com", role="admin", password=b"x"))
    [row] = grants.grant("admin", EMAIL, unit=a_unit())
    assert row["role"] == "admin"
    assert [action for action, _subject in theirs.actions] == [
        "user:role:revoke",
        "user:role:grant",
        "identity:accounts:accept",
    ]
    assert theirs.get(EMAIL).role == "admin"
    with pytest.raises(Conflict, match=r"has a word in Person\.role"):
        grants.grant("user", EMAIL, until=clock.now() + timedelta(hours=1), unit=a_unit())


def test_two_at_once_never_take_both_administrators(attach_to: Attach) -> None:
    theirs = attach_to("security_app")
    role = theirs.module.Role(name="admin")
    theirs.add(
        *(
            theirs.module.User(
                email=f"{name}@example.com", active=True, password="x", fs_uniquifier=name,
                roles=[role],
            )
            for name in ("ada", "bob")
        )
    )  # fmt: skip
    theirs.db.session.remove()
    outcomes: list[str] = []

    def revoke(name: str) -> None:
        with theirs.app.app_context():
            try:
                grants.revoke("admin", f"{name}@example.com", unit=a_unit())
                outcomes.append("revoked")
            except Refused:
                outcomes.append("refused")
            finally:
                theirs.db.session.remove()

    threads = [threading.Thread(target=revoke, args=(name,)) for name in ("ada", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused", "revoked"]


# --- reading -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "word", "because"),
    [
        (
            "login_app",
            "tickets:read",
            "opsapp knows no roles of this application; flask ops identity says how to name them",
        ),
        (
            "flag_app",
            "tickets:read",
            "no role is called tickets:read, and opsapp knows no permissions here;"
            " flask ops roles list names the roles",
        ),
        ("flag_app", "admin", "it does not hold the role"),
    ],
)
def test_explanation_where_no_permissions_are_known(
    attach_to: Attach, app: str, word: str, because: str
) -> None:
    theirs = attach_to(app)
    bob(theirs)
    answer = explanations.explain(EMAIL, word)
    assert (answer["allowed"], answer["because"]) == (False, because)


def test_explanation_of_a_word_that_its_last_holder_lost_or_that_is_misspelled(
    attach_to: Attach,
) -> None:
    theirs = attach_to("word_app", user="tests.apps.word_app:Person", keep_admin="warn")
    theirs.add(theirs.module.Person(email=EMAIL, role="editor"))
    assert explanations.explain(EMAIL, "edtor")["because"] == (
        "no role is called edtor, and opsapp knows no permissions here: did you mean editor?"
    )
    grants.revoke("editor", EMAIL, unit=a_unit(reason="moved on"))
    [row] = grants.history(EMAIL)
    at = clock.rfc3339(row["at"].replace(microsecond=0))
    assert explanations.explain(EMAIL, "editor")["because"] == (
        f"it does not hold the role: editor was revoked at {at} by {row['by']} (moved on)"
    )


def test_bits_of_a_number_are_permissions_that_opsapp_does_not_know(attach_to: Attach) -> None:
    theirs = attach_to("bitmask_app")
    moderator = theirs.module.Role(name="Moderator", permissions=3)
    theirs.add(theirs.module.User(email=EMAIL, role=moderator))
    assert explanations.explain(EMAIL, "WRITE") == {
        "user": EMAIL,
        "permission": "WRITE",
        "allowed": False,
        "because": "no role is called WRITE, and opsapp knows no permissions here;"
        " flask ops roles list names the roles",
    }
    assert explanations.explain(EMAIL, "Moderator")["allowed"]


def test_role_whose_end_was_not_swept_is_one_that_the_application_still_has(
    attach_to: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob(attach_to("security_app"))
    until = clock.now().replace(microsecond=0) + timedelta(hours=1)
    grants.grant("support", EMAIL, until=until, unit=a_unit())
    assert [row["valid_until"] for row in grants.history(EMAIL)] == [until]
    monkeypatch.setattr(role_ends, "is_over", lambda *_role: True)
    answer = explanations.explain(EMAIL, "support")
    assert (answer["allowed"], answer["because"]) == (
        False,
        "the role support has ended, and the application itself has it"
        " until flask ops roles expire runs",
    )


@pytest.mark.parametrize("written", [None, "damaged", 7])
def test_end_in_an_event_that_is_no_time_is_shown_as_it_is(written: object) -> None:
    assert grants._moment(written) == written


def test_permission_of_flask_appbuilder_has_its_own_letters() -> None:
    row = SimpleNamespace(
        permission=SimpleNamespace(name="can_list"), view_menu=SimpleNamespace(name="UserView")
    )
    role = SimpleNamespace(permissions=[row, "tickets:read"])
    assert roles._permissions(role) == ["can_list on UserView", "tickets:read"]


def test_history_and_explanation(attach_to: Attach) -> None:
    theirs = attach_to("security_app")
    bob(theirs)
    role = theirs.db.session.query(theirs.module.Role).filter_by(name="support").one()
    role.permissions = "tickets:read,tickets:write"
    theirs.db.session.commit()
    for word, because in {
        "support": "it does not hold the role",
        "tickets:read": "it holds no role that gives it; support would",
        "suport": "no role is called suport, and no role has such a permission:"
        " did you mean support?",
        "tickets:reed": "no role is called tickets:reed, and no role has such a permission:"
        " did you mean tickets:read?",
        "x": "no role is called x, and no role has such a permission;"
        " flask ops roles list names the roles",
    }.items():
        assert explanations.explain(EMAIL, word)["because"] == because
    grants.grant("support", EMAIL, unit=a_unit(reason="on call"))
    grants.revoke("support", EMAIL, unit=a_unit(reason="moved on"))
    [last, _first] = grants.history(EMAIL)
    at = clock.rfc3339(last["at"].replace(microsecond=0))
    assert explanations.explain(EMAIL, "support")["because"] == (
        f"it does not hold the role: support was revoked at {at} by {last['by']} (moved on)"
    )
    grants.grant("support", EMAIL, unit=a_unit(reason="on call"))
    assert explanations.explain(EMAIL, "tickets:read") == {
        "user": EMAIL,
        "permission": "tickets:read",
        "allowed": True,
        "because": "it holds support",
    }
    accounts.set_active(EMAIL, False, unit=a_unit())
    answer = explanations.explain(EMAIL, "support")
    assert (answer["allowed"], answer["because"]) == (
        False,
        "it holds support, but the account is inactive",
    )
    actor = Actor(kind="user", name=this_identity().subject(theirs.get(EMAIL)), host="db1")
    grants.revoke("support", EMAIL, unit=Unit(actor=actor, door="web"))
    by_account, row, _revoked, _first = grants.history(EMAIL)
    assert by_account["by"] == f"{EMAIL}@db1"
    assert (row["user"], row["role"], row["action"], row["reason"]) == (
        EMAIL,
        "support",
        "grant",
        "on call",
    )
    with pytest.raises(NotFound, match="no role suport") as error:
        grants.history(role="suport")
    assert error.value.hint == "did you mean support?"


def test_accounts_are_listed_by_what_the_identity_knows(attach_to: Attach) -> None:
    theirs = attach_to("relation_app")
    module, seen = theirs.module, clock.now().replace(tzinfo=None)
    role = module.Role(name="support")
    theirs.add(
        module.User(id=1, email="ada@example.com", active=True, roles=[role], last_login=seen),
        module.User(id=2, email="bob@example.com", active=False),
        module.User(
            id=3, email="carol@example.com", active=None, last_login=seen - timedelta(days=99)
        ),
    )
    listed = lambda **conditions: [  # noqa: E731
        row["email"].partition("@")[0] for row in listing.users(Filter(**conditions))
    ]
    assert listed() == ["ada", "bob", "carol"]
    assert listed(role="support") == ["ada"]
    assert listed(without_role="support") == ["bob", "carol"]
    assert listed(status="inactive") == ["bob", "carol"]
    assert listed(search="ADA@") == ["ada"]
    assert listed(idle_for=timedelta(days=90)) == ["bob", "carol"]
    assert listing.count(Filter(status="active")) == 1
    page = listing.users(Filter(), after="1", descending=False, limit=1)
    assert [row["id"] for row in page] == [2]
    page = listing.users(Filter(), sort="email", descending=True, limit=2)
    assert [row["id"] for row in page] == [3, 2]
    with pytest.raises(Conflict, match="no column with the time when an account was created"):
        list(listing.users(Filter(), sort="created"))
    with pytest.raises(Invalid, match="--after takes an id"):
        list(listing.users(Filter(), sort="email", after="1"))
    assert listing.roles() == [
        {"name": "support", "kind": "relation roles", "holders": 1, "read_only": None}
    ]


def test_code_asks_for_a_role_that_has_not_ended(attach_to: Attach) -> None:
    theirs = attach_to("security_app")
    bob(theirs)
    grants.grant("support", EMAIL, until=clock.now() + timedelta(hours=1), unit=a_unit())
    ops = Ops()
    assert ops.can(theirs.get(EMAIL), "support")
    assert not ops.can(theirs.get(EMAIL), "admin")
    assert not ops.can(None, "support")
    let_end(theirs)
    assert not ops.can(theirs.get(EMAIL), "support")
    assert theirs.get(EMAIL).has_role("support")
