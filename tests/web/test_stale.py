"""Forms of tabs that are older than the session of their browser."""

from __future__ import annotations

import re

import pytest

from tests.support import PASSWORD, Database
from tests.support.web import Browser, Site, csrf_token, told_on, what_changes

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)

OUT_OF_DATE = "This page was out of date, so nothing has changed. Please repeat it."


def restore_tabs(browser: Browser, path: str) -> tuple[str, str]:
    """Open two tabs at once, before either has a cookie; the token of each."""
    client = browser.client
    first = csrf_token(client.get(path))
    client.delete_cookie("opsapp_session")
    return first, csrf_token(client.get(path))


@pytest.mark.parametrize("path", ["/login", "/reset"])
def test_second_of_two_tabs_keeps_the_address_and_works(web: Site, path: str) -> None:
    browser = Browser(web.app)
    stale, _fresh = restore_tabs(browser, path)
    form = {"email": "ada@example.com", "password": PASSWORD}
    answer = browser.client.post(path, data={**form, "csrf_token": stale})
    assert (answer.status_code, answer.headers["Location"].rstrip("?")) == (303, path)
    page = browser.get(path)
    assert told_on(page) == [OUT_OF_DATE]
    assert re.search(r'<input[^>]*value="ada@example.com"', page.text)
    assert PASSWORD not in page.text
    again = browser.client.post(path, data={**form, "csrf_token": csrf_token(page)})
    assert again.status_code == (302 if path == "/login" else 200)
    assert 'value="ada@example.com"' not in browser.get("/login").text


def test_next_page_survives(web: Site) -> None:
    browser = Browser(web.app)
    stale, _fresh = restore_tabs(browser, "/login?next=/change")
    answer = browser.client.post("/login?next=/change", data={"csrf_token": stale})
    assert answer.headers["Location"] == "/login?next=/change"


def test_login_form_of_another_tab_leads_to_the_account_after_signing_in(web: Site) -> None:
    browser = Browser(web.app)
    stale = csrf_token(browser.get("/login"))
    browser.sign_in("ada@example.com")
    form = {"email": "eve@example.com", "password": "x", "csrf_token": stale}
    answer = browser.client.post("/login", data=form)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert told_on(browser.get("/")) == ["You are already signed in."]


def test_form_of_an_ended_session_is_shown_again_after_the_next_sign_in(web: Site) -> None:
    browser = web.browser("ada@example.com")
    stale = csrf_token(browser.get("/change"))
    browser.sign_out()
    browser.sign_in("ada@example.com")
    for path, page in (("/change", "/change"), ("/sessions/1/end", "/"), ("/logout", "/")):
        answer = browser.client.post(path, data={"csrf_token": stale})
        assert (answer.status_code, answer.headers["Location"].rstrip("?")) == (303, page)
        assert told_on(browser.get(page)) == [OUT_OF_DATE]
    assert browser.is_in


def test_stale_form_changes_nothing_and_counts_as_no_guess(web: Site, database: Database) -> None:
    before = what_changes(database)
    browser = Browser(web.app)
    stale, _fresh = restore_tabs(browser, "/login")
    for _time in range(12):
        form = {"email": "ada@example.com", "password": "wrong", "csrf_token": stale}
        assert browser.client.post("/login", data=form).status_code == 303
    assert browser.sign_in("ada@example.com").status_code == 302
    assert what_changes(database) == before


def test_form_of_another_site_gets_no_cookie(web: Site) -> None:
    token = csrf_token(web.browser().get("/login"))
    answer = web.browser().client.post("/login", data={"csrf_token": token, "email": "x@y.z"})
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (400, [])


def test_form_of_an_application_leads_back_to_its_page_too(web: Site) -> None:
    web.app._got_first_request = False
    web.app.add_url_rule("/orders", "orders", lambda: "the orders", methods=["GET", "POST"])
    browser = web.browser("ada@example.com")
    token = csrf_token(browser.get("/"))
    browser.sign_out()
    browser.sign_in("ada@example.com")
    answer = browser.client.post("/orders?page=2", data={"csrf_token": token})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/orders?page=2")
    as_json = {"Accept": "application/json"}
    answer = browser.client.post("/orders", data={"csrf_token": token}, headers=as_json)
    assert (answer.status_code, answer.json["error"]) == (400, "Bad Request")
