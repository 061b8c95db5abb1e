"""Accounts of an application changed through the unit of work."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from opsapp.accounts import breached
from opsapp.errors import Conflict, Invalid, NotFound, Refused
from opsapp.ops import accounts, grants
from opsapp.ops.subjects import this_identity
from tests.ops.conftest import Attach, Theirs
from tests.support import a_unit

WORD = "plenty of rope for 7 goats"
CHAIN = sa.text("SELECT before, after, subject FROM ops_audit_events")


def ada(theirs: Theirs, **values: Any) -> None:
    """An administrator who can sign in."""
    app = theirs.module.__name__.rpartition(".")[2]
    user = this_identity().model
    common = {"password": "hash"}
    match app:
        case "login_app":
            common = {"email": "ada@example.com", "username": "ada"}
        case "flag_app":
            common |= {"email": "ada@example.com", "global_admin": True, "domain_name": "e"}
        case "uuid_app":
            common = {"email_address": "ada@example.com", "password_hash": "hash"}
        case _:
            common |= {"email": "ada@example.com", "username": "ada", "active": True}
    if app in ("security_app", "relation_app", "uuid_app"):
        common["roles"] = [theirs.module.Role(name="admin")]
    if app == "uuid_app":
        common["roles"] = set(common["roles"])
    if app == "security_app":
        common["fs_uniquifier"] = "ada"
    theirs.add(user(**{**common, **values}))


ADMINISTERED = ["security_app", "flag_app", "relation_app", "uuid_app"]


@pytest.mark.parametrize("app", ADMINISTERED)
def test_last_administrator_is_kept(attach_to: Attach, app: str) -> None:
    theirs = attach_to(app)
    ada(theirs)
    [role] = grants_of(theirs)
    for change in (
        lambda: accounts.set_active(["ada@example.com"], False, unit=a_unit()),
        lambda: grants.revoke(role, ["ada@example.com"], unit=a_unit()),
    ):
        with pytest.raises(Refused, match="no active administrator") as error:
            change()
        assert error.value.hint == "flask ops users create-admin EMAIL"
    assert this_identity().status(theirs.get("ada@example.com")) == "active"
    assert theirs.actions == []


def grants_of(theirs: Theirs) -> list[str]:
    return this_identity().roles_of(theirs.get("ada@example.com"))


@pytest.mark.parametrize("app", ADMINISTERED)
def test_account_is_deactivated_once(attach_to: Attach, app: str) -> None:
    theirs = attach_to(app, admin=None)
    ada(theirs)
    [row] = accounts.set_active("ada@example.com", False, unit=a_unit(reason="left"))
    assert (row["changed"], row["status"]) == (True, "inactive")
    after = {"security_app": "ended", "relation_app": "refused at next request"}
    assert row["sessions"] == after.get(app, "may go on")
    [row] = accounts.set_active("ada@example.com", False, unit=a_unit())
    assert (row["changed"], row["sessions"]) == (False, None)
    assert [action for action, _subject in theirs.actions] == [
        "user:account:deactivate",
        "identity:accounts:accept",
    ]
    assert theirs.event("user:account:deactivate") == ({"active": True}, {"active": False})


def test_sessions_of_flask_security_end(attach_to: Attach) -> None:
    theirs = attach_to("security_app", admin=None)
    ada(theirs)
    accounts.set_active("ada", False, unit=a_unit())
    assert theirs.get("ada").fs_uniquifier != "ada"


def test_dry_run_writes_nothing(attach_to: Attach) -> None:
    theirs = attach_to("security_app", admin=None)
    ada(theirs)
    unit = a_unit(dry_run=True)
    accounts.set_active("ada", False, unit=unit)
    assert unit.changed
    assert theirs.get("ada").active is True
    assert theirs.actions == []


@pytest.mark.parametrize("app", ["login_app", *ADMINISTERED])
def test_password_opens_the_application(attach_to: Attach, app: str) -> None:
    theirs = attach_to(app, admin=None)
    ada(theirs)
    accounts.set_password("ada@example.com", WORD, unit=a_unit())
    assert logs_in(theirs, WORD)
    assert not logs_in(theirs, "another " + WORD)
    assert theirs.event("user:password:set")[1] == {"password": "set"}
    unit = a_unit()
    accounts.set_password("ada@example.com", WORD, unit=unit)
    # Where the application has no function that checks one, it is set again.
    assert unit.changed == (app == "flag_app")


@pytest.mark.parametrize("app", ["login_app", "security_app"])
def test_password_that_attackers_try_first_is_refused(
    attach_to: Attach, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: str
) -> None:
    stolen = tmp_path / "stolen"
    stolen.write_text(hashlib.sha1(WORD.encode(), usedforsecurity=False).hexdigest())
    monkeypatch.setenv("OPSAPP_BREACHED_PASSWORDS", str(stolen))
    monkeypatch.setenv("OPSAPP_NAME", "Marmalade")
    theirs = attach_to(app, admin=None)
    ada(theirs)
    for word, says in [
        (WORD, "password: This password is in a list of stolen passwords."),
        ("marma-LADE, marmalade!", f"password: {breached.REPEATS_NAME}"),
    ]:
        with pytest.raises(Invalid) as error:
            accounts.set_password("ada@example.com", word, unit=a_unit())
        assert error.value.message == says
    accounts.set_password("ada@example.com", "another " + WORD, unit=a_unit())


def logs_in(theirs: Theirs, word: str) -> bool:
    """Tell whether the application's own code lets Ada in."""
    user = theirs.get("ada@example.com")
    match theirs.module.__name__.rpartition(".")[2]:
        case "security_app":
            theirs.app.config["WTF_CSRF_ENABLED"] = False
            client = theirs.app.test_client()
            answer = client.post("/login", json={"email": "ada@example.com", "password": word})
            return answer.status_code == 200
        case "flag_app":
            return theirs.module.User.login("ada@example.com", word) is not None
        case "relation_app":
            manager = theirs.app.extensions["appbuilder"].sm
            return manager.auth_user_db("ada", word) is not None
        case "uuid_app":
            return bool(user.verify_password(word))
    return bool(user.check_password(word))


