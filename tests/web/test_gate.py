"""Requests that wait at the gate: their credential and permissions are checked inside of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from opsapp import clock
from opsapp.accounts import grants, roles, selfservice, sessions, signin, tokens, users
from opsapp.accounts.lookup import get_user
from opsapp.models import ApiToken, Grant, UserSession
from opsapp.profiling import measure
from opsapp.unit.work import Unit
from tests.support import Database, a_unit
from tests.support.web import Browser, Site, csrf_token

Send = Callable[[], TestResponse]
Change = Callable[[Unit], Any]

GRANT = "/api/users/3/roles/support"


@pytest.fixture
def office(web: Site) -> Site:
    """Account 2 may grant the role support, account 3 holds nothing."""
    with web.inside():
        roles.create("support", allow=["mail:read"], unit=a_unit())
        allowed = ["mail:read", "roles:grant", "users:write"]
        roles.create("desk", allow=allowed, unit=a_unit())
    web.make("desk@example.com", role="desk")
    web.make("bob@example.com")
    return web


def sent_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch, send: Send, change: Change
) -> TestResponse:
    """The answer to a request that stood at the gate while ``change`` was made inside of it."""
    arrived = threading.Event()
    enter = Unit._open

    def arrive(unit: Unit) -> None:
        arrived.set()
        enter(unit)

    with ThreadPoolExecutor(max_workers=1) as pool, site.inside(), a_unit() as unit:
        monkeypatch.setattr(Unit, "_open", arrive)
        answer: Future[TestResponse] = pool.submit(send)
        assert arrived.wait(30)
        change(unit)
        unit.record("test:gate:hold", "database")
    return answer.result(30)


def sent_before(
    site: Site, monkeypatch: pytest.MonkeyPatch, send: Send, change: Change
) -> TestResponse:
    """The answer to a request before whose turn at the gate came that of ``change``.

    A page that counts tries writes them down before, so on SQLite the gate cannot be held.
    """
    enter = Unit._open

    def come_second(unit: Unit) -> None:
        monkeypatch.setattr(Unit, "_open", enter)
        with site.inside(), a_unit() as first:
            change(first)
            first.record("test:gate:hold", "database")
        enter(unit)

    monkeypatch.setattr(Unit, "_open", come_second)
    return send()


# --- what may end while a request waits --------------------------------------


def _revoke_token(unit: Unit) -> None:
    tokens.revoke("desk@example.com", "test", unit=unit)


def _expire_token(unit: Unit) -> None:
    unit.session.query(ApiToken).one().valid_until = clock.now() - timedelta(seconds=1)


def _deactivate(unit: Unit) -> None:
    signin.deactivate(["desk@example.com"], unit=unit)


def _reset_access(unit: Unit) -> None:
    signin.reset_access("desk@example.com", unit=unit)


def _end_sessions(unit: Unit) -> None:
    sessions.end("desk@example.com", unit=unit)


def _expire_session(unit: Unit) -> None:
    unit.session.query(UserSession).one().expires_at = clock.now() - timedelta(seconds=1)


def _revoke_role(unit: Unit) -> None:
    grants.revoke("desk", ["desk@example.com"], unit=unit)


def _expire_role(unit: Unit) -> None:
    grant = unit.session.query(Grant).filter_by(user_id=2).one()
    grant.valid_until = clock.now() - timedelta(seconds=1)


def _deny_permission(unit: Unit) -> None:
    roles.deny("desk", ["roles:grant"], unit=unit)


def _set_password(unit: Unit) -> None:
    signin.set_password("desk@example.com", "another battery staple horse", unit=unit)


def _delete(unit: Unit) -> None:
    users.delete("desk@example.com", unit=unit)


ENDED = "The {} of this request has ended meanwhile; nothing was changed."
OF_ACCOUNT = [_deactivate, _delete, _reset_access, _revoke_role, _set_password]
OF_TOKEN = [_revoke_token, _expire_token]
OF_SESSION = [_end_sessions, _expire_session]
OF_PERMISSION = [_expire_role, _deny_permission]


@pytest.mark.parametrize("change", OF_TOKEN + OF_ACCOUNT)
def test_token_that_ends_while_its_request_waits_grants_nothing(
    office: Site, database: Database, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    program = office.token("desk@example.com")
    program("GET", "/api/me")  # Its use is written down, which does not wait for the gate.

    answer = sent_meanwhile(office, monkeypatch, lambda: program("PUT", GRANT, json={}), change)

    assert (answer.status_code, answer.json["message"]) == (403, ENDED.format("token"))
    assert database.rows("SELECT count(*) FROM ops_grants WHERE user_id = 3") == [(0,)]


@pytest.mark.parametrize("change", OF_PERMISSION)
def test_permission_that_is_lost_while_its_request_waits_grants_nothing(
    office: Site, database: Database, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    program = office.token("desk@example.com")
    program("GET", "/api/me")  # Its use is written down, which does not wait for the gate.

    answer = sent_meanwhile(office, monkeypatch, lambda: program("PUT", GRANT, json={}), change)

    assert (answer.status_code, answer.json["message"]) == (
        403,
        "That needs the permission roles:grant.",
    )
    assert database.rows("SELECT count(*) FROM ops_grants WHERE user_id = 3") == [(0,)]


@pytest.mark.parametrize("change", [_deactivate, _revoke_role, _set_password])
def test_measured_request_that_waits_grants_nothing_once_its_account_has_changed(
    office: Site, database: Database, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    with office.inside():
        signed_in = measure._send_as(office.app, get_user("desk@example.com"))
    client = office.app.test_client()

    with signed_in:
        answer = sent_meanwhile(office, monkeypatch, lambda: client.put(GRANT, json={}), change)

    assert (answer.status_code, answer.json["message"]) == (403, ENDED.format("link"))
    assert database.rows("SELECT count(*) FROM ops_grants WHERE user_id = 3") == [(0,)]


def test_measured_request_of_a_deactivated_account_is_refused(office: Site) -> None:
    with office.inside():
        signed_in = measure._send_as(office.app, get_user("desk@example.com"))
    client = office.app.test_client()
    with signed_in:
        assert client.get("/api/me").status_code == 200
        with office.inside():
            signin.deactivate(["desk@example.com"], unit=a_unit())

        assert client.get("/api/me").status_code == 401
        assert client.put(GRANT, json={}).status_code == 401


def _by_browser(browser: Browser) -> Send:
    headers = {"X-CSRFToken": browser.get("/api/me").json["csrf_token"]}
    return lambda: browser.client.put(GRANT, json={}, headers=headers)


@pytest.mark.parametrize("change", [*OF_SESSION, _deactivate, _revoke_role])
def test_session_that_ends_while_its_request_waits_grants_nothing(
    office: Site, database: Database, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    send = _by_browser(office.browser("desk@example.com"))

    answer = sent_meanwhile(office, monkeypatch, send, change)

    assert (answer.status_code, answer.json["message"]) == (403, ENDED.format("session"))
    assert database.rows("SELECT count(*) FROM ops_grants WHERE user_id = 3") == [(0,)]


def test_request_grants_when_nothing_has_ended(
    office: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = _by_browser(office.browser("desk@example.com"))

    answer = sent_meanwhile(office, monkeypatch, send, lambda _unit: None)

    assert answer.status_code == 200
    assert database.rows("SELECT count(*) FROM ops_grants WHERE user_id = 3") == [(1,)]


# --- what people change on their own accounts --------------------------------

NEW = "trumpet violin cello drum"


def _changes_password(browser: Browser) -> Send:
    form = {"password": "correct horse battery staple", "new_password": NEW}
    form |= {"new_password_confirm": NEW, "csrf_token": csrf_token(browser.get("/change"))}
    return lambda: browser.client.post("/change", data=form)


@pytest.mark.parametrize("change", [*OF_SESSION, _deactivate, _reset_access])
def test_page_whose_session_ends_while_it_waits_changes_no_password(
    office: Site, database: Database, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    send = _changes_password(office.browser("desk@example.com"))
    (before,) = database.rows("SELECT password FROM ops_users WHERE id = 2")

    answer = sent_before(office, monkeypatch, send, change)

    assert answer.status_code == 403
    assert ENDED.format("session") in answer.text
    assert database.rows("SELECT password FROM ops_users WHERE id = 2") == [before]


def test_link_whose_account_is_deactivated_while_it_waits_resets_no_password(
    office: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = office.browser()
    browser.post("/reset", {"email": "desk@example.com"})
    (mailed,) = (body for body in office.mail_to("desk@example.com") if "/reset/" in body)
    path = next(word for word in mailed.split() if "/reset/" in word).split("localhost")[-1]
    form = {"password": NEW, "password_confirm": NEW, "csrf_token": csrf_token(browser.get(path))}
    (before,) = database.rows("SELECT password FROM ops_users WHERE id = 2")

    answer = sent_before(
        office, monkeypatch, lambda: browser.client.post(path, data=form), _deactivate
    )

    assert answer.status_code == 403
    assert ENDED.format("link") in answer.text
    assert database.rows("SELECT password FROM ops_users WHERE id = 2") == [before]


def test_own_session_outlives_the_change_that_ends_the_others(office: Site) -> None:
    browser, other = office.browser("desk@example.com"), office.browser("desk@example.com")

    changed = _changes_password(browser)()

    assert changed.status_code == 302
    assert (browser.is_in, other.is_in) == (True, False)


def test_session_that_is_ended_right_after_its_own_change_is_carried_nowhere(
    office: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = office.browser("desk@example.com")
    change_password = selfservice.change_password

    def change_and_lose(*args: Any, **options: Any) -> None:
        change_password(*args, **options)
        signin.reset_access("desk@example.com", unit=a_unit())

    monkeypatch.setattr(selfservice, "change_password", change_and_lose)
    _changes_password(browser)()

    assert not browser.is_in
