"""Hostile requests: the client's fault, and cheap to refuse."""

from __future__ import annotations

from io import BytesIO
from urllib.parse import quote

import pytest
from flask_security.password_util import PasswordUtil

from opsapp import crypto
from opsapp.accounts import users
from opsapp.errors import Invalid
from opsapp.extensions import db
from opsapp.mail import notices, outbox
from opsapp.models import User
from tests.support import PASSWORD, Cli, Database, a_unit
from tests.support.web import Browser, Site, csrf_token, what_changes

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
ERRORS = WRONG, SHORT, DIFFER, SAME, MISSING = (
    "Incorrect password.",
    "A password must have at least 12 characters.",
    "The two passwords differ.",
    "This is already your password.",
    "Enter the password.",
)


@ON_SQLITE
@pytest.mark.parametrize(
    "body",
    ["[" * 100_000, '{"email":' * 20_000, '{"email": ' + "9" * 5000 + "}", "\ud800", "nul\x00"],
)
def test_malformed_json_is_the_clients_fault(web: Site, body: str) -> None:
    program = web.token("ada@example.com")
    answer = program(
        "POST",
        "/api/users",
        data=body.encode("utf-8", "surrogatepass"),
        content_type="application/json",
    )
    assert answer.status_code in (400, 422)


@ON_SQLITE
@pytest.mark.parametrize("number", ["1_0", "\u0663", "+5", " 5", "5.0", "-1"])
@pytest.mark.parametrize("name", ["limit", "after"])
def test_number_is_decimal_digits(web: Site, name: str, number: str) -> None:
    answer = web.token("ada@example.com")("GET", "/api/users", query_string={name: number})
    assert (answer.status_code, answer.json["message"]) == (422, f"{name}: Not a valid integer.")


@ON_SQLITE
@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ('{"active": NaN}', 400, "The body is not JSON, or is nested too deeply."),
        ('{"active": -Infinity}', 400, "The body is not JSON, or is nested too deeply."),
        ("[]", 422, "The body is not an object."),
        ("null", 422, "The body is not an object."),
    ],
)
def test_body_is_a_json_object(
    web: Site, database: Database, body: str, status: int, message: str
) -> None:
    program = web.token("ada@example.com")
    before = what_changes(database)
    headers = {"If-Match": "*"}
    answer = program(
        "PATCH", "/api/users/1", data=body, content_type="application/json", headers=headers
    )
    assert (answer.status_code, answer.json["message"]) == (status, message)
    assert what_changes(database) == before


@ON_SQLITE
@pytest.mark.parametrize("path", ["/api/users/1", "/api/users/1/roles/admin"])
def test_body_of_a_delete_is_checked_like_that_of_a_change(
    web: Site, database: Database, path: str
) -> None:
    program = web.token("ada@example.com")
    before = what_changes(database)
    for body, content_type, status in (
        ("{}", "text/plain", 415),
        ("a=1", "application/x-www-form-urlencoded", 415),
        ("{}", None, 415),
        ('{"a": 1, "a": 2}', "application/json", 400),
        ("{", "application/json", 400),
        ('{"force": true}', "application/json", 422),
    ):
        options = {"data": body, "content_type": content_type, "headers": {"If-Match": "*"}}
        answer = program("DELETE", path, **options)
        assert (answer.status_code, answer.json["status_code"]) == (status, status), body
    assert what_changes(database) == before
    limited = web.token("ada@example.com", allow=["audit:read"], name="limited")
    assert limited("DELETE", path, data="{}", content_type="text/plain").status_code == 403
    web.make("bob@example.com", role="admin")
    gone = program("DELETE", path.replace("1", "2"), json={}, headers={"If-Match": "*"})
    assert gone.status_code in (200, 204)


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
    with web.inside(), pytest.raises(Invalid, match="longer than 64"):
        users.create("x@example.com", username="\ufdfa" * 20 + "x", unit=a_unit())
    with web.inside(), pytest.raises(Invalid, match="longer than 64"):
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
    ((ip,),) = database.rows("SELECT ip FROM ops_logins")
    assert ip is None or (len(ip) <= 64 and ip.isprintable())


