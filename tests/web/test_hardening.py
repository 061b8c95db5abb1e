"""Attacks on accounts, sessions and connections, and their effect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from opsapp.accounts import lockouts, sessions, users
from opsapp.accounts.logins import Client
from opsapp.engine.connections import BOOKKEEPING
from opsapp.extensions import db
from opsapp.unit.work import bookkeeping
from opsapp.web.actor import client
from opsapp.web.security import setup
from tests.support import PASSWORD, Cli, Database, a_unit
from tests.support.web import Site, csrf_token, last_events, site

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
HERE = Client("192.0.2.1", "test")


# --- who is there and who is not ----------------------------------------------------


def test_unknown_name_is_locked_like_a_known_one_when_many_ask_at_once(web: Site) -> None:
    def take(_number: int) -> bool:
        with web.inside():
            return lockouts.count_attempt("nobody@example.com", None, HERE) is None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(30))) == 10


def test_failures_of_an_unknown_name_count_while_no_day_lies_between_them(
    web: Site, database: Database
) -> None:
    def age(days: float) -> None:
        at = datetime.now(UTC) - timedelta(days=days)
        then = at.strftime("%Y-%m-%d %H:%M:%S.000000")
        database.execute("UPDATE ops_login_failures SET failed_at = :at", at=then)

    with web.inside():
        for _time in range(9):
            assert lockouts.count_attempt("nobody@example.com", None, HERE) is None
        age(2)
        assert lockouts.count_attempt("nobody@example.com", None, HERE) is None
        assert lockouts.count_attempt("nobody@example.com", None, HERE) is None
    counted = database.rows("SELECT count(*) FROM ops_logins")
    assert counted == [(11,)]


@pytest.mark.parametrize("value", ["192.0.2.1", "::ffff:192.0.2.1", "[::ffff:c000:201]:443"])
def test_address_is_stored_in_one_form(web: Site, value: str) -> None:
    with web.app.test_request_context(environ_base={"REMOTE_ADDR": value}):
        assert client().ip == "192.0.2.1"


def test_network_of_an_address_is_blocked_with_it(web: Site) -> None:
    def take(ip: str) -> bool:
        with web.inside():
            return lockouts.count_attempt(f"{ip}@example.com", None, Client(ip, None)) is None

    assert all(take(f"2001:db8:1:2::{number:x}") for number in range(30))
    assert (take("2001:db8:1:2:ffff::1"), take("2001:db8:1:3::1")) == (False, True)
    assert [Client(ip, None).network for ip in ("::ffff:192.0.2.1", "192.0.2.1", "x", None)] == [
        "192.0.2.1",
        "192.0.2.1",
        "unknown",
        "unknown",
    ]


@ON_SQLITE
@pytest.mark.parametrize("path", ["/reset"])
def test_answer_comes_at_the_same_moment(
    web: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(setup, "ALIKE_SECONDS", 1000.0)
    monkeypatch.setattr(setup.time, "sleep", slept.append)
    browser = web.browser()
    for name in ("ada@example.com", "nobody@example.com"):
        browser.post(path, {"email": name})
    assert [900 < seconds < 1000 for seconds in slept] == [True, True]


@ON_SQLITE
def test_mail_is_sent_though_the_answer_is_never_closed(web: Site) -> None:
    client = web.app.test_client()
    form = {"email": "ada@example.com", "csrf_token": csrf_token(client.get("/reset"))}
    answer = client.post("/reset", data=form, buffered=False)
    assert len(web.mail_to("ada@example.com")) == 1
    answer.close()


@ON_SQLITE
def test_mail_that_strangers_can_ask_for_comes_seldom(web: Site, database: Database) -> None:
    browser = web.browser()
    answers = {browser.post("/reset", {"email": "ada@example.com"}).status_code for _ in range(3)}
    assert (answers, len(web.mail_to("ada@example.com"))) == ({200}, 1)
    past = "2026-01-01 00:00:00.000000"
    database.execute("UPDATE ops_mail_messages SET created_at = :at", at=past)
    browser.post("/reset", {"email": "ada@example.com"})
    assert len(web.mail_to("ada@example.com")) == 2


@ON_SQLITE
def test_link_is_mailed_again_once_the_last_one_is_used(web: Site) -> None:
    browser = web.browser()
    browser.post("/reset", {"email": "ada@example.com"})
    (letter,) = web.mail_to("ada@example.com")
    link = re.search(r"http://localhost(/reset/\S+)", letter)
    assert link
    new = "another battery horse staple"
    browser.post(link[1], {"password": new, "password_confirm": new})
    for _time in range(2):
        browser.post("/reset", {"email": "ada@example.com"})
    letters = [letter for letter in web.mail_to("ada@example.com") if "/reset/" in letter]
    assert len(letters) == 2


@ON_SQLITE
def test_grants_of_a_deleted_account_are_still_told(web: Site, cli: Cli) -> None:
    web.make("bob@example.com", role="admin")
    cli("users", "delete", "bob@example.com", "--yes", check=True)
    told = web.token("ada@example.com")("GET", "/api/users/2/grants").json["grants"]
    assert [(one["role"], one["state"]) for one in told] == [("admin", "revoked")]
    assert "bob" not in str(told)


@ON_SQLITE
@pytest.mark.parametrize("path", ["/", "/login", "/nowhere"])
def test_page_says_that_the_database_is_away_without_asking_it(
    web: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    asked: list[str] = []

    def fail(key: str) -> Any:
        asked.append(key)
        raise PoolTimeout

    browser = web.browser("ada@example.com")
    monkeypatch.setattr("opsapp.web.security.setup.sessions.find_live", fail)
    page = browser.get(path)
    assert (page.status_code, page.mimetype, len(asked)) == (503, "text/html", 1)
    assert page.headers["Retry-After"] == "5"
    assert page.headers["X-Request-ID"] in page.text


# --- sessions and connections ----------------------------------------------------


@ON_SQLITE
def test_request_is_answered_though_the_use_of_its_token_cannot_be_stored(
    web: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_credential: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception("disk full"))

    monkeypatch.setattr(sessions, "note_use", fail)
    assert web.token("ada@example.com")("GET", "/api/me").status_code == 200
    assert "was not stored" in caplog.text


@pytest.fixture
def narrow(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site with two connections for its requests."""
    options = {"pool_size": 2, "max_overflow": 0, "pool_timeout": 5}
    if database.url.startswith("postgresql"):
        options["pool_pre_ping"] = True
    with site(database, monkeypatch, {"SQLALCHEMY_ENGINE_OPTIONS": options}) as made:
        made.make("ada@example.com")
        yield made


