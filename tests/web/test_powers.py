"""Powers: no account grants or gains more than it holds."""

from __future__ import annotations

from datetime import timedelta

import pytest

from opsapp import clock
from opsapp.accounts import grants, roles, sessions, tokens
from opsapp.accounts.logins import Client
from opsapp.actors import Powers
from opsapp.errors import Refused
from opsapp.unit.work import Unit
from tests.support import OPERATOR, Cli, Database, a_unit
from tests.support.web import Site, what_changes

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
HERE = Client("192.0.2.1", "test")


@pytest.fixture
def office(web: Site) -> Site:
    """Roles of different power, and an account for each."""
    with web.inside():
        for name, allowed in (
            ("grantor", ["users:read", "users:write", "roles:read", "roles:grant"]),
            ("reader", ["users:read"]),
            ("auditor", ["audit:read"]),
        ):
            roles.create(name, allow=allowed, unit=a_unit())
    web.make("grantor@example.com", role="grantor")
    web.make("bob@example.com")
    return web


def test_account_grants_only_roles_that_it_holds(office: Site, database: Database) -> None:
    api = office.token("grantor@example.com")
    assert api("PUT", "/api/users/3/roles/reader", json={}).status_code == 200
    for role in ("auditor", "admin"):
        answer = api("PUT", f"/api/users/3/roles/{role}", json={})
        assert (answer.status_code, "which this token does not" in answer.json["message"]) == (
            403,
            True,
        )
        answer = api("POST", "/api/users", json={"email": "x@example.com", "role": role})
        assert answer.status_code == 403
    assert database.rows("SELECT count(*) FROM ops_users") == [(3,)]


def test_no_account_changes_one_that_may_do_more(office: Site, database: Database) -> None:
    api = office.token("grantor@example.com")
    before = what_changes(database)
    anything = {"If-Match": "*"}
    for method, path, body in (
        ("PATCH", "/api/users/1", {"email": "grantor2@example.com"}),
        ("PATCH", "/api/users/1", {"active": False}),
        ("DELETE", "/api/users/1", None),
        ("DELETE", "/api/users/1/roles/admin", None),
    ):
        answer = api(method, path, json=body, headers=anything)
        assert answer.status_code == 403, (method, path)
    assert what_changes(database) == before


def test_token_limits_what_its_owner_may(office: Site) -> None:
    limited = office.token("ada@example.com", allow=["users:read", "roles:grant"])
    assert limited("GET", "/api/users").status_code == 200
    assert limited("POST", "/api/users", json={"email": "x@example.com"}).status_code == 403
    assert limited("PUT", "/api/users/3/roles/reader", json={}).json is None
    assert limited("PUT", "/api/users/3/roles/auditor", json={}).status_code == 403
    assert limited("PUT", "/api/users/3/roles/admin", json={}).status_code == 403


def test_permission_that_was_taken_away_is_gone_at_once(office: Site, cli: Cli) -> None:
    browser = office.browser("grantor@example.com")
    assert browser.get("/api/users").status_code == 200
    cli("roles", "deny", "grantor", "users:read", check=True)
    assert browser.get("/api/users").status_code == 403


def test_grant_past_its_end_gives_nothing(office: Site, database: Database) -> None:
    api = office.token("grantor@example.com")
    database.execute(
        "UPDATE ops_grants SET valid_until = '2020-01-01 00:00:00.000000' WHERE user_id = 2"
    )
    assert api("GET", "/api/users").status_code == 403


@pytest.fixture
def desk(web: Site) -> Site:
    """Account 2 may grant roles, until tomorrow, and holds nothing else."""
    with web.inside():
        roles.create("desk", allow=["roles:grant", "users:write"], unit=a_unit())
        roles.create("empty", unit=a_unit())
    web.make("desk@example.com")
    web.make("bob@example.com")
    with web.inside():
        tomorrow = clock.now() + timedelta(days=1)
        grants.grant("desk", ["desk@example.com"], until=tomorrow, unit=a_unit())
    return web


@ON_SQLITE
@pytest.mark.parametrize("user", [2, 3])
def test_grant_with_an_end_makes_none_that_outlives_it(desk: Site, user: int) -> None:
    program = desk.token("desk@example.com")
    path = f"/api/users/{user}/roles/desk"
    for body in ({}, {"valid_until": "2099-01-01T00:00:00Z"}):
        refused = program("PUT", path, json=body)
        assert refused.status_code == 403
        end = f"until {body['valid_until']}" if body else "forever"
        assert refused.json["message"] == (
            f"Role desk holds permissions that this token does not hold {end}."
        )
    soon = clock.rfc3339(clock.now() + timedelta(hours=1))
    assert program("PUT", path, json={"valid_until": soon}).json is None


