"""The security log: a line for each request that is refused."""

from __future__ import annotations

import re

import pytest

from opsapp.accounts import roles, selfservice
from tests.support import PASSWORD, Database, a_unit
from tests.support.web import Browser, Program, Site, csrf_token, site

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)

ID = re.compile(r"^[0-9a-f-]{36} ")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines of the log, without their ids; a list that grows."""
    caplog.set_level("WARNING", "opsapp.security")
    grown: list[str] = []
    caplog.handler.addFilter(lambda record: _take(record.name, record.getMessage(), grown))
    return grown


def _take(name: str, message: str, grown: list[str]) -> bool:
    if name == "opsapp.security":
        assert ID.match(message), message
        grown.append(ID.sub("", message))
    return True


@pytest.fixture
def desk(web: Site) -> Program:
    """A program that may read accounts."""
    with web.inside():
        roles.create("desk", allow=["users:read", "users:write"], unit=a_unit())
    web.make("desk@example.com", role="desk")
    return web.token("desk@example.com", allow=["users:read", "users:write"], name="desk")


def test_refused_permission_is_logged_with_account_token_and_address(
    desk: Program, lines: list[str]
) -> None:
    answer = desk("GET", "/api/roles")
    assert lines == [
        "refused 403 GET /api/roles of user:2 (token desk) at 127.0.0.1:"
        " That needs the permission roles:read."
    ]
    assert answer.status_code == 403


def test_change_that_a_service_refuses_is_logged(desk: Program, lines: list[str]) -> None:
    desk("PATCH", "/api/users/1", json={"active": False}, headers={"If-Match": "*"})
    (line,) = lines
    assert line.startswith("refused 403 PATCH /api/users/1 of user:2 (token desk) at 127.0.0.1: ")


def test_id_of_the_line_is_that_of_the_answer(
    desk: Program, caplog: pytest.LogCaptureFixture
) -> None:
    answer = desk("GET", "/api/roles")
    (line,) = [record.getMessage() for record in caplog.records if "refused" in record.message]
    assert line.startswith(f"{answer.json['correlation']} refused 403 ")


def test_wrong_token_is_logged_and_not_repeated(web: Site, lines: list[str]) -> None:
    Program(web.app, "opsapp_madeup")("GET", "/api/users")
    assert lines == [
        "refused 401 GET /api/users of a stranger at 127.0.0.1: This token does not work."
    ]


def test_forged_form_is_logged(web: Site, lines: list[str]) -> None:
    browser = web.browser("ada@example.com")
    browser.get("/")
    browser.client.post("/logout", data={"csrf_token": "forged"})
    browser.client.post("/logout", data={})
    assert [line.partition(":")[0] for line in lines] == [
        "refused 400 POST /logout of a stranger at 127.0.0.1"
    ] * 2


def test_link_to_another_site_is_logged(web: Site, lines: list[str]) -> None:
    web.browser().get("/login?next=https://evil.example")
    assert lines == [
        "refused 400 GET /login of a stranger at 127.0.0.1: This link leads to another site."
    ]


def test_requests_that_are_too_many_are_logged(
    database: Database, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    with site(database, monkeypatch, {"RATELIMIT_ENABLED": True}) as web:
        client = web.browser().client
        for _time in range(21):
            client.post("/login", data={})
    assert lines[-1].startswith(
        "refused 429 POST /login of a stranger at 127.0.0.1: 20 per 1 minute are allowed."
    )


def test_hostile_path_stays_in_its_line(web: Site, lines: list[str]) -> None:
    Program(web.app, "x")("GET", "/api/roles/a%0ab%1b[31m" + "c" * 500)
    (line,) = lines
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 200


def test_ordinary_use_is_not_logged(web: Site, lines: list[str]) -> None:
    browser = Browser(web.app)
    browser.get("/nowhere")
    browser.sign_in("ada@example.com", "wrong")
    browser.sign_in("ada@example.com", PASSWORD)
    page = browser.get("/change")
    browser.client.post("/change", data={"csrf_token": csrf_token(page)})
    browser.get("/api/users/99")
    browser.sign_out()
    assert lines == []


def test_link_of_a_mail_is_in_no_log(
    web: Site, lines: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    browser = web.browser()
    browser.post("/reset", {"email": "ada@example.com"})
    (letter,) = web.mail_to("ada@example.com")
    link = re.search(r"http://localhost(/reset/(\S+))", letter)
    assert link
    browser.client.post(link[1], data={"password": PASSWORD})
    (line,) = lines
    assert line.startswith("refused 400 POST /reset/<token> of a stranger at 127.0.0.1: ")

    def fail(*_args: object, **_options: object) -> None:
        raise ValueError

    monkeypatch.setattr(selfservice, "recover", fail)
    new = "another battery horse staple"
    answer = browser.post(link[1], {"password": new, "password_confirm": new})
    assert answer.status_code == 500
    assert "POST /reset/<token> failed" in caplog.text
    assert link[2] not in caplog.text
