"""Lock-outs: attempts are counted in the database before the password is checked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import patch

import pytest

from opsapp.accounts import logins
from opsapp.accounts.logins import Client, locked_for
from tests.support import PASSWORD, Cli, Database
from tests.support.web import Browser, Site

HERE = Client("192.0.2.1", "test")
TOO_MANY = "Too many attempts. Try again in 15 minutes."


def guess(browser: Browser, name: str, times: int) -> None:
    for _time in range(times):
        assert browser.sign_in(name, "wrong").status_code == 200


@pytest.mark.parametrize(
    ("failures", "minutes"),
    [(9, 0), (10, 15), (11, 0), (19, 0), (20, 30), (30, 60), (40, 120), (50, 240), (1000, 240)],
)
def test_every_ten_failures_lock_for_twice_as_long(failures: int, minutes: int) -> None:
    assert (locked_for(failures) or timedelta(0)) == timedelta(minutes=minutes)


def test_ten_failures_lock_the_account_even_for_the_right_password(
    web: Site, cli: Cli, database: Database
) -> None:
    browser = web.browser()
    guess(browser, "ada@example.com", 10)
    assert TOO_MANY in browser.sign_in("ada@example.com").text
    assert not browser.is_in
    shown = cli("users", "show", "ada@example.com", "--format", "json").json
    assert (shown["status"], shown["failed_logins"]) == ("locked", 10)
    outcomes = database.rows("SELECT outcome, count(*) FROM ops_logins GROUP BY outcome ORDER BY 1")
    assert outcomes == [("locked", 1), ("password", 10)]

    assert cli("users", "unlock", "ada@example.com").exit_code == 0
    assert browser.sign_in("ada@example.com").status_code == 302


def test_nobody_is_locked_alike(web: Site) -> None:
    browser = web.browser()
    guess(browser, "nobody@example.com", 10)
    assert TOO_MANY in browser.sign_in("nobody@example.com").text


def test_lock_ends_by_itself(web: Site, database: Database) -> None:
    browser = web.browser()
    guess(browser, "ada@example.com", 10)
    database.execute(
        "UPDATE ops_users SET locked_until = '2020-01-01 00:00:00.000000' WHERE id = 1"
    )
    assert browser.sign_in("ada@example.com").status_code == 302
    assert database.rows("SELECT failed_logins, locked_until FROM ops_users") == [(0, None)]


def test_success_begins_the_count_anew(web: Site) -> None:
    browser = web.browser()
    guess(browser, "ada@example.com", 9)
    assert browser.sign_in("ada@example.com").status_code == 302
    other = web.browser()
    guess(other, "ada@example.com", 9)
    assert other.sign_in("ada@example.com").status_code == 302


def test_tenth_try_may_still_be_right(web: Site) -> None:
    browser = web.browser()
    guess(browser, "ada@example.com", 9)
    assert browser.sign_in("ada@example.com").status_code == 302
    assert browser.is_in


def test_failures_of_the_day_before_do_not_count(web: Site, database: Database) -> None:
    browser = web.browser()
    guess(browser, "ada@example.com", 9)
    database.execute("UPDATE ops_users SET failed_at = '2020-01-01 00:00:00.000000'")
    guess(browser, "ada@example.com", 1)
    assert database.rows("SELECT failed_logins FROM ops_users") == [(1,)]


def test_address_is_blocked_over_many_accounts(web: Site) -> None:
    browser = web.browser()
    for number in range(30):
        guess(browser, f"guess{number}@example.com", 1)
    assert "Too many attempts" in browser.sign_in("ada@example.com").text
    with web.inside():
        assert logins.count_attempt("ada@example.com", 1, HERE) is None
        newest = logins.listing("ada@example.com", limit=1)
    assert [one["outcome"] for one in newest] == ["blocked"]


def test_guesses_at_once_do_not_slip_through(web: Site) -> None:
    def take(_number: int) -> bool:
        with web.inside():
            return logins.count_attempt("ada@example.com", 1, HERE) is None

    with ThreadPoolExecutor(8) as pool:
        allowed = sum(pool.map(take, range(64)))
    assert allowed == 10


def test_at_most_ten_of_many_guesses_reach_the_hash(web: Site) -> None:
    browser = web.browser()
    with patch("flask_security.core.verify_and_update_password", return_value=False) as hasher:
        guess(browser, "ada@example.com", 50)
    assert hasher.call_count == 10


def test_password_is_not_guessed_through_the_other_forms(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    for _time in range(5):
        browser.post("/verify", {"password": "wrong"})
        browser.post(
            "/change",
            {
                "password": "wrong",
                "new_password": "some other battery",
                "new_password_confirm": "some other battery",
            },
        )
    assert database.rows("SELECT failed_logins FROM ops_users") == [(10,)]
    assert "Too many attempts" in browser.post("/verify", {"password": PASSWORD}).text


def test_second_password_check_gives_the_turn_back(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    browser.post("/verify", {"password": "wrong"})
    assert browser.post("/verify", {"password": PASSWORD}).status_code == 302
    assert database.rows("SELECT failed_logins FROM ops_users") == [(0,)]


def test_lock_does_not_touch_who_is_in_already(web: Site) -> None:
    browser = web.browser("ada@example.com")
    guess(web.browser(), "ada@example.com", 10)
    assert browser.is_in


def test_unconfirmed_and_inactive_are_told_apart_in_the_record_only(
    web: Site, database: Database
) -> None:
    database.execute("UPDATE ops_users SET confirmed_at = NULL")
    browser = web.browser()
    browser.sign_in("ada@example.com")
    assert not browser.is_in
    database.execute("UPDATE ops_users SET active = :no, confirmed_at = :at", no=False,
                     at="2026-01-01 00:00:00.000000")  # fmt: skip
    browser.sign_in("ada@example.com")
    assert not browser.is_in
    outcomes = database.rows("SELECT outcome FROM ops_logins ORDER BY id")
    assert outcomes == [("unconfirmed",), ("inactive",)]


def test_counting_a_failure_changes_nothing_else(web: Site, database: Database) -> None:
    before = database.rows("SELECT updated_at, fs_uniquifier, password FROM ops_users")
    guess(web.browser(), "ada@example.com", 1)
    assert database.rows("SELECT updated_at, fs_uniquifier, password FROM ops_users") == before
