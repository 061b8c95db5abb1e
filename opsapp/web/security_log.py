"""The security log: refused requests, for an operator or an intrusion detection to read.

Logins are in their own table, changes in the audit. The logger is ``opsapp.security``.
"""

from __future__ import annotations

import logging

import sqlalchemy as sa
from flask import g, request

from .. import text
from ..redaction import is_secret_name
from .actor import client
from .headers import correlation

log = logging.getLogger("opsapp.security")

REFUSALS = frozenset({400, 401, 403, 429})
"""Statuses of requests that our pages and their links do not send."""


def log_refusal(status: int, message: str) -> None:
    """Log a request that was refused, if its status is one of :data:`REFUSALS`."""
    if status in REFUSALS:
        log.warning(
            "%s refused %s %s %s of %s at %s: %s",
            correlation(),
            status,
            request.method,
            text.truncate(path()),
            _caller(),
            client().ip or "an unknown address",
            text.safe(message),
        )


def path() -> str:
    """Return the path of the request for a log; that of a link with a secret has none."""
    if any(map(is_secret_name, request.view_args or ())):
        return str(request.url_rule)
    return request.path


def _caller() -> str:
    """Return the account, as far as this request has looked it up."""
    if caller := g.get("caller"):
        return str(caller.label)
    # A log must not ask the database, which may be why the request is refused.
    state = sa.inspect(g.get("_login_user"), raiseerr=False)
    return f"user:{state.identity[0]}" if state and state.identity else "a stranger"
