"""What every response says to the browser, whom the application answers, and how much it reads."""

from __future__ import annotations

import re
from urllib.parse import urlsplit
from uuid import uuid4

from flask import Flask, Response, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from ..config import DEVELOPMENT
from ..errors import NotReady

POLICY = {
    # Our pages have no script, and load nothing from elsewhere.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
STRICT_TRANSPORT = "max-age=31536000; includeSubDomains"
LARGEST_BODY = 256 * 1024
"""Bytes; no form or document of ours comes near it."""
_ID = re.compile(r"[A-Za-z0-9._-]{8,36}")


def init_app(app: Flask) -> None:
    """Bound requests, number them, and harden responses."""
    outside = app.config["OPSAPP_ENV"] != DEVELOPMENT
    app.config.setdefault("MAX_CONTENT_LENGTH", LARGEST_BODY)
    app.config.update(
        SESSION_COOKIE_NAME="opsapp_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=outside,
    )
    _know_our_name(app, outside)
    if proxies := app.config["OPSAPP_PROXIES"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies
        )
    app.before_request(number)
    app.after_request(harden)


def _know_our_name(app: Flask, outside: bool) -> None:
    """Answer to our own host name only: else a link in a mail could lead to somebody else's."""
    url = app.config["OPSAPP_URL"]
    if url:
        app.config.setdefault("TRUSTED_HOSTS", [urlsplit(url).hostname])
        app.config["PREFERRED_URL_SCHEME"] = urlsplit(url).scheme
    elif outside:
        raise NotReady(
            f"OPSAPP_URL is not set, and OPSAPP_ENV is {app.config['OPSAPP_ENV']}",
            hint="OPSAPP_URL=https://ops.example.com",
        )


def number() -> None:
    """Give the request the id under which the log and the audit know it."""
    given = request.headers.get("X-Request-ID", "")
    g.correlation = given if _ID.fullmatch(given) else str(uuid4())


def correlation() -> str:
    """The id of this request."""
    if "correlation" not in g:  # An error may come before the request was numbered.
        number()
    found: str = g.correlation
    return found


def harden(response: Response) -> Response:
    """Add the security headers that the response has not set itself."""
    for name, value in POLICY.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT)
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Request-ID"] = correlation()
    return response
