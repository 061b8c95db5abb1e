"""What an attacker tried, and what it leads to now."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
import sqlalchemy as sa
from flask_security.password_util import PasswordUtil
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from opsapp import clock, config, errors
from opsapp.engine import BOOKKEEPING
from opsapp.extensions import db
from opsapp.services import grants, logins, roles, sessions, tokens, users
from opsapp.services.logins import Client
from opsapp.unit import bookkeeping
from opsapp.web import auth
from support import PASSWORD, Cli, Database, a_unit
from web import (
    Browser,
    Site,
    code_of,
    csrf_token,
    last_events,
    seed_on,
    set_up,
    settle,
    site,
)

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
HERE = Client("192.0.2.1", "test")


# --- nobody becomes more than they are -------------------------------------------


@pytest.fixture
def desk(web: Site) -> Site:
    """Account 2 may grant roles, until tomorrow, and holds nothing else."""
    with web.inside():
        roles.create("desk", allow=["roles:grant", "users:write"], unit=a_unit())
        roles.create("empty", unit=a_unit())
    web.make("desk@example.com")
    web.make("bob@example.com")
    with web.inside():
        tomorrow = clock.now() + timedelta(days=1)
        grants.grant("desk", ["desk@example.com"], until=tomorrow, unit=a_unit())
    return web


@ON_SQLITE
@pytest.mark.parametrize("user", [2, 3])
def test_grant_with_an_end_makes_none_that_outlives_it(desk: Site, user: int) -> None:
    program = desk.token("desk@example.com")
    path = f"/api/users/{user}/roles/desk"
    for body in ({}, {"valid_until": "2099-01-01T00:00:00Z"}):
        refused = program("PUT", path, json=body)
        assert refused.status_code == 403
        assert "yourself" in refused.json["message"]
    soon = clock.rfc3339(clock.now() + timedelta(hours=1))
    assert program("PUT", path, json={"valid_until": soon}).status_code == 200


@ON_SQLITE
def test_end_of_a_grant_is_not_drawn_nearer_for_who_may_do_more(desk: Site) -> None:
    with desk.inside():
        grants.grant("empty", ["ada@example.com"], unit=a_unit())
    soon = {"valid_until": clock.rfc3339(clock.now() + timedelta(seconds=60))}
    refused = desk.token("desk@example.com")("PUT", "/api/users/1/roles/empty", json=soon)
    assert (refused.status_code, refused.json["message"]) == (
        403,
        "user 1 holds *, which you do not",
    )


@ON_SQLITE
def test_limited_token_does_not_change_its_own_account(web: Site) -> None:
    program = web.token("ada@example.com", allow=["users:write"])
    for change in ({"email": "thief@example.com"}, {"username": "thief"}, {"active": False}):
        refused = program("PATCH", "/api/users/1", json=change, headers={"If-Match": "*"})
        assert refused.status_code == 403


@ON_SQLITE
def test_no_token_moves_its_own_account_to_another_address(web: Site) -> None:
    program = web.token("ada@example.com")
    moved = program(
        "PATCH", "/api/users/1", json={"email": "thief@example.com"}, headers={"If-Match": "*"}
    )
    assert (moved.status_code, "may not change" in moved.json["message"]) == (403, True)
    same = program(
        "PATCH",
        "/api/users/1",
        json={"email": "ada@example.com", "username": "ada"},
        headers={"If-Match": "*"},
    )
    assert same.status_code == 200


@ON_SQLITE
@pytest.mark.parametrize("allow", [None, ["users:write", "roles:grant"]])
def test_who_may_do_it_for_an_hour_moves_nobody_who_may_for_ever(
    desk: Site, allow: list[str] | None
) -> None:
    with desk.inside():
        grants.grant("desk", ["bob@example.com"], unit=a_unit())
    program = desk.token("desk@example.com", allow=allow)
    taken = {"email": "thief@example.com"}
    moved = program("PATCH", "/api/users/3", json=taken, headers={"If-Match": "*"})
    assert moved.status_code == 403
    assert "for ever yourself" in moved.json["message"]
    named = program("PATCH", "/api/users/3", json={"username": "b"}, headers={"If-Match": "*"})
    assert named.status_code == 200


# --- host names ------------------------------------------------------------------


@ON_SQLITE
def test_other_host_names_are_refused_and_health_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_URL", "https://ops.example.com")
    with site(database, monkeypatch) as made:
        client = Browser(made.app).client
        for host, status in (("ops.example.com", 200), ("evil.example", 400), ("10.0.0.9", 400)):
            assert client.get("/login", base_url=f"https://{host}").status_code == status
        for path in ("/healthz", "/readyz"):
            assert client.get(path, base_url="http://10.0.0.9:8000").status_code == 200


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://Ops.Example.com/", "https://ops.example.com"),
        ("https://öps.example.com", "https://xn--ps-eka.example.com"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://.example.com", None),
        ("https://u:p@ops.example.com", None),
        ("https://ops.example.com?x=1", None),
        ("https://ops.example.com/ops", None),
        ("https://ops.example.com:99999", None),
        ("http://[", None),
        ("ops.example.com", None),
        ("ftp://ops.example.com", None),
    ],
)
def test_our_address_is_an_origin(url: str, kept: str | None) -> None:
    if kept is None:
        with pytest.raises(errors.NotReady, match="is not of the form"):
            config.url({"OPSAPP_URL": url})
    else:
        assert config.url({"OPSAPP_URL": url}) == kept


@ON_SQLITE
@pytest.mark.parametrize(
    ("url", "host", "status"),
    [
        ("http://[::1]:8000", "[::1]:8000", 200),
        ("https://öps.example.com", "xn--ps-eka.example.com", 200),
        ("https://ops.example.com", "OPS.example.com", 200),
        ("https://ops.example.com", "x.ops.example.com", 400),
        ("https://ops.example.com", "ops.example.com.evil.example", 400),
    ],
)
def test_host_names_are_compared_as_names(
    database: Database, monkeypatch: pytest.MonkeyPatch, url: str, host: str, status: int
) -> None:
    monkeypatch.setenv("OPSAPP_URL", url)
    with site(database, monkeypatch) as made:
        answer = Browser(made.app).client.get("/login", headers={"Host": host})
        assert answer.status_code == status


@ON_SQLITE
@pytest.mark.parametrize("host", ["evil.example", "a b", "[::1", "x" * 300, "evil\\example"])
def test_host_that_flask_itself_refuses_gets_a_plain_page(
    database: Database, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with site(database, monkeypatch, {"TRUSTED_HOSTS": ["ops.example.com"]}) as made:
        client = Browser(made.app).client
        for accept in ("text/html", "application/json"):
            headers = {"Host": host, "Accept": accept}
            assert client.get("/login", headers=headers).status_code == 400


@ON_SQLITE
@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://ops.example.com", "ops.example.com"),
        ("https://öps.example.com", "xn--ps-eka.example.com"),
    ],
)
def test_links_in_mail_are_of_our_address_whatever_was_asked_for(
    database: Database, monkeypatch: pytest.MonkeyPatch, url: str, host: str
) -> None:
    monkeypatch.setenv("OPSAPP_URL", url)
    with site(database, monkeypatch) as made:
        made.make("ada@example.com")
        client = made.app.test_client()
        asked = f"http://{host}:8443"
        form = {"csrf_token": csrf_token(client.get("/reset", base_url=asked))}
        with client.post("/reset", data={"email": "ada@example.com", **form}, base_url=asked):
            pass
        settle(made.app)
        (letter,) = made.mail_to("ada@example.com")
        assert re.findall(r"https?://[^/\s]+", letter) == [f"https://{host}"]


# --- what is sent ------------------------------------------------------------------


@ON_SQLITE
@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, '{"email":' * 20_000, '{"email": ' + "9" * 5000 + "}", "\ud800", "nul\x00"],
)
def test_json_that_nobody_writes_is_the_clients_fault(web: Site, body: str) -> None:
    program = web.token("ada@example.com")
    answer = program(
        "POST",
        "/api/users",
        data=body.encode("utf-8", "surrogatepass"),
        content_type="application/json",
    )
    assert answer.status_code in (400, 422)


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_moment_beyond_the_calendar_is_422(web: Site, moment: str) -> None:
    program = web.token("ada@example.com")
    listed = program("GET", "/api/users", query_string={"created_since": moment})
    granted = program("PUT", "/api/users/1/roles/admin", json={"valid_until": moment})
    assert (listed.status_code, granted.status_code) == (422, 422)


@pytest.mark.parametrize("text", ["\x00", "a\x1b[31m", "\u202e"])
def test_hostile_search_is_422(web: Site, text: str) -> None:
    program = web.token("ada@example.com")
    assert program("GET", "/api/users", query_string={"search": text}).status_code == 422


def test_name_that_grows_when_it_is_made_normal_is_refused(web: Site) -> None:
    with web.inside(), pytest.raises(users.Invalid, match="longer than 64"):
        users.create("x@example.com", username="\ufdfa" * 20 + "x", unit=a_unit())
    with web.inside(), pytest.raises(users.Invalid, match="longer than 64"):
        users.create("x@example.com", username="ß" * 64, unit=a_unit())


@pytest.mark.parametrize("address", ["x" * 500, "\x1b[31m", ""])
def test_address_that_is_none_is_kept_short_and_safe(
    web: Site, database: Database, address: str
) -> None:
    browser = Browser(web.app)
    form = {"email": "ada@example.com", "password": PASSWORD}
    form["csrf_token"] = csrf_token(browser.get("/login"))
    answer = browser.client.post("/login", data=form, environ_base={"REMOTE_ADDR": address})
    assert answer.status_code == 302
    ((ip,),) = database.rows("SELECT ip FROM logins")
    assert ip is None or (len(ip) <= 64 and ip.isprintable())


@ON_SQLITE
@pytest.mark.parametrize("path", ["/login", "/reset", "/tf-validate", "/verify"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_pages_take_no_json(web: Site, path: str, method: str) -> None:
    answer = web.browser().client.open(path, method=method, json={"email": "x"})
    assert answer.status_code == 415


@ON_SQLITE
@pytest.mark.parametrize("length", [73, 128])
def test_long_passwords_are_passwords(web: Site, cli: Cli, length: int) -> None:
    long = ("correct horse battery staple " * 9)[:length]
    browser = web.browser("ada@example.com")
    form = {"password": PASSWORD, "new_password": long, "new_password_confirm": long}
    assert browser.post("/change", form).status_code == 302
    assert web.browser().sign_in("ada@example.com", long).status_code == 302
    done = cli("users", "set-password", "ada@example.com", "--password-stdin", stdin=long + "\n")
    assert (done.exit_code, done.stderr) == (0, "Already so: nothing was changed.\n")
    assert web.browser().sign_in("ada@example.com", long[:-1]).status_code == 200
    too_long = {"new_password": "x" * 129, "new_password_confirm": "x" * 129}
    assert browser.post("/change", {"password": long, **too_long}).status_code == 200


@ON_SQLITE
def test_text_that_is_too_long_for_a_password_is_not_worked_on(
    web: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    worked_on: list[int] = []
    real = PasswordUtil.normalize

    def normalize(self: PasswordUtil, password: str) -> str:
        worked_on.append(len(password))
        return real(self, password)

    monkeypatch.setattr(PasswordUtil, "normalize", normalize)
    browser = web.browser("ada@example.com")
    long = "\u0301" * 20_000 + "\u0323" * 20_000
    browser.post("/verify", {"password": long})
    browser.post(
        "/change", {"password": PASSWORD, "new_password": long, "new_password_confirm": long}
    )
    web.browser().sign_in("ada@example.com", long)
    assert worked_on
    assert max(worked_on) <= 128


@ON_SQLITE
@pytest.mark.parametrize("url", ["//evil.example", "http://[", "https://evil.example", "/\\evil"])
def test_link_elsewhere_takes_no_turn(web: Site, database: Database, url: str) -> None:
    browser = web.browser()
    assert browser.client.get("/login", query_string={"next": url}).status_code == 400
    form = {"email": "ada@example.com", "password": PASSWORD, "next": url}
    form["csrf_token"] = csrf_token(browser.get("/login"))
    assert browser.client.post("/login", data=form).status_code == 400
    assert database.rows("SELECT failed_logins FROM users") == [(0,)]
    del form["next"]
    ours = browser.client.post("/login", query_string={"next": "/api/docs"}, data=form)
    assert ours.headers["Location"] == "/api/docs"


# --- two factors -------------------------------------------------------------------


@ON_SQLITE
def test_asking_for_a_code_signs_nobody_out(web: Site) -> None:
    browser = web.browser("ada@example.com")
    assert browser.get("/tf-validate").headers["Location"] == "/"
    assert browser.is_in


@ON_SQLITE
def test_pairing_is_finished_where_it_was_begun(web: Site, database: Database) -> None:
    thief = web.browser("ada@example.com")
    page = thief.post("/tf-setup", {"setup": "authenticator"})
    totp = seed_on(page)
    link = re.search(r'action="(/tf-setup/[^"]+)"', page.text)
    assert link
    web.make("bob@example.com")
    victim = web.browser("bob@example.com")
    form = {"code": code_of(totp), "csrf_token": csrf_token(victim.get("/change"))}
    assert victim.client.post(link[1], data=form).headers["Location"] == "/tf-setup"
    assert database.rows("SELECT tf_primary_method FROM users") == [(None,), (None,)]


@ON_SQLITE
def test_pairing_is_finished_with_a_fresh_password_only(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    page = browser.post("/tf-setup", {"setup": "authenticator"})
    link = re.search(r'action="(/tf-setup/[^"]+)"', page.text)
    assert link
    with browser.client.session_transaction() as cookie:
        cookie["fs_paa"] = time.time() - 3600
        cookie["fs_gexp"] = 0
    form = {"code": code_of(seed_on(page)), "csrf_token": csrf_token(page)}
    answer = browser.client.post(link[1], data=form)
    assert answer.headers["Location"].startswith("/verify")
    assert database.rows("SELECT tf_primary_method FROM users") == [(None,)]


@ON_SQLITE
def test_password_stays_fresh_for_its_time_however_often_it_is_used(web: Site) -> None:
    browser = web.browser("ada@example.com")
    token = browser.get("/api/me").json["csrf_token"]
    headers = {"X-CSRFToken": token}
    for number, status in enumerate((201, 201, 401)):
        made = browser.client.post(
            "/api/users", json={"email": f"u{number}@example.com"}, headers=headers
        )
        assert made.status_code == status
        with browser.client.session_transaction() as cookie:
            cookie["fs_paa"] -= 600


@ON_SQLITE
def test_code_that_paired_the_app_does_not_sign_in(web: Site) -> None:
    totp = set_up(web.browser("ada@example.com"))
    fresh = Browser(web.app)
    fresh.sign_in("ada@example.com")
    fresh.post("/tf-validate", {"code": code_of(totp)}, at="/tf-validate")
    assert not fresh.is_in


@ON_SQLITE
def test_owner_is_told_of_what_a_thief_would_change(web: Site, cli: Cli) -> None:
    browser = web.browser("ada@example.com")
    browser.post("/mf-recovery-codes", {"generate_new_codes": "1"})
    set_up(browser)
    browser.post("/tf-setup", {"setup": "disable"})
    cli("users", "update", "ada@example.com", "--email", "thief@example.com", check=True)
    told = [letter.replace("\n", " ") for letter in web.mail_to("ada@example.com")]
    assert [
        "new recovery codes were made" in told[0],
        "asks for a code of an authenticator app" in told[1],
        "authentication was turned off" in told[2],
        "has another e-mail address" in told[3],
    ] == [True] * 4
    assert "thief" not in str(told)
    assert web.mail_to("thief@example.com") == []


# --- who is there and who is not ----------------------------------------------------


def test_nobody_is_locked_like_somebody_when_many_ask_at_once(web: Site) -> None:
    def take(_number: int) -> bool:
        with web.inside():
            return logins.take_turn("nobody@example.com", None, HERE) is None

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(30))) == 10


def test_failures_of_nobody_count_while_no_day_lies_between_them(
    web: Site, database: Database
) -> None:
    def age(days: float) -> None:
        at = datetime.now(UTC) - timedelta(days=days)
        database.execute("UPDATE logins SET at = :at", at=at.strftime("%Y-%m-%d %H:%M:%S.000000"))

    with web.inside():
        for _time in range(9):
            assert logins.take_turn("nobody@example.com", None, HERE) is None
        age(2)
        assert logins.take_turn("nobody@example.com", None, HERE) is None
        assert logins.take_turn("nobody@example.com", None, HERE) is None
    counted = database.rows("SELECT count(*) FROM logins")
    assert counted == [(11,)]


def test_network_of_an_address_is_blocked_with_it(web: Site) -> None:
    def take(ip: str) -> bool:
        with web.inside():
            return logins.take_turn(f"{ip}@example.com", None, Client(ip, None)) is None

    assert all(take(f"2001:db8:1:2::{number:x}") for number in range(30))
    assert (take("2001:db8:1:2:ffff::1"), take("2001:db8:1:3::1")) == (False, True)
    assert [Client(ip, None).network for ip in ("::ffff:192.0.2.1", "192.0.2.1", "x", None)] == [
        "192.0.2.1",
        "192.0.2.1",
        "x",
        None,
    ]


@ON_SQLITE
@pytest.mark.parametrize("path", ["/reset", "/confirm"])
def test_answer_comes_at_the_same_moment(
    web: Site, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(auth, "ALIKE_SECONDS", 1000.0)
    monkeypatch.setattr(auth.time, "sleep", slept.append)
    browser = web.browser()
    for name in ("ada@example.com", "nobody@example.com"):
        browser.post(path, {"email": name})
    assert [900 < seconds < 1000 for seconds in slept] == [True, True]


@ON_SQLITE
def test_mail_that_strangers_can_ask_for_comes_seldom(web: Site, database: Database) -> None:
    browser = web.browser()
    answers = {browser.post("/reset", {"email": "ada@example.com"}).status_code for _ in range(3)}
    assert (answers, len(web.mail_to("ada@example.com"))) == ({200}, 1)
    past = "2026-01-01 00:00:00.000000"
    database.execute("UPDATE mail_messages SET created_at = :at", at=past)
    browser.post("/reset", {"email": "ada@example.com"})
    assert len(web.mail_to("ada@example.com")) == 2


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
    monkeypatch.setattr("opsapp.web.auth.sessions.find_live", fail)
    page = browser.get(path)
    assert (page.status_code, page.mimetype, len(asked)) == (503, "text/html", 1)
    assert page.headers["Retry-After"] == "5"
    assert page.headers["X-Request-ID"] in page.text


# --- sessions ----------------------------------------------------------------------


def test_session_that_has_ended_is_carried_nowhere(web: Site) -> None:
    browser = web.browser("ada@example.com")
    with browser.client.session_transaction() as cookie:
        key = cookie["key"]
    with web.inside():
        sessions.log_out(key)
        user = db.session.get_one(users.User, 1)
        sessions.carry_over(key, user)
        assert sessions.find_live(key) is None
    assert not browser.is_in


@ON_SQLITE
def test_use_of_a_token_that_cannot_be_written_down_is_answered(
    web: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_found: Any) -> None:
        raise OperationalError("UPDATE", {}, Exception("disk full"))

    monkeypatch.setattr(tokens, "see", fail)
    assert web.token("ada@example.com")("GET", "/api/me").status_code == 200
    assert "was not written down" in caplog.text


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
    from opsapp.services import mail

    web.make("bob@example.com")

    def erase(_message: Any) -> None:
        users.delete("bob@example.com", unit=a_unit())

    with web.inside():
        mail.keep([mail.Message("test", "bob@example.com", "subject", "body", 2)])
        (id,) = mail.take_kept()
        monkeypatch.setattr(mail, "_deliver", erase)
        assert mail._send(id) is None


@ON_SQLITE
def test_events_of_a_page_carry_the_number_of_its_answer(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    new = PASSWORD + "2"
    form = {"password": PASSWORD, "new_password": new, "new_password_confirm": new}
    answer = browser.post("/change", form)
    assert last_events(database) == [("user:password:set", "user:1", "web")]
    newest = "SELECT correlation FROM audit_events ORDER BY seq DESC LIMIT 1"
    assert database.rows(newest) == [(answer.headers["X-Request-ID"],)]
