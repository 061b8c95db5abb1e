"""Permissions of accounts: explained, and listed."""

from __future__ import annotations

import pytest
from flask import Flask

from opsapp.accounts import grants
from opsapp.accounts.lookup import actor_name
from opsapp.actors import Actor
from opsapp.unit.work import Unit
from tests.support import Cli, Database
from tests.support.templates import BOB, Commands


@pytest.fixture
def after_team() -> Commands:
    return (
        *BOB,
        ("roles", "create", "support", "--allow", "users:read"),
        ("roles", "grant", "support", "bob", "--until", "2999-01-01", "--reason", "on call"),
        ("users", "create", "cyd@example.com", "--no-password", "--role", "support"),
        ("users", "deactivate", "cyd@example.com"),
    )


@pytest.fixture
def team(database: Database, after_team: Commands) -> None:
    """Ada is admin, Bob has support for a time, and Cyd, who has it too, is inactive."""


def why(cli: Cli, *args: str) -> str:
    done = cli("users", "can", *args, "--format", "json")
    assert done.exit_code == 6
    return str(done.json["because"])


def test_can_names_the_grant_that_was_revoked(cli: Cli, team: None) -> None:
    cli("roles", "revoke", "support", "bob", "--reason", "left the team", check=True)
    [grant] = cli("roles", "history", "bob", "--format", "json").json
    assert why(cli, "bob", "users:read") == (
        f"no live grant gives it: support was revoked at {grant['ended_at'][:19]}Z"
        f" by {grant['ended_by']} (left the team); support or admin would give it"
    )


def test_can_names_the_grant_that_expired(cli: Cli, team: None, database: Database) -> None:
    database.execute("UPDATE ops_grants SET valid_until = '2020-01-01 00:00:00' WHERE user_id = 2")
    [grant] = cli("roles", "history", "bob", "--format", "json").json
    assert why(cli, "bob", "users:read") == (
        "no live grant gives it: support expired at 2020-01-01T00:00:00Z,"
        f" granted by {grant['granted_by']} (on call); support or admin would give it"
    )


def test_can_suggests_the_permission_that_is_meant(cli: Cli, team: None) -> None:
    says = "no role but admin holds user:read: did you mean users:read?"
    assert why(cli, "bob", "user:read") == says


def test_who_lists_every_account_that_can(cli: Cli, team: None) -> None:
    done = cli("roles", "who", "users:read", "--format", "json")
    assert done.exit_code == 0
    assert [(row["user"], row["role"], row["valid_until"], row["reason"]) for row in done.json] == [
        ("ada@example.com", "admin", None, None),
        ("bob@example.com", "support", "2999-01-01T23:59:59Z", "on call"),
    ]
    [row] = cli("roles", "who", "roles:grant", "--format", "json").json
    assert row["user"] == "ada@example.com"


@pytest.mark.parametrize("until", [("--until", "2998-01-01"), ()])
def test_grant_leaves_another_end_alone(cli: Cli, team: None, until: tuple[str, ...]) -> None:
    args = ("roles", "grant", "support", "ada", "bob", *until)
    done = cli(*args)
    assert (done.exit_code, done.stdout, done.stderr) == (
        3,
        "",
        "Error: support is already held with another end:"
        " bob@example.com until 2999-01-01T23:59:59Z\n"
        "  → add --replace-end to change the end, or omit these users\n",
    )
    cli(*args, "--replace-end", check=True)
    rows = cli("roles", "show", "support", "--format", "json").json["grants"]
    assert len({row["valid_until"] for row in rows if row["user_id"] < 3}) == 1


# --- actors -------------------------------------------------------------------


@pytest.mark.parametrize(
    "actor",
    [
        Actor(kind="user", name="user:1"),
        Actor(kind="user", name="user:1", host="db1"),
        Actor(kind="user", name="user:1", host="2001:db8::1", token="ci"),
    ],
    ids=Actor.label,
)
def test_actor_of_a_grant_has_the_name_of_the_account(
    app: Flask, ada: str, bob: str, actor: Actor
) -> None:
    name = actor.label().replace("user:1", ada)
    [row] = grants.grant("admin", [bob], unit=Unit(actor=actor, door="web"))
    assert row["granted_by"] == name
    grants.revoke("admin", [bob], unit=Unit(actor=actor, door="web"))
    [row] = grants.history(bob)
    assert (row["granted_by"], row["ended_by"]) == (name, name)


@pytest.mark.parametrize("label", ["user:99@db1", "user:1x", "user:", "root@vm"])
def test_actor_that_is_no_account_keeps_its_label(app: Flask, ada: str, label: str) -> None:
    assert actor_name(label) == label
