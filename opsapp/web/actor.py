"""Who acts in this request: the actor, the powers and the unit of work of the services."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from functools import cache
from typing import Any

from flask import g, request
from flask_login import current_user
from sqlalchemy.exc import SQLAlchemyError

from .. import text
from ..accounts.logins import Client
from ..actors import Actor, Powers, Standing
from ..errors import OpsError
from ..models import ApiToken, User
from ..unit.work import Unit
from .headers import correlation

log = logging.getLogger(__name__)

REASON = "X-Reason"
"""The header that says why; kept in the audit."""


@cache
def _host() -> str:
    return socket.gethostname()


def client() -> Client:
    """Where the request comes from, with nothing in it that a terminal would obey."""
    agent = request.user_agent.string
    # A proxy may pass on what no address is.
    ip = text.safe(request.remote_addr or "")[:64]
    return Client(ip=ip or None, user_agent=text.safe(agent)[:200] or None)


def write_down_use(see: Callable[[Any], None], found: Any) -> None:
    """Call ``see`` with a session or a token; when it was used is worth less than the answer."""
    try:
        see(found)
    except (OpsError, SQLAlchemyError) as error:
        log.warning("the use of %s was not written down: %s", type(found).__name__, error)


def unit_of_self(
    user: User | None, *, reason: str | None = None, standing: Standing | None = None
) -> Unit:
    """A unit by somebody who changes their own account; None has none yet.

    :param standing: what lets them; the session of this browser, if it is not said.
    """
    if user is None:
        actor = Actor(kind="stranger", name="stranger", host=_host())
    else:
        actor = Actor(kind="user", name=user.reference, host=_host())
        standing = standing or standing_of(user)
    return _noted(
        Unit(actor=actor, door="web", reason=reason, standing=standing, correlation=correlation())
    )


def standing_of(user: User, token: ApiToken | None = None) -> Standing:
    """What this request came with for the account: a token, this browser's session, or a link."""
    session_id = None
    if token is None and current_user.is_authenticated and current_user.id == user.id:
        session_id = g.get("session_id")
    return Standing(user.id, user.fs_uniquifier, session_id, token.id if token else None)


def unit_of_api(user: User, token: ApiToken | None, powers: Powers) -> Unit:
    """A unit by an account that changes others, limited to what it and its token may do.

    :raises Invalid: the reason has hostile characters.
    """
    name = token.name if token else None
    return _noted(
        Unit(
            actor=Actor(kind="user", name=user.reference, host=_host(), token=name),
            door="api",
            reason=_reason(),
            powers=powers,
            standing=standing_of(user, token),
            correlation=correlation(),
        )
    )


def _noted(unit: Unit) -> Unit:
    """The unit, known to the answer: what fails after its commit does not undo it."""
    g.setdefault("units", []).append(unit)
    return unit


def _reason() -> str | None:
    """Why, as it was sent: WSGI reads every header as Latin-1, and programs write UTF-8."""
    sent = request.headers.get(REASON, "")
    try:
        return sent.encode("latin-1").decode() or None
    except UnicodeError:
        return sent
