"""The page of a user's own account."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from opsapp.accounts import grants, roles
from opsapp.accounts.lookup import get_user
from opsapp.profiling import measure
from opsapp.web import add_to_navigation, user_agent
from tests.support import PASSWORD, Database, a_unit
from tests.support.web import (
    Site,
    last_events,
    told_on,
)


def test_account_page_lists_and_ends_ones_own_sessions(web: Site, database: Database) -> None:
    here, there = web.browser("ada@example.com"), web.browser("ada@example.com")
    assert here.get("/").text.count('id="session-') == 2
    assert here.post("/sessions/2/end", {}, at="/").headers["Location"] == "/"
    assert (here.is_in, there.is_in) == (True, False)
    events = database.rows("SELECT action, door FROM ops_audit_events ORDER BY seq DESC LIMIT 1")
    assert events == [("user:sessions:end", "web")]


def test_who_ends_their_own_session_is_told_so_and_nothing_else(web: Site) -> None:
    browser = web.browser("ada@example.com")
    answer = browser.post("/sessions/1/end", {}, at="/")
    assert answer.headers["Location"] == "/login"
    assert told_on(browser.get("/login")) == ["That session has ended."]
    assert not browser.is_in


def test_account_page_lists_open_sessions_of_a_measured_request(web: Site) -> None:
    web.browser("ada@example.com")
    with web.inside():
        signed_in = measure._send_as(web.app, get_user("ada@example.com"))
    with signed_in:
        page = web.app.test_client().get("/")
    assert (page.status_code, page.text.count('id="session-'), page.text.count("this one")) == (
        200,
        1,
        0,
    )


def test_session_of_another_account_cannot_be_ended(web: Site) -> None:
    web.make("bob@example.com")
    bob, ada = web.browser("bob@example.com"), web.browser("ada@example.com")
    assert bob.post("/sessions/2/end", {}, at="/").status_code == 404
    assert ada.is_in


def test_other_sessions_end_with_the_password_only(web: Site, database: Database) -> None:
    here, there = web.browser("ada@example.com"), web.browser("ada@example.com")
    assert "Sign out everywhere else" in here.get("/").text
    page = here.post("/sessions/end-others", {"password": "wrong"})
    assert "Incorrect password." in page.text
    assert there.is_in
    assert database.failed_logins() == 1
    answer = here.post("/sessions/end-others", {"password": PASSWORD})
    assert answer.headers["Location"] == "/"
    assert told_on(here.get("/")) == ["One other session has ended."]
    assert (here.is_in, there.is_in) == (True, False)
    assert last_events(database) == [("user:sessions:end", "user:1", "web")]
    assert "Sign out everywhere else" not in here.get("/").text
    here.post("/sessions/end-others", {"password": PASSWORD})
    assert told_on(here.get("/")) == ["No other sessions have ended."]


def test_account_page_lists_and_ends_ones_own_tokens(web: Site, database: Database) -> None:
    program = web.token("ada@example.com", allow=["users:read"], name="backup")
    web.make("bob@example.com")
    browser, bob = web.browser("ada@example.com"), web.browser("bob@example.com")
    assert "<b>backup</b> may do users:read" in browser.get("/").text
    assert bob.post("/tokens/1/end", {}, at="/").status_code == 404
    assert program("GET", "/api/me").status_code == 200
    assert browser.post("/tokens/1/end", {}, at="/").headers["Location"] == "/"
    assert program("GET", "/api/me").status_code == 401
    assert last_events(database) == [("user:token:revoke", "user:1", "web")]
    assert 'id="token-' not in browser.get("/").text


def test_account_page_tells_the_end_of_a_role(web: Site) -> None:
    with web.inside():
        roles.create("support", unit=a_unit())
        until = datetime(2090, 1, 2, 3, 4, tzinfo=UTC)
        grants.grant("support", ["ada@example.com"], until=until, unit=a_unit())
    assert "2 January 2090, 03:04" in web.browser("ada@example.com").get("/").text


@pytest.mark.parametrize(
    ("agent", "name"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/130.0 Safari/537.36",
            "Chrome on Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/130.0 Safari/537.36 Edg/130.0",
            "Edge on Windows",
        ),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15) Version/17 Safari/605", "Safari on macOS"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) Version/17 Safari/605",
            "Safari on iPhone",
        ),
        (
            "Mozilla/5.0 (Android 14; Mobile; rv:130.0) Gecko/130.0 Firefox/130.0",
            "Firefox on Android",
        ),
        ("curl/8.5.0", "curl"),
        (None, "unknown browser"),
    ],
)
def test_browser_is_named_for_people(agent: str | None, name: str) -> None:
    assert user_agent.describe(agent) == name


def test_navigation_has_the_links_of_the_application(web: Site) -> None:
    add_to_navigation(web.app, "Orders", "api_docs")
    assert "Orders" not in web.browser().get("/login").text
    assert '<a href="/api/docs">Orders</a>' in web.browser("ada@example.com").get("/").text
