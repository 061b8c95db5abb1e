"""The status of every endpoint, method and kind of caller."""

from __future__ import annotations

from typing import Any

import pytest

from opsapp.accounts import roles, signin
from tests.support import Database, a_unit
from tests.support.web import Browser, Program, Site

PERMISSIONS = ("users:read", "users:write", "roles:read", "roles:grant")

# What each call needs; None is that being signed in is enough.
CALLS: dict[tuple[str, str], str | None] = {
    ("GET", "/api/me"): None,
    ("GET", "/api/users"): "users:read",
    ("POST", "/api/users"): "users:write",
    ("GET", "/api/users/9"): "users:read",
    ("PUT", "/api/users/9"): "users:write",
    ("PATCH", "/api/users/9"): "users:write",
    ("DELETE", "/api/users/9"): "users:write",
    ("GET", "/api/users/9/grants"): "roles:read",
    ("GET", "/api/users/9/roles"): "roles:read",
    ("PUT", "/api/users/9/roles/empty"): "roles:grant",
    ("DELETE", "/api/users/9/roles/empty"): "roles:grant",
    ("GET", "/api/roles"): "roles:read",
    ("GET", "/api/roles/empty"): "roles:read",
}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/api/users"): {"email": "new@example.com"},
    ("PUT", "/api/users/9"): {"email": "z@example.com", "username": None, "active": True},
    ("PATCH", "/api/users/9"): {"username": "zoe"},
    ("PUT", "/api/users/9/roles/empty"): {},
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
OPEN = {"/healthz", "/readyz", "/api/openapi.json", "/api/docs", "/static/opsapp.css"}


@pytest.fixture
def crowd(web: Site) -> Site:
    """Accounts 2 to 5 hold a permission each, 6 holds none, 7 is an admin; 9 is the target."""
    with web.inside():
        roles.create("empty", unit=a_unit())
        for permission in PERMISSIONS:
            roles.create(permission.replace(":", "-"), allow=[permission], unit=a_unit())
    for permission in PERMISSIONS:
        name = permission.replace(":", "-")
        web.make(f"{name}@example.com", role=name)
    web.make("none@example.com")
    web.make("inactive@example.com", role="admin")
    web.make("eight@example.com")
    web.make("target@example.com")
    return web


def call(program: Program, method: str, path: str) -> int:
    headers = {"If-Match": "*"} if method in ("PUT", "PATCH", "DELETE") else {}
    body = BODIES.get((method, path))
    return program(method, path, json=body, headers=headers).status_code


def test_matrix_names_every_route_and_method(crowd: Site) -> None:
    routes = set()
    for rule in crowd.app.url_map.iter_rules():
        if rule.rule.startswith("/api/") and rule.rule not in OPEN:
            path = rule.rule.replace("<int:id>", "9").replace("<string:role>", "empty")
            path = path.replace("<string:name>", "empty")
            routes |= {(method, path) for method in (rule.methods or set()) & set(METHODS)}
    assert routes == set(CALLS)


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "holds", [*PERMISSIONS, "none", "admin", "ada limited", "inactive", "stranger"]
)
def test_each_call_is_open_to_who_holds_its_permission_only(crowd: Site, holds: str) -> None:
    if holds == "stranger":
        program = Program(crowd.app, "opsapp_nothing")
    elif holds == "ada limited":
        program = crowd.token("ada@example.com", allow=["audit:read"])
    else:
        name = "ada" if holds == "admin" else holds.replace(":", "-")
        program = crowd.token(f"{name}@example.com")
    if holds == "inactive":
        with crowd.inside():
            signin.deactivate(["inactive@example.com"], unit=a_unit())
    for (method, path), needed in CALLS.items():
        status = call(program, method, path)
        if holds in ("inactive", "stranger"):
            assert status == 401, (method, path)
        elif needed is None or holds in ("admin", needed):
            # The target may be gone after DELETE, which the next calls of it then say.
            assert status in (200, 201, 204, 404), (method, path, status)
        else:
            assert status == 403, (method, path, status)


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("write", "method", "path"),
    [
        (needed, method, path)
        for (method, path), needed in CALLS.items()
        if needed in ("users:write", "roles:grant")
    ],
)
def test_change_tells_nothing_to_a_caller_who_may_not_read(
    crowd: Site, write: str, method: str, path: str
) -> None:
    program = crowd.token(f"{write.replace(':', '-')}@example.com")
    body = {} if method == "PATCH" else BODIES.get((method, path))
    answer = program(method, path, json=body, headers={"If-Match": "*"})
    empty = {"DELETE /api/users/9": (204, b""), "POST /api/users": (201, b"null\n")}
    assert (answer.status_code, answer.data) == empty.get(f"{method} {path}", (200, b"null\n"))
    assert "ETag" not in answer.headers
    assert answer.headers.get("Location") == ("/api/users/10" if method == "POST" else None)


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_other_methods_are_405(crowd: Site) -> None:
    program = crowd.token("ada@example.com")
    for path in {path for _method, path in CALLS}:
        for method in (*METHODS, "TRACE"):
            if (method, path) not in CALLS:
                assert call(program, method, path) == 405, (method, path)


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_strangers_get_pages_to_sign_in_and_nothing_else(crowd: Site, database: Database) -> None:
    stranger = Browser(crowd.app)
    before = database.rows("SELECT seq FROM ops_audit_head")
    for rule in crowd.app.url_map.iter_rules():
        if rule.arguments - {"token"}:
            continue
        path = rule.rule.replace("<token>", "x")
        answer = stranger.client.get(path)
        assert answer.status_code in (200, 302, 400, 401, 404, 405), path
        if path in ("/", "/verify", "/change", "/mf-recovery-codes"):
            assert answer.headers["Location"].startswith("/login"), path
    for method, path in CALLS:
        assert stranger.client.open(path, method=method).status_code == 401, (method, path)
    assert database.rows("SELECT seq FROM ops_audit_head") == before
