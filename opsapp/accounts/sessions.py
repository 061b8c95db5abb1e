"""Browser sessions: opened, seen, and ended where the server keeps them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta

import sqlalchemy as sa
from flask import current_app
from sqlalchemy import orm as so

from .. import clock, signals
from ..errors import NotFound
from ..extensions import db
from ..models import User, UserSession
from ..types import Record
from ..unit.work import Unit, bookkeeping
from . import authority, logins
from .logins import Client
from .lookup import get_user

SEEN_EVERY = timedelta(minutes=1)
"""A session's last use is written down at most so often."""


def fingerprint(key: str) -> str:
    """What the database keeps of a session's key or of a token."""
    return hashlib.sha256(key.encode()).hexdigest()


def start(user: User, client: Client) -> tuple[str, int]:
    """A session for an account that has just signed in: its key, for the cookie, and its id."""
    key, now = secrets.token_urlsafe(32), clock.now()
    hours = int(current_app.config["OPSAPP_SESSION_HOURS"])
    with bookkeeping() as session:
        opened = UserSession(
            user_id=user.id,
            key=fingerprint(key),
            uniquifier=user.fs_uniquifier,
            opened_at=now,
            seen_at=now,
            expires_at=now + timedelta(hours=hours),
            ip=client.ip,
            user_agent=client.user_agent,
        )
        session.add(opened)
        logins.add_success(session, user, client)
        session.flush()
        return key, opened.id


def find_live(key: str) -> UserSession | None:
    """The session of this key with its account, while it lets somebody in."""
    return db.session.scalar(
        sa.select(UserSession)
        .join(UserSession.user)
        .options(so.contains_eager(UserSession.user))
        .where(UserSession.key == fingerprint(key), UserSession.is_live())
    )


def see(found: UserSession) -> None:
    """Write down that a session is used, unless that was done a moment ago."""
    now = clock.now()
    if now - found.seen_at < SEEN_EVERY:
        return
    with bookkeeping() as session:
        logins.note_sign_of_life(session, found.user_id, now)
        session.execute(
            sa.update(UserSession).where(UserSession.id == found.id).values(seen_at=now)
        )


def carry_over(user: User, unit: Unit) -> None:
    """Let the session that changes its account outlive that, which ends all the others.

    It is done inside of the unit: later, somebody else may have ended them on purpose.
    """
    if unit.standing is not None and unit.standing.session_id is not None:
        mine = sa.update(UserSession).where(UserSession.id == unit.standing.session_id)
        unit.session.execute(mine.values(uniquifier=user.fs_uniquifier))


def log_out(key: str) -> None:
    """End the session of this key: a copy of its cookie is worthless from now on."""
    with bookkeeping() as session:
        session.execute(
            sa.update(UserSession)
            .where(UserSession.key == fingerprint(key), UserSession.ended_at.is_(None))
            .values(ended_at=clock.now())
        )


def record(session: UserSession) -> Record:
    """The public form of a session; its key is not in it."""
    return {
        "id": session.id,
        "user_id": session.user_id,
        "user": session.user.email,
        "opened_at": session.opened_at,
        "seen_at": session.seen_at,
        "expires_at": session.expires_at,
        "ip": session.ip,
        "user_agent": session.user_agent,
    }


def listing(user: str | None = None) -> list[Record]:
    """The open sessions of an account, or of all, the newest first.

    :raises NotFound: there is no such account.
    """
    owner = None if user is None else get_user(user).id
    return [record(found) for found in _live(owner)]


def _live(user_id: int | None) -> list[UserSession]:
    query = (
        sa.select(UserSession)
        .join(UserSession.user)
        .options(so.contains_eager(UserSession.user))
        .where(UserSession.is_live())
        .order_by(UserSession.id.desc())
    )
    if user_id is not None:
        query = query.where(UserSession.user_id == user_id)
    return list(db.session.scalars(query))


def end(user: str, ids: Iterable[int] = (), *, unit: Unit) -> list[Record]:
    """End these sessions of an account, or all that are open; its API tokens stay.

    :raises NotFound: the account never had a session of that id.
    :raises Refused: the account may do more than whoever does this.
    """
    wanted = set(ids)
    with unit:
        owner = authority.changeable(user, unit)
        if unknown := sorted(wanted - _ids_of(owner.id)):
            raise NotFound(
                f"user {owner.email} has no session {unknown[0]}",
                hint=f"flask users sessions list {owner.email}",
            )
        ended = [one for one in _live(owner.id) if not wanted or one.id in wanted]
        now = clock.now()
        for one in ended:
            one.ended_at = now
        if ended:
            numbers = sorted(one.id for one in ended)
            unit.record("user:sessions:end", owner.reference, before={"sessions": numbers})
            unit.announce(signals.user_updated, user_id=owner.id)
        return [{"changed": True, **record(one), "ended_at": now} for one in ended]


def _ids_of(user_id: int) -> set[int]:
    return set(db.session.scalars(sa.select(UserSession.id).where(UserSession.user_id == user_id)))
