"""Two factors: set up, used, recovered, required, removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from werkzeug.test import TestResponse

from opsapp.accounts import roles, signin
from tests.support import Cli, Database, a_unit
from tests.support.web import (
    Browser,
    Site,
    code_of,
    codes_on,
    csrf_token,
    last_events,
    seed_on,
    set_up,
    site,
)

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def enter(browser: Browser, code: str) -> TestResponse:
    return browser.post("/tf-validate", {"code": code}, at="/tf-validate")


def test_second_factor_is_asked_for_once_it_is_set_up(web: Site, database: Database) -> None:
    browser, other = web.browser("ada@example.com"), web.browser("ada@example.com")
    totp = set_up(browser)
    assert last_events(database, 2)[1] == ("user:factor:set", "user:1", "web")
    assert (browser.is_in, other.is_in) == (True, False)
    stored = database.rows("SELECT tf_totp_secret FROM ops_users")[0][0]
    assert totp.base32_key not in stored

    fresh = Browser(web.app)
    answer = fresh.sign_in("ada@example.com")
    assert answer.headers["Location"].startswith("/tf-validate")
    assert not fresh.is_in
    assert enter(fresh, "000000").status_code == 200
    assert enter(fresh, code_of(totp, 1)).headers["Location"] == "/"
    assert fresh.is_in
    events = database.rows("SELECT seq FROM ops_audit_events WHERE action = 'user:factor:set'")
    assert len(events) == 1


def test_code_is_good_once(web: Site) -> None:
    totp = set_up(web.browser("ada@example.com"))
    code = code_of(totp, 1)
    first, second = Browser(web.app), Browser(web.app)
    for browser in (first, second):
        browser.sign_in("ada@example.com")
        enter(browser, code)
    assert (first.is_in, second.is_in) == (True, False)


def test_another_app_is_paired_within_the_same_half_minute(web: Site) -> None:
    browser = web.browser("ada@example.com")
    first, second = set_up(browser), set_up(browser)
    assert first.base32_key != second.base32_key
    fresh = Browser(web.app)
    fresh.sign_in("ada@example.com")
    enter(fresh, code_of(first, 1))
    assert not fresh.is_in
    enter(fresh, code_of(second, 1))
    assert fresh.is_in


def test_app_is_paired_again_right_after_it_was_taken_off(web: Site) -> None:
    browser = web.browser("ada@example.com")
    set_up(browser)
    browser.post("/tf-setup", {"setup": "disable"})
    set_up(browser)


def test_code_that_paired_the_app_signs_no_user_in(web: Site) -> None:
    browser = web.browser("ada@example.com")
    set_up(browser)
    page = browser.post("/tf-setup", {"setup": "authenticator"})
    code = code_of(seed_on(page))
    browser.client.post("/tf-validate", data={"code": code, "csrf_token": csrf_token(page)})
    fresh = Browser(web.app)
    fresh.sign_in("ada@example.com")
    assert "Incorrect code." in enter(fresh, code).text
    assert not fresh.is_in


def test_codes_are_not_guessed(web: Site, database: Database) -> None:
    totp = set_up(web.browser("ada@example.com"))
    browser = Browser(web.app)
    browser.sign_in("ada@example.com")
    for _time in range(9):
        enter(browser, "000000")
    assert "Too many attempts" in enter(browser, code_of(totp, 1)).text
    assert not browser.is_in
    # The right password does not give new turns.
    assert "Too many attempts" in Browser(web.app).sign_in("ada@example.com").text
    assert database.failed_logins() == 10


def test_recovery_code_works_once_and_is_audited(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    page = browser.post("/mf-recovery-codes", {"generate_new_codes": "1"})
    codes = codes_on(page)
    assert len(set(codes)) == 10
    assert last_events(database) == [("user:codes:set", "user:1", "web")]
    assert codes[0].replace("-", "") not in str(
        database.rows("SELECT mf_recovery_codes FROM ops_users")
    )
    set_up(browser)
    for worth in (True, False):
        fresh = Browser(web.app)
        fresh.sign_in("ada@example.com")
        fresh.post("/mf-recovery", {"code": codes[3]})
        assert fresh.is_in is worth
    assert last_events(database) == [("user:codes:use", "user:1", "web")]


def test_recovery_codes_are_not_guessed(web: Site) -> None:
    browser = web.browser("ada@example.com")
    page = browser.post("/mf-recovery-codes", {"generate_new_codes": "1"})
    code = codes_on(page)[0]
    set_up(browser)
    fresh = Browser(web.app)
    fresh.sign_in("ada@example.com")
    for _time in range(9):
        fresh.post("/mf-recovery", {"code": "0000-0000-0000-0000-0000-0000"})
    assert "Too many attempts" in fresh.post("/mf-recovery", {"code": code}).text


def test_taking_it_off_ends_other_sessions(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    totp = set_up(browser)
    other = Browser(web.app)
    other.sign_in("ada@example.com")
    enter(other, code_of(totp, 1))
    assert other.is_in
    browser.post("/tf-setup", {"setup": "disable"})
    assert last_events(database) == [("user:factor:remove", "user:1", "web")]
    assert (browser.is_in, other.is_in) == (True, False)


def test_operator_takes_it_off(web: Site, cli: Cli) -> None:
    browser = web.browser("ada@example.com")
    set_up(browser)
    assert cli("users", "reset-access", "ada@example.com", "--yes").exit_code == 0
    assert not browser.is_in
    assert web.browser("ada@example.com").is_in


@pytest.fixture
def strict(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A site that asks the powerful for two factors."""
    with site(database, monkeypatch, {"OPSAPP_TWO_FACTOR": "admins"}) as made:
        made.make("ada@example.com", role="admin")
        with made.inside():
            roles.create("desk", allow=["users:read"], unit=a_unit())
            roles.create("staff", allow=["users:write"], unit=a_unit())
        made.make("desk@example.com", role="desk")
        made.make("staff@example.com", role="staff")
        yield made


