"""After an incident: everything ended at once, weak accounts found, passwords set anew."""

from __future__ import annotations

import pytest

from opsapp.accounts import logins
from tests.mail.test_notices import body, sent
from tests.support import PASSWORD, Cli, Database
from tests.support.templates import BOB, Commands
from tests.support.web import site

SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
OPEN = "2090-01-01 00:00:00.000000"
URL = "http://localhost"


@pytest.fixture
def after_leak() -> Commands:
    return (
        *BOB,
        ("users", "tokens", "create", "ada", "ci"),
        ("users", "tokens", "create", "ada", "deploy"),
        ("users", "tokens", "create", "bob", "ci"),
        ("users", "create", "carol@example.com", "--no-password"),
    )


@pytest.fixture
def leak(database: Database, after_leak: Commands) -> Database:
    """Ada has a password and two tokens, Bob one token only; both have a session."""
    database.execute(
        "INSERT INTO ops_user_sessions (user_id, key, uniquifier, opened_at, seen_at, expires_at)"
        " SELECT id, username, fs_uniquifier, created_at, created_at, :end FROM ops_users"
        " WHERE username IS NOT NULL",
        end=OPEN,
    )
    return database


def names(cli: Cli, *args: str) -> list[str]:
    rows = cli("users", "list", *args, "--format", "json", check=True).json
    return [row["email"].partition("@")[0] for row in rows]


@pytest.mark.parametrize(("words", "ended"), [(("sessions", "end"), 2), (("tokens", "revoke"), 3)])
def test_all_sessions_and_tokens_end_at_once(
    cli: Cli, leak: Database, words: tuple[str, ...], ended: int
) -> None:
    assert cli("users", *words, "--all").exit_code == 5
    done = cli("users", *words, "--all", "--reason", "leak", "--yes", "--format", "json")
    assert (done.exit_code, done.json["changed"]) == (0, True)
    assert len(done.json["results"]) == ended
    again = cli("users", *words, "--all", "--yes")
    assert (again.exit_code, again.stderr) == (0, "Already so: nothing was changed.\n")
    assert cli("audit", "verify", "--state").exit_code == 0


def test_all_tokens_of_a_user(cli: Cli, leak: Database) -> None:
    done = cli("users", "tokens", "revoke", "ada", "--all", "--yes", "--format", "json")
    assert sorted(row["name"] for row in done.json["results"]) == ["ci", "deploy"]
    states = {
        (row["user"], row["state"])
        for row in cli("users", "tokens", "list", "--format", "json").json
    }
    assert states == {("ada@example.com", "revoked"), ("bob@example.com", "live")}


@SQLITE
@pytest.mark.parametrize(
    "words",
    [
        *(("sessions", "end"), ("sessions", "end", "ada", "--all")),
        *(("tokens", "revoke"), ("tokens", "revoke", "ada")),
        ("tokens", "revoke", "ada", "ci", "--all"),
    ],
)  # fmt: skip
def test_all_is_said_or_the_user_is_named(cli: Cli, leak: Database, words: tuple[str, ...]) -> None:
    done = cli("users", *words, "--yes")
    assert (done.exit_code, done.stdout) == (2, "")


def test_weak_and_service_accounts_are_found(cli: Cli, leak: Database) -> None:
    assert names(cli, "--without-second-factor") == ["ada"]
    assert names(cli, "--service") == ["bob"]
    cli("users", "tokens", "revoke", "bob", "ci", "--yes", check=True)
    assert names(cli, "--service") == []


# --- mail --------------------------------------------------------------------