def test_account_that_must_have_a_password_gets_one(
    attach_to: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = attach_to("login_app")
    monkeypatch.setattr(theirs.module.User.__table__.c.password_hash, "nullable", False)
    done = theirs.call("users", "create", "a@x.org", "--username", "a", "--no-password", "--yes")
    assert (done.exit_code, done.stdout, done.stderr) == (
        3,
        "",
        "Error: each account of User has a password\n"
        "  → give it one: --password-stdin, or an answer at the terminal\n",
    )


def test_missing_part_is_a_conflict_with_its_argument(attach_to: Attach) -> None:
    theirs = attach_to("login_app")
    ada(theirs)
    with pytest.raises(Conflict) as error:
        accounts.set_active("ada", False, unit=a_unit())
    assert error.value.message == "User has no column that says whether an account is active"
    assert error.value.hint == "Ops(app, db, active=User.some_column)"
    with pytest.raises(Conflict) as error:
        grants.grant("admin", "ada", unit=a_unit())
    assert error.value.hint == "Ops(app, db, roles=[Roles.relation(User.some_relation, Role.name)])"
    with pytest.raises(Conflict) as error:
        accounts.create_admin("bob@example.com", unit=a_unit())
    assert error.value.hint == "Ops(app, db, admin=User.some_column.is_(True))"


# --- creating ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("app", "values"),
    [
        ("login_app", {}),
        ("security_app", {}),
        ("flag_app", {"domain_name": "example.com"}),
        ("relation_app", {}),
        ("uuid_app", {}),
    ],
)
def test_account_is_created_and_opens_the_application(
    attach_to: Attach, app: str, values: dict[str, str]
) -> None:
    theirs = attach_to(app)
    username = {"username": "ada"} if app in ("login_app", "relation_app", "security_app") else {}
    row = accounts.create(
        "ada@example.com", password=WORD, values=values, unit=a_unit(), **username
    )
    assert row["email"] == "ada@example.com"
    assert row["status"] == ("unknown" if app == "login_app" else "active")
    assert logs_in(theirs, WORD)
    with pytest.raises(Conflict, match=r"user ada@example\.com exists already"):
        accounts.create("ada@example.com", values=values, unit=a_unit())
    kept = accounts.create("ada@example.com", values=values, if_exists="keep", unit=a_unit())
    assert kept["id"] == row["id"]


