"""Lockouts: attempts are counted in the database before the password is checked."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from unittest.mock import patch

import pytest

from opsapp.accounts import lockouts, logins, users
from opsapp.accounts.lockouts import lock_duration
from opsapp.accounts.logins import Client
from tests.support import PASSWORD, Cli, Database, a_unit
from tests.support.web import Browser, Site, csrf_token

NEW = "some other battery"
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
    assert (lock_duration(failures) or timedelta(0)) == timedelta(minutes=minutes)


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


def test_unknown_name_is_locked_alike(web: Site) -> None:
    browser = web.browser()
    guess(browser, "nobody@example.com", 10)
    assert TOO_MANY in browser.sign_in("nobody@example.com").text


def test_lock_ends_by_itself(web: Site, database: Database) -> None:
    browser = web.browser()
    guess(browser, "ada@example.com", 10)
    database.execute("UPDATE ops_login_failures SET locked_until = '2020-01-01 00:00:00.000000'")
    assert browser.sign_in("ada@example.com").status_code == 302
    assert database.failed_logins() == 0


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
    database.execute("UPDATE ops_login_failures SET failed_at = '2020-01-01 00:00:00.000000'")
    guess(browser, "ada@example.com", 1)
    assert database.failed_logins() == 1


def test_address_is_blocked_over_many_accounts(web: Site) -> None:
    browser = web.browser()
    for number in range(30):
        guess(browser, f"guess{number}@example.com", 1)
    assert "Too many attempts" in browser.sign_in("ada@example.com").text
    with web.inside():
        assert lockouts.count_attempt("ada@example.com", 1, HERE) is None
        newest = logins.listing("ada@example.com", limit=1)
    assert [one["outcome"] for one in newest] == ["blocked"]


def test_guesses_at_once_do_not_slip_through(web: Site) -> None:
    def take(_number: int) -> bool:
        with web.inside():
            return lockouts.count_attempt("ada@example.com", 1, HERE) is None

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
    assert database.failed_logins() == 10
    assert "Too many attempts" in browser.post("/verify", {"password": PASSWORD}).text


def test_second_password_check_gives_the_turn_back(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    browser.post("/verify", {"password": "wrong"})
    assert browser.post("/verify", {"password": PASSWORD}).status_code == 302
    assert database.failed_logins() == 0


def test_right_password_with_a_weak_new_one_locks_nothing(web: Site, database: Database) -> None:
    browser = web.browser("ada@example.com")
    browser.post("/verify", {"password": "wrong"})
    for new, again in [("short", "short")] * 6 + [("short", "other")] * 5:
        form = {"password": PASSWORD, "new_password": new, "new_password_confirm": again}
        assert "A password must have at least 12 characters." in browser.post("/change", form).text
        assert database.failed_logins() == 0
    good = {"password": PASSWORD, "new_password": NEW, "new_password_confirm": NEW}
    assert browser.post("/change", good).status_code == 302


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


def lock_out(site: Site, *names: str) -> None:
    """Ten strangers at ten addresses each guess once."""
    for number in range(10):
        stranger = site.app.test_client()
        stranger.environ_base["REMOTE_ADDR"] = f"192.0.2.{number}"
        form = {"csrf_token": csrf_token(stranger.get("/login")), "password": "wrong"}
        for name in names:
            stranger.post("/login", data={**form, "email": name})


def test_strangers_lock_out_neither_a_known_browser_nor_a_session(web: Site) -> None:
    known, open_session = web.browser("ada@example.com"), web.browser("ada@example.com")
    known.sign_out()
    lock_out(web, "ada@example.com")
    assert TOO_MANY in web.browser().sign_in("ada@example.com").text
    assert known.sign_in("ada@example.com").status_code == 302
    assert open_session.post("/verify", {"password": PASSWORD}).status_code == 302
    new = "another battery horse staple"
    form = {"password": PASSWORD, "new_password": new, "new_password_confirm": new}
    assert open_session.post("/change", form).status_code == 302


def test_known_browser_is_locked_by_its_own_failures(web: Site, database: Database) -> None:
    known = web.browser("ada@example.com")
    known.sign_out()
    guess(known, "ada@example.com", 10)
    assert TOO_MANY in known.sign_in("ada@example.com").text
    assert database.failed_logins() == 10
    assert web.browser("ada@example.com").is_in


def test_browser_is_known_to_the_accounts_that_signed_in_only(web: Site) -> None:
    web.make("bob@example.com")
    browser = web.browser("ada@example.com")
    browser.sign_out()
    lock_out(web, "bob@example.com")
    assert TOO_MANY in browser.sign_in("bob@example.com").text


def test_browser_that_set_a_password_by_mail_is_known(web: Site) -> None:
    lock_out(web, "ada@example.com")
    browser = web.browser()
    browser.post("/reset", {"email": "ada@example.com"})
    (letter,) = web.mail_to("ada@example.com")
    link = re.search(r"http://localhost(/reset/\S+)", letter)
    assert link
    browser.post(link[1], {"password": NEW, "password_confirm": NEW})
    lock_out(web, "ada@example.com")
    assert TOO_MANY in web.browser().sign_in("ada@example.com", NEW).text
    assert browser.sign_in("ada@example.com", NEW).status_code == 302


@pytest.mark.parametrize("cookie", ["", "x", "e30.x.y"])
def test_forged_cookie_makes_no_browser_known(web: Site, cookie: str) -> None:
    browser = web.browser()
    browser.client.set_cookie("opsapp_browser", cookie)
    lock_out(web, "ada@example.com")
    assert TOO_MANY in browser.sign_in("ada@example.com").text


def test_lock_does_not_tell_two_names_of_an_account_from_two_unknown_names(web: Site) -> None:
    with web.inside():
        users.update("ada@example.com", username="ada", unit=a_unit())
    answers = []
    for number, pair in enumerate((("ada", "ada@example.com"), ("eve", "eve@example.com"))):
        browser = web.browser()
        browser.client.environ_base["REMOTE_ADDR"] = f"192.0.2.{number}"
        for name in pair:
            guess(browser, name, 7)
        answers.append([TOO_MANY in browser.sign_in(name, "wrong").text for name in pair])
        for name in pair:
            guess(browser, name, 3)
        answers[-1] += [TOO_MANY in browser.sign_in(name, "wrong").text for name in pair]
    assert answers == [[False, False, True, True]] * 2


def test_operator_lifts_every_lock_of_an_account(web: Site, cli: Cli) -> None:
    known = web.browser("ada@example.com")
    known.sign_out()
    guess(known, "ada@example.com", 10)
    lock_out(web, "ada@example.com")
    cli("users", "unlock", "ada@example.com", check=True)
    for browser in (known, web.browser()):
        assert browser.sign_in("ada@example.com").status_code == 302


@pytest.mark.parametrize("character", ["\xad", "\u2060", "\u200b", "\x1b"])
def test_name_with_a_hidden_character_counts_for_no_account(
    web: Site, database: Database, cli: Cli, character: str
) -> None:
    guess(web.browser(), f"ada@exam{character}ple.com", 10)
    assert web.browser().sign_in("ada@example.com").status_code == 302
    guess(web.browser(), "ada@example.com", 9)
    guess(web.browser(), f"ada@exam{character}ple.com", 1)
    guess(web.browser(), "ada@example.com", 1)
    cli("users", "unlock", "ada@example.com", check=True)
    assert web.browser().sign_in("ada@example.com").status_code == 302


@pytest.mark.parametrize("at", ["\uff20", "\ufe6b"])
def test_other_spelling_of_the_address_locks_the_account_in_sight(
    web: Site, database: Database, cli: Cli, at: str
) -> None:
    guess(web.browser(), "ada@example.com", 9)
    guess(web.browser(), f"ada{at}example.com", 1)
    assert database.rows("SELECT user_id, count FROM ops_login_failures") == [(1, 10)]
    account = cli("users", "show", f"ada{at}example.com", "--format", "json").json
    assert (account["id"], account["status"]) == (1, "locked")
    cli("users", "unlock", "ada@example.com", check=True)
    assert web.browser().sign_in("ada@example.com").status_code == 302


@pytest.mark.parametrize("door", ["create", "import", "update"])
def test_account_that_takes_a_name_takes_its_failures(
    web: Site, database: Database, cli: Cli, door: str
) -> None:
    guess(web.browser(), "new@example.com", 10)
    guess(web.browser(), "new", 10)
    match door:
        case "create":
            cli("users", "create", "new@example.com", "--username", "new", "--no-password",
                check=True)  # fmt: skip
        case "import":
            rows = "email,username\nnew@example.com,new\n"
            cli("users", "import", "-", "--input-format", "csv", stdin=rows, check=True)
        case "update":
            cli("users", "create", "old@example.com", "--no-password", check=True)
            cli("users", "update", "old@example.com", "--email", "new@example.com",
                "--username", "new", check=True)  # fmt: skip
    assert database.rows("SELECT user_id, count FROM ops_login_failures") == [(2, 10)] * 2
    account = cli("users", "show", "new", "--format", "json").json
    assert (account["status"], account["failed_logins"]) == ("locked", 20)
    cli("users", "delete", "new", "--yes", check=True)
    assert database.failed_logins() == 0


def test_counters_are_pruned_with_the_attempts(web: Site, database: Database, cli: Cli) -> None:
    guess(web.browser(), "nobody@example.com", 1)
    guess(web.browser(), "ada@example.com", 1)
    for table, column in (("ops_logins", "at"), ("ops_login_failures", "failed_at")):
        database.execute(f"UPDATE {table} SET {column} = '2020-01-01 00:00:00.000000'")
    cli("users", "logins", "prune", "--older-than", "90d", "--yes", check=True)
    assert database.rows("SELECT count(*) FROM ops_login_failures") == [(0,)]
