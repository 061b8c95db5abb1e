"""Errors: JSON for programs, pages for people, and no internals for either."""

from __future__ import annotations

import logging
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from blinker import NamedSignal
from flask import (
    Flask,
    abort,
    before_render_template,
    got_request_exception,
    request_finished,
    request_started,
    request_tearing_down,
    template_rendered,
)
from sqlalchemy import text as sql
from werkzeug.exceptions import default_exceptions

from opsapp import errors
from opsapp.accounts import roles
from opsapp.extensions import db
from opsapp.web import actor
from tests.support import Database
from tests.support.web import Browser, Site, told_on

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
FIELDS = {"error", "message", "status_code", "correlation"}


@pytest.fixture
def broken(web: Site) -> Site:
    """A site with views that fail in every way."""

    def fail(kind: str) -> Any:
        match kind:
            case "unexpected":
                raise ValueError("the canary in the message of postgresql://ops:hush@db/x")
            case "database":
                db.session.execute(sql("SELECT canary FROM nowhere"))
            case "busy":
                raise errors.Busy("pid 7 on db1.internal holds it")
            case "away":
                raise errors.NotReady("server at 10.0.0.3 is away")
            case "conflict":
                raise errors.Conflict("taken already", hint="flask users list")
        abort(int(kind))

    web.app._got_first_request = False
    web.app.add_url_rule("/fail/<kind>", view_func=fail)
    web.app.add_url_rule("/api/fail/<kind>", "api_fail", view_func=fail)
    return web


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("400", 400), ("401", 401), ("403", 403), ("404", 404), ("405", 405), ("409", 409),
        ("410", 410), ("412", 412), ("413", 413), ("415", 415), ("422", 422), ("428", 428),
        ("429", 429), ("500", 500), ("501", 501), ("503", 503), ("unexpected", 500),
        ("database", 503), ("busy", 503), ("away", 503), ("conflict", 409),
    ],
)  # fmt: skip
def test_every_error_has_both_forms(broken: Site, kind: str, status: int) -> None:
    client = Browser(broken.app).client
    for path, accept in ((f"/api/fail/{kind}", "text/html"), (f"/fail/{kind}", "application/json")):
        answer = client.get(path, headers={"Accept": accept})
        assert answer.status_code == status
        assert set(answer.json) == FIELDS
        assert answer.json["status_code"] == status
        assert answer.json["correlation"] == answer.headers["X-Request-ID"]
    page = client.get(f"/fail/{kind}", headers={"Accept": "text/html"})
    assert (page.status_code, page.mimetype) == (status, "text/html")
    assert page.headers["X-Request-ID"] in page.text


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_sentences_of_errors_are_ours_unless_the_application_has_its_own(broken: Site) -> None:
    client = Browser(broken.app).client
    broken.app._got_first_request = False
    broken.app.add_url_rule("/own", view_func=lambda: abort(409, "Another cook has it."))
    for status, error in default_exceptions.items():
        for path, accept in ((f"/api/fail/{status}", "*/*"), (f"/fail/{status}", "text/html")):
            answer = client.get(path, headers={"Accept": accept})
            assert answer.status_code == status
            assert str(error.description) not in unescape(answer.text)
    assert client.get("/api/fail/404").json["message"] == "There is nothing at this address."
    assert client.get("/api/fail/410").json["message"] == "Gone"
    assert client.get("/fail/410", headers={"Accept": "text/html"}).text.count("Gone") == 2
    assert "Another cook has it." in client.get("/own", headers={"Accept": "text/html"}).text


