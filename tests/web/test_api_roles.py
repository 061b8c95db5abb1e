"""Roles and grants in the API."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from opsapp import clock
from opsapp.accounts import grants, roles
from tests.support import Cli, a_unit
from tests.support.web import Program, Site


def test_roles_are_those_of_the_command(api: Program, cli: Cli) -> None:
    assert api("GET", "/api/roles").json["roles"] == cli("roles", "list", "--format", "json").json
    assert api("GET", "/api/roles/admin").json["permissions"] == ["*"]
    assert api("GET", "/api/roles/nothing").status_code == 404


def test_roles_and_grants_come_in_pages(web: Site, api: Program) -> None:
    with web.inside():
        for name in ("alpha", "beta", "gamma"):
            roles.create(name, unit=a_unit())
            grants.grant(name, ["ada@example.com"], unit=a_unit())
    for path, key, name, wanted in (
        ("/api/roles?limit=2", "roles", "name", ["admin", "alpha", "beta", "gamma"]),
        ("/api/users/1/roles?limit=2", "roles", "name", ["admin", "alpha", "beta", "gamma"]),
        ("/api/users/1/grants?limit=3", "grants", "role", ["gamma", "beta", "alpha", "admin"]),
    ):
        seen: list[str] = []
        pages = 0
        while path:
            page = api("GET", path).json
            seen += [row[name] for row in page[key]]
            path, pages = page["next"], pages + 1
        assert (seen, pages) == (wanted, 2)


def test_role_is_granted_for_a_while_and_revoked(web: Site, api: Program, cli: Cli) -> None:
    web.make("bob@example.com")
    cli("roles", "create", "support", "--allow", "users:read", check=True)
    until = (clock.now() + timedelta(hours=8)).replace(microsecond=0)
    body = {"valid_until": clock.rfc3339(until)}
    first = api("PUT", "/api/users/2/roles/support", json=body)
    again = api("PUT", "/api/users/2/roles/support", json=body)
    assert (first.json["changed"], again.json["changed"]) == (True, False)
    assert first.json["valid_until"] == clock.rfc3339(until)
    held = api("GET", "/api/users/2/roles").json["roles"]
    assert held == [{"name": "support", "permissions": ["users:read"]}]
    gone = api("DELETE", "/api/users/2/roles/support")
    assert (gone.status_code, gone.json["state"]) == (200, "revoked")
    assert api("DELETE", "/api/users/2/roles/support").json["changed"] is False
    history = api("GET", "/api/users/2/grants").json["grants"]
    assert history == cli("roles", "history", "bob@example.com", "--format", "json").json


@pytest.mark.parametrize(
    "body", [{"valid_until": "2020-01-01T00:00:00Z"}, {"valid_until": "soon"}, {"until": None}]
)
def test_grant_with_a_wrong_end_is_refused(web: Site, api: Program, body: dict[str, Any]) -> None:
    web.make("bob@example.com")
    assert api("PUT", "/api/users/2/roles/admin", json=body).status_code == 422


@pytest.mark.parametrize("path", ["/api/roles", "/api/users/1/roles"])
@pytest.mark.parametrize("after", ["%00", "%C2%B9", "Admin", "admin%0a", "%20"])
def test_page_begins_after_the_name_of_a_role_only(api: Program, path: str, after: str) -> None:
    answer = api("GET", f"{path}?after={after}")
    assert (answer.status_code, [*answer.json["fields"]["query"]]) == (422, ["after"])
