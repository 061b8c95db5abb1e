"""`flask ops users` where setters and types of the model change what is typed."""

from __future__ import annotations

import pytest

from opsapp.errors import Conflict
from opsapp.ops import grants
from opsapp.ops.roles import Roles
from opsapp.ops.subjects import this_identity
from tests.apps.setterless_app import User
from tests.ops.conftest import Attach, Theirs
from tests.support import a_unit


@pytest.fixture
def kind() -> str:
    """These are about commands, whose services run on both databases elsewhere."""
    return "sqlite"


CREATE = ("users", "create", "Ada@X.org", "--no-password", "--yes")


@pytest.fixture
def hybrids(attach_to: Attach) -> Theirs:
    """An application whose address sets other columns, and keeps small letters."""
    theirs = attach_to("hybrid_app")
    theirs.add(theirs.module.Domain(name="x.org"))
    return theirs


def test_create_asks_for_what_no_setter_fills(hybrids: Theirs) -> None:
    done = hybrids.call(*CREATE)
    assert (done.exit_code, done.stdout, done.stderr) == (
        2,
        "",
        "Error: User needs shelf\n  → --set shelf=VALUE\n",
    )
    done = hybrids.call(*CREATE, "--set", "shelf=1", "-q")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "1\n", "")
    assert hybrids.get("1").localpart == "ada"


def test_create_with_a_value_that_is_refused_names_the_reason(hybrids: Theirs) -> None:
    create = ("users", "create", "--no-password", "--yes", "--set", "shelf=1")
    done = hybrids.call(*create, "a..b@x.org")
    assert (done.exit_code, done.stdout, done.stderr) == (
        2,
        "",
        "Error: User refuses a value: two dots in the address\n",
    )
    done = hybrids.call(*create, "ada@y.org")
    assert (done.exit_code, done.stdout, done.stderr) == (
        3,
        "",
        "Error: the database refuses the change of User: FOREIGN KEY constraint failed\n"
        "  → domain_name is the name of a row of domain\n",
    )


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("_on", "flask ops users deactivate USER"),
        ("active", "flask ops users deactivate USER"),
        ("_email", "--email ADDRESS"),
    ],
)
def test_column_that_holds_an_attribute_has_its_command(
    hybrids: Theirs, name: str, hint: str
) -> None:
    assert hybrids.call(*CREATE, "--set", "shelf=1").exit_code == 0
    done = hybrids.call("users", "update", "1", "--set", f"{name}=false")
    assert (done.exit_code, done.stdout, done.stderr) == (
        2,
        "",
        f"Error: --set {name} has an option or command of its own\n  → {hint}\n",
    )


@pytest.fixture
def setterless(attach_to: Attach) -> Theirs:
    """An application whose name and switch are hybrids without a setter, with one account."""
    theirs = attach_to("setterless_app")
    create = ("users", "create", "bob@x.org", "--no-password", "--yes", "-q")
    done = theirs.call(*create)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "1\n", "")
    return theirs


@pytest.mark.parametrize(
    ("pair", "status"),
    [("first=Eve", "active"), ("confirmed=no", "inactive"), ("disabled=yes", "inactive")],
)
def test_column_that_no_option_sets_is_set(setterless: Theirs, pair: str, status: str) -> None:
    done = setterless.call("users", "update", "1", "--set", pair)
    assert (done.exit_code, done.stderr) == (0, "Done, audit event N.\n")
    assert setterless.event("user:account:update") == (None, {"set": pair.partition("=")[0]})
    user = setterless.get("1")
    assert (user.username, this_identity().status(user)) == (
        "Eve.Ross" if pair == "first=Eve" else "Bob.Ross",
        status,
    )