@pytest.mark.parametrize("kind_of_error", ["unexpected", "database", "busy", "away"])
def test_faults_of_ours_show_no_internals_and_are_logged_with_the_id(
    broken: Site, kind_of_error: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        answer = Browser(broken.app).client.get(f"/api/fail/{kind_of_error}")
    for secret in ("canary", "internal", "10.0.0.3", "Traceback", "nowhere"):
        assert secret not in answer.text
    assert answer.headers["X-Request-ID"] in caplog.text


def test_fault_is_logged_once(broken: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        Browser(broken.app).client.get("/fail/unexpected")
    (record,) = caplog.records
    assert "ValueError: the canary in the message of postgresql://ops:•••@db/x" in caplog.text
    assert record.getMessage().endswith("GET /fail/unexpected failed")


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_flasks_own_signals_tell_of_requests_and_faults(broken: Site) -> None:
    told: list[str] = []

    def listen(signal: NamedSignal) -> Callable[..., None]:
        return lambda *_sender, **_extra: told.append(signal.name)

    heard = [request_started, request_finished, request_tearing_down, got_request_exception,
             template_rendered, before_render_template]  # fmt: skip
    receivers = [listen(signal) for signal in heard]
    for signal, receiver in zip(heard, receivers, strict=True):
        signal.connect(receiver, broken.app)
    client = Browser(broken.app).client
    client.get("/login")
    assert told == ["request-started", "before-render-template", "template-rendered",
                    "request-finished", "request-tearing-down"]  # fmt: skip
    told.clear()
    client.get("/api/fail/unexpected")
    assert told == ["request-started", "got-request-exception", "request-finished",
                    "request-tearing-down"]  # fmt: skip


def test_hint_for_a_terminal_is_not_told_to_a_browser(broken: Site) -> None:
    assert "flask users" not in Browser(broken.app).client.get("/api/fail/conflict").text


def test_busy_says_when_to_come_back(broken: Site) -> None:
    assert Browser(broken.app).client.get("/api/fail/busy").headers["Retry-After"] == "5"


def test_error_that_comes_after_the_view_is_answered_too(web: Site) -> None:
    def fail_late(response: Any) -> Any:
        raise errors.Conflict("too late")

    web.app._got_first_request = False
    web.app.after_request_funcs.setdefault("health", []).append(fail_late)
    assert Browser(web.app).client.get("/healthz").status_code == 409


@pytest.mark.parametrize("path", ["/%00", "/api/users/%00", "/api/roles/%ff", "/login/..%2f", "/é"])
def test_hostile_paths_are_not_found(web: Site, path: str) -> None:
    program = web.token("ada@example.com")
    assert program("GET", path).status_code == 404


@pytest.mark.parametrize("header", ["X-Request-ID", "X-Forwarded-For", "User-Agent", "Cookie"])
@pytest.mark.parametrize("value", ["a\x1b[31m", "x" * 5000, "\xff\xfe", "<script>", ""])
def test_hostile_headers_do_no_harm(web: Site, header: str, value: str) -> None:
    answer = Browser(web.app).client.get("/login", headers={header: value})
    assert answer.status_code == 200
    assert value == "" or value not in answer.headers["X-Request-ID"]


def test_unit_is_rolled_back_when_a_view_fails(web: Site, database: Database) -> None:
    from opsapp.accounts import roles
    from tests.support import a_unit

    def fail_inside() -> Any:
        with a_unit() as unit:
            roles.create("half", unit=unit)
            raise ValueError("in the middle")

    web.app._got_first_request = False
    web.app.add_url_rule("/fail-inside", view_func=fail_inside)
    assert Browser(web.app).client.get("/fail-inside").status_code == 500
    assert database.rows("SELECT name FROM ops_roles") == [("admin",)]


# --- around every request ----------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/login", "/reset", "/verify", "/api/docs", "/nowhere", "/api/users", "/healthz"]
)
def test_every_response_is_hardened(web: Site, path: str) -> None:
    headers = Browser(web.app).client.get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "same-origin"
    assert headers["Cache-Control"] == "no-store"


def test_pages_have_no_script_and_no_inline_style(web: Site) -> None:
    browser = web.browser("ada@example.com")
    for path in ("/", "/change", "/tf-setup", "/mf-recovery-codes", "/verify", "/api/docs"):
        page = browser.get(path)
        assert page.status_code == 200, path
        assert "<script" not in page.text
        assert "style=" not in page.text


@pytest.mark.parametrize("form", [{}, {"csrf_token": "a"}], ids=str)
def test_form_without_its_token_or_cookie_says_what_to_do(web: Site, form: dict[str, str]) -> None:
    answer = web.browser().client.post("/login", data=form)
    assert (answer.status_code, answer.headers.getlist("Set-Cookie")) == (400, [])
    assert told_on(answer) == []
    assert (
        "The form came without its token, its cookie or its Referer. Load the page again,"
        " let the browser keep its cookies, and repeat what you did."
    ) in answer.text


def test_templates_know_the_application(web: Site) -> None:
    from flask import render_template_string

    with web.app.test_request_context("/"):
        names = "{{ app_name }} {{ version }} {{ environment }} {{ current_user.is_authenticated }}"
        assert render_template_string(names) == "opsapp 0.1.0 development False"


def test_commands_load_no_web_floor(app: Flask) -> None:
    import opsapp

    with opsapp.without_web():
        lean = opsapp.create_app()
    assert "health" in app.blueprints
    assert lean.blueprints == {}


# --- a connection that dies --------------------------------------------------


def kill(database: Database) -> None:
    """End the server's process behind the session of this request."""
    pid = db.session.scalar(sql("SELECT pg_backend_pid()"))
    database.rows("SELECT pg_terminate_backend(:pid, 10000)", pid=pid)


@pytest.fixture
def dying(web: Site, database: Database) -> Browser:
    """A program whose request loses its connection to the database, before or after a change."""
    if database.is_sqlite:
        pytest.skip("SQLite has no connection to lose")

    def die(when: str) -> Any:
        if when == "before":
            kill(database)
        roles.create("crew", unit=actor.unit_of_self(None))
        kill(database)
        match when:
            case "reading":
                db.session.execute(sql("SELECT 1"))
            case "busy":
                raise errors.Busy("another process holds it")
            case "unexpected":
                raise ValueError("a fault")
        return {"made": True}

    web.app._got_first_request = False
    web.app.add_url_rule("/api/die/<when>", view_func=die, methods=["GET"])
    return Browser(web.app)


@pytest.mark.parametrize("when", ["before", "after"])
def test_change_is_answered_though_the_connection_dies(
    dying: Browser, database: Database, when: str
) -> None:
    response = dying.get(f"/api/die/{when}")
    assert (response.status_code, response.json) == (200, {"made": True})
    assert database.rows("SELECT name FROM ops_roles WHERE name = 'crew'") == [("crew",)]
    assert dying.get("/readyz").status_code == 200


@pytest.mark.parametrize(("when", "status"), [("reading", 503), ("busy", 503), ("unexpected", 500)])
def test_failure_after_a_change_says_that_it_was_made(
    dying: Browser, database: Database, when: str, status: int
) -> None:
    response = dying.get(f"/api/die/{when}")
    assert (response.status_code, set(response.json)) == (status, FIELDS)
    assert response.json["message"] == (
        "The change was made, and what came after it failed. Look before you repeat it."
    )
    assert response.json["correlation"] == response.headers["X-Request-ID"]
    assert "Retry-After" not in response.headers
    assert database.rows("SELECT name FROM ops_roles WHERE name = 'crew'") == [("crew",)]
    assert dying.get("/readyz").status_code == 200