@ON_SQLITE
@pytest.mark.parametrize("path", ["/login", "/reset", "/tf-validate", "/verify"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_pages_take_no_json(web: Site, path: str, method: str) -> None:
    answer = web.browser().client.open(path, method=method, json={"email": "x"})
    assert answer.status_code == 415


@ON_SQLITE
@pytest.mark.parametrize("name", ["email", "password", "next"])
@pytest.mark.parametrize("path", ["/login", "/reset", "/verify", "/sessions/end-others"])
def test_pages_take_no_file(web: Site, path: str, name: str) -> None:
    browser = web.browser("ada@example.com" if path in ("/verify", "/sessions/end-others") else "")
    form = {
        "email": "ada@example.com",
        "password": PASSWORD,
        "csrf_token": csrf_token(browser.get(path)),
        name: (BytesIO(b"ada@example.com"), "x.txt"),
    }
    answer = browser.client.post(path, data=form)
    assert answer.status_code == 400
    assert "The forms of these pages have no file." in answer.text


@ON_SQLITE
def test_login_sets_no_cookie_of_other_libraries(web: Site) -> None:
    browser = web.browser()
    browser.post("/login", {"email": "ada@example.com", "password": PASSWORD, "remember": "y"})
    assert browser.is_in
    assert {key[2] for key in browser.client._cookies} == {"opsapp_browser", "opsapp_session"}


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
    page = browser.post("/change", {"password": long, **too_long})
    assert "A password must have at most 128 characters." in page.text


@ON_SQLITE
@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("opsapp", "opsapp" * 3),
        ("opsapp", "OpsApp-opsapp-1"),
        ("opsapp", "  opsapp opsapp "),
        ("opsapp", "o p s a p p o p s a p p"),
        ("the-shop", "the-shop-the-shop"),
        ("the-shop", "The.Shop.The.Shop"),
        ("The Shop", "the_shop+theshop=2026"),
        ("Große Läden", "grosse-läden-GROSSE-LÄDEN"),
    ],
)
def test_name_of_the_application_is_no_password(
    web: Site, cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, password: str
) -> None:
    monkeypatch.setitem(web.app.config, "APP_NAME", name)
    form = {"password": PASSWORD, "new_password": password, "new_password_confirm": password}
    page = web.browser("ada@example.com").post("/change", form)
    assert "The application&#39;s name is not accepted as a password" in page.text
    given = ("users", "set-password", "ada@example.com", "--password-stdin")
    done = cli(*given, stdin=password + "\n", OPSAPP_NAME=name)
    assert (done.exit_code, "name is not accepted as a password" in done.stderr) == (2, True)


