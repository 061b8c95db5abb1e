"""What lets somebody in: browser sessions, API tokens, and the record of every log-in.

A session and a token remember the account's ``fs_uniquifier`` of the moment they
were made. Whatever ends an account's sessions gives it a new one, and with that
everything made before is worthless, in one column and without a clock.
"""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock
from ..extensions import Model
from .accounts import User
from .types import JSONWords, LongWords, UTCDateTime, Words, database_now


class UserSession(Model):
    """A browser that signed in. The cookie holds a random key, the row its SHA-256."""

    __tablename__ = "user_sessions"
    __table_args__ = (
        sa.Index("ix_user_sessions_user_id_id", "user_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id"))
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
        """The condition that this session still lets its account in; joined with the account."""
        return sa.and_(
            cls.ended_at.is_(None),
            cls.expires_at > database_now(),
            cls.uniquifier == User.fs_uniquifier,
            User.active.is_(True),
        )


class ApiToken(Model):
    """A credential for a program: named, limited to permissions, and with an end."""

    __tablename__ = "api_tokens"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id"), index=True)
    name: so.Mapped[str] = so.mapped_column(Words(64))
    key: so.Mapped[str] = so.mapped_column(Words(64), unique=True)
    """SHA-256 of the token; the token itself is random enough to need no slower hash."""
    uniquifier: so.Mapped[str] = so.mapped_column(Words(64))
    permissions: so.Mapped[list[str] | None] = so.mapped_column(JSONWords)
    """At most these of its owner's; None is all of them."""
    created_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    created_by: so.Mapped[str] = so.mapped_column(LongWords)
    valid_until: so.Mapped[datetime] = so.mapped_column(UTCDateTime)
    used_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    ended_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)

    user: so.Mapped[User] = so.relationship()

    @classmethod
    def is_live(cls) -> sa.ColumnElement[bool]:
        """The condition that this token still works; joined with the account."""
        return sa.and_(
            cls.ended_at.is_(None),
            cls.valid_until > database_now(),
            cls.uniquifier == User.fs_uniquifier,
            User.active.is_(True),
        )


class Login(Model):
    """One try to sign in. Too many for the audit's chain: they have a retention instead."""

    __tablename__ = "logins"
    __table_args__ = (
        sa.Index("ix_logins_user_id_id", "user_id", "id"),
        sa.Index("ix_logins_identity_at", "identity", "at"),
        sa.Index("ix_logins_network_at", "network", "at"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now, index=True)
    user_id: so.Mapped[int | None] = so.mapped_column(sa.ForeignKey("users.id"))
    """None where nobody has the name that was typed."""
    identity: so.Mapped[str] = so.mapped_column(Words(64))
    """A keyed fingerprint of what was typed: a mistyped field may hold a password."""
    outcome: so.Mapped[str] = so.mapped_column(Words(16))
    """``success``, or why not: one of :data:`opsapp.accounts.logins.OUTCOMES`."""
    ip: so.Mapped[str | None] = so.mapped_column(Words(64))
    network: so.Mapped[str | None] = so.mapped_column(Words(64))
    """Under which failures are counted together."""
    user_agent: so.Mapped[str | None] = so.mapped_column(Words(200))
