"""Signing in and out: messages, stored sessions, and their end."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from itsdangerous import TimestampSigner

from opsapp import signals
from opsapp.accounts import grants, roles, sessions, signin, users
from tests.support import PASSWORD, Database, a_unit
from tests.support.web import (
    Browser,
    Program,
    Site,
    csrf_token,
    site,
    told_on,
)

OTHER = "another battery horse staple"


def test_page_asks_for_name_and_password(web: Site) -> None:
    page = web.browser().get("/login")
    assert page.status_code == 200
    assert 'autocomplete="current-password"' in page.text
    assert 'name="remember"' not in page.text


def test_stranger_is_sent_to_the_login_page(web: Site) -> None:
    answer = web.browser().get("/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/login?next=/")


def test_stranger_is_not_blamed(web: Site) -> None:
    assert told_on(web.browser().get("/", follow_redirects=True)) == ["Please sign in first."]


@pytest.mark.parametrize("name", ["ada@example.com", "ADA@Example.com", "ada"])
def test_name_is_the_address_or_the_username(web: Site, name: str) -> None:
    with web.inside():
        users.update("ada@example.com", username="ada", unit=a_unit())
    assert web.browser(name).is_in


def test_id_is_no_name_to_sign_in_with(web: Site) -> None:
    assert web.browser().sign_in("1").status_code == 200


def test_answer_is_the_same_for_a_wrong_password_and_an_unknown_name(web: Site) -> None:
    web.make("idle@example.com")
    with web.inside():
        signin.deactivate(["idle@example.com"], unit=a_unit())
    pages = []
    for name, password in (
        ("ada@example.com", "wrong"),
        ("nobody@example.com", "wrong"),
        ("idle@example.com", "wrong"),
        ("idle@example.com", PASSWORD),
    ):
        page = web.browser().sign_in(name, password)
        assert page.status_code == 200
        pages.append(page.text.replace(name, "NAME").split('name="csrf_token"')[0])
        pages.append(page.text.split('id="form-error"')[1].split("</div>")[0])
    assert len(set(pages[1::2])) == 1


def test_log_in_is_written_down_and_announced(web: Site, database: Database) -> None:
    heard = []

    def listen(app: Flask, **payload: object) -> None:
        heard.append(payload)

    with signals.user_logged_in.connected_to(listen, web.app):
        web.browser("ada@example.com")
    assert [(one["user_id"], one["session_id"]) for one in heard] == [(1, 1)]
    rows = database.rows("SELECT user_id, outcome, ip FROM ops_logins")
    assert rows == [(1, "success", "127.0.0.1")]
    counted = "SELECT login_count FROM ops_users WHERE id = 1"
    assert database.rows(counted) == [(1,)]


def test_log_in_is_not_in_the_audit(web: Site, database: Database) -> None:
    before = database.rows("SELECT seq FROM ops_audit_head")
    web.browser("ada@example.com")
    assert database.rows("SELECT seq FROM ops_audit_head") == before


def test_neither_cookie_nor_name_is_kept_in_clear(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    web.browser().sign_in("my-password-in-the-wrong-field", "x")
    with browser.client.session_transaction() as session:
        key = session["key"]
    stored = str(
        database.rows("SELECT * FROM ops_user_sessions") + database.rows("SELECT * FROM ops_logins")
    )
    assert key not in stored
    assert "my-password" not in stored


def test_log_out_ends_a_copied_cookie_too(web: Site) -> None:
    browser = web.browser("ada@example.com")
    thief = browser.copy()
    assert thief.is_in
    browser.sign_out()
    assert (browser.is_in, thief.is_in) == (False, False)


def test_log_out_leaves_other_browsers_alone(web: Site) -> None:
    one, other = web.browser("ada@example.com"), web.browser("ada@example.com")
    one.sign_out()
    assert other.is_in


def end_by_deactivation() -> None:
    signin.deactivate(["bob@example.com"], unit=a_unit())
    signin.activate(["bob@example.com"], unit=a_unit())


def end_by_password() -> None:
    signin.set_password("bob@example.com", OTHER, unit=a_unit())


def end_by_losing_a_role() -> None:
    grants.revoke("support", ["bob@example.com"], unit=a_unit())


def end_by_reset() -> None:
    signin.reset_access("bob@example.com", unit=a_unit())


def end_by_address() -> None:
    users.update("bob@example.com", email="robert@example.com", unit=a_unit())


def end_by_deletion() -> None:
    users.delete("bob@example.com", unit=a_unit())


@pytest.mark.parametrize(
    "end",
    [
        end_by_deactivation,
        end_by_password,
        end_by_losing_a_role,
        end_by_reset,
        end_by_address,
        end_by_deletion,
    ],
)
def test_sessions_and_tokens_really_end(web: Site, end: Callable[[], None]) -> None:
    with web.inside():
        roles.create("support", allow=["users:read"], unit=a_unit())
    web.make("bob@example.com", role="support")
    browser, program = web.browser("bob@example.com"), web.token("bob@example.com")
    thief = browser.copy()
    assert program("GET", "/api/users").status_code == 200
    with web.inside():
        end()
    assert (browser.is_in, thief.is_in) == (False, False)
    assert program("GET", "/api/users").status_code == 401
    assert browser.get("/").status_code == 302


def test_session_ends_by_itself(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    database.execute("UPDATE ops_user_sessions SET expires_at = '2020-01-01 00:00:00'")
    assert not browser.is_in


def test_cookie_with_another_key_signs_no_account_in(web: Site) -> None:
    browser = web.browser("ada@example.com")
    with browser.client.session_transaction() as session:
        session["key"] = "guessed"
    assert not browser.is_in


def test_key_of_one_account_does_not_open_another(web: Site) -> None:
    web.make("bob@example.com")
    ada, bob = web.browser("ada@example.com"), web.browser("bob@example.com")
    with ada.client.session_transaction() as session:
        key = session["key"]
    with bob.client.session_transaction() as session:
        session["key"] = key
    assert not bob.is_in


def test_form_without_its_token_is_refused(web: Site) -> None:
    answer = web.browser().client.post(
        "/login", data={"email": "ada@example.com", "password": PASSWORD}
    )
    assert answer.status_code == 400


def test_token_of_before_the_sign_in_is_worth_nothing_after_it(web: Site) -> None:
    browser = web.browser()
    known = csrf_token(browser.get("/login"))
    form = {"email": "ada@example.com", "password": PASSWORD, "csrf_token": known}
    assert browser.client.post("/login", data=form).status_code == 302
    answer = browser.client.post("/logout", data={"csrf_token": known})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert browser.is_in


@pytest.mark.parametrize("hours", [2, 11])
def test_form_works_for_as_long_as_its_session(
    web: Site, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    browser, stranger = web.browser("ada@example.com"), web.browser()
    pages = [
        (one, csrf_token(one.get(path))) for one, path in ((browser, "/"), (stranger, "/login"))
    ]
    later = int(time.time()) + hours * 3600
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _signer: later)
    form = {"email": "ada@example.com", "password": PASSWORD}
    for (one, token), (path, data) in zip(pages, [("/logout", {}), ("/login", form)], strict=True):
        answer = one.client.post(path, data={**data, "csrf_token": token})
        assert answer.status_code == 302
    assert (browser.is_in, stranger.is_in) == (False, True)


def test_token_of_another_session_is_refused(web: Site) -> None:
    token = csrf_token(web.browser("ada@example.com").get("/"))
    other = web.browser("ada@example.com")
    other.get("/")  # From now on its session has a token too.
    assert other.client.post("/logout", data={"csrf_token": token}).status_code == 303
    assert other.is_in


def test_sign_in_page_takes_no_json(web: Site) -> None:
    for body in ('{"email": "ada@example.com"}', "[1]", "{"):
        answer = web.browser().client.post("/login", data=body, content_type="application/json")
        assert answer.status_code in (400, 415)


def test_next_leads_to_no_other_site(web: Site) -> None:
    for target in ("https://evil.example/", "//evil.example/", "/\\evil.example", "https:evil"):
        browser = Browser(web.app)
        form = {"email": "ada@example.com", "password": PASSWORD, "next": target}
        answer = browser.post("/login", form)
        assert not answer.headers.get("Location", "/").startswith(("http", "//", "/\\"))


def test_rows_of_sessions_can_be_written_by_units_only(web: Site) -> None:
    from opsapp.errors import Refused
    from opsapp.extensions import db
    from opsapp.models import UserSession

    web.browser("ada@example.com")
    with web.inside(), pytest.raises(Refused, match="unit of work"):
        db.session.execute(db.delete(UserSession))


def test_end_names_a_session_that_was_never_there(web: Site) -> None:
    from opsapp.errors import NotFound

    with web.inside(), pytest.raises(NotFound, match="no session 7"):
        sessions.end("ada@example.com", [7], unit=a_unit())


def test_hashed_old_parameters_are_renewed_and_audited(web: Site, database: Database) -> None:
    from argon2 import PasswordHasher
    from flask_security.utils import get_hmac

    with web.inside():
        weak = PasswordHasher(time_cost=1, memory_cost=8192, parallelism=1)
        old = weak.hash(get_hmac(PASSWORD))
    database.execute("UPDATE ops_users SET password = :old WHERE id = 1", old=old)
    browser = web.browser("ada@example.com")
    assert browser.is_in
    actions = database.rows("SELECT action FROM ops_audit_events ORDER BY seq DESC LIMIT 1")
    renewed = database.rows("SELECT password FROM ops_users WHERE id = 1")[0][0]
    assert actions == [("user:password:rehash",)]
    assert renewed != old


def test_token_of_a_program_is_worth_nothing_as_a_cookie(web: Site) -> None:
    program = web.token("ada@example.com")
    assert isinstance(program, Program)
    browser = web.browser()
    with browser.client.session_transaction() as session:
        session["key"] = program.token
        session["_user_id"] = "1"
    assert not browser.is_in


def test_session_ends_after_a_time_without_requests(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    for minutes, is_in in ((59, True), (62, False)):
        then = (datetime.now(UTC) - timedelta(minutes=minutes)).strftime("%Y-%m-%d %H:%M:%S.000000")
        database.execute("UPDATE ops_user_sessions SET seen_at = :then", then=then)
        assert browser.is_in is is_in


def test_idle_time_of_zero_is_never(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(database, monkeypatch, {"OPSAPP_SESSION_IDLE": 0}) as made:
        made.make("ada@example.com")
        browser = made.browser("ada@example.com")
        database.execute("UPDATE ops_user_sessions SET seen_at = '2020-01-01 00:00:00.000000'")
        assert browser.is_in
