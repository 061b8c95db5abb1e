"""Accounts, roles, and the grants that give roles to accounts."""

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock
from ..extensions import Model
from .types import BigNumber, JSONWords, LongWords, Number, UTCDateTime, Words, database_now

# Equality of identities is decided by Python's canonical form, never by a collation.
_identity = Words(320).with_variant(Words(320, collation="C"), "postgresql")


def new_uniquifier() -> str:
    """Return a fresh ``fs_uniquifier``: every session and token made with the old one ends."""
    return uuid4().hex


class User(Model):
    """An account. The names of the login columns are Flask-Security's.

    A deleted account stays as a row without personal data (``deleted_at`` is
    set), because grants, audit and the application's own tables refer to its id.
    """

    __tablename__ = "ops_users"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    email: so.Mapped[str | None] = so.mapped_column(_identity, unique=True)
    """In canonical form (NFKC, case folded); None once deleted."""
    username: so.Mapped[str | None] = so.mapped_column(_identity, unique=True)
    password: so.Mapped[str | None] = so.mapped_column(Words(255))
    """The argon2 hash; None refuses every password."""
    must_change_password: so.Mapped[bool] = so.mapped_column(
        default=False, server_default=sa.false()
    )
    """The pages let the user do nothing else before."""
    active: so.Mapped[bool] = so.mapped_column(default=True)
    fs_uniquifier: so.Mapped[str] = so.mapped_column(
        Words(64),
        unique=True,
        default=new_uniquifier,
        active_history=True,  # The web's datastore compares the one that a request saw.
    )
    confirmed_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    login_count: so.Mapped[int] = so.mapped_column(Number, default=0)
    last_login_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    tf_primary_method: so.Mapped[str | None] = so.mapped_column(Words(64))
    tf_totp_secret: so.Mapped[str | None] = so.mapped_column(Words(255))
    tf_phone_number: so.Mapped[str | None] = so.mapped_column(Words(128))
    mf_recovery_codes: so.Mapped[list[str] | None] = so.mapped_column(JSONWords)
    tf_last_counter: so.Mapped[int | None] = so.mapped_column(BigNumber)
    """The time step of the last accepted code of this seed: each code is valid once."""
    idle_since: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    """The time when it was last seen, or else created."""
    created_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    updated_at: so.Mapped[datetime] = so.mapped_column(
        UTCDateTime, default=clock.now, onupdate=clock.now
    )
    deleted_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    erased_as: so.Mapped[str | None] = so.mapped_column(Words(64), index=True)
    """A keyed fingerprint of a deleted account's address, to recognize a second deletion."""

    if TYPE_CHECKING:
        roles: so.Mapped["list[Role]"]
        """The roles of the live grants; read-only. Defined below :class:`Grant`."""
        failed_logins: so.Mapped[int]
        """Consecutive failures of all its names. Defined below :class:`.LoginFailures`."""
        locked_until: so.Mapped[datetime | None]
        """The end of its last lockout."""

    def __init__(self, **columns: Any) -> None:
        super().__init__(**columns)

    @classmethod
    def is_seen(cls) -> sa.ColumnElement[bool]:
        """Return a condition: it has signed in, or a token of it was used."""
        return sa.or_(cls.login_count > 0, cls.idle_since != cls.created_at)

    def end_sessions(self) -> None:
        """Make every session and token of this account worthless."""
        self.fs_uniquifier = new_uniquifier()

    def forget_second_factor(self) -> None:
        """Remove two-factor authentication with its seed and recovery codes."""
        self.tf_primary_method = self.tf_totp_secret = self.tf_phone_number = None
        self.mf_recovery_codes = self.tf_last_counter = None

    @property
    def reference(self) -> str:
        """The name of this account in the audit log: ``user:12``."""
        return f"user:{self.id}"


ADMIN = "admin"
"""The built-in role, which holds every permission and cannot be edited."""


class EveryPermission(frozenset[str]):
    """The permissions of the admin role: a set that contains every permission."""

    def __contains__(self, permission: object) -> bool:
        return True


class Role(Model):
    """A named set of permissions. A deleted role stays, for the history of its grants."""

    __tablename__ = "ops_roles"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    name: so.Mapped[str] = so.mapped_column(
        Words(64).with_variant(Words(64, collation="C"), "postgresql")
    )
    description: so.Mapped[str] = so.mapped_column(Words(255), default="")
    permissions: so.Mapped[list[str]] = so.mapped_column(JSONWords, default=list)
    """Sorted names; of the admin role empty, since it holds every permission."""
    builtin: so.Mapped[bool] = so.mapped_column(default=False)
    created_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    deleted_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)

    def __init__(self, **columns: Any) -> None:
        super().__init__(**columns)

    def get_permissions(self) -> frozenset[str]:
        """Return the permissions; Flask-Security calls this too."""
        return EveryPermission() if self.name == ADMIN else frozenset(self.permissions)

    @property
    def reference(self) -> str:
        """The name of this role in the audit log: ``role:3``."""
        return f"role:{self.id}"


class Grant(Model):
    """A role given to an account: its start, actor, reason and end."""

    __tablename__ = "ops_grants"
    __table_args__ = (
        sa.Index("ix_ops_grants_role_id_user_id", "role_id", "user_id"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("ops_users.id"))
    role_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("ops_roles.id"))
    granted_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    granted_by: so.Mapped[str] = so.mapped_column(LongWords)
    reason: so.Mapped[str | None] = so.mapped_column(LongWords)
    valid_until: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    """The end; None is forever. Every read enforces it."""
    ended_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    ended_how: so.Mapped[str | None] = so.mapped_column(Words(16))
    """``revoked``, ``expired`` or ``replaced`` (by a grant with another end)."""
    ended_by: so.Mapped[str | None] = so.mapped_column(LongWords)
    end_reason: so.Mapped[str | None] = so.mapped_column(LongWords)

    user: so.Mapped[User] = so.relationship()
    role: so.Mapped[Role] = so.relationship()

    def __init__(self, **columns: Any) -> None:
        super().__init__(**columns)

    @classmethod
    def is_live(cls) -> sa.ColumnElement[bool]:
        """Return the condition that this grant is live, by the database's clock."""
        return sa.and_(
            cls.ended_at.is_(None),
            sa.or_(cls.valid_until.is_(None), cls.valid_until > database_now()),
        )


# Flask-Security reads user.roles, so a grant that is over gives nothing, even before
# `flask roles expire` has marked it.
User.roles = so.relationship(
    Role,
    secondary=Grant.__table__,
    primaryjoin=lambda: sa.and_(User.id == Grant.user_id, Grant.is_live()),
    secondaryjoin=lambda: sa.and_(Role.id == Grant.role_id, Role.deleted_at.is_(None)),
    order_by=lambda: Role.name,
    viewonly=True,
)
