"""Browsers that an account knows, by a signed cookie; their failures are counted apart.

docs/decisions/web.md#a-known-browser-has-its-own-counter
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from flask import Response, after_this_request, current_app, g, request
from flask_login import current_user
from itsdangerous import BadSignature, URLSafeTimedSerializer

from ...models import User
from ..headers import cookie_name

KEPT = timedelta(days=180)
MOST_USERS = 5
"""Accounts that share a browser; an older one is a stranger again."""


def browser_of(user: User | None) -> str | None:
    """Return the session or the browser of this request, if the account knows it."""
    if user is None:
        return None
    if "session_id" in g and current_user.is_authenticated and current_user.id == user.id:
        return f"session {g.session_id}"
    cookie = _read()
    return cookie["id"] if user.id in cookie["users"] else None


def known_browser() -> str | None:
    """Return the id of this browser, if an account knows it."""
    cookie = _read()
    return str(cookie["id"]) if cookie["users"] else None


def remember(user: User) -> None:
    """Let the account know this browser from now on."""
    cookie = _read()
    users = [id for id in cookie["users"] if id != user.id][-MOST_USERS + 1 :]
    value = _serializer().dumps({"id": cookie["id"], "users": [*users, user.id]})

    @after_this_request
    def set_cookie(response: Response) -> Response:
        response.set_cookie(
            _name(),
            value,
            max_age=KEPT,
            httponly=True,
            secure=current_app.config["SESSION_COOKIE_SECURE"],
            samesite="Lax",
        )
        return response


def _read() -> dict[str, Any]:
    """Return the content of the cookie; of a browser without one, a new content."""
    try:
        value = request.cookies.get(_name(), "")
        cookie: dict[str, Any] = _serializer().loads(value, max_age=int(KEPT.total_seconds()))
    except BadSignature:
        return {"id": secrets.token_urlsafe(16), "users": []}
    return cookie


def _name() -> str:
    return cookie_name("opsapp_browser")


def _serializer() -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(str(current_app.secret_key), "opsapp known browser")
