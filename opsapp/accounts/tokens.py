"""API tokens: named credentials for programs, with a scope and an end."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, signals, text
from ..errors import Conflict, Invalid, NotFound
from ..extensions import db
from ..models import ApiToken, Grant, Role, User
from ..types import Record
from ..unit import ledger
from ..unit.work import Unit
from ..values import damage
from . import authority, grants, permissions
from .lookup import actor_name, get_user, get_user_ever
from .sessions import fingerprint

PREFIX = "opsapp_"
"""The start of every token, by which scanners for leaked secrets recognize it."""
LONGEST = timedelta(days=366)
LONGEST_NAME = 64


def create(
    user: str,
    name: str,
    *,
    allow: Iterable[str] = (),
    until: datetime | None,
    if_exists: str = "error",
    ends_then: bool = False,
    unit: Unit,
) -> Record:
    """Create a token for an account; the secret is in this answer and stored nowhere.

    :param allow: the scope; empty for all permissions of its owner.
    :param until: the end, a year from now at the latest.
    :param if_exists: ``error``, or ``keep`` the token of this name (without its secret).
    :param ends_then: require the token to keep to end at ``until``.
    :raises Conflict: there is a token of this name, or the one to keep has another scope or
        end; or the account is not active.
    :raises Invalid: the end has passed or is too far.
    :raises Refused: the account may do more than the unit's account.
    """
    name = text.validate(name, "name", longest=LONGEST_NAME)
    allowed = sorted({permissions.parse(permission) for permission in text.each(allow)}) or None
    until = _validate_end(until)
    with unit:
        owner = authority.changeable(user, unit)
        present = _find_open(owner, name)
        if present is not None and if_exists == "error":
            raise Conflict(
                f"user {owner.email} has a token {name} already",
                hint=f"flask users tokens revoke {owner.email} {name}, or --if-exists keep",
            )
        if present is not None:
            _refuse_unlike(present, allowed, until if ends_then else None)
            return {**record(present), "token": None}
        if not owner.active:
            raise Conflict(f"user {owner.email} is not active")
        secret = PREFIX + secrets.token_urlsafe(32)
        token = _insert(owner, name, secret, allowed, until, unit)
        return {**record(token), "token": None if unit.dry_run else secret}


def _refuse_unlike(present: ApiToken, allowed: list[str] | None, until: datetime | None) -> None:
    """Refuse to keep a token with another scope or end."""
    differences = []
    if present.permissions != allowed:
        differences.append(f"allows {', '.join(present.permissions or ['*'])}")
    if until not in (None, present.valid_until):
        differences.append(f"ends at {clock.rfc3339(present.valid_until)}")
    if differences:
        raise Conflict(
            f"token {present.name} exists and {' and '.join(differences)}",
            hint=f"flask users tokens revoke {present.user.email} {present.name}",
        )


def _validate_end(until: datetime | None) -> datetime:
    if until is None:
        raise Invalid("a token needs an end")
    grants.check_end(until)
    if until > clock.now() + LONGEST:
        raise Invalid(f"the end {clock.rfc3339(until)} is more than {LONGEST.days} days from now")
    return until


def _insert(
    owner: User,
    name: str,
    secret: str,
    allowed: list[str] | None,
    until: datetime,
    unit: Unit,
) -> ApiToken:
    # A token that is over but not marked would block its name.
    for old in _tokens_by_name(owner, name):
        old.ended_at = min(old.valid_until, clock.now())
    unit.session.flush()
    token = ApiToken(
        user=owner,
        name=name,
        key=fingerprint(secret),
        uniquifier=owner.fs_uniquifier,
        permissions=allowed,
        created_at=clock.now(),
        created_by=unit.actor.label(),
        valid_until=until,
    )
    unit.session.add(token)
    unit.session.flush()
    after = {
        "token": name,
        "permissions": allowed,
        "valid_until": clock.rfc3339(until),
        "fingerprint": ledger.fingerprint(token.key),
    }
    unit.record("user:token:create", owner.reference, after=after)
    unit.announce(signals.user_updated, user_id=owner.id)
    return token


def _tokens_by_name(owner: User, name: str) -> list[ApiToken]:
    """Return the tokens of this name that are not marked as ended; at most one is live."""
    query = sa.select(ApiToken).where(
        ApiToken.user_id == owner.id, ApiToken.name == name, ApiToken.ended_at.is_(None)
    )
    return list(db.session.scalars(query))


def revoke_all(user: str | None = None, *, unit: Unit) -> list[Record]:
    """End every live token of an account, or of all.

    :raises NotFound: there is no such account.
    :raises Refused: an account may do more than the unit's account.
    """
    with unit:
        authority.require("users:write", unit)
        query = _every().join(ApiToken.user).where(ApiToken.is_live())
        if user is not None:
            query = query.where(ApiToken.user_id == authority.changeable(user, unit).id)
        live = unit.session.scalars(query.order_by(None).order_by(ApiToken.name, ApiToken.id)).all()
        for token in live:
            authority.may_change(token.user, unit)
            token.ended_at = clock.now()
            # In the order of names: tokens that are called alike are one event.
            unit.record("user:token:revoke", token.user.reference, before={"token": token.name})
        for owner in dict.fromkeys(token.user for token in live):
            unit.announce(signals.user_updated, user_id=owner.id)
        return [{"changed": True, **record(token)} for token in live]


def _find_open(owner: User, name: str) -> ApiToken | None:
    return next((token for token in _tokens_by_name(owner, name) if state(token) == "live"), None)


def revoke(user: str, name: str, *, unit: Unit) -> Record:
    """End a token at once.

    :raises NotFound: the account never had a token of this name.
    :raises Refused: the account may do more than the unit's account.
    """
    name = text.validate(name, "name", longest=LONGEST_NAME)
    with unit:
        owner = authority.changeable(user, unit)
        live = _find_open(owner, name)
        if live is not None:
            live.ended_at = clock.now()
            unit.record("user:token:revoke", owner.reference, before={"token": name})
            unit.announce(signals.user_updated, user_id=owner.id)
        return record(live or _get_newest(owner, name))


def get(user: str, name: str) -> ApiToken:
    """Return the newest token of this name, which may have ended.

    :raises NotFound: there is no such account, or it never had a token of this name.
    """
    return _get_newest(get_user(user), text.validate(name, "name", longest=LONGEST_NAME))


def _get_newest(owner: User, name: str) -> ApiToken:
    newest = _newest(owner, name)
    if newest is None:
        raise NotFound(
            f"user {owner.email} has no token {text.truncate(name)}",
            hint=f"flask users tokens list {owner.email}",
        )
    return newest


def _newest(owner: User, name: str) -> ApiToken | None:
    return db.session.scalar(
        sa.select(ApiToken)
        .where(ApiToken.user_id == owner.id, ApiToken.name == name)
        .order_by(ApiToken.id.desc())
        .limit(1)
    )


def state(token: ApiToken) -> str:
    """Return ``live``, ``revoked``, ``expired``, or ``ended`` (with its owner's sessions)."""
    if token.valid_until <= (token.ended_at or clock.now()):
        return "expired"
    if token.ended_at:
        return "revoked"
    owner = token.user
    return "live" if owner.active and token.uniquifier == owner.fs_uniquifier else "ended"


def _every() -> sa.Select[ApiToken]:
    return sa.select(ApiToken).options(so.joinedload(ApiToken.user)).order_by(ApiToken.id.desc())


def record(token: ApiToken) -> Record:
    """Return the public form of a token, without its secret."""
    return {
        "id": token.id,
        "user_id": token.user_id,
        "user": token.user.email,
        "name": token.name,
        "state": state(token),
        "permissions": ["*"]
        if token.permissions is None
        else damage.display_items(token.permissions),
        "created_at": token.created_at,
        "created_by": actor_name(token.created_by),
        "valid_until": token.valid_until,
        "used_at": token.used_at,
    }


def listing(user: str | None = None) -> list[Record]:
    """Return every token of an account, or of all, the newest first.

    :raises NotFound: there never was such an account.
    """
    query = _every()
    if user is not None:
        query = query.where(ApiToken.user_id == get_user_ever(user).id)
    return [record(token) for token in db.session.scalars(query)]


# Built once: every request of a program runs it.
_LIVE = (
    sa.select(ApiToken)
    .join(ApiToken.user)
    .outerjoin(Grant, sa.and_(Grant.user_id == User.id, Grant.is_live()))
    .outerjoin(Role, sa.and_(Role.id == Grant.role_id, Role.deleted_at.is_(None)))
    .options(so.contains_eager(ApiToken.user).contains_eager(User.roles))
    .where(ApiToken.key == sa.bindparam("key"), ApiToken.is_live())
    .order_by(Role.name)
)


def find_live(secret: str) -> ApiToken | None:
    """Return the live token of this secret with its account, or None."""
    if not secret.startswith(PREFIX):
        return None
    return db.session.scalars(_LIVE, {"key": fingerprint(secret)}).unique().one_or_none()
