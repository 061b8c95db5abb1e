"""Roles, and the grants that give them to accounts for ever or for a while."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock
from ..extensions import Model
from .types import JSONWords, LongWords, UTCDateTime, Words, database_now
from .users import User

ADMIN = "admin"
"""The built-in role that holds every permission and cannot be taken apart."""


class EveryPermission(frozenset[str]):
    """What the admin role holds: a set that contains any permission asked for."""

    def __contains__(self, permission: object) -> bool:
        return True


class Role(Model):
    """A named set of permissions. A deleted role stays, for the history of its grants."""

    __tablename__ = "roles"
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
        """What Flask-Security asks when it decides: every permission for the admin role."""
        return EveryPermission() if self.name == ADMIN else frozenset(self.permissions)

    @property
    def reference(self) -> str:
        """How the audit names this role: ``role:3``."""
        return f"role:{self.id}"


class Grant(Model):
    """A role given to an account: from when, by whom, why, until when, and how it ended."""

    __tablename__ = "grants"
    __table_args__ = (
        sa.Index("ix_grants_role_id_user_id", "role_id", "user_id"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id"))
    role_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("roles.id"))
    granted_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    granted_by: so.Mapped[str] = so.mapped_column(LongWords)
    reason: so.Mapped[str | None] = so.mapped_column(LongWords)
    valid_until: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    """When it ends by itself; None is for ever. Enforced whenever it is read."""
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
        """The condition that this grant counts now, by the database's clock."""
        return sa.and_(
            cls.ended_at.is_(None),
            sa.or_(cls.valid_until.is_(None), cls.valid_until > database_now()),
        )


# A relationship and not a column of ours: Flask-Security reads user.roles when it
# decides, so a grant that is over gives nothing even if no sweep has marked it.
User.roles = so.relationship(
    Role,
    secondary=Grant.__table__,
    primaryjoin=lambda: sa.and_(User.id == Grant.user_id, Grant.is_live()),
    secondaryjoin=lambda: sa.and_(Role.id == Grant.role_id, Role.deleted_at.is_(None)),
    order_by=lambda: Role.name,
    viewonly=True,
)
