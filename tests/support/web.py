"""A browser and a program, as tests of the web floor use them; both without a network."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from flask_security.forms import ValidatorMixin
from passlib.totp import TOTP
from werkzeug.test import TestResponse

import opsapp
from opsapp import clock
from opsapp.accounts import tokens, users
from opsapp.mail import outbox
from opsapp.web.security import setup
from tests.support import PASSWORD, Database, a_unit, close_connections

NO_LIMITS = {"RATELIMIT_ENABLED": False}
"""The tests of other things send more requests than a person would."""


class Browser:
    """A user's browser: it keeps cookies and sends the form's hidden token."""

    def __init__(self, app: Flask) -> None:
        self.client: FlaskClient = app.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def post(self, path: str, form: Mapping[str, str], *, at: str | None = None) -> TestResponse:
        """Fill the form of the page ``at`` (default: ``path``) and send it to ``path``."""
        page = self.client.get(at or path)
        data = {**form, "csrf_token": csrf_token(page)}
        response = self.client.post(path, data=data)
        settle(self.client.application)
        return response

    def sign_in(self, name: str, password: str = PASSWORD) -> TestResponse:
        return self.post("/login", {"email": name, "password": password})

    def sign_out(self) -> TestResponse:
        return self.post("/logout", {}, at="/")

    @property
    def is_in(self) -> bool:
        """Tell whether the server still takes its cookie."""
        return self.client.get("/api/me").status_code == 200

    def copy(self) -> Browser:
        """A thief: another browser with the same cookies."""
        thief = Browser(self.client.application)
        thief.client._cookies.update(self.client._cookies)
        return thief


def settle(app: Flask) -> None:
    """Wait until the mail of the requests before is sent."""
    if isinstance(app, Flask):  # Else it is a server's, which sends it on its own.
        outbox.wait_for_thread(app)


def csrf_token(page: TestResponse) -> str:
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
    assert found, (page.status_code, page.headers.get("Location"), page.text[:500])
    return found[1]


def told_on(page: TestResponse) -> list[str]:
    """The messages above the page."""
    return [told.strip() for told in re.findall(r'role="(?:status|alert)">([^<]*)<', page.text)]


def seed_on(page: TestResponse) -> TOTP:
    """The authenticator app, once it has read the page."""
    found = re.search(r'id="authr-key"[^>]*>([A-Z2-7\- ]+)<', page.text)
    assert found, page.text
    return TOTP(found[1].replace("-", "").replace(" ", ""))


def code_of(totp: TOTP, ahead: int = 0) -> str:
    """The code that the app shows, so many steps from now."""
    return str(totp.generate(time.time() + 30 * ahead).token)


def set_up(browser: Browser) -> TOTP:
    """Set up the second factor of who is signed in."""
    page = browser.post("/tf-setup", {"setup": "authenticator"})
    totp = seed_on(page)
    form = {"code": code_of(totp), "csrf_token": csrf_token(page)}
    answer = browser.client.post("/tf-validate", data=form)
    assert answer.status_code == 302 or codes_on(answer), answer.text
    return totp


def codes_on(page: TestResponse) -> list[str]:
    """The recovery codes that the page shows."""
    return re.findall(r"<li>([0-9a-z]{4}(?:-[0-9a-z]{4}){5})</li>", page.text)


class Program:
    """A program with an API token."""

    def __init__(self, app: Flask, token: str) -> None:
        self.client = app.test_client()
        self.token = token

    def __call__(self, method: str, path: str, **options: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        return self.client.open(path, method=method, headers=headers, **options)


class Site:
    """The application with its web floor on a database of its own."""

    def __init__(self, app: Flask) -> None:
        self.app = app

    @contextmanager
    def inside(self) -> Iterator[None]:
        """A context for the services."""
        with self.app.app_context():
            yield

    def make(self, email: str, *, role: str | None = None, password: str | None = PASSWORD) -> int:
        """An account that can sign in; its id."""
        with self.inside():
            made = users.create(email, password=password, role=role, unit=a_unit())
            outbox.take_kept()
            return int(made["id"])

    def token(self, email: str, *, allow: list[str] | None = None, name: str = "test") -> Program:
        """A program that acts for this account."""
        with self.inside():
            until = clock.now() + timedelta(days=1)
            made = tokens.create(email, name, allow=allow or (), until=until, unit=a_unit())
        return Program(self.app, made["token"])

    def browser(self, name: str | None = None) -> Browser:
        """A browser, signed in as the named account."""
        browser = Browser(self.app)
        if name:
            answer = browser.sign_in(name)
            assert (answer.status_code, answer.headers["Location"]) == (302, "/"), answer.text
        return browser

    def mail_to(self, recipient: str) -> list[str]:
        """Return the messages to an address in development, the oldest first."""
        settle(self.app)
        folder = self.app.config["MAIL_FILE_PATH"]
        from email import message_from_bytes
        from pathlib import Path

        found = []
        for path in sorted(Path(folder).glob("*.log"), key=lambda path: path.stat().st_mtime_ns):
            message = message_from_bytes(path.read_bytes().rsplit(b"\n" + b"-" * 79, 1)[0])
            if message["To"] == recipient:
                body = message.get_payload(decode=True)
                assert isinstance(body, bytes)
                found.append(body.decode())
        return found


_validate = ValidatorMixin.__call__


def _validated(validator: Any, form: Any, field: Any) -> Any:
    """Validate with a text of this application: Flask-Security keeps the first one's."""
    validator.message = None
    return _validate(validator, form, field)


@contextmanager
def site(
    database: Database, monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, Any] | None = None
) -> Iterator[Site]:
    """The site of this database."""
    for name, value in database.environ.items():
        if name.startswith("OPSAPP_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(setup, "ALIKE_SECONDS", 0)  # No test measures the time.
    monkeypatch.setattr(ValidatorMixin, "__call__", _validated)
    app = opsapp.create_app({**NO_LIMITS, **(settings or {})})
    try:
        yield Site(app)
    finally:
        close_connections()


def last_events(database: Database, count: int = 1) -> list[tuple[str, str, str]]:
    """Action, actor's name and door of the newest events, the newest first."""
    rows = database.rows(
        "SELECT action, actor, door FROM ops_audit_events ORDER BY seq DESC LIMIT :n", n=count
    )
    return [(row[0], json.loads(row[1])["name"], row[2]) for row in rows]


def what_changes(database: Database) -> list[tuple[Any, ...]]:
    """Everything that a refused request must leave alone."""
    found = database.rows(
        "SELECT id, email, username, active, fs_uniquifier FROM ops_users ORDER BY id"
    )
    return found + database.rows("SELECT seq FROM ops_audit_head")
