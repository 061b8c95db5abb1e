"""Credentials: browser sessions, API tokens, and every login attempt.

docs/decisions/accounts.md#sessions-and-tokens-remember-fs_uniquifier
"""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, settings
from ..extensions import Model
from .accounts import User
from .types import JSONWords, LongWords, Number, UTCDateTime, Words, database_now

NOTE_EVERY = timedelta(minutes=1)
"""The shortest time between two notes of a session's or token's use."""


def _is_live(model: "type[UserSession | ApiToken]", end: Any) -> sa.ColumnElement[bool]:
    """Return the condition that a credential works; joined with the account."""
    return sa.and_(
        model.ended_at.is_(None),
        end > database_now(),
        model.uniquifier == User.fs_uniquifier,
        User.active.is_(True),
    )


class UserSession(Model):
    """A browser that signed in. The cookie holds a random key, the row its SHA-256."""

    __tablename__ = "ops_user_sessions"
    __table_args__ = (
        sa.Index("ix_ops_user_sessions_user_id_id", "user_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("ops_users.id"))
    key: so.Mapped[str] = so.mapped_column(Words(64), unique=True)
    uniquifier: so.Mapped[str] = so.mapped_column(Words(64))
    opened_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now, index=True)
    seen_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    expires_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime)
    ended_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    ip: so.Mapped[str | None] = so.mapped_column(Words(64))
    user_agent: so.Mapped[str | None] = so.mapped_column(Words(200))

    user: so.Mapped[User] = so.relationship()

    @classmethod
    def is_live(cls) -> sa.ColumnElement[bool]:
        """Return the condition that this session works; joined with the account.

        It is not over, and was used within ``OPSAPP_SESSION_IDLE``.
        """
        works = _is_live(cls, cls.expires_at)
        minutes = settings.get("OPSAPP_SESSION_IDLE")
        if not minutes:
            return works
        return works & (cls.seen_at > clock.now() - timedelta(minutes=minutes) - NOTE_EVERY)


class ApiToken(Model):
    """A credential for a program, with a name, a scope and an end."""

    __tablename__ = "ops_api_tokens"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("ops_users.id"), index=True)
    name: so.Mapped[str] = so.mapped_column(Words(64))
    key: so.Mapped[str] = so.mapped_column(Words(64), unique=True)
    """The token's SHA-256; it is random enough to need no slower hash."""
    uniquifier: so.Mapped[str] = so.mapped_column(Words(64))
    permissions: so.Mapped[list[str] | None] = so.mapped_column(JSONWords)
    """The scope; None is all permissions of the owner."""
    created_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    created_by: so.Mapped[str] = so.mapped_column(LongWords)
    valid_until: so.Mapped[datetime] = so.mapped_column(UTCDateTime)
    used_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    ended_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)

    user: so.Mapped[User] = so.relationship()

    @classmethod
    def is_live(cls) -> sa.ColumnElement[bool]:
        """Return the condition that this token works; joined with the account."""
        return _is_live(cls, cls.valid_until)


class Login(Model):
    """An attempt to sign in. Not in the audit log, since there are too many to keep."""

    __tablename__ = "ops_logins"
    __table_args__ = (
        sa.Index("ix_ops_logins_user_id_id", "user_id", "id"),
        sa.Index("ix_ops_logins_network_at", "network", "at"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now, index=True)
    user_id: so.Mapped[int | None] = so.mapped_column(sa.ForeignKey("ops_users.id"))
    """None if no account has the typed name."""
    identity: so.Mapped[str] = so.mapped_column(Words(64))
    """A keyed fingerprint of the typed name, since it may be a password."""
    outcome: so.Mapped[str] = so.mapped_column(Words(16))
    """One of :data:`opsapp.accounts.logins.OUTCOMES`."""
    ip: so.Mapped[str | None] = so.mapped_column(Words(64))
    network: so.Mapped[str | None] = so.mapped_column(Words(64))
    """The network whose failures are counted together."""
    user_agent: so.Mapped[str | None] = so.mapped_column(Words(200))


class LoginFailures(Model):
    """Consecutive failures to sign in with a name, from strangers or from a known browser."""

    __tablename__ = "ops_login_failures"

    key: so.Mapped[str] = so.mapped_column(Words(64), primary_key=True)
    """A keyed fingerprint of the name and the browser."""
    user_id: so.Mapped[int | None] = so.mapped_column(sa.ForeignKey("ops_users.id"), index=True)
    """None if no account has the name."""
    browser: so.Mapped[str | None] = so.mapped_column(Words(64))
    """The browser or session that the account knows; None for strangers."""
    count: so.Mapped[int] = so.mapped_column(Number, default=0)
    failed_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, index=True)
    locked_until: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)


def _of_user(counted: sa.ColumnElement[Any]) -> sa.ScalarSelect[Any]:
    rows = sa.select(counted).where(LoginFailures.user_id == User.id)
    return rows.correlate_except(LoginFailures).scalar_subquery()


User.failed_logins = so.column_property(
    _of_user(sa.func.coalesce(sa.func.sum(LoginFailures.count), 0)), deferred=True
)
User.locked_until = so.column_property(_of_user(sa.func.max(LoginFailures.locked_until)))
