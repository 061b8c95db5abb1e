"""The users API: requests, answers and refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import Cli, Database
from tests.support.web import Program, Site, what_changes

PAST = "2020-01-01T00:00:00Z"


# --- reading -----------------------------------------------------------------


def test_list_gives_what_the_command_gives(api: Program, cli: Cli) -> None:
    api("GET", "/api/me")  # It is seen by its first request.
    result = api("GET", "/api/users")
    assert (result.status_code, result.json["next"]) == (200, None)
    assert result.json["users"] == cli("users", "list", "--format", "json").json


def test_list_comes_in_pages(web: Site, api: Program) -> None:
    for number in range(5):
        web.make(f"user{number}@example.com", password=None)
    path, seen = "/api/users?limit=2&search=user&sort=email&descending=true", []
    while path:
        page = api("GET", path).json
        seen += [user["email"] for user in page["users"]]
        path = page["next"]
    assert seen == [f"user{number}@example.com" for number in (4, 3, 2, 1, 0)]


def test_list_is_filtered(web: Site, api: Program) -> None:
    web.make("bob@example.com", password=None)
    for query, result in (
        ("role=admin", ["ada@example.com"]),
        ("without_role=admin", ["bob@example.com"]),
        ("never_logged_in=true&search=BOB", ["bob@example.com"]),
        ("status=inactive", []),
        ("created_since=2020-01-01T00:00:00Z&sort=id&descending=1&limit=1", ["bob@example.com"]),
        ("created_until=2020-01-01T00:00:00%2B02:00", []),
    ):
        answer = api("GET", f"/api/users?{query}")
        assert [user["email"] for user in answer.json["users"]] == result, query


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("limit=0", 422, "limit"),
        ("limit=501", 422, "limit"),
        ("limit=x", 422, "limit"),
        ("sort=password", 422, "sort"),
        ("status=all", 422, "status"),
        ("created_since=2020-01-01T00:00:00", 422, "created_since"),
        ("after=99999999999", 422, "after"),
        ("id=1", 422, "id"),
        ("role=admin&role=support", 422, "role"),
        ("role=nothing", 404, None),
        ("after=77", 404, None),
    ],
)
def test_list_names_the_filter_that_is_wrong(
    api: Program, query: str, status: int, field: str | None
) -> None:
    answer = api("GET", f"/api/users?{query}")
    assert answer.status_code == status
    if field:
        assert list(answer.json["fields"]["query"]) == [field]
        assert field in answer.json["message"]


def test_show_says_when_nothing_has_changed(api: Program) -> None:
    api("GET", "/api/me")  # It is seen by its first request.
    first = api("GET", "/api/users/1")
    again = api("GET", "/api/users/1", headers={"If-None-Match": first.headers["ETag"]})
    assert (first.status_code, again.status_code) == (200, 304)


def test_unknown_account_is_not_found(api: Program) -> None:
    for id in ("7", "0", "99999999999999999999"):
        assert api("GET", f"/api/users/{id}").status_code == 404


def test_me_tells_who_calls(web: Site) -> None:
    result = web.token("ada@example.com", allow=["users:read", "roles:read"])("GET", "/api/me").json
    assert result["user"]["email"] == "ada@example.com"
    assert (result["permissions"], result["token"]) == (["roles:read", "users:read"], "test")
    assert web.browser("ada@example.com").get("/api/me").json["permissions"] == ["*"]


# --- changing ----------------------------------------------------------------


def test_create_is_audited_with_its_actor_reason_and_correlation(
    api: Program, database: Database
) -> None:
    made = api(
        "POST",
        "/api/users",
        json={"email": "Bob@Example.com", "username": "bob"},
        # Its own number is no client's to choose.
        headers={"X-Reason": "joins on Monday", "X-Request-ID": "request-0001"},
    )
    assert made.status_code == 201
    assert made.headers["Location"] == "/api/users/2"
    assert made.json["email"] == "bob@example.com"
    columns = "action, actor, door, reason, correlation"
    (event,) = database.rows(f"SELECT {columns} FROM ops_audit_events ORDER BY seq DESC LIMIT 1")
    actor = json.loads(event[1])
    assert (event[0], *event[2:]) == (
        "user:account:create",
        "api",
        "joins on Monday",
        made.headers["X-Request-ID"],
    )
    assert len(event[4]) == 36
    assert (actor["kind"], actor["name"], actor["token"]) == ("user", "user:1", "test")


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 422, "email"),
        ({"email": "bob@example.com", "password": "secret"}, 422, "password"),
        ({"email": "bob@example.com", "active": False}, 422, "active"),
        ({"email": "bob@example.com", "id": 5}, 422, "id"),
        ({"email": 5}, 422, "email"),
        ({"email": "no address"}, 422, "E-mail"),
        ({"email": "straße@example.com"}, 422, "E-mail"),
        ({"email": "bob@example.com", "username": "b\u202eb"}, 422, "Username"),
        ({"email": "bob@example.com", "username": "12"}, 422, "Username"),
        ({"email": "ada@example.com"}, 409, "ada@example.com"),
        ({"email": "bob@example.com", "role": "nothing"}, 404, "nothing"),
        ([], 422, ""),
        ("text", 422, ""),
        (None, 422, ""),
    ],
)
def test_create_names_what_is_wrong_and_changes_nothing(
    api: Program, database: Database, body: Any, status: int, named: str
) -> None:
    before = what_changes(database)
    answer = api("POST", "/api/users", json=body)
    assert answer.status_code == status, answer.json
    assert named in answer.json["message"]
    assert set(answer.json) >= {"error", "message", "status_code", "correlation"}
    assert what_changes(database) == before


def test_malformed_json_is_400_and_a_form_is_415(api: Program) -> None:
    for data in ("{", "\x00", '{"email": "a@example.com"', b"\xff\xfe"):
        answer = api("POST", "/api/users", data=data, content_type="application/json")
        assert answer.status_code == 400
    form = api("POST", "/api/users", data={"email": "a@example.com"})
    assert (form.status_code, "application/json" in form.json["message"]) == (415, True)


def test_body_that_comes_in_chunks_is_411(api: Program) -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    answer = api("POST", "/api/users", json={"email": "a@example.com"}, headers=chunked)
    assert answer.status_code == 411


@pytest.mark.parametrize("active", ["no", 0, 1, "true", None])
def test_active_is_true_or_false_and_nothing_like_it(
    api: Program, database: Database, active: Any
) -> None:
    changed = api("PATCH", "/api/users/1", json={"active": active}, headers={"If-Match": "*"})
    assert (changed.status_code, list(changed.json["fields"]["json"])) == (422, ["active"])


def test_token_without_its_word_is_told_so(api: Program) -> None:
    answer = api("GET", "/api/me", headers={"Authorization": api.token})
    assert answer.json["message"] == "Send the token as Authorization: Bearer TOKEN."


def test_large_body_is_413(api: Program) -> None:
    answer = api("POST", "/api/users", json={"email": "a" * 300_000 + "@example.com"})
    assert (answer.status_code, answer.json["status_code"]) == (413, 413)


@pytest.mark.parametrize("reason", ["naïve – Grüße", "left the team"])
def test_reason_is_kept_as_it_was_sent(api: Program, database: Database, reason: str) -> None:
    sent = {"X-Reason": reason.encode().decode("latin-1")}  # As WSGI hands it over.
    made = api("POST", "/api/users", json={"email": "bob@example.com"}, headers=sent)
    assert made.status_code == 201
    newest = "SELECT reason FROM ops_audit_events ORDER BY seq DESC LIMIT 1"
    assert database.rows(newest) == [(reason,)]


def test_hostile_reason_is_refused(api: Program, database: Database) -> None:
    before = what_changes(database)
    body = {"email": "bob@example.com"}
    answer = api("POST", "/api/users", json=body, headers={"X-Reason": "a\x9bb"})
    assert answer.status_code == 422
    assert what_changes(database) == before


def test_change_needs_the_version_it_is_about(web: Site, api: Program, database: Database) -> None:
    web.make("bob@example.com")
    stale = api("GET", "/api/users/2").headers["ETag"]
    assert api("PATCH", "/api/users/2", json={"username": "bob"}).status_code == 428
    changed = api("PATCH", "/api/users/2", json={"username": "bob"}, headers={"If-Match": stale})
    assert (changed.status_code, changed.json["username"]) == (200, "bob")
    before = what_changes(database)
    for method, body in (("PATCH", {"username": "rob"}), ("DELETE", None)):
        late = api(method, "/api/users/2", json=body, headers={"If-Match": stale})
        assert late.status_code == 412
    assert what_changes(database) == before
    fresh = changed.headers["ETag"]
    assert api("DELETE", "/api/users/2", headers={"If-Match": fresh}).status_code == 204
    assert api("GET", "/api/users/2").status_code == 404


@pytest.mark.parametrize(
    ("sent", "status", "says"),
    [
        ("{}", 200, None),
        ('"{}', 428, "in its double quotes, or *"),
        ('W/"{}"', 412, "without W/"),
        ('"*"', 412, "Read it again"),
        ('""', 412, "Read it again"),
    ],
)
def test_version_that_was_not_sent_as_it_was_read_is_said(
    api: Program, sent: str, status: int, says: str | None
) -> None:
    etag = api("GET", "/api/users/1").headers["ETag"].strip('"')
    headers = {"If-Match": sent.format(etag)}
    answer = api("PATCH", "/api/users/1", json={"username": "ada"}, headers=headers)
    assert answer.status_code == status
    assert says is None or says in answer.json["message"]


def test_version_stands_while_an_account_is_only_seen(web: Site, api: Program) -> None:
    web.make("bob@example.com")
    before = api("GET", "/api/users/2").headers["ETag"]
    web.browser("bob@example.com")
    read = api("GET", "/api/users/2", headers={"If-None-Match": before})
    assert (read.status_code, read.json["last_seen_at"] is None) == (200, False)
    changed = api("PATCH", "/api/users/2", json={"username": "b"}, headers={"If-Match": before})
    assert changed.status_code == 200


def test_version_stands_while_strangers_lock_an_account(
    web: Site, api: Program, database: Database
) -> None:
    web.make("bob@example.com")
    before = api("GET", "/api/users/2").headers["ETag"]
    database.lock_out("bob@example.com")
    read = api("GET", "/api/users/2", headers={"If-None-Match": before})
    assert (read.status_code, read.json["status"]) == (200, "locked")
    changed = api("PATCH", "/api/users/2", json={"username": "b"}, headers={"If-Match": before})
    assert changed.status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        '{"email": "a@example.com", "email": "b@example.com"}',
        '{"email": "a@example.com", "username": {"x": 1, "x": 2}}',
        '[{"email": "a@example.com", "email": "a@example.com"}]',
    ],
)
def test_key_that_comes_twice_is_refused(api: Program, database: Database, body: str) -> None:
    before = what_changes(database)
    answer = api("POST", "/api/users", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["message"]) == (400, "A key of the body comes twice.")
    assert what_changes(database) == before


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 201),
        ("application/json; charset=utf-8", 201),
        ("application/vnd.other+json", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("text/json", 415),
        (None, 415),
    ],
)
def test_body_of_another_type_is_415(api: Program, content_type: str | None, status: int) -> None:
    body = b'{"email": "bob@example.com"}'
    answer = api("POST", "/api/users", data=body, content_type=content_type)
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("method", "path", "body", "place", "field"),
    [
        ("POST", "/api/users", {"email": "straße@example.com"}, "json", "email"),
        ("POST", "/api/users", {"email": "b@example.com", "username": "-x"}, "json", "username"),
        ("PUT", "/api/users/1/roles/admin", {"valid_until": PAST}, "json", "valid_until"),
        ("GET", "/api/users?search=%00", None, "query", "search"),
        ("PUT", "/api/users/1/roles/admin", {}, "headers", "X-Reason"),
    ],
)
def test_wrong_input_is_named_by_its_field(
    api: Program, method: str, path: str, body: Any, place: str, field: str
) -> None:
    headers = {"X-Reason": "a\x9bb"} if field == "X-Reason" else {}
    answer = api(method, path, json=body, headers=headers)
    assert (answer.status_code, list(answer.json["fields"])) == (422, [place])
    assert answer.json["fields"][place] == {field: [answer.json["message"]]}


def test_put_replaces_and_patch_keeps(web: Site, api: Program) -> None:
    web.make("bob@example.com")
    anything = {"If-Match": "*"}
    whole = {"email": "rob@example.com", "username": "rob", "active": False}
    answer = api("PUT", "/api/users/2", json=whole, headers=anything)
    assert {name: answer.json[name] for name in ("email", "username", "status")} == {
        "email": "rob@example.com",
        "username": "rob",
        "status": "inactive",
    }
    answer = api("PATCH", "/api/users/2", json={"active": True}, headers=anything)
    assert (answer.json["username"], answer.json["status"]) == ("rob", "active")
    answer = api("PATCH", "/api/users/2", json={"username": None}, headers=anything)
    assert answer.json["username"] is None
    assert api("PUT", "/api/users/2", json={"active": True}, headers=anything).status_code == 422


def test_change_that_fails_in_part_is_undone_whole(
    web: Site, api: Program, database: Database
) -> None:
    web.make("bob@example.com")
    before = what_changes(database)
    body = {"username": "lastadmin", "active": False}
    answer = api("PATCH", "/api/users/1", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 403
    assert "no active administrator" in answer.json["message"]
    assert what_changes(database) == before


# --- who calls -------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer x", "Bearer opsapp_wrong", "Basic YTpi", "Bearer \xff\xfe"]
)
def test_wrong_token_is_401_even_beside_a_session(web: Site, sent: str) -> None:
    browser = web.browser("ada@example.com")
    answer = browser.client.get("/api/users", headers={"Authorization": sent})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_token_past_its_end_is_401(web: Site, api: Program, database: Database) -> None:
    database.execute("UPDATE ops_api_tokens SET valid_until = '2020-01-01 00:00:00.000000'")
    assert api("GET", "/api/users").status_code == 401


def test_token_is_kept_as_its_hash(api: Program, database: Database) -> None:
    assert api.token not in str(database.rows("SELECT * FROM ops_api_tokens"))
    assert api("GET", "/api/users").status_code == 200
    assert database.rows("SELECT count(used_at) FROM ops_api_tokens") == [(1,)]


def test_browser_changes_only_with_its_csrf_token_and_a_fresh_password(web: Site) -> None:
    browser = web.browser("ada@example.com")
    body = {"email": "bob@example.com"}
    forged = browser.client.post("/api/users", json=body)
    assert (forged.status_code, forged.json["message"]) == (
        400,
        "The CSRF token is missing. Send the header X-CSRFToken, its value is in /api/me; over"
        " https also Referer.",
    )
    token = {"X-CSRFToken": browser.get("/api/me").json["csrf_token"]}
    with browser.client.session_transaction() as session:
        session["fs_paa"] -= 3600
        session.pop("fs_gexp", None)
    stale = browser.client.post("/api/users", json=body, headers=token)
    assert (stale.status_code, "/verify" in stale.json["message"]) == (401, True)
    browser.post("/verify", {"password": "correct horse battery staple"})
    token = {"X-CSRFToken": browser.get("/api/me").json["csrf_token"]}
    assert browser.client.post("/api/users", json=body, headers=token).status_code == 201
