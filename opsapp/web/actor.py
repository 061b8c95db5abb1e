"""The actor and the unit of work of a request."""

from __future__ import annotations

import logging
import socket
from functools import cache

from flask import g, request
from flask_login import current_user
from sqlalchemy.exc import SQLAlchemyError

from .. import text
from ..accounts import sessions, tokens
from ..accounts.logins import Client, canonical_ip
from ..actors import Actor, Powers, Standing
from ..errors import OpsError
from ..models import ApiToken, User, UserSession
from ..unit.work import Unit
from .headers import correlation

log = logging.getLogger(__name__)

REASON = "X-Reason"
"""The header with the reason of a change, for the audit."""


@cache
def _host() -> str:
    return socket.gethostname()


def client() -> Client:
    """Return the address and browser of the request, safe to print on a terminal."""
    agent = text.safe(request.user_agent.string)[:200]
    return Client(ip=_address(request.remote_addr or ""), user_agent=agent or None)


def _address(value: str) -> str | None:
    """Return the address without a port, as some proxies send it; None for other text."""
    name = value.strip()
    if name.count(":") == 1 or name.startswith("["):
        name = name.rpartition(":")[0] if not name.endswith("]") else name
        name = name.strip("[]")
    try:
        return text.safe(canonical_ip(name))[:64]  # The zone of IPv6 may be any text.
    except ValueError:
        return None


def bearer_token() -> str | None:
    """Return the token of the request; None for another scheme, or no token."""
    kind, _space, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() or None if kind.lower() == "bearer" else None


def live_token() -> ApiToken | None:
    """Return the live token of this request, which is looked up once; None if it has none."""
    if "token" not in g:
        secret = bearer_token()
        g.token = tokens.find_live(secret) if secret else None
    token: ApiToken | None = g.token
    return token


def signed_in_user() -> User:
    """Return the account of this browser's session."""
    user: User = current_user._get_current_object()  # noqa: SLF001  (Flask documents this name)
    return user


def checks_password() -> bool:
    """Return whether this request checks a password or a code, which is guessed and slow."""
    if request.method != "POST" or request.endpoint == "security.logout":
        return False
    return request.blueprint == "security" or request.endpoint == "account.end_other_sessions"


def note_use(credential: UserSession | ApiToken) -> None:
    """Store that a session or token is used; an error here does not fail the request."""
    try:
        sessions.note_use(credential)
    except (OpsError, SQLAlchemyError) as error:
        log.warning("the use of %s was not stored: %s", type(credential).__name__, error)


def unit_of_self(
    user: User | None, *, reason: str | None = None, standing: Standing | None = None
) -> Unit:
    """Return a unit for a user who changes their own account.

    :param user: None for a stranger, who has no account yet.
    :param standing: None for the session of this browser.
    """
    if user is None:
        actor = Actor(kind="stranger", name="stranger", host=_host())
    else:
        actor = Actor(kind="user", name=user.reference, host=_host())
        standing = standing or standing_of(user)
    return _remember(
        Unit(actor=actor, door="web", reason=reason, standing=standing, correlation=correlation())
    )


def standing_of(user: User, token: ApiToken | None = None) -> Standing:
    """Return the credential of this request: a token, this browser's session, or a link."""
    session_id = None
    if token is None and current_user.is_authenticated and current_user.id == user.id:
        session_id = g.get("session_id")
    return Standing(user.id, user.fs_uniquifier, session_id, token.id if token else None)


def unit_of_api(user: User, token: ApiToken | None, powers: Powers) -> Unit:
    """Return a unit for an account that changes others, limited by its powers.

    :raises Invalid: the reason has hostile characters.
    """
    name = token.name if token else None
    return _remember(
        Unit(
            actor=Actor(kind="user", name=user.reference, host=_host(), token=name),
            door="api",
            reason=_reason(),
            powers=powers,
            standing=standing_of(user, token),
            correlation=correlation(),
        )
    )


def _remember(unit: Unit) -> Unit:
    """Remember the unit, since an error after its commit does not undo it."""
    g.setdefault("units", []).append(unit)
    return unit


def _reason() -> str | None:
    """Return the reason as UTF-8: WSGI decodes every header as Latin-1."""
    header = request.headers.get(REASON, "")
    try:
        return header.encode("latin-1").decode() or None
    except UnicodeError:
        return header
