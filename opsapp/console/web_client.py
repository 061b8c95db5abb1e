"""Web client: requests to the application from the console, signed in as an account."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from time import time
from typing import Any

from flask import Flask, g, request
from flask.testing import FlaskClient

from .. import settings, state
from ..accounts.lookup import get_user
from ..extensions import db
from ..mail import outbox
from ..models import User
from .namespace import Answers

_ACCOUNT = "opsapp.account"
"""The id of the account that sends a request, in its environment, which no client can set."""


class Client(FlaskClient):
    """Flask's test client, whose requests see nothing of the console's session."""

    def open(self, *args: Any, **options: Any) -> Any:
        """Send a request in a context of its own, as a server would."""
        response = Context().run(super().open, *args, **options)
        # A rollback() in the console would end the transaction in which its mail is sent.
        outbox.wait_for_thread(self.application)
        return response

    def as_(self, user: str | int | User) -> Client:
        """Return another client, which is signed in as this account.

        :raises NotFound: there is no such account.
        """
        account = user if isinstance(user, User) else get_user(str(user))
        client = Client(self.application, self.response_wrapper, use_cookies=True)
        client.environ_base[_ACCOUNT] = str(account.id)
        return client


@contextmanager
def names(app: Flask) -> Iterator[dict[str, Any]]:
    """Yield the names of an application with its pages, each with its value and line."""

    def url_for(endpoint: str, **values: Any) -> str:
        """Return the URL of an endpoint."""
        with app.test_request_context(base_url=settings.of(app, "OPSAPP_URL") or None):
            return app.url_for(endpoint, **values)

    def routes(word: str = "") -> Answers:
        """Return the routes, or those with this word."""
        return routes_of(app, word)

    client = Client(app, app.response_class, use_cookies=True)
    client.environ_base |= {"REMOTE_ADDR": "127.0.0.1", "HTTP_USER_AGENT": "flask shell"}
    bound = {
        "client": (client, 'requests: client.as_("ada@example.com").get("/")'),
        "url_for": (url_for, 'the URL of an endpoint: url_for("account.show")'),
        "routes": (routes, 'the routes: routes(), routes("users")'),
    }
    # No page with a token was loaded.
    with state.hook_requests(app, _sign_in, RATELIMIT_ENABLED=False, WTF_CSRF_METHODS=frozenset()):
        yield bound


def routes_of(app: Flask, word: str = "") -> Answers:
    """Return the routes of an application: path, methods and endpoint."""
    rows = [
        {
            "path": rule.rule,
            "methods": ", ".join(sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})),
            "endpoint": rule.endpoint,
        }
        for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule)
    ]
    return Answers(row for row in rows if word in row["path"] or word in row["endpoint"])


def _sign_in() -> None:
    """Sign in the account of a request as Flask-Login and Flask-Security leave it."""
    if (id := request.environ.get(_ACCOUNT)) is None:
        return
    from flask_security.utils import set_request_attr

    g._login_user = db.session.get(User, int(id))  # noqa: SLF001
    set_request_attr("fs_authn_via", "session")
    set_request_attr("fs_paa", time())
