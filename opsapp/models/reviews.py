"""Access reviews: the grants of a moment, and the decision on each."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock
from ..extensions import Model
from .types import JSONWords, LongWords, UTCDateTime, Words


class AccessReview(Model):
    """A review: its roles, its end, and who started and finished it."""

    __tablename__ = "ops_access_reviews"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    roles: so.Mapped[list[str]] = so.mapped_column(JSONWords)
    """The sorted names of the roles that it is about; none are all roles."""
    started_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    started_by: so.Mapped[str] = so.mapped_column(LongWords)
    reason: so.Mapped[str | None] = so.mapped_column(LongWords)
    due_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime)
    finished_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    finished_by: so.Mapped[str | None] = so.mapped_column(LongWords)

    def __init__(self, **columns: Any) -> None:
        super().__init__(**columns)

    @property
    def reference(self) -> str:
        """The name of this review in the audit log: ``review:3``."""
        return f"review:{self.id}"


class ReviewItem(Model):
    """A grant that a review asks about, and the decision on it."""

    __tablename__ = "ops_access_review_items"
    __table_args__ = (
        sa.UniqueConstraint("review_id", "grant_id"),
        sa.Index("ix_ops_access_review_items_grant_id", "grant_id"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    review_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("ops_access_reviews.id"))
    grant_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("ops_grants.id"))
    last_login_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    """The last login of the account when the review started; None is never."""
    last_seen_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    """Its last login or later use by then; None is never."""
    decision: so.Mapped[str | None] = so.mapped_column(Words(16))
    """``keep`` or ``revoke``; None is undecided."""
    decided_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    decided_by: so.Mapped[str | None] = so.mapped_column(LongWords)
    decision_reason: so.Mapped[str | None] = so.mapped_column(LongWords)
