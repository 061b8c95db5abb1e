"""Rate limits, counted before any hash.

docs/decisions/web.md#rate-limits-use-the-limits-package
"""

from __future__ import annotations

import logging
import math
import time

from flask import Flask, Response, current_app, g, request, session
from limits import RateLimitItem, parse, parse_many
from limits.errors import ConfigurationError, StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter, RateLimiter
from werkzeug.exceptions import TooManyRequests

from .. import settings, text
from ..accounts import sessions
from ..errors import NotReady
from .actor import checks_password, client, live_token
from .security import browsers

log = logging.getLogger(__name__)

SIGN_IN = parse_many("20 per minute; 200 per hour")
"""POSTs to the login pages by a session, known browser or address; lockouts count by account."""
API = [parse("600 per minute")]
"""Calls of the API by a token, browser or address."""
FAILED = [parse("60 per minute")]
"""Calls of the API from an address without a live session or token."""
_EXTENSION = "opsapp-limits"


def init_app(app: Flask) -> None:
    """Count requests in the storage of ``RATELIMIT_STORAGE_URI``, by default in memory.

    :raises NotReady: there is no such storage, or its package is not installed.
    """
    uri = settings.of(app, "RATELIMIT_STORAGE_URI")
    try:
        storage = storage_from_string(uri, wrap_exceptions=True)
    except (ConfigurationError, ValueError) as error:
        # Not its own words: they repeat the URI, which may have a password.
        raise NotReady(
            "RATELIMIT_STORAGE_URI names no storage that can be used",
            hint="redis://HOST, with pip install redis; or unset it",
        ) from error
    # Counting goes on in memory while the store is away.
    app.extensions[_EXTENSION] = [FixedWindowRateLimiter(s) for s in (storage, MemoryStorage())]
    app.before_request(count)
    app.after_request(add_headers)


def count() -> None:
    """Count this request.

    :raises TooManyRequests: there were too many; says when to retry.
    """
    if not current_app.config.get("RATELIMIT_ENABLED", True):
        return
    if checks_password():
        # Strangers at the same address do not keep a user out whom the application knows.
        _count(SIGN_IN, "login", _session() or browsers.known_browser() or client().network)
    elif request.path.startswith("/api/"):
        _count(API, "api", _caller())


def count_failure() -> None:
    """Count a call without a live session or token, by its address.

    A new made-up token for each call does not help; callers with a live token from the
    same address are not limited by it.

    :raises TooManyRequests: there were too many.
    """
    if current_app.config.get("RATELIMIT_ENABLED", True):
        _count(FAILED, "failed", client().network)


def _caller() -> str:
    """Return a key for the store: the fingerprint of the live token or session, or the address.

    A made-up token counts as its address, so that it gets no limit of its own.
    """
    if "Authorization" in request.headers:
        token = live_token()
        return token.key if token else client().network
    return _session() or client().network


def _session() -> str | None:
    """Return the fingerprint of the session; its key comes from a signed cookie."""
    key = session.get("key")
    return sessions.fingerprint(key) if key else None


def _count(rules: list[RateLimitItem], scope: str, key: str) -> None:
    shared, local = current_app.extensions[_EXTENSION]
    try:
        _hit(shared, rules, scope, key)
    except StorageError as error:
        log.warning("the rate-limit store is unavailable; counting in this process: %s", error)
        _hit(local, rules, scope, key)


def _hit(limiter: RateLimiter, rules: list[RateLimitItem], scope: str, key: str) -> None:
    for rule in rules:
        allowed = limiter.hit(rule, scope, key)
        stats = limiter.get_window_stats(rule, scope, key)
        g.rate = {
            "X-RateLimit-Limit": rule.amount,
            "X-RateLimit-Remaining": stats.remaining,
            "X-RateLimit-Reset": math.ceil(stats.reset_time),
        }
        if not allowed:
            seconds = max(1, math.ceil(stats.reset_time - time.time()))
            raise TooManyRequests(
                f"{rule} are allowed. Try again in {text.pluralize(seconds, 'second')}.",
                retry_after=seconds,
            )


def add_headers(response: Response) -> Response:
    """Add the headers with the limit and its remainder."""
    response.headers.extend(g.get("rate", {}))
    return response
