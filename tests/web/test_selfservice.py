"""Changes that users make to their own accounts, each audited."""

from __future__ import annotations

import re

import pytest

from tests.support import PASSWORD, Database
from tests.support.web import Browser, Site, last_events, site, told_on

NEW = "another battery horse staple"


def link_in(mail: str) -> str:
    """The path of the link in a mail."""
    result = re.search(r"http://localhost(/\S+)", mail)
    assert result, mail
    return result[1]


# --- password ----------------------------------------------------------------


def test_change_of_password_ends_other_sessions_and_keeps_this_one(
    web: Site, database: Database
) -> None:
    here, there = web.browser("ada@example.com"), web.browser("ada@example.com")
    program = web.token("ada@example.com")
    answer = here.post(
        "/change",
        {"password": PASSWORD, "new_password": NEW, "new_password_confirm": NEW},
    )
    assert answer.status_code == 302
    assert (here.is_in, there.is_in) == (True, False)
    assert program("GET", "/api/me").status_code == 401
    assert last_events(database) == [("user:password:set", "user:1", "web")]
    assert web.browser().sign_in("ada@example.com", NEW).status_code == 302
    assert len(web.mail_to("ada@example.com")) == 1


def test_weak_new_password_is_refused(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    before = database.rows("SELECT password FROM ops_users")
    for weak in ("short", "passwordpassword"):
        browser.post(
            "/change", {"password": PASSWORD, "new_password": weak, "new_password_confirm": weak}
        )
    assert database.rows("SELECT password FROM ops_users") == before


def test_forgotten_password_is_recovered_by_mail(web: Site, database: Database) -> None:
    old = web.browser("ada@example.com")
    browser = web.browser()
    for _time in range(10):
        browser.sign_in("ada@example.com", "wrong")
    browser.post("/reset", {"email": "ADA@example.com"})
    (letter,) = web.mail_to("ada@example.com")
    path = link_in(letter)
    answer = browser.post(path, {"password": NEW, "password_confirm": NEW})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login")
    assert not old.is_in
    assert last_events(database) == [("user:password:set", "user:1", "web")]
    reason = database.rows("SELECT reason FROM ops_audit_events ORDER BY seq DESC LIMIT 1")
    assert reason == [("recovered by a link in a mail",)]
    # The lock-out is over: the reader of the mail owns the account.
    assert browser.sign_in("ada@example.com", NEW).status_code == 302
    assert browser.sign_out().status_code == 302
    # The link works once.
    assert browser.get(path).headers["Location"] == "/reset"


def test_recovery_says_the_same_of_nobody_and_writes_nothing(web: Site, database: Database) -> None:
    browser = web.browser()
    known = browser.post("/reset", {"email": "ada@example.com"})
    unknown = browser.post("/reset", {"email": "nobody@example.com"})
    assert known.status_code == unknown.status_code == 200
    assert known.text.replace("ada@", "nobody@").split("csrf")[0] == unknown.text.split("csrf")[0]
    recipients = database.rows("SELECT recipient FROM ops_mail_messages")
    assert ("nobody@example.com",) not in recipients


def test_account_without_password_gets_one_by_the_welcome_mail(web: Site) -> None:
    program = web.token("ada@example.com")
    with program.client.post(
        "/api/users",
        json={"email": "new@example.com"},
        headers={"Authorization": f"Bearer {program.token}"},
    ) as made:
        assert made.status_code == 201
    browser = web.browser()
    browser.post("/reset", {"email": "new@example.com"})
    welcome, recovery = web.mail_to("new@example.com")
    assert "new@example.com" in welcome
    browser.post(link_in(recovery), {"password": NEW, "password_confirm": NEW})
    assert browser.sign_in("new@example.com", NEW).status_code == 302


# --- registration ------------------------------------------------------------


def test_nobody_registers_by_default(web: Site) -> None:
    assert web.browser().get("/register").status_code == 404


@pytest.fixture
def open_site(database: Database, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A site where strangers may register."""
    with site(database, monkeypatch, {"OPSAPP_REGISTRATION": True}) as made:
        made.make("ada@example.com", role="admin")
        yield made


def test_registration_waits_for_its_confirmation(open_site: Site, database: Database) -> None:
    browser = Browser(open_site.app)
    form = {"email": "New@Example.com", "password": NEW, "password_confirm": NEW}
    assert browser.post("/register", form).headers["Location"] == "/login"
    (told,) = told_on(browser.get("/login"))
    assert told.startswith("Thank you. To confirm your email address new@example.com")
    assert last_events(database) == [("user:account:create", "stranger", "web")]
    assert database.rows("SELECT email, confirmed_at FROM ops_users WHERE id = 2") == [
        ("new@example.com", None)
    ]
    browser.sign_in("new@example.com", NEW)
    assert not browser.is_in
    (letter,) = open_site.mail_to("new@example.com")
    assert browser.get(link_in(letter)).status_code == 302
    assert last_events(database) == [("user:email:confirm", "user:2", "web")]
    assert browser.sign_in("new@example.com", NEW).status_code == 302


def test_registration_of_a_taken_address_looks_the_same(open_site: Site) -> None:
    answers = []
    for email in ("ada@example.com", "fresh@example.com"):
        form = {"email": email, "password": NEW, "password_confirm": NEW}
        answer = Browser(open_site.app).post("/register", form)
        answers.append((answer.status_code, answer.headers.get("Location")))
    assert answers[0] == answers[1]
    (letter,) = open_site.mail_to("ada@example.com")
    assert "ada@example.com" in letter


def test_lookalike_address_is_refused(open_site: Site, database: Database) -> None:
    for email in ("straße@example.com", "a\u202eb@example.com", "x" * 300 + "@example.com"):
        form = {"email": email, "password": NEW, "password_confirm": NEW}
        assert Browser(open_site.app).post("/register", form).status_code == 200
    assert database.rows("SELECT count(*) FROM ops_users") == [(1,)]
