"""Changes that users make to their own accounts, each audited."""

from __future__ import annotations

import re

import pytest

from opsapp.accounts import signin
from opsapp.mail import smtputf8
from opsapp.mail.undeliverable import NO_UTF8
from tests.support import PASSWORD, Database, a_unit
from tests.support.web import Browser, Site, last_events, site, told_on, what_changes

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
    # The lockout is over: the reader of the mail owns the account.
    assert browser.sign_in("ada@example.com", NEW).status_code == 302
    assert browser.sign_out().status_code == 302
    # The link works once.
    assert browser.get(path).headers["Location"] == "/reset"


def test_recovery_names_all_errors_at_once(web: Site) -> None:
    browser = web.browser()
    browser.post("/reset", {"email": "ada@example.com"})
    path = link_in(web.mail_to("ada@example.com")[-1])
    page = browser.post(path, {"password": "short", "password_confirm": "other"})
    assert page.status_code == 200
    assert "A password must have at least 12 characters." in page.text
    assert "The two passwords differ." in page.text
    page = browser.post(path, {"password": "password1234", "password_confirm": "password1234"})
    assert "This is a very common password." in page.text


def test_recovery_says_the_same_of_an_unknown_account_and_writes_nothing(
    web: Site, database: Database
) -> None:
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


def test_registration_is_off_by_default(web: Site) -> None:
    assert web.browser().get("/register").status_code == 404


@pytest.fixture
def open_site(database: Database, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    """A site where strangers may register."""
    with site(database, monkeypatch, {"OPSAPP_REGISTRATION": True}) as made:
        made.make("ada@example.com", role="admin")
        yield made


def registers(site: Site, email: str) -> Browser:
    browser = Browser(site.app)
    answer = browser.post("/register", {"email": email})
    assert (answer.status_code, answer.headers.get("Location")) == (302, "/login")
    return browser


def test_password_of_a_registered_account_is_chosen_by_the_reader_of_the_mail(
    open_site: Site, database: Database
) -> None:
    browser = registers(open_site, "New@Example.com")
    (told,) = told_on(browser.get("/login"))
    assert told == "We have sent a mail to new@example.com. Its link lets you choose a password."
    assert last_events(database) == [("user:account:create", "stranger", "web")]
    stored = "SELECT email, password, confirmed_at FROM ops_users WHERE id = 2"
    assert database.rows(stored) == [("new@example.com", None, None)]
    (letter,) = open_site.mail_to("new@example.com")
    page = browser.get(link_in(letter))
    assert "This also confirms the address <b>new@example.com</b>" in page.text
    answer = browser.post(link_in(letter), {"password": NEW, "password_confirm": NEW})
    assert answer.headers["Location"] == "/login"
    assert last_events(database, 2) == [
        ("user:email:confirm", "user:2", "web"),
        ("user:password:set", "user:2", "web"),
    ]
    assert browser.sign_in("new@example.com", NEW).status_code == 302
    assert browser.is_in


def test_stranger_who_registers_an_address_first_gains_nothing(
    open_site: Site, database: Database
) -> None:
    theirs = "chosen by the attacker"
    attacker = Browser(open_site.app)
    form = {"email": "new@example.com", "password": theirs, "password_confirm": theirs}
    attacker.post("/register", form)
    registers(open_site, "new@example.com")
    (letter,) = open_site.mail_to("new@example.com")
    Browser(open_site.app).post(link_in(letter), {"password": NEW, "password_confirm": NEW})
    attacker.sign_in("new@example.com", theirs)
    assert not attacker.is_in
    assert Browser(open_site.app).sign_in("new@example.com", NEW).status_code == 302


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_looking_at_a_link_changes_nothing(
    open_site: Site, database: Database, method: str
) -> None:
    registers(open_site, "new@example.com")
    (letter,) = open_site.mail_to("new@example.com")
    before = what_changes(database)
    scanner = open_site.app.test_client()
    assert scanner.open(link_in(letter), method=method).status_code == 200
    assert what_changes(database) == before
    assert database.rows("SELECT confirmed_at FROM ops_users WHERE id = 2") == [(None,)]


def test_forgotten_password_of_an_unconfirmed_account_confirms_it(
    open_site: Site, database: Database
) -> None:
    browser = registers(open_site, "new@example.com")
    browser.post("/reset", {"email": "new@example.com"})
    letter = open_site.mail_to("new@example.com")[1]
    browser.post(link_in(letter), {"password": NEW, "password_confirm": NEW})
    assert browser.sign_in("new@example.com", NEW).status_code == 302
    assert browser.is_in


def test_registration_of_a_taken_address_looks_the_same_and_mails_no_link_that_changes_it(
    open_site: Site, database: Database
) -> None:
    before = what_changes(database)
    registers(open_site, "ada@example.com")
    registers(open_site, "fresh@example.com")
    (letter,) = open_site.mail_to("ada@example.com")
    assert re.findall(r"http\S+", letter) == ["http://localhost/reset"]
    assert database.rows("SELECT id FROM ops_users WHERE id = 1 AND confirmed_at IS NULL") == []
    assert what_changes(database)[:1] == before[:1]


def test_registered_account_that_is_inactive_gets_no_link(
    open_site: Site, database: Database
) -> None:
    registers(open_site, "new@example.com")
    with open_site.inside():
        signin.deactivate(["new@example.com"], unit=a_unit())
    database.execute("DELETE FROM ops_mail_messages")
    registers(open_site, "new@example.com")
    assert database.rows("SELECT count(*) FROM ops_mail_messages") == [(0,)]


def test_page_of_confirmations_is_gone(open_site: Site) -> None:
    browser = Browser(open_site.app)
    assert browser.get("/confirm").status_code == 404
    assert browser.get("/confirm/x").status_code == 404


def test_lookalike_address_is_refused(open_site: Site, database: Database) -> None:
    for email in ("straße@example.com", "a\u202eb@example.com", "x" * 300 + "@example.com", ""):
        assert Browser(open_site.app).post("/register", {"email": email}).status_code == 200
    assert database.rows("SELECT count(*) FROM ops_users") == [(1,)]


def test_address_that_mail_cannot_reach_is_refused_at_the_input(
    open_site: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtputf8, "_ask", lambda: False)
    program = open_site.token("ada@example.com")
    before = what_changes(database)
    page = Browser(open_site.app).post("/register", {"email": "ü@example.com"})
    assert page.status_code == 200
    assert f"E-mail ü@example.com: {NO_UTF8}." in page.text
    for method, path, more in (
        ("POST", "/api/users", {}),
        ("PATCH", "/api/users/1", {}),
        ("PUT", "/api/users/1", {"username": None, "active": True}),
    ):
        body = {"email": "ü@example.com", **more}
        answer = program(method, path, json=body, headers={"If-Match": "*"})
        assert (answer.status_code, answer.json["fields"]) == (
            422,
            {"json": {"email": [f"E-mail ü@example.com: {NO_UTF8}."]}},
        )
    assert what_changes(database) == before
