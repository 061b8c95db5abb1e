"""API tokens: named credentials for programs, limited in what they may do and for how long."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, damage, permissions, signals, text
from ..errors import Conflict, Invalid, NotFound
from ..extensions import db
from ..models import ApiToken, Grant, Role, User
from ..types import Record
from ..unit.work import Unit, bookkeeping
from . import authority, logins
from .lookup import get_user_ever
from .sessions import fingerprint

PREFIX = "opsapp_"
"""What a token begins with, so that scanners for leaked secrets know one when they see it."""
LONGEST = timedelta(days=366)
LONGEST_NAME = 64
USED_EVERY = timedelta(minutes=1)


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
    """A token for an account; ``token`` is in the answer this once and never again.

    :param allow: the token may do at most this; nothing named is all its owner may.
    :param until: when it ends, a year from now at the latest.
    :param if_exists: ``error``, or ``keep`` the one of this name (without its secret).
    :param ends_then: one to keep must end at ``until``; else it may end whenever it does.
    :raises Conflict: there is one of this name, or one to keep allows something else or has
        another end; or the account is not active.
    :raises Invalid: the end has passed or is too far.
    :raises Refused: the account may do more than whoever makes it a token.
    """
    name = text.checked(name, "name", longest=LONGEST_NAME)
    allowed = sorted({permissions.parse(permission) for permission in text.each(allow)}) or None
    until = _checked_end(until)
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
        token = PREFIX + secrets.token_urlsafe(32)
        made = _insert(owner, name, token, allowed, until, unit)
        return {**record(made), "token": None if unit.dry_run else token}


def _refuse_unlike(present: ApiToken, allowed: list[str] | None, until: datetime | None) -> None:
    """Refuse to keep a token that is not what was asked for, and call it done."""
    differs = []
    if present.permissions != allowed:
        differs.append(f"allows {', '.join(present.permissions or ['*'])}")
    if until not in (None, present.valid_until):
        differs.append(f"ends at {clock.rfc3339(present.valid_until)}")
    if differs:
        raise Conflict(
            f"token {present.name} exists and {' and '.join(differs)}",
            hint=f"flask users tokens revoke {present.user.email} {present.name}",
        )


def _checked_end(until: datetime | None) -> datetime:
    if until is None:
        raise Invalid("a token needs an end")
    if until <= clock.now():
        raise Invalid(f"until {clock.rfc3339(until)} has passed already")
    if until > clock.now() + LONGEST:
        raise Invalid(f"until {clock.rfc3339(until)} is more than {LONGEST.days} days from now")
    return until


def _insert(
    owner: User,
    name: str,
    token: str,
    allowed: list[str] | None,
    until: datetime,
    unit: Unit,
) -> ApiToken:
    # One that is over, and not marked, would stand in the way of its successor.
    for old in _named(owner, name):
        old.ended_at = min(old.valid_until, clock.now())
    unit.session.flush()
    made = ApiToken(
        user=owner,
        name=name,
        key=fingerprint(token),
        uniquifier=owner.fs_uniquifier,
        permissions=allowed,
        created_at=clock.now(),
        created_by=unit.actor.label(),
        valid_until=until,
    )
    unit.session.add(made)
    unit.session.flush()
    after = {"token": name, "permissions": allowed, "valid_until": clock.rfc3339(until)}
    unit.record("user:token:create", owner.reference, after=after)
    unit.announce(signals.user_updated, user_id=owner.id)
    return made


def _named(owner: User, name: str) -> list[ApiToken]:
    """The tokens of this name that nobody has revoked; all but one at most are over."""
    query = sa.select(ApiToken).where(
        ApiToken.user_id == owner.id, ApiToken.name == name, ApiToken.ended_at.is_(None)
    )
    return list(db.session.scalars(query))


def _find_open(owner: User, name: str) -> ApiToken | None:
    return next((token for token in _named(owner, name) if state(token) == "live"), None)


def revoke(user: str, name: str, *, unit: Unit) -> Record:
    """End a token at once.

    :raises NotFound: the account never had one of this name.
    :raises Refused: the account may do more than whoever does this.
    """
    name = text.checked(name, "name", longest=LONGEST_NAME)
    with unit:
        owner = authority.changeable(user, unit)
        live = _find_open(owner, name)
        if live is not None:
            live.ended_at = clock.now()
            unit.record("user:token:revoke", owner.reference, before={"token": name})
            unit.announce(signals.user_updated, user_id=owner.id)
        newest = live or _newest(owner, name)
        if newest is None:
            raise NotFound(
                f"user {owner.email} has no token {text.shortened(name)}",
                hint=f"flask users tokens list {owner.email}",
            )
        return record(newest)


def _newest(owner: User, name: str) -> ApiToken | None:
    return db.session.scalar(
        sa.select(ApiToken)
        .where(ApiToken.user_id == owner.id, ApiToken.name == name)
        .order_by(ApiToken.id.desc())
        .limit(1)
    )


def state(token: ApiToken) -> str:
    """``live``, ``revoked``, ``expired``, or ``ended`` together with its owner's sessions."""
    if token.valid_until <= (token.ended_at or clock.now()):
        return "expired"
    if token.ended_at:
        return "revoked"
    owner = token.user
    return "live" if owner.active and token.uniquifier == owner.fs_uniquifier else "ended"


def record(token: ApiToken) -> Record:
    """The public form of a token; the secret is not in it."""
    return {
        "id": token.id,
        "user_id": token.user_id,
        "user": token.user.email,
        "name": token.name,
        "state": state(token),
        "permissions": ["*"] if token.permissions is None else damage.listed(token.permissions),
        "created_at": token.created_at,
        "created_by": token.created_by,
        "valid_until": token.valid_until,
        "used_at": token.used_at,
    }


def listing(user: str | None = None) -> list[Record]:
    """The tokens that an account, or anybody, ever had, the newest first.

    :raises NotFound: there never was such an account.
    """
    query = sa.select(ApiToken).options(so.joinedload(ApiToken.user)).order_by(ApiToken.id.desc())
    if user is not None:
        query = query.where(ApiToken.user_id == get_user_ever(user).id)
    return [record(token) for token in db.session.scalars(query)]


# Made once: it is sent for every request of a program.
_LIVE = (
    sa.select(ApiToken)
    .join(ApiToken.user)
    .outerjoin(Grant, sa.and_(Grant.user_id == User.id, Grant.is_live()))
    .outerjoin(Role, sa.and_(Role.id == Grant.role_id, Role.deleted_at.is_(None)))
    .options(so.contains_eager(ApiToken.user).contains_eager(User.roles))
    .where(ApiToken.key == sa.bindparam("key"), ApiToken.is_live())
    .order_by(Role.name)
)


def find_live(token: str) -> ApiToken | None:
    """The token with its account, while it works."""
    if not token.startswith(PREFIX):
        return None
    found = db.session.scalars(_LIVE, {"key": fingerprint(token)}).unique()
    return found.one_or_none()


def see(found: ApiToken) -> None:
    """Write down that a token is used, unless that was done a moment ago."""
    now = clock.now()
    if found.used_at is not None and now - found.used_at < USED_EVERY:
        return
    with bookkeeping() as session:
        logins.note_sign_of_life(session, found.user_id, now)
        session.execute(sa.update(ApiToken).where(ApiToken.id == found.id).values(used_at=now))
