"""What every response says to the browser, whom the application answers, and how much it reads."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import uuid4

from flask import Flask, Response, abort, current_app, g, request
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


def init_app(app: Flask) -> None:
    """Bound requests, give each an id, and harden responses."""
    outside = app.config["OPSAPP_ENV"] != DEVELOPMENT
    if app.config["MAX_CONTENT_LENGTH"] is None:
        app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.config.update(
        SESSION_COOKIE_NAME="opsapp_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=outside,
    )
    if outside and not app.config["OPSAPP_URL"]:
        raise NotReady(
            f"OPSAPP_URL is not set, and OPSAPP_ENV is {app.config['OPSAPP_ENV']}",
            hint="OPSAPP_URL=https://ops.example.com",
        )
    if proxies := app.config["OPSAPP_PROXIES"]:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies
        )
    app.before_request(give_id)
    app.before_request(know_our_name)
    app.before_request(refuse_unmeasured)
    app.after_request(harden)


def give_id() -> None:
    """Give the request the id under which the log and the audit know it.

    Never the client's: it could take one that the audit has already.
    """
    g.correlation = str(uuid4())


def refuse_unmeasured() -> None:
    """Refuse a body that does not say how long it is: werkzeug would cut it off and go on.

    :raises LengthRequired: it comes in chunks.
    """
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        abort(411, "Say how long the body is, in the header Content-Length.")


def know_our_name() -> None:
    """Answer to the host name of ``OPSAPP_URL`` only. A load balancer may ask by address.

    :raises BadRequest: the request is for another.
    """
    url = current_app.config["OPSAPP_URL"]
    if not url or request.blueprint == "health":
        return
    if _host_name(f"//{request.host}") != _host_name(url):
        abort(400, "This application has another host name.")


def _host_name(url: str) -> str | None:
    try:
        return (urlsplit(url).hostname or "").encode("idna").decode()
    except ValueError:
        return None


def correlation() -> str:
    """The id of this request."""
    if "correlation" not in g:  # An error may come before the request was given one.
        give_id()
    found: str = g.correlation
    return found


def harden(response: Response) -> Response:
    """Add the security headers that the response has not set itself."""
    for name, value in POLICY.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT)
    if request.blueprint == "security":
        # Flask-Security's own header has directives that no cache knows.
        response.headers["Cache-Control"] = "no-store"
    elif request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Request-ID"] = correlation()
    return response