@SQLITE
def test_send_reset_mails_a_link_that_sets_a_password(
    cli: Cli, leak: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    unset = cli("users", "send-reset", "bob")
    assert (unset.exit_code, unset.stdout) == (7, "")
    assert unset.stderr == (
        "Error: OPSAPP_URL is not set, so mail has no links\n"
        "  → OPSAPP_URL=https://ops.example.com\n"
    )
    monkeypatch.setenv("OPSAPP_URL", URL)
    before = len(sent(leak))
    done = cli("users", "send-reset", "bob", "ada", "--format", "json")
    assert (done.exit_code, [row["changed"] for row in done.json["results"]]) == (0, [True, True])
    to_bob, to_ada = sent(leak)[before:]
    assert (to_bob["To"], to_ada["To"]) == ("bob@example.com", "ada@example.com")
    [link] = [word for word in body(to_bob).split() if word.startswith(URL)]
    again = cli("users", "send-reset", "bob")
    assert (again.exit_code, again.stderr) == (0, "Already so: nothing was changed.\n")
    with site(leak, monkeypatch) as web:
        page = web.browser().post(link.removeprefix(URL), {
            "password": "another battery horse staple",
            "password_confirm": "another battery horse staple",
        })  # fmt: skip
        assert page.status_code == 302
        assert web.browser().sign_in("bob", "another battery horse staple").status_code == 302
    # That link is used up.
    third = cli("users", "send-reset", "bob", "--format", "json")
    assert [row["changed"] for row in third.json["results"]] == [True]


@SQLITE
def test_other_administrators_hear_of_a_new_one(cli: Cli, leak: Database) -> None:
    before = len(sent(leak))
    cli("roles", "grant", "admin", "bob", check=True)
    mails = sent(leak)[before:]
    assert [mail["To"] for mail in mails] == ["bob@example.com", "ada@example.com"]
    assert mails[1]["Subject"] == "opsapp: There is a new administrator"
    assert "An operator made bob@example.com an administrator of opsapp." in body(mails[1])


# --- passwords ---------------------------------------------------------------


@SQLITE
def test_user_must_choose_another_password_first(
    database: Database, cli: Cli, leak: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("users", "set-password", "bob", "--password-stdin", "--must-change")
    assert cli(*args, stdin=PASSWORD, check=True).exit_code == 0
    assert "Already so" in cli(*args, stdin=PASSWORD, check=True).stderr
    assert cli("users", "show", "bob", "--format", "json").json["must_change_password"] is True
    with site(database, monkeypatch) as web:
        browser = web.browser("bob")
        for path in ("/", "/tf-setup", "/sessions/end-others"):
            answer = browser.get(path)
            assert (answer.status_code, answer.headers["Location"]) == (302, "/change")
        assert browser.get("/api/me").status_code == 403
        assert browser.get("/healthz").status_code == 200
        assert browser.get("/static/style.css").status_code in (200, 404)
        new = "another battery horse staple"
        form = {"password": PASSWORD, "new_password": new, "new_password_confirm": new}
        assert browser.post("/change", form).status_code == 302
        assert browser.get("/").status_code == 200
        assert browser.is_in
    assert cli("users", "show", "bob", "--format", "json").json["must_change_password"] is False
    assert cli("audit", "verify", "--state").exit_code == 0


# --- logins -----------------------------------------------------------------


def test_logins_are_filtered_and_followed(
    cli: Cli, leak: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def attempt(outcome: str, ip: str, network: str) -> None:
        leak.execute(
            "INSERT INTO ops_logins (at, user_id, identity, outcome, ip, network)"
            " VALUES ('2026-01-01 10:00:00.000000', 2, 'x', :outcome, :ip, :network)",
            outcome=outcome, ip=ip, network=network,
        )  # fmt: skip

    attempt("password", "192.0.2.1", "192.0.2.1")
    attempt("locked", "2001:db8::7", "2001:db8::/64")
    attempt("success", "2001:db8::8", "2001:db8::/64")

    def outcomes(*args: str) -> list[str]:
        rows = cli("users", "logins", "list", *args, "--format", "json", check=True).json
        return [row["outcome"] for row in rows]

    assert outcomes("--outcome", "locked,password") == ["locked", "password"]
    assert outcomes("--address", "192.0.2.1") == ["password"]
    assert outcomes("--address", "2001:DB8::7") == ["locked"]
    assert outcomes("--address", "2001:db8::/64") == ["success", "locked"]
    for args in (("--address", "bob"), ("--outcome", "locked,nosuch")):
        assert cli("users", "logins", "list", *args).exit_code == 2

    def poll() -> None:
        attempt("locked", "192.0.2.9", "192.0.2.9")
        attempt("success", "192.0.2.9", "192.0.2.9")

    with site(leak, monkeypatch) as web, web.inside():
        rows = logins.follow(poll=poll, outcome=["locked"], limit=1)
        followed = [next(rows) for _number in range(3)]
    assert [row["ip"] for row in followed] == ["2001:db8::7", "192.0.2.9", "192.0.2.9"]
