"""Ends of roles that an application keeps in its own tables, which have no place for them."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock
from ..extensions import Model
from .types import LongWords, UTCDateTime, Words


class RoleEnd(Model):
    """The end of a role that an account holds; its row is removed with the role."""

    __tablename__ = "ops_role_ends"
    __table_args__ = (
        sa.UniqueConstraint("subject", "role"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    subject: so.Mapped[str] = so.mapped_column(Words(64))
    """The account, such as ``user:12``."""
    role: so.Mapped[str] = so.mapped_column(Words(255))
    """The role's name."""
    granted_by: so.Mapped[str] = so.mapped_column(LongWords)
    reason: so.Mapped[str | None] = so.mapped_column(LongWords)
    valid_until: so.Mapped[datetime] = so.mapped_column(UTCDateTime, index=True)
    created_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
