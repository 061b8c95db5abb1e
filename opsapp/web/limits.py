"""Rate limits: the first brake, before anything is looked up or hashed.

The counting is that of the ``limits`` library, as in Flask-Limiter, which is not
used itself: its entry point imports rich into every ``flask`` command.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time

from flask import Flask, Response, current_app, g, request, session
from limits import RateLimitItem, parse, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter, RateLimiter
from werkzeug.exceptions import TooManyRequests

from .actor import client

log = logging.getLogger(__name__)

SIGN_IN = parse_many("20 per minute; 200 per hour")
"""Of one address, POSTs to the sign-in pages; the lock-out counts accounts."""
API = [parse("600 per minute")]
"""Of one token, browser or address."""
FAILED = [parse("60 per minute")]
"""Of one address, calls of the API without a session or a token that works."""
_EXTENSION = "opsapp-limits"


def init_app(app: Flask) -> None:
    """Count in memory, or where ``RATELIMIT_STORAGE_URI`` says; ``RATELIMIT_ENABLED`` is on."""
    storage = storage_from_string(app.config["RATELIMIT_STORAGE_URI"], wrap_exceptions=True)
    # A store that is away must not take the application with it, nor let everybody in.
    app.extensions[_EXTENSION] = [FixedWindowRateLimiter(s) for s in (storage, MemoryStorage())]
    app.before_request(count)
    app.after_request(tell)


def count() -> None:
    """Count this request.

    :raises TooManyRequests: there were too many; says when to come back.
    """
    if not current_app.config.get("RATELIMIT_ENABLED", True):
        return
    if request.blueprint == "security" and request.method == "POST":
        _count(SIGN_IN, "sign-in", client().network or "")
    elif request.path.startswith("/api/"):
        _count(API, "api", _caller())


def count_failure() -> None:
    """Count a call by nobody: another made-up token each time must not be a new start.

    Whoever has a token that works is let through, also from the same address.

    :raises TooManyRequests: there were too many.
    """
    if current_app.config.get("RATELIMIT_ENABLED", True):
        _count(FAILED, "failed", client().network or "")


def _caller() -> str:
    """The token, the session, or the address; a fingerprint, since it goes to the store."""
    sent = request.headers.get("Authorization") or session.get("key")
    if not sent:
        return client().network or ""
    return hashlib.sha256(sent.encode("utf-8", "surrogateescape")).hexdigest()


def _count(rules: list[RateLimitItem], scope: str, key: str) -> None:
    shared, local = current_app.extensions[_EXTENSION]
    try:
        _hit(shared, rules, scope, key)
    except StorageError as error:
        log.warning("the rate limits' store is away, counting in this process: %s", error)
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
                f"{rule} are allowed. Try again in {seconds} second{'s' if seconds > 1 else ''}.",
                retry_after=seconds,
            )


def tell(response: Response) -> Response:
    """Say how much is left."""
    response.headers.extend(g.get("rate", {}))
    return response
