"""The outbox: mail, kept until the server has accepted it."""

from datetime import datetime

from sqlalchemy import orm as so

from .. import clock
from ..extensions import Model
from .types import LongWords, Number, UTCDateTime, Words


class MailMessage(Model):
    """A message. Its body is encrypted and emptied once sent: links in it can sign in."""

    __tablename__ = "ops_mail_messages"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    about: so.Mapped[str | None] = so.mapped_column(Words(64), index=True)
    """The account whose erasure removes it, such as ``user:12``."""
    kind: so.Mapped[str] = so.mapped_column(Words(64))
    """The template's name, such as ``welcome``."""
    recipient: so.Mapped[str] = so.mapped_column(Words(320))
    subject: so.Mapped[str] = so.mapped_column(Words(255))
    body: so.Mapped[str] = so.mapped_column(LongWords)
    created_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    attempts: so.Mapped[int] = so.mapped_column(Number, default=0)
    next_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime, default=clock.now)
    """The time of the next attempt; None once it is sent or given up."""
    sent_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    error: so.Mapped[str | None] = so.mapped_column(Words(255))
    """The last answer of the server."""