def test_attribute_that_the_model_needs_is_named(attach_to: Attach) -> None:
    attach_to("flag_app")
    with pytest.raises(Invalid, match="User needs domain_name") as error:
        accounts.create("ada@example.com", unit=a_unit())
    assert error.value.hint == "--set domain_name=VALUE"


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        ({"about_you": "x"}, "--set about_you is not a column of User"),
        ({"password_hash": "x"}, "--set password_hash is a secret"),
        ({"last_seen": "yesterday"}, "--set last_seen=yesterday is no datetime"),
        ({"email": "x"}, "--set email has an option or command of its own"),
        ({"id": "7"}, "--set id has an option or command of its own"),
    ],
)
def test_attribute_that_cannot_be_set_is_refused(
    attach_to: Attach, pair: dict[str, str], says: str
) -> None:
    theirs = attach_to("login_app")
    ada(theirs)
    with pytest.raises(Invalid) as error:
        accounts.update("ada", values=pair, unit=a_unit())
    assert error.value.message == says


@pytest.mark.parametrize("app", ADMINISTERED)
def test_administrator_is_created_by_the_rule_of_the_application(
    attach_to: Attach, app: str
) -> None:
    theirs = attach_to(app)
    values = {"domain_name": "example.com"} if app == "flag_app" else {}
    if app != "flag_app":
        theirs.add(theirs.module.Role(name="admin"))
    accounts.create_admin("ada@example.com", password=WORD, values=values, unit=a_unit())
    identity = this_identity()
    assert identity.has_administrator(theirs.db.session()) is True
    with pytest.raises(Conflict, match="exists already"):
        accounts.create_admin("ada@example.com", unit=a_unit())
    unit = a_unit()
    accounts.create_admin("ada@example.com", if_exists="update", unit=unit)
    assert not unit.changed


def test_account_to_keep_must_meet_the_request(attach_to: Attach) -> None:
    theirs = attach_to("security_app", admin=None)
    ada(theirs)
    theirs.add(theirs.module.Role(name="support"))
    keep = {"if_exists": "keep", "unit": a_unit()}
    assert accounts.create("ada@example.com", role="admin", **keep)["roles"] == ["admin"]
    with pytest.raises(Conflict, match="user 1 exists and does not hold support") as error:
        accounts.create("ada@example.com", role="support", **keep)
    assert error.value.hint == "flask ops roles grant support 1"
    accounts.set_active("ada", False, unit=a_unit())
    with pytest.raises(Conflict, match="user 1 exists and is inactive"):
        accounts.create("ada@example.com", **keep)


def test_username_is_enough(attach_to: Attach) -> None:
    attach_to("login_app", email=None)
    row = accounts.create(None, username="ada", unit=a_unit())
    assert (row["email"], row["username"]) == (None, "ada")
    with pytest.raises(Invalid, match="an account needs a name"):
        accounts.create(None, unit=a_unit())


def test_no_role_makes_an_administrator(attach_to: Attach) -> None:
    attach_to("security_app")
    with pytest.raises(Conflict, match="none makes an administrator"):
        accounts.create_admin("ada@example.com", password=WORD, unit=a_unit())


# --- updating ----------------------------------------------------------------------