@ON_SQLITE
@pytest.mark.parametrize("name", ["the-shop", "---"])
def test_password_beside_the_name_of_the_application_is_one(
    web: Site, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(web.app.config, "APP_NAME", name)
    new = "the-shop quarry lantern 58"
    form = {"password": PASSWORD, "new_password": new, "new_password_confirm": new}
    assert web.browser("ada@example.com").post("/change", form).status_code == 302


@ON_SQLITE
@pytest.mark.parametrize(
    ("form", "errors"),
    [
        (("wrong", "short", "other"), [WRONG, SHORT, DIFFER]),
        (("wrong", "short", "short"), [WRONG, SHORT]),
        (("wrong", "some other battery", "other"), [WRONG, DIFFER]),
        ((PASSWORD, "short", "other"), [SHORT, DIFFER]),
        ((PASSWORD, PASSWORD, "other"), [SAME, DIFFER]),
        (("", "short", ""), [MISSING, SHORT, MISSING]),
        (("wrong", "", ""), [WRONG, MISSING, MISSING]),
    ],
)
def test_change_names_all_errors_at_once(
    web: Site, database: Database, form: tuple[str, ...], errors: list[str]
) -> None:
    before = what_changes(database)
    fields = ("password", "new_password", "new_password_confirm")
    page = web.browser("ada@example.com").post("/change", dict(zip(fields, form, strict=True)))
    assert [page.text.count(error) for error in ERRORS] == [errors.count(error) for error in ERRORS]
    assert what_changes(database) == before


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
    assert database.failed_logins() == 0
    del form["next"]
    ours = browser.client.post("/login", query_string={"next": "/api/docs"}, data=form)
    assert ours.headers["Location"] == "/api/docs"


HOSTILE = "x\x1b]8;;http://evil\x07\u202e\u2066\u200b\u2028\x9b31m"


def is_harmless(page: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in page)


@ON_SQLITE
def test_pages_and_mails_show_names_escaped_that_came_by_another_door(
    web: Site, database: Database
) -> None:
    browser = web.browser("ada@example.com")
    database.execute("UPDATE ops_users SET username = :name WHERE id = 1", name=HOSTILE)
    page = browser.client.get("/").text
    assert "x\\x1b]8;;http://evil\\x07\\u202e\\u2066\\u200b\\u2028\\x9b31m" in page
    assert is_harmless(page)
    with web.inside():
        with a_unit() as unit:
            user = unit.session.get_one(User, 1)
            notices._write(user, "role_granted", "A role", role=HOSTILE, granted_by="An operator")
            unit.record("user:role:grant", "user:1")
        outbox.send(outbox.take_kept())
    mail = web.mail_to("ada@example.com")[-1]
    assert 'the role "x\\x1b]8;;http://evil\\x07\\u202e\\u2066\\u200b\\u2028\\x9b31m"' in mail
    assert is_harmless(mail)


def pages_without_arguments(web: Site) -> list[str]:
    rules = web.app.url_map.iter_rules()
    paths = [rule.rule for rule in rules if "GET" in (rule.methods or ()) and not rule.arguments]
    return [*sorted({*paths} - {"/logout"}), "/logout"]


def hostile_account(web: Site, database: Database) -> Browser:
    """Ada's browser, after all that her pages show was changed behind our back."""
    browser = web.browser("ada@example.com")
    web.token("ada@example.com")
    for column in ("ops_users.email", "ops_users.username", "ops_api_tokens.name",
                   "ops_user_sessions.user_agent", "ops_user_sessions.ip"):  # fmt: skip
        table, name = column.split(".")
        # No address has a colon, which would end the issuer in a QR code.
        hostile = HOSTILE.replace(":", "")
        database.execute(f"UPDATE {table} SET {name} = :hostile", hostile=hostile)
    return browser


@ON_SQLITE
def test_no_page_shows_a_hostile_name(web: Site, database: Database) -> None:
    browser = hostile_account(web, database)
    pages = [browser.post("/tf-setup", {"setup": "authenticator"})]
    pages += [browser.get(f"/{quote(HOSTILE)}"), browser.post("/tokens/1/end", {}, at="/")]
    pages += [browser.get(path) for path in pages_without_arguments(web)]
    link = link_to_reset(web)
    database.execute("UPDATE ops_users SET confirmed_at = NULL")
    pages += [web.browser().get(link)]
    assert "This also confirms the address" in pages[-1].text
    assert [page.request.path for page in pages if not is_harmless(page.text)] == []
    assert sum("x\\x1b]8;;http//evil" in page.text for page in pages) > 8


def link_to_reset(web: Site) -> str:
    from flask_security.recoverable import generate_reset_link

    with web.app.test_request_context():
        user = db.session.get_one(User, 1)
        link: str = generate_reset_link(user)[0]
    return link.removeprefix("http://localhost")


@ON_SQLITE
def test_no_mail_has_a_hostile_name(
    web: Site, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[str] = []
    seal = crypto.seal

    def note(text: str, purpose: str) -> str:
        bodies.append(text)
        return seal(text, purpose)

    monkeypatch.setattr(outbox.crypto, "seal", note)
    browser = hostile_account(web, database)
    new = "seven purple otters juggle"
    form = {"password": PASSWORD, "new_password": new, "new_password_confirm": new}
    assert browser.post("/change", form).status_code == 302
    browser.post("/mf-recovery-codes", {"generate_new_codes": "1"})
    assert ["x\\x1b]8;;http//evil" in body for body in bodies] == [True, True]
    assert all(map(is_harmless, bodies))
