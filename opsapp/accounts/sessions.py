"""Browser sessions, kept by the server.

docs/decisions/accounts.md#sessions-and-tokens-remember-fs_uniquifier
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, settings, signals
from ..errors import NotFound
from ..extensions import db
from ..models import ApiToken, User, UserSession
from ..models.sessions import NOTE_EVERY
from ..types import Record
from ..unit.work import Unit, bookkeeping
from . import authority, lockouts, logins
from .logins import Client
from .lookup import get_user


def fingerprint(key: str) -> str:
    """Return the stored form of a session's key or of a token."""
    return hashlib.sha256(key.encode()).hexdigest()


def start(user: User, client: Client, browser: str | None = None) -> tuple[str, int]:
    """Open a session for an account; return its key, for the cookie, and its id.

    :param browser: the browser that the account knows; None for a stranger's.
    """
    key, now = secrets.token_urlsafe(32), clock.now()
    hours = settings.get("OPSAPP_SESSION_HOURS")
    with bookkeeping() as session:
        row = UserSession(
            user_id=user.id,
            key=fingerprint(key),
            uniquifier=user.fs_uniquifier,
            opened_at=now,
            seen_at=now,
            expires_at=now + timedelta(hours=hours),
            ip=client.ip,
            user_agent=client.user_agent,
        )
        session.add(row)
        logins.add_success(session, user, client)
        lockouts.reset_in(session, user.id, browser)
        session.flush()
        return key, row.id


def find_live(key: str) -> UserSession | None:
    """Return the live session of this key with its account, or None."""
    return db.session.scalar(_live().where(UserSession.key == fingerprint(key)))


def _live() -> sa.Select[UserSession]:
    query = sa.select(UserSession).join(UserSession.user)
    return query.options(so.contains_eager(UserSession.user)).where(UserSession.is_live())


def note_use(credential: UserSession | ApiToken) -> None:
    """Store that a session or token is used, unless that was done a moment ago."""
    model = type(credential)
    column = "used_at" if model is ApiToken else "seen_at"
    before, now = getattr(credential, column), clock.now()
    if before is not None and now - before < NOTE_EVERY:
        return
    with bookkeeping() as session:
        logins.note_activity(session, credential.user_id, now)
        session.execute(sa.update(model).where(model.id == credential.id).values({column: now}))


def carry_over(user: User, unit: Unit) -> None:
    """Keep the session that changes its account, while the change ends all others.

    Inside of the unit, because an operator may end this session right after it.
    """
    if unit.standing is not None and unit.standing.session_id is not None:
        update = sa.update(UserSession).where(UserSession.id == unit.standing.session_id)
        unit.session.execute(update.values(uniquifier=user.fs_uniquifier))


def log_out(key: str) -> None:
    """End the session of this key: a copy of its cookie is worthless from now on."""
    with bookkeeping() as session:
        session.execute(
            sa.update(UserSession)
            .where(UserSession.key == fingerprint(key), UserSession.ended_at.is_(None))
            .values(ended_at=clock.now())
        )


def record(session: UserSession) -> Record:
    """Return the public form of a session, without its key."""
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
    """Return the open sessions of an account, or of all, the newest first.

    :raises NotFound: there is no such account.
    """
    owner = None if user is None else get_user(user).id
    return [record(session) for session in _list_live(owner)]


def _list_live(user_id: int | None) -> Sequence[UserSession]:
    query = _live().order_by(UserSession.id.desc())
    if user_id is not None:
        query = query.where(UserSession.user_id == user_id)
    return db.session.scalars(query).all()


def end(user: str, ids: Collection[int] = (), *, unit: Unit) -> list[Record]:
    """End these sessions of an account, or all open ones; its API tokens stay.

    :raises NotFound: the account never had a session of that id.
    :raises Refused: the account may do more than the unit's account.
    """
    with unit:
        owner = authority.changeable(user, unit)
        if unknown := sorted(set(ids) - _ids_of(owner.id)):
            raise NotFound(
                f"user {owner.email} has no session {unknown[0]}",
                hint=f"flask users sessions list {owner.email}",
            )
        sessions = [row for row in _list_live(owner.id) if not ids or row.id in ids]
        now = clock.now()
        for session in sessions:
            session.ended_at = now
        if sessions:
            numbers = sorted(session.id for session in sessions)
            unit.record("user:sessions:end", owner.reference, before={"sessions": numbers})
            unit.announce(signals.user_updated, user_id=owner.id)
        return [{"changed": True, **record(session), "ended_at": now} for session in sessions]


def end_all(*, unit: Unit) -> list[Record]:
    """End every open session of every account; API tokens stay.

    :raises Refused: an account may do more than the unit's account.
    """
    with unit:
        authority.require("users:write", unit)
        sessions = _list_live(None)
        now = clock.now()
        for session in sessions:
            session.ended_at = now
        for owner in dict.fromkeys(session.user for session in sessions):
            authority.may_change(owner, unit)
            # Alike for each account, so that many are one event of the audit.
            unit.record("user:sessions:end", owner.reference, before={"sessions": "all"})
            unit.announce(signals.user_updated, user_id=owner.id)
        return [{"changed": True, **record(session), "ended_at": now} for session in sessions]


def end_others(user_id: int, current: int | None, *, unit: Unit) -> int:
    """End every open session of an account but this one; return how many there were."""
    others = [row.id for row in _list_live(user_id) if row.id != current]
    return len(end(str(user_id), others, unit=unit)) if others else 0


def _ids_of(user_id: int) -> set[int]:
    return set(db.session.scalars(sa.select(UserSession.id).where(UserSession.user_id == user_id)))