@pytest.mark.parametrize(
    ("name", "asked"),
    [("ada@example.com", True), ("staff@example.com", True), ("desk@example.com", False)],
)
def test_powerful_accounts_must_set_it_up_before_they_get_in(
    strict: Site, name: str, asked: bool
) -> None:
    browser = Browser(strict.app)
    answer = browser.sign_in(name)
    assert answer.headers["Location"] == ("/tf-setup" if asked else "/")
    assert browser.is_in is not asked


def test_required_second_factor_is_set_up_while_signing_in(strict: Site) -> None:
    browser = Browser(strict.app)
    browser.sign_in("ada@example.com")
    page = browser.post("/tf-setup", {"setup": "authenticator"})
    totp = seed_on(page)
    form = {"code": code_of(totp), "csrf_token": csrf_token(page)}
    page = browser.client.post("/tf-validate", data=form)
    assert (len(codes_on(page)), 'href="/" id="codes-kept"' in page.text) == (10, True)
    assert browser.is_in


def test_who_becomes_powerful_while_signed_in_needs_it_for_the_api(strict: Site) -> None:
    from opsapp.accounts import grants

    browser = strict.browser("desk@example.com")
    assert browser.get("/api/users").status_code == 200
    with strict.inside():
        grants.grant("admin", ["desk@example.com"], unit=a_unit())
    assert browser.get("/api/users").status_code == 403


def test_second_factor_stays_through_deactivation(web: Site) -> None:
    set_up(web.browser("ada@example.com"))
    web.make("eve@example.com", role="admin")
    with web.inside():
        signin.deactivate(["ada@example.com"], unit=a_unit())
        signin.activate(["ada@example.com"], unit=a_unit())
    answer = Browser(web.app).sign_in("ada@example.com")
    assert answer.headers["Location"].startswith("/tf-validate")


# --- what was tried on it ------------------------------------------------------


@ON_SQLITE
def test_asking_for_a_code_ends_no_session(web: Site) -> None:
    browser = web.browser("ada@example.com")
    assert browser.get("/tf-validate").headers["Location"] == "/"
    assert browser.is_in