def test_names_change_and_stand_beside_the_chain(attach_to: Attach) -> None:
    theirs = attach_to("login_app")
    ada(theirs)
    theirs.add(theirs.module.User(email="bob@example.com", username="bob"))
    row = accounts.update(
        "ada", email="lovelace@example.com", values={"about_me": "counts"}, unit=a_unit()
    )
    assert row["email"] == "lovelace@example.com"
    assert theirs.get("lovelace@example.com").about_me == "counts"
    with pytest.raises(Conflict, match="username Bob is taken by user 2"):
        accounts.update("ada", username="Bob", unit=a_unit())
    before, after = theirs.event("user:account:update")
    assert (before, after) == (None, {"set": "about_me"})
    assert "lovelace" not in str(theirs.db.session.execute(CHAIN).all())


def test_key_that_is_an_address_stays(attach_to: Attach) -> None:
    theirs = attach_to("flag_app")
    ada(theirs)
    with pytest.raises(Conflict, match="the email is the key of User, which never changes"):
        accounts.update("ada@example.com", email="other@example.com", unit=a_unit())


def test_key_that_is_an_address_is_not_in_the_chain(attach_to: Attach) -> None:
    theirs = attach_to("flag_app", admin=None)
    ada(theirs)
    accounts.set_active("ada@example.com", False, unit=a_unit())
    accounts.set_active("ada@example.com", True, unit=a_unit())
    [(_action, subject), *_rest] = theirs.actions
    assert subject.startswith("user:~")
    assert "ada@" not in str(theirs.db.session.execute(CHAIN).all())
    assert this_identity().key_of(theirs.db.session(), subject) == "ada@example.com"


def test_unknown_account_is_not_found(attach_to: Attach) -> None:
    attach_to("security_app")
    with pytest.raises(NotFound, match="no user carol"):
        accounts.set_active("carol", False, unit=a_unit())


# --- deleting ----------------------------------------------------------------------


def test_account_is_forgotten_beside_the_chain(attach_to: Attach) -> None:
    def erase(user: Any) -> None:
        theirs.db.session.delete(user)

    theirs = attach_to("flag_app", admin=None, erase=erase)
    ada(theirs)
    accounts.set_active("ada@example.com", False, unit=a_unit())
    subject = this_identity().subject(theirs.get("ada@example.com"))
    unit = a_unit()
    accounts.delete("ada@example.com", unit=unit)
    assert unit.effects == [
        "deletes ada@example.com by the application's function, and erases 1 name of the audit log"
    ]
    assert this_identity().find(theirs.db.session(), "ada@example.com") is None
    assert theirs.actions[-1] == ("user:account:delete", subject)
    assert theirs.db.session.execute(sa.text("SELECT * FROM ops_audit_personal")).all() == []


def test_deleting_needs_a_function(attach_to: Attach) -> None:
    theirs = attach_to("flag_app")
    ada(theirs)
    with pytest.raises(Conflict, match="User has no function that deletes an account") as error:
        accounts.delete("ada@example.com", unit=a_unit())
    assert error.value.hint == "Ops(app, db, erase=lambda user: db.session.delete(user))"


def test_last_administrator_is_not_deleted(attach_to: Attach) -> None:
    theirs = attach_to("flag_app", erase=lambda user: theirs.db.session.delete(user))
    ada(theirs)
    with pytest.raises(Refused, match="no active administrator"):
        accounts.delete("ada@example.com", unit=a_unit())


def test_attribute_that_changes_the_key_is_refused(
    attach_to: Attach, request: pytest.FixtureRequest
) -> None:
    theirs = attach_to("flag_app")
    theirs.add(theirs.module.User(email="ada@example.com", domain_name="example.com"))

    def move(_mapper: object, _connection: object, user: Any) -> None:
        user.email = f"ada@{user.domain_name}"

    event.listen(theirs.module.User, "before_update", move)
    request.addfinalizer(lambda: event.remove(theirs.module.User, "before_update", move))
    unit = a_unit()
    with pytest.raises(Conflict) as error:
        accounts.update("ada@example.com", values={"domain_name": "x.org"}, unit=unit)
    assert error.value.message == "the key of User never changes, and domain_name is a part of it"
    assert theirs.get("ada@example.com").domain_name == "example.com"
    assert not unit.committed
