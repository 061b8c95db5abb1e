"""Changes of many accounts at once: chosen by a filter, or read from stdin."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask

from opsapp import signals
from opsapp.accounts import grants, signin, users
from opsapp.cli import filters
from opsapp.extensions import db
from opsapp.models import User
from opsapp.unit.ledger import EVENT_EACH
from tests.support import Cli, Database, a_unit, run
from tests.support.templates import BOB, Commands

MANY = EVENT_EACH + 20
ALL = ("--search", "many")
SAME = "Already so: nothing was changed.\n"


@pytest.fixture
def after_role() -> Commands:
    return (*BOB, ("roles", "create", "reader", "--allow", "users:read"))


@pytest.fixture
def many(app: Flask, after_role: Commands) -> list[str]:
    """Accounts that a search finds."""
    emails = [f"many{number}@example.com" for number in range(MANY)]
    with a_unit() as unit:
        for email in emails:
            users.create(email, unit=unit)
    db.session.remove()
    return emails


def actions(cli: Cli, after: int) -> list[tuple[str, str]]:
    """The events after a number, as action and subject."""
    rows = cli("audit", "list", "--all", "--format", "json").json
    return [(row["action"], row["subject"]) for row in rows if row["seq"] > after]


def test_grant_and_revoke_by_a_filter_say_how_many_and_are_one_change(
    cli: Cli, database: Database, many: list[str]
) -> None:
    cli("roles", "grant", "reader", many[0], check=True)
    asked = cli("roles", "grant", "reader", *ALL)
    assert (asked.exit_code, asked.stderr) == (
        5,
        f"Error: Grant reader to {MANY - 1} accounts? Cannot ask: there is no terminal\n"
        "  → add --yes\n",
    )
    done = cli("roles", "grant", "reader", *ALL, "--yes", "--format", "json").json
    assert {row["user"] for row in done["results"]} == set(many[1:])
    assert actions(cli, done["audit_seq"] - 1) == [("user:role:grant", "users")]
    assert database.rows("SELECT count(*) FROM ops_mail_messages WHERE kind = 'role_granted'") == [
        (2,)  # Ada's, as an administrator, and that of the one account.
    ]
    assert cli("roles", "grant", "reader", *ALL).stderr == SAME
    before = database.rows("SELECT fs_uniquifier FROM ops_users WHERE email LIKE 'many%'")
    taken = cli("roles", "revoke", "reader", *ALL, "--yes", "--format", "json").json
    assert len(taken["results"]) == MANY
    after = database.rows("SELECT fs_uniquifier FROM ops_users WHERE email LIKE 'many%'")
    assert len({*before, *after}) == 2 * MANY
    assert cli("roles", "revoke", "reader", *ALL).stderr == SAME
    assert cli("audit", "verify", "--state").exit_code == 0


def test_delete_by_a_filter_erases_each_and_is_one_change(
    cli: Cli, database: Database, many: list[str]
) -> None:
    cli("roles", "grant", "reader", *ALL, "--yes", check=True)
    asked = cli("users", "delete", *ALL)
    assert asked.stderr.startswith(
        f"Error: Erase the personal data of {MANY} accounts for good?"
        " Cannot ask: there is no terminal"
    )
    planned = cli("users", "delete", *ALL, "--dry-run")
    erased = f"address, username, password, {MANY} messages, {MANY} names of the audit log"
    assert f"It erases {erased} of {MANY} accounts.\n" in planned.stderr
    done = cli("users", "delete", *ALL, "--yes", "--format", "json").json
    assert len(done["results"]) == MANY
    assert actions(cli, done["audit_seq"] - 1) == [("user:account:delete", "users")]
    assert database.rows("SELECT count(DISTINCT erased_as) FROM ops_users") == [(MANY,)]
    assert database.rows("SELECT count(*) FROM ops_users WHERE email LIKE 'many%'") == [(0,)]
    assert cli("users", "delete", many[7], "--yes").stderr.endswith(f"was deleted before.\n{SAME}")
    assert cli("users", "delete", *ALL).stderr == SAME
    assert cli("audit", "verify", "--state").exit_code == 0


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize(
    "args",
    [("roles", "grant", "reader"), ("roles", "revoke", "reader"), ("users", "delete")],
    ids=" ".join,
)
def test_names_or_a_filter_but_not_both(
    cli: Cli, database: Database, after_role: Commands, args: tuple[str, ...]
) -> None:
    for more in ((), ("bob", "--search", "bob")):
        done = cli(*args, *more, "--yes")
        assert (done.exit_code, done.stderr) == (
            2,
            "Error: name the users, or choose them by a filter such as --idle-for 90d\n",
        )


def test_list_of_stdin_is_looked_up_at_once_and_all_or_nothing(
    cli: Cli, database: Database, many: list[str]
) -> None:
    listed = "\n".join([*many, "bob", "1", "no-such-user"])
    done = cli("roles", "grant", "reader", "-", stdin=listed)
    assert (done.exit_code, done.stdout) == (4, "")
    assert "Error: no user no-such-user\n" in done.stderr
    listed += "\nbobb@example.com\n"
    for args in (("roles", "grant", "reader", "-"), ("users", "delete", "-", "--yes")):
        done = cli(*args, stdin=listed)
        assert (done.exit_code, done.stdout) == (4, "")
        assert "Error: no users no-such-user, bobb@example.com\n" in done.stderr
    listed = "\n".join([many[1], "BOB", many[0], "2", "1"])
    done = cli("roles", "grant", "reader", "-", "--format", "json", stdin=listed).json
    assert [row["user"] for row in done["results"]] == [
        many[1], "bob@example.com", many[0], "ada@example.com",
    ]  # fmt: skip
    deleted = cli("users", "delete", "-", "--yes", "-q", stdin=f"{many[1]}\n{many[0]}\n")
    assert deleted.stdout == "4\n3\n"


def test_accounts_of_stdin_change_by_statements_as_those_of_a_filter(
    app: Flask, many: list[str]
) -> None:
    payloads: list[Any] = []
    statements: list[str] = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    with signals.user_deactivated.connected_to(lambda _app, **payload: payloads.append(payload)):
        rows = signin.deactivate(["bob", *many], unit=a_unit())
    assert {(row["changed"], row["status"]) for row in rows} == {(True, "inactive")}
    assert [payload["many"] for payload in payloads] == [True] * (MANY + 1)
    assert len(statements) < MANY // 2
    rows = signin.activate([many[0], "ada", many[1], many[0]], unit=a_unit())
    assert [(row["changed"], row["email"], row["status"]) for row in rows] == [
        (True, many[0], "active"),
        (False, "ada@example.com", "active"),
        (True, many[1], "active"),
    ]


def test_roles_of_more_accounts_than_a_statement_has_parameters(app: Flask) -> None:
    users.create("cyd@example.com", unit=a_unit())
    grants.grant("admin", ["cyd@example.com"], unit=a_unit())
    assert grants.role_names_of(range(300_000)) == {1: ["admin"]}


def test_filter_of_every_administrator_changes_none(cli: Cli, many: list[str]) -> None:
    for args in (("roles", "revoke", "admin"), ("users", "delete")):
        done = cli(*args, "--role", "admin", "--yes")
        assert (done.exit_code, "no active administrator" in done.stderr) == (5, True)
    assert cli("users", "list", "--role", "admin", "--count").stdout == "1\n"


def test_accounts_of_a_session_are_as_the_statement_left_them(app: Flask) -> None:
    users.create("cyd@example.com", unit=a_unit())
    with a_unit() as unit:
        user = db.session.get_one(User, 1)
        before = user.fs_uniquifier
        grants.revoke("admin", ["cyd@example.com"], unit=unit)
        users.delete("cyd@example.com", unit=unit)
        assert (user.email, user.active, user.fs_uniquifier == before) == (None, False, False)


def test_accounts_that_come_while_the_question_stands_are_not_changed(
    cli: Cli, database: Database, after_role: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_question: str, *, severe: bool) -> None:
        done = run(database, "users", "create", "late@example.com", "--no-password")
        assert done.exit_code == 0

    monkeypatch.setattr(filters, "approve", answer)
    refused = cli("users", "delete", "--never-logged-in")
    assert (refused.exit_code, refused.stdout) == (75, "")
    assert refused.stderr == (
        "Error: the accounts changed while the question was shown\n  → try again\n"
    )
    assert database.rows("SELECT count(*) FROM ops_users WHERE deleted_at IS NOT NULL") == [(0,)]


def test_other_accounts_of_the_same_number_are_not_changed(
    cli: Cli, database: Database, after_role: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(_question: str, *, severe: bool) -> None:
        database.execute("UPDATE ops_users SET login_count = 1 WHERE id = 2")
        assert run(database, "users", "create", "late@example.com", "--no-password").exit_code == 0

    monkeypatch.setattr(filters, "approve", answer)
    count = cli("users", "list", "--never-logged-in", "--count").stdout
    refused = cli("users", "delete", "--never-logged-in")
    assert (refused.exit_code, refused.stdout) == (75, "")
    assert cli("users", "list", "--never-logged-in", "--count").stdout == count


def test_administrators_get_one_mail_about_many_new_ones(
    app: Flask, database: Database, many: list[str]
) -> None:
    before = database.rows("SELECT max(id) FROM ops_mail_messages")[0][0]
    grants.grant("admin", many, unit=a_unit())
    sent = database.rows(
        "SELECT kind, recipient, subject FROM ops_mail_messages WHERE id > :before", before=before
    )
    assert sent == [("admin_granted", "ada@example.com", "opsapp: There are new administrators")]
