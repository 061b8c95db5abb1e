"""Who acts in this request: the actor, the powers and the unit of work of the services."""

from __future__ import annotations

import socket
from functools import cache

from flask import request

from .. import text
from ..actors import Actor
from ..models import ApiToken, User
from ..powers import Powers
from ..services.logins import Client
from ..unit import Unit
from .headers import correlation

REASON = "X-Reason"
"""The header that says why; kept in the audit."""


@cache
def _host() -> str:
    return socket.gethostname()


def client() -> Client:
    """Where the request comes from, with nothing in it that a terminal would obey."""
    agent = request.user_agent.string
    return Client(ip=request.remote_addr, user_agent=text.safe(agent)[:200] or None)


def unit_of_self(user: User | None, *, reason: str | None = None) -> Unit:
    """A unit by somebody who changes their own account; None has none yet."""
    if user is None:
        actor = Actor(kind="stranger", name="stranger", host=_host())
    else:
        actor = Actor(kind="user", name=user.reference, host=_host())
    return Unit(actor=actor, door="web", reason=reason, correlation=correlation())


def unit_of_api(user: User, token: ApiToken | None) -> Unit:
    """A unit by an account that changes others, limited to what it and its token may do.

    :raises Invalid: the reason has hostile characters.
    """
    scope = None if token is None or token.permissions is None else frozenset(token.permissions)
    return Unit(
        actor=Actor(
            kind="user", name=user.reference, host=_host(), token=token.name if token else None
        ),
        door="api",
        reason=request.headers.get(REASON) or None,
        powers=Powers(user.id, scope),
        correlation=correlation(),
    )