def test_requests_do_not_wait_for_each_others_connections(narrow: Site) -> None:
    both = Barrier(2)

    def request(_number: int) -> bool:
        with narrow.inside():
            db.session.execute(sa.text("SELECT 1"))  # Its own connection, as a request has.
            both.wait()
            with bookkeeping() as beside:
                return beside.scalar(sa.text("SELECT 1")) == 1

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(request, range(2))) == [True, True]


@ON_SQLITE
def test_connections_that_do_not_come_are_busy(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0}
    with site(database, monkeypatch, {"SQLALCHEMY_ENGINE_OPTIONS": options}) as made:
        made.make("ada@example.com")
        program = made.token("ada@example.com")
        with made.inside(), db.engines[BOOKKEEPING].connect(), db.engine.connect():
            answer = program("GET", "/api/me")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


@ON_SQLITE
def test_message_of_an_account_that_is_erased_while_it_is_sent(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opsapp.mail import outbox

    web.make("bob@example.com")

    def erase(_message: Any) -> tuple[None, bool]:
        users.delete("bob@example.com", unit=a_unit())
        return None, False

    with web.inside():
        outbox.keep([outbox.Message("test", "bob@example.com", "subject", "body", "user:2")])
        (id,) = outbox.take_kept()
        monkeypatch.setattr(outbox, "_deliver", erase)
        assert outbox._send(id) is None


@ON_SQLITE
def test_events_of_a_page_carry_the_number_of_its_answer(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    new = PASSWORD + "2"
    form = {"password": PASSWORD, "new_password": new, "new_password_confirm": new}
    answer = browser.post("/change", form)
    assert last_events(database) == [("user:password:set", "user:1", "web")]
    newest = "SELECT correlation FROM ops_audit_events ORDER BY seq DESC LIMIT 1"
    assert database.rows(newest) == [(answer.headers["X-Request-ID"],)]
