"""`flask ops identity`, `users` and `roles`: exit codes, answers, questions."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from opsapp.ops.subjects import this_identity
from tests.ops.conftest import Attach, Theirs

WORD = "plenty of rope for 7 goats"


@pytest.fixture
def kind() -> str:
    """These are about commands, whose services run on both databases elsewhere."""
    return "sqlite"


@pytest.fixture
def security(attach_to: Attach) -> Theirs:
    """Flask-Security with an administrator, Ada, and Bob, who holds no role."""
    theirs = attach_to("security_app")
    module = theirs.module
    theirs.add(
        module.User(
            email="ada@example.com", username="ada", active=True, password="hash",
            fs_uniquifier="a", roles=[module.Role(name="admin")],
        ),
        module.User(email="bob@example.com", username="bob", active=True, fs_uniquifier="b"),
        module.Role(name="support"),
    )  # fmt: skip
    return theirs


@pytest.fixture
def login(attach_to: Attach) -> Theirs:
    """Flask-Login with Ada; its parts are found by their names."""
    theirs = attach_to("login_app")
    theirs.add(theirs.module.User(email="ada@example.com", username="ada"))
    return theirs


def test_list_and_show(security: Theirs) -> None:
    done = security.call("users", "list")
    assert (done.exit_code, done.stdout) == (
        0,
        "id\temail\tusername\tstatus\troles\tlast_seen_at\n"
        "1\tada@example.com\tada\tactive\tadmin\t\n"
        "2\tbob@example.com\tbob\tactive\t\t\n",
    )
    assert security.call("users", "list", "--role", "admin", "--count").stdout == "1\n"
    done = security.call("users", "list", "--status", "locked")
    assert (done.exit_code, done.stdout, done.stderr.splitlines()[-1]) == (
        2,
        "",
        "Error: Invalid value for '--status': 'locked' is not one of 'active', 'inactive'.",
    )
    shown = security.call("users", "show", "bob", "--format", "json").json
    assert (shown["id"], shown["has_password"], shown["subject"]) == (2, False, "user:2")
    done = security.call("users", "show", "carol")
    assert (done.exit_code, done.stdout, done.stderr) == (
        4,
        "",
        "Error: no user carol\n  → flask ops users list --search TEXT\n",
    )


def test_empty_list_has_its_header(attach_to: Attach) -> None:
    done = attach_to("login_app").call("users", "list")
    assert (done.exit_code, done.stdout) == (
        0,
        "id\temail\tusername\tstatus\troles\tlast_seen_at\n",
    )


def test_deactivate_says_what_becomes_of_sessions(security: Theirs) -> None:
    done = security.call("users", "deactivate", "bob", "--reason", "left")
    assert (done.exit_code, done.stdout, done.stderr) == (
        0,
        "changed\tid\temail\tstatus\tsessions\ntrue\t2\tbob@example.com\tinactive\tended\n",
        "Done, audit event N.\n",
    )
    done = security.call("users", "deactivate", "bob")
    assert (done.exit_code, done.stderr) == (0, "Already so: nothing was changed.\n")


def test_last_administrator_stays(security: Theirs) -> None:
    says = (
        "Error: this would leave no active administrator who can sign in\n"
        "  → flask ops users create-admin EMAIL\n"
    )
    for words in (
        ("users", "deactivate", "ada"),
        ("roles", "revoke", "admin", "ada"),
        ("roles", "grant", "admin", "ada", "--for", "8h", "--replace-end"),
    ):
        done = security.call(*words)
        assert (done.exit_code, done.stdout, done.stderr) == (5, "", says), words


def test_dry_run_prints_the_change(security: Theirs) -> None:
    done = security.call("roles", "grant", "support", "bob", "--dry-run", "--format", "json")
    assert done.exit_code == 0
    assert [change["action"] for change in done.json["plan"]] == [
        "user:role:grant",
        "identity:accounts:accept",
    ]
    assert security.actions == []


def test_grant_with_an_end_says_that_it_is_a_sweep(security: Theirs) -> None:
    sweep = "The role ends when flask ops roles expire runs after that time.\n"
    words = ("roles", "grant", "support", "bob", "--for", "8h")
    done = security.call(*words, "--dry-run")
    assert (done.exit_code, done.stderr) == (0, f"Dry run: nothing was written.\n{sweep}")
    done = security.call(*words)
    assert (done.exit_code, done.stderr) == (0, f"Done, audit event N.\n{sweep}")
    longer = (*words[:-1], "9h", "--replace-end", "--format", "json")
    done = security.call(*longer)
    assert (done.exit_code, done.json["results"][0]["changed"]) == (0, True)
    assert json.loads(done.stderr) == {"remarks": [sweep.strip()]}
    assert security.call("users", "can", "bob", "support").exit_code == 0
    assert security.call("users", "can", "bob", "admin").exit_code == 6
    assert security.call("roles", "expire").stderr == "Already so: nothing was changed.\n"
    history = security.call("roles", "history", "bob", "--format", "json").json
    assert [row["action"] for row in history] == ["grant", "grant"]


def test_password_from_stdin_opens_the_application(security: Theirs) -> None:
    done = security.call("users", "set-password", "bob", "--password-stdin", stdin=WORD)
    assert (done.exit_code, done.stderr) == (0, "Done, audit event N.\n")
    identity = this_identity()
    assert identity.passwords is not None
    assert identity.passwords.check is not None
    assert identity.passwords.check(security.get("bob"), WORD)
    done = security.call("users", "set-password", "bob", "--password-stdin", stdin="short")
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: password: Password must be at least 8 characters\n",
    )


def test_generated_password_is_shown_once(security: Theirs) -> None:
    done = security.call("users", "set-password", "bob", "--generate-password", "--format", "json")
    assert done.exit_code == 0
    assert len(done.json["password"]) == 24


def test_missing_part_exits_with_its_argument(login: Theirs) -> None:
    for words, says in {
        ("users", "deactivate", "ada"): (
            "Error: User has no column that says whether an account is active\n"
            "  → Ops(app, db, active=User.some_column)\n"
        ),
        ("roles", "grant", "admin", "ada"): (
            "Error: User has no roles that opsapp can change\n"
            "  → Ops(app, db, roles=[Roles.relation(User.some_relation, Role.name)])\n"
        ),
        ("users", "create-admin", "bob@example.com", "--generate-password"): (
            "Error: User has no condition that says which account administers\n"
            "  → Ops(app, db, admin=User.some_column.is_(True))\n"
        ),
        ("users", "list", "--sort", "created"): (
            "Error: User has no column with the time when an account was created\n"
            "  → Ops(app, db, created_at=User.some_column)\n"
        ),
        ("users", "list", "--status", "active"): (
            "Error: User has no column that says whether an account is active\n"
            "  → Ops(app, db, active=User.some_column)\n"
        ),
    }.items():
        done = login.call(*words)
        assert (done.exit_code, done.stdout, done.stderr) == (3, "", says), words


def test_first_change_by_a_guess_asks_once(login: Theirs) -> None:
    change = ("users", "update", "ada", "--email", "lovelace@example.com")
    done = login.call(*change)
    assert (done.exit_code, done.stdout, done.stderr) == (
        5,
        "",
        "Error: Accounts are User, guessed by names: email is User.email,"
        " username is User.username, password is User.password_hash (flask ops identity)."
        " Continue with these? Cannot ask: there is no terminal\n  → add --yes\n",
    )
    assert login.call(*change, "--dry-run").exit_code == 0
    assert login.call(*change, "--yes").exit_code == 0
    assert login.call("users", "update", "ada", "--username", "lovelace").exit_code == 0
    assert [action for action, _subject in login.actions] == [
        "user:account:update",
        "identity:accounts:accept",
        "user:account:update",
    ]
    assert login.event("identity:accounts:accept") == (
        None,
        {
            "model": "tests.apps.login_app.User",
            "parts": {
                "email": "User.email (its name)",
                "username": "User.username (its name)",
                "password": "User.password_hash (its name)",
            },
            "roles": [],
        },
    )


def test_no_model_is_known(attach_to: Attach) -> None:
    done = attach_to("word_app").call("users", "list")
    assert (done.exit_code, done.stdout, done.stderr) == (
        3,
        "",
        "Error: no class of this application is known to hold its accounts\n"
        "  → Ops(app, db, user=SomeClass)\n",
    )


def test_name_of_two_accounts_is_a_conflict(login: Theirs) -> None:
    login.add(
        login.module.User(email="ADA@example.com"), login.module.User(email="adA@example.com")
    )
    done = login.call("users", "show", "Ada@Example.com")
    assert (done.exit_code, done.stderr) == (
        3,
        "Error: two accounts match Ada@Example.com\n  → name it by id\n",
    )


def test_identity_shows_each_part_with_its_source(security: Theirs) -> None:
    rows = {row["part"]: row for row in security.call("identity", "--format", "json").json}
    assert rows["model"] == {
        "part": "model",
        "value": "tests.apps.security_app.User",
        "source": "Flask-Security",
        "missing": None,
    }
    assert rows["key"]["value"] == "User.id (int)"
    assert rows["roles"]["value"] == "relation User.roles"
    assert rows["passwords"]["value"] == "flask_security.hash_password"
    assert rows["created_at"]["missing"] == "Ops(app, db, created_at=User.some_column)"
    missing = [part for part in rows if rows[part]["missing"]]
    says = f"Missing: {', '.join(missing)}; --fields part,missing shows what adds them.\n"
    assert security.call("identity").stderr == says
    for words in (("--format", "json"), ("--fields", "part,missing")):
        assert security.call("identity", *words).stderr == ""


PROMISED = {
    "security_app": ("weaker", "holds", "holds"),
    "login_app": ("off", "off", "off"),
    "uuid_app": ("weaker", "holds", "off"),
}


@pytest.mark.parametrize("app", PROMISED)
def test_promises_say_what_is_weaker(attach_to: Attach, app: str) -> None:
    rows = attach_to(app).call("identity", "--promises", "--format", "json").json
    states = {row["promise"]: row["state"] for row in rows}
    assert states["changes through flask ops are audited"] == "holds"
    assert states["changes by the application's own code are audited"] == "off"
    assert (
        states["the last administrator is kept"],
        states["roles are granted and revoked"],
        states["deactivating ends sessions"],
    ) == PROMISED[app]


def test_create_and_create_admin(attach_to: Attach) -> None:
    theirs = attach_to("flag_app")
    create = ("users", "create", "ada@example.com", "--no-password", "--yes")
    done = theirs.call(*create)
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: User needs domain_name\n  → --set domain_name=VALUE\n",
    )
    done = theirs.call(*create, "--set", "domain_name=a.org", "--set", "domain_name=b.org")
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: --set domain_name was given twice, and takes one value\n",
    )
    done = theirs.call(*create, "--set", "domain_name=example.com", "-q")
    assert (done.exit_code, done.stdout) == (0, "ada@example.com\n")
    done = theirs.call(
        "users", "create-admin", "ada@example.com", "--if-exists", "update", "--password-stdin",
        stdin=WORD,
    )  # fmt: skip
    assert (done.exit_code, done.stderr) == (0, "Done, audit event N.\n")
    user = theirs.module.User.login("ada@example.com", WORD)
    assert user is not None
    assert user.global_admin
    chain = theirs.db.session.execute(sa.text("SELECT * FROM ops_audit_events")).all()
    assert "ada@example.com" not in str(chain)


def test_type_that_refuses_a_value_is_no_error(attach_to: Attach) -> None:
    theirs = attach_to("flag_app")
    theirs.call(
        *("users", "create", "ada@example.com", "--no-password", "--yes"),
        *("--set", "domain_name=example.com"),
    )
    done = theirs.call("users", "show", "ada")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (4, "Error: no user ada")
    assert theirs.call("users", "list", "--search", "AD", "--count").stdout == "1\n"
    planned = theirs.call("users", "deactivate", "ADA@example.com", "--dry-run", "--yes")
    assert (planned.exit_code, "user:account:deactivate" in planned.stdout) == (0, True)
    events = theirs.call("audit", "list", "--fields", "subject_name")
    assert (events.exit_code, "ada@example.com" in events.stdout) == (0, True)
    assert theirs.call("audit", "list", "--actor", "bob").exit_code == 4


def test_change_by_a_command_is_not_observed_as_well(security: Theirs) -> None:
    security.runs("tests.apps.with_ops:create_app('security_app')")
    assert security.call("users", "deactivate", "bob").exit_code == 0
    assert security.call("roles", "grant", "support", "bob").exit_code == 0
    assert security.call("audit", "verify", "--fields", "ok").stdout == "field\tvalue\nok\ttrue\n"
    about = sa.text(
        "SELECT action, door FROM ops_audit_events"
        " WHERE subject = 'user:2' AND action != 'user:account:create'"
    )
    assert security.db.session.execute(about).all() == [
        ("user:account:deactivate", "cli"),
        ("user:role:grant", "cli"),
    ]
    waiting = sa.text("SELECT count(*) FROM ops_audit_pending")
    assert security.db.session.scalar(waiting) == 0


def test_request_as_an_account_is_measured_and_saved_without_wal(security: Theirs) -> None:
    args = ("GET", "/login", "--as", "ada", "--repeat", "1", "--cold", "--name", "before")
    done = security.call("profile", "request", *args, "--format", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert (done.json["saved"], done.json["subject"]) == ("before", "GET /login")


def test_address_is_stored_as_flask_security_has_it(security: Theirs) -> None:
    done = security.call("users", "create", "Grace@EXAMPLE.com", "--no-password", "-q")
    assert (done.exit_code, done.stdout) == (0, "3\n")
    assert security.get("3").email == "Grace@example.com"
    done = security.call("users", "create", "grace@localhost", "--no-password")
    assert (done.exit_code, done.stdout, done.stderr) == (
        2,
        "",
        "Error: e-mail 'grace@localhost' is not an address\n",
    )
