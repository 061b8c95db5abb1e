"""Request ids, host names, limits of bodies, and the security headers of every response."""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import uuid4

from flask import Flask, Response, abort, current_app, g, request
from werkzeug.middleware.proxy_fix import ProxyFix

from .. import settings
from ..errors import NotReady
from ..settings.config import DEVELOPMENT
from .debugger import refuse_debugger

POLICY = {
    # Our pages have no script, and load nothing from other sites.
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
"""Bytes; our forms and documents are far smaller."""


def init_app(app: Flask) -> None:
    """Bound requests, give each an id, and harden responses."""
    outside = settings.of(app, "OPSAPP_ENV") != DEVELOPMENT
    if outside:
        refuse_debugger(app)
    if app.config["MAX_CONTENT_LENGTH"] is None:
        app.config["MAX_CONTENT_LENGTH"] = LARGEST_BODY
    app.config.update(
        SESSION_COOKIE_SECURE=outside,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_PATH="/",
    )
    with app.app_context():
        app.config["SESSION_COOKIE_NAME"] = cookie_name("opsapp_session")
    if outside and not settings.of(app, "OPSAPP_URL"):
        raise NotReady(
            f"OPSAPP_URL is not set, and OPSAPP_ENV is {settings.of(app, 'OPSAPP_ENV')}",
            hint="OPSAPP_URL=https://ops.example.com",
        )
    if proxies := settings.of(app, "OPSAPP_PROXIES"):
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies
        )
    app.before_request(set_correlation)
    app.before_request(check_host)
    app.before_request(refuse_chunked)
    app.after_request(harden)


def cookie_name(name: str) -> str:
    """Return the name of a cookie; browsers take the prefix from this host over https only."""
    return f"__Host-{name}" if current_app.config["SESSION_COOKIE_SECURE"] else name


def set_correlation() -> None:
    """Give the request an id for the log and the audit.

    docs/decisions/web.md#request-ids-are-ours
    """
    g.correlation = str(uuid4())


def refuse_chunked() -> None:
    """Refuse a body without a length, which werkzeug would cut off silently.

    :raises LengthRequired: the body is chunked.
    """
    if "chunked" in request.headers.get("Transfer-Encoding", "").lower():
        abort(411, "Send the length of the body in the header Content-Length.")


def check_host() -> None:
    """Refuse host names other than that of ``OPSAPP_URL``, except for health checks.

    :raises BadRequest: the request is for another host.
    """
    url = settings.get("OPSAPP_URL")
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
    """Return the id of this request."""
    if "correlation" not in g:  # An error may come before `set_correlation`.
        set_correlation()
    id: str = g.correlation
    return id


def harden(response: Response) -> Response:
    """Add the security headers that the response has not set itself."""
    for name, value in POLICY.items():
        response.headers.setdefault(name, value)
    # A proxy may end TLS without saying so.
    if request.is_secure or (settings.get("OPSAPP_URL") or "").startswith("https:"):
        response.headers.setdefault("Strict-Transport-Security", STRICT_TRANSPORT)
    if request.blueprint == "security":
        # Flask-Security's header has directives unknown to caches.
        response.headers["Cache-Control"] = "no-store"
    elif request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Request-ID"] = correlation()
    return response
