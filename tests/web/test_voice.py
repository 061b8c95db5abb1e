"""The words of pages and mail: ours, and none of the libraries below."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import flask_security
import flask_wtf
import pytest
import wtforms
from flask import Flask, template_rendered
from flask_security.core import _default_messages
from jinja2 import Template
from werkzeug.exceptions import default_exceptions
from werkzeug.test import TestResponse

from opsapp.web.security import messages
from tests.support import PASSWORD, Database
from tests.support.web import Browser, Site, set_up, site

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)

OF_FEATURES_THAT_ARE_OFF = re.compile(
    "|".join(
        (
            # SECURITY_UNIFIED_SIGNIN, WEBAUTHN, OAUTH_ENABLE, PASSWORDLESS, refresh tokens
            *("US_", "USE_CODE", "GENERIC_US", "WEBAUTHN_", "OAUTH_", "REFRESH_TOKEN"),
            *("PASSWORDLESS_", "LOGIN_EXPIRED", "LOGIN_EMAIL_SENT", "INVALID_LOGIN_TOKEN"),
            # USERNAME_ENABLE, USERNAME_RECOVERY, CHANGE_EMAIL
            *("USERNAME_", "CHANGE_EMAIL_"),
            # second factors by mail or telephone
            *("PHONE_", "CODE_HAS_BEEN_SENT", "FAILED_TO_SEND_CODE"),
            # its own registration and confirmation, which links.py replaces; AUTO_LOGIN_AFTER_RESET
            *("EMAIL_CONFIRMED", "ALREADY_CONFIRMED", "INVALID_CONFIRMATION", "CONFIRMATION_EX"),
            *("CONFIRMATION_REQUEST", "EMAIL_ALREADY", "IDENTITY_", "PASSWORD_RESET$"),
        )
    )
)
SWITCHES = (
    *("UNIFIED_SIGNIN", "WEBAUTHN", "OAUTH_ENABLE", "PASSWORDLESS", "USERNAME_ENABLE"),
    *("USERNAME_RECOVERY", "CHANGE_EMAIL", "AUTO_LOGIN_AFTER_RESET", "TWO_FACTOR_RESCUE_EMAIL"),
)


def test_each_message_of_a_feature_that_is_on_is_ours(web: Site) -> None:
    config = web.app.config
    assert not [name for name in SWITCHES if config[f"SECURITY_{name}"]]
    assert config["SECURITY_TWO_FACTOR_ENABLED_METHODS"] == ["authenticator"]
    for name, (default, _category) in _default_messages.items():
        is_ours = config[f"SECURITY_MSG_{name}"][0] != default
        is_off = OF_FEATURES_THAT_ARE_OFF.match(name) is not None
        assert is_ours is not is_off, name
    assert messages.MESSAGES.keys() <= _default_messages.keys()


# --- every page, and what its forms answer ----------------------------------------


def sentences_of(module: object) -> Iterator[str]:
    """The texts that a library marks for translation and pages could show, of two words or more."""
    for file in Path(str(module.__path__[0])).rglob("*.py"):  # type: ignore[attr-defined]
        for node in ast.walk(ast.parse(file.read_text())):
            is_marked = isinstance(node, ast.Call) and (
                getattr(node.func, "id", getattr(node.func, "attr", ""))
                in ("_", "gettext", "ValidationError", "_error_response")
            )
            for argument in node.args if is_marked else ():
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield argument.value


OURS_TOO = frozenset({"New Password"})
SENTENCES = {
    *(text for module in (flask_security, flask_wtf, wtforms) for text in sentences_of(module)),
    *(str(error.description) for error in default_exceptions.values()),
}
FOREIGN = re.compile(
    "|".join(
        re.sub(r"%\\?\(\w+\\?\)[sd]", ".+", re.escape(sentence))
        for sentence in SENTENCES - OURS_TOO
        if " " in sentence.strip()
    )
)


def submit(browser: Browser, path: str, at: str | None = None, **form: str) -> TestResponse:
    return browser.post(path, form, at=at)


def of_strangers(browser: Browser) -> Iterator[TestResponse]:
    for path in ("/", "/login", "/register", "/reset", "/reset/x", "/tf-validate", "/mf-recovery"):
        yield browser.get(path, follow_redirects=True)
    for path in ("/login", "/register", "/reset"):
        for email in ("", "x", "a b@c", "nobody@example.com", "ada@example.com"):
            yield submit(browser, path, email=email, password="wrong")
            yield browser.get("/login")
    yield submit(browser, "/login", email="ada@example.com", password="")
    yield browser.client.post("/login", data={})
    yield browser.client.post("/login", data={"csrf_token": "x"}, follow_redirects=True)


def of_half_signed_in(browser: Browser) -> Iterator[TestResponse]:
    yield browser.sign_in("eve@example.com")
    for path in ("/tf-validate", "/mf-recovery"):
        for code in ("", "x", "000000"):
            yield submit(browser, path, code=code)
    yield browser.get("/tf-setup", follow_redirects=True)
    yield browser.get("/tf-select", follow_redirects=True)


def of_signed_in(browser: Browser) -> Iterator[TestResponse]:
    yield browser.sign_in("ada@example.com")
    for path in ("/", "/login", "/register", "/reset", "/nowhere", "/tf-validate", "/mf-recovery"):
        yield browser.get(path, follow_redirects=True)
    for present, new, again in (("", "", ""), ("x", "short", "y"), (PASSWORD, PASSWORD, PASSWORD)):
        yield submit(
            browser, "/change", password=present, new_password=new, new_password_confirm=again
        )
    for path in ("/verify", "/sessions/end-others"):
        for password in ("", "wrong", PASSWORD):
            yield submit(browser, path, password=password)
            yield browser.get("/")
    for setup in ("", "email", "sms", "disable", "authenticator"):
        yield submit(browser, "/tf-setup", setup=setup)
    for code in ("", "x", "000000"):
        yield submit(browser, "/tf-validate", code=code)
    yield submit(browser, "/mf-recovery-codes")
    yield submit(browser, "/mf-recovery-codes", generate_new_codes="1")
    yield submit(browser, "/logout", at="/")
    yield browser.get("/login")


def of_reset(browser: Browser, link: str) -> Iterator[TestResponse]:
    yield browser.get(link)
    for new, again in (("", ""), ("short", "x"), ("password1234", "password1234")):
        yield submit(browser, link, password=new, password_confirm=again)
    new = "seven purple otters juggle"
    yield submit(browser, link, password=new, password_confirm=new)
    yield browser.get("/login")
    yield browser.get(link, follow_redirects=True)


def text_of(page: TestResponse) -> str:
    """Return the text and the attributes of a page that a person reads or hears."""
    attributes = re.findall(r'(?:value|title|alt|aria-label|placeholder)="([^"]*)"', page.text)
    words = re.sub(r"<[^>]+>", "\n", page.text)
    return unescape("\n".join([words, *attributes]))


def test_no_text_of_a_library_reaches_a_page_or_a_mail(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(database, monkeypatch, {"OPSAPP_REGISTRATION": True}) as web:
        web.make("ada@example.com", role="admin")
        web.make("eve@example.com")
        set_up(web.browser("eve@example.com"))
        templates = set()

        def note(_app: Flask, template: Template, **_context: object) -> None:
            templates.add(template.filename)

        with template_rendered.connected_to(note, web.app):
            pages = [*of_strangers(Browser(web.app)), *of_half_signed_in(Browser(web.app))]
            pages += of_signed_in(Browser(web.app))
            mail = [*web.mail_to("ada@example.com"), *web.mail_to("nobody@example.com")]
            link = next(match[0] for text in mail if (match := re.search(r"/reset/\S+", text)))
            pages += of_reset(Browser(web.app), link)
        mail += web.mail_to("ada@example.com")
        subjects = database.rows("SELECT subject FROM ops_mail_messages")

    texts = [*map(text_of, pages), *mail, *(subject for (subject,) in subjects)]
    assert [match[0] for text in texts for match in FOREIGN.finditer(text)] == []
    assert {Path(str(name)).parent.name for name in templates} >= {"security", "email"}
    assert not [name for name in templates if "flask_security" in str(name)]
    assert all(subject.startswith("opsapp: ") for (subject,) in subjects)