@ON_SQLITE
def test_end_of_a_grant_is_not_drawn_nearer_for_who_may_do_more(desk: Site) -> None:
    with desk.inside():
        grants.grant("empty", ["ada@example.com"], unit=a_unit())
    soon = {"valid_until": clock.rfc3339(clock.now() + timedelta(seconds=60))}
    refused = desk.token("desk@example.com")("PUT", "/api/users/1/roles/empty", json=soon)
    assert (refused.status_code, refused.json["message"]) == (
        403,
        "User 1 holds permissions that this token does not hold.",
    )


@ON_SQLITE
def test_no_account_gets_in_as_one_that_may_do_more(office: Site) -> None:
    def unit() -> Unit:
        return Unit(actor=OPERATOR, door="api", powers=Powers(2))

    until = clock.now() + timedelta(days=1)
    with office.inside():
        assert tokens.create("bob@example.com", "ci", until=until, unit=unit())["token"]
        for act in (
            lambda: tokens.create("ada@example.com", "ci", until=until, unit=unit()),
            lambda: tokens.revoke("ada@example.com", "ci", unit=unit()),
            lambda: sessions.end("ada@example.com", unit=unit()),
        ):
            with pytest.raises(Refused, match=r"user 1 holds \*, which you do not hold"):
                act()


@ON_SQLITE
@pytest.mark.parametrize(
    ("allowed", "says"),
    [
        ([], "That needs the permission roles:grant."),
        (["roles:grant"], "Role auditor holds permissions that this token does not hold."),
        (
            ["roles:grant", "roles:read"],
            "Role auditor holds audit:read, which this token does not hold.",
        ),
    ],
)
def test_refusal_tells_about_roles_what_the_caller_may_read(
    office: Site, allowed: list[str], says: str
) -> None:
    with office.inside():
        roles.create("writer", allow=["users:write", *allowed], unit=a_unit())
    office.make("writer@example.com", role="writer")
    program = office.token("writer@example.com")
    body = {"email": "x@example.com", "role": "auditor"}
    refused = program("POST", "/api/users", json=body)
    assert (refused.status_code, refused.json["message"]) == (403, says)
    unknown = program("POST", "/api/users", json={**body, "role": "nothing"})
    assert unknown.status_code == (404 if allowed else 403)
    anyone = {"If-Match": "*"}
    refused = program("PATCH", "/api/users/1", json={"username": "x"}, headers=anyone)
    is_told = "roles:read" in allowed
    assert ("User 1 holds *, which" in refused.json["message"]) is is_told


@ON_SQLITE
def test_limited_token_does_not_change_its_own_account(web: Site) -> None:
    program = web.token("ada@example.com", allow=["users:write"])
    for change in ({"email": "thief@example.com"}, {"username": "thief"}, {"active": False}):
        refused = program("PATCH", "/api/users/1", json=change, headers={"If-Match": "*"})
        assert refused.status_code == 403


@ON_SQLITE
def test_no_token_moves_its_own_account_to_another_address(web: Site) -> None:
    program = web.token("ada@example.com")
    moved = program(
        "PATCH", "/api/users/1", json={"email": "thief@example.com"}, headers={"If-Match": "*"}
    )
    assert (moved.status_code, "may not change" in moved.json["message"]) == (403, True)
    same = program(
        "PATCH",
        "/api/users/1",
        json={"email": "ada@example.com", "username": "ada"},
        headers={"If-Match": "*"},
    )
    assert same.status_code == 200


@ON_SQLITE
@pytest.mark.parametrize("allow", [None, ["users:write", "roles:grant"]])
def test_account_that_may_for_an_hour_changes_none_that_may_for_ever(
    desk: Site, allow: list[str] | None
) -> None:
    with desk.inside():
        grants.grant("desk", ["bob@example.com"], unit=a_unit())
    program = desk.token("desk@example.com", allow=allow)
    taken = {"email": "thief@example.com"}
    moved = program("PATCH", "/api/users/3", json=taken, headers={"If-Match": "*"})
    assert moved.status_code == 403
    assert moved.json["message"] == (
        "Role desk holds permissions that this token does not hold forever."
    )
    named = program("PATCH", "/api/users/3", json={"username": "b"}, headers={"If-Match": "*"})
    assert named.json is None
