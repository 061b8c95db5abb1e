"""Personal data: the messages about an account, for its owner."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import Flask

from .. import signals
from ..extensions import db
from ..models import MailMessage, User
from ..types import Record
from .outbox import record


def connect(app: Flask) -> None:
    """Add the messages to the personal data of the accounts of this application."""
    signals.of_rooms(signals.personal_data).connect(messages, app)


def messages(_app: Flask, *, user_id: int, **_extra: Any) -> Record:
    """Return the messages about an account that are still kept, without their bodies."""
    user = db.session.get_one(User, user_id)
    query = sa.select(MailMessage).where(MailMessage.about == user.reference)
    rows = db.session.scalars(query.order_by(MailMessage.id))
    return {"mail": [record(message) for message in rows]}