@pytest.mark.parametrize(
    ("words", "name", "part"),
    [
        (("users", "update", "1", "--username", "eve"), "username", "username"),
        (("users", "update", "1", "--set", "username=eve"), "username", "username"),
        (
            ("users", "create", "--username", "eve", "--no-password", "--yes"),
            "username",
            "username",
        ),
        (("users", "update", "1", "--set", "is_owner=yes"), "is_owner", None),
        (("users", "deactivate", "1", "--yes"), "is_active", "active"),
        (("users", "offboard", "1", "--yes"), "is_active", "active"),
    ],
)
def test_hybrid_without_a_setter_is_named(
    setterless: Theirs, words: tuple[str, ...], name: str, part: str | None
) -> None:
    done = setterless.call(*words)
    other = f" or Ops(app, db, {part}=User.some_column)" if part else ""
    assert (done.exit_code, done.stdout, done.stderr) == (
        3,
        "",
        f"Error: User.{name} has no setter\n  → @{name}.setter in User{other}\n",
    )


def test_identity_and_promises_say_what_has_no_setter(setterless: Theirs) -> None:
    rows = {row["part"]: row for row in setterless.call("identity", "--format", "json").json}
    for part, name in (("username", "username"), ("active", "is_active")):
        assert rows[part]["value"] == f"User.{name}, which has no setter"
        assert rows[part]["missing"] == f"Ops(app, db, {part}=User.some_column)"
    assert rows["email"]["missing"] is None
    promises = setterless.call("identity", "--promises", "--format", "json").json
    [promise] = [row for row in promises if row["promise"] == "deactivating ends sessions"]
    assert (promise["state"], promise["because"]) == ("off", "User.is_active has no setter")


def test_flag_without_a_setter_is_read_only(attach_to: Attach) -> None:
    theirs = attach_to("setterless_app", roles=[Roles.flag("owner", User.is_owner)])
    theirs.add(User(email="bob@x.org", last="Owner"), User(email="eve@x.org"))
    for act, email in ((grants.revoke, "bob@x.org"), (grants.grant, "eve@x.org")):
        with pytest.raises(Conflict) as error:
            act("owner", email, unit=a_unit())
        assert (
            error.value.message == "the role owner cannot be changed: User.is_owner has no setter"
        )


def test_names_in_the_audit_are_those_that_are_stored(hybrids: Theirs) -> None:
    assert hybrids.call(*CREATE, "--set", "shelf=1").exit_code == 0
    listed = hybrids.call("audit", "list", "--fields", "after", "--action", "user:account:create")
    assert (listed.exit_code, "ada@x.org" in listed.stdout, "Ada" in listed.stdout) == (
        0,
        True,
        False,
    )
    done = hybrids.call("users", "update", "1", "--email", "ADA@x.org")
    assert (done.exit_code, done.stderr) == (0, "Already so: nothing was changed.\n")
    assert hybrids.actions[:1] == [("user:account:create", "user:1")]
    assert "user:account:update" not in dict(hybrids.actions)


@pytest.mark.parametrize(
    ("app", "values", "names"),
    [
        ("login_app", {"email": "bob@x.org"}, ["1", "user:1", "bob@x.org"]),
        ("flag_app", {"email": "bob@x.org", "domain_name": "x"}, ["bob@x.org", "user:bob@x.org"]),
    ],
)
def test_events_of_a_deleted_account_are_listed(
    attach_to: Attach, app: str, values: dict[str, str], names: list[str]
) -> None:
    theirs = attach_to(app)
    email, *sets = (f"{name}={value}" for name, value in values.items())
    others = [word for pair in sets for word in ("--set", pair)]
    create = ("users", "create", email.partition("=")[2], "--no-password", "--yes")
    assert theirs.call(*create, *others).exit_code == 0
    theirs.db.session.delete(theirs.get("bob@x.org"))
    theirs.db.session.commit()
    subject = theirs.actions[0][1]
    for name in [*names, subject]:
        listed = theirs.call("audit", "list", "--subject", name, "--fields", "action")
        assert (listed.exit_code, listed.stdout) == (0, "action\nuser:account:create\n")
        past = theirs.call("roles", "history", name)
        assert (past.exit_code, past.stdout.count("\n")) == (0, 1)
    done = theirs.call("audit", "list", "--subject", "user:99")
    assert (done.exit_code, done.stdout, done.stderr.splitlines()[0]) == (
        4,
        "",
        "Error: no user 99",
    )