@ON_SQLITE
def test_pairing_is_finished_where_it_was_begun(web: Site, database: Database) -> None:
    thief = web.browser("ada@example.com")
    totp = seed_on(thief.post("/tf-setup", {"setup": "authenticator"}))
    web.make("bob@example.com")
    victim = web.browser("bob@example.com")
    form = {"code": code_of(totp), "csrf_token": csrf_token(victim.get("/change"))}
    assert victim.client.post("/tf-validate", data=form).headers["Location"] == "/"
    assert victim.client.post("/tf-setup/x", data=form).status_code == 404
    assert database.rows("SELECT tf_primary_method FROM ops_users") == [(None,), (None,)]


@ON_SQLITE
def test_pairing_is_finished_with_a_fresh_password_only(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    page = browser.post("/tf-setup", {"setup": "authenticator"})
    with browser.client.session_transaction() as cookie:
        cookie["fs_paa"] = time.time() - 3600
        cookie["fs_gexp"] = 0
    form = {"code": code_of(seed_on(page)), "csrf_token": csrf_token(page)}
    answer = browser.client.post("/tf-validate", data=form)
    assert answer.headers["Location"].startswith("/verify")
    assert database.rows("SELECT tf_primary_method FROM ops_users") == [(None,)]


@ON_SQLITE
@pytest.mark.parametrize("rule", ["optional", "admins"])
def test_wrong_code_keeps_the_key_that_was_scanned(
    database: Database, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    with site(database, monkeypatch, {"OPSAPP_TWO_FACTOR": rule}) as made:
        made.make("ada@example.com", role="admin")
        browser = Browser(made.app)
        browser.sign_in("ada@example.com")
        page = browser.post("/tf-setup", {"setup": "authenticator"})
        totp = seed_on(page)
        for _time in range(11):  # They are no guesses, and lock nothing.
            form = {"code": "000000", "csrf_token": csrf_token(page)}
            page = browser.client.post("/tf-validate", data=form)
            assert "Incorrect code." in page.text
            assert seed_on(page).key == totp.key
        form = {"code": code_of(totp), "csrf_token": csrf_token(page)}
        assert len(codes_on(browser.client.post("/tf-validate", data=form))) == 10
        assert browser.is_in


def test_pairing_shows_recovery_codes_once(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    page = browser.post("/tf-setup", {"setup": "authenticator"})
    form = {"code": code_of(seed_on(page)), "csrf_token": csrf_token(page)}
    shown = browser.client.post("/tf-validate", data=form)
    codes = codes_on(shown)
    assert (shown.status_code, len(set(codes)), "I kept them" in shown.text) == (200, 10, True)
    assert last_events(database, 2) == [
        ("user:codes:set", "user:1", "web"),
        ("user:factor:set", "user:1", "web"),
    ]
    page = browser.get("/mf-recovery-codes")
    assert (codes_on(page), "10 codes left." in page.text) == ([], True)
    stored = str(database.rows("SELECT * FROM ops_users"))
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)


@ON_SQLITE
def test_app_is_paired_though_the_name_of_the_application_has_a_colon(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(database, monkeypatch, {"APP_NAME": "Shop: orders"}) as web:
        web.make("ada@example.com")
        set_up(web.browser("ada@example.com"))
        assert web.app.config["SECURITY_TOTP_ISSUER"] == "Shop- orders"


@pytest.mark.parametrize(
    "spell",
    [
        str.upper,
        lambda code: code.replace("-", " "),
        lambda code: f" {code[:4]}{code[4:]}\t",
        lambda code: code.replace("-", "\u2013") + ".",
    ],
)
def test_recovery_code_may_be_spelled_freely_and_its_use_is_mailed(
    web: Site, spell: Callable[[str], str]
) -> None:
    browser = web.browser("ada@example.com")
    codes = codes_on(browser.post("/mf-recovery-codes", {"generate_new_codes": "1"}))
    set_up(browser)
    fresh = Browser(web.app)
    fresh.sign_in("ada@example.com")
    fresh.post("/mf-recovery", {"code": spell(codes[0])})
    assert fresh.is_in
    letter = web.mail_to("ada@example.com")[-1]
    assert "a recovery code was used a moment ago" in letter
    assert "9 codes are left." in letter


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
        "new recovery codes were generated" in told[0],
        "asks for a code of an authenticator app" in told[1],
        "authentication was turned off" in told[2],
        "the e-mail address of your account" in told[3],
    ] == [True] * 4
    assert "thief" not in str(told)
    assert web.mail_to("thief@example.com") == []
