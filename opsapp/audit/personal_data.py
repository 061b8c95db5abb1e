"""Personal data: the events about an account and those by it, for its owner."""

from __future__ import annotations

from typing import Any

from flask import Flask

from .. import signals
from ..extensions import db
from ..models import User
from ..types import Record

NAMES = ("seq", "at", "door", "action", "subject")
"""The fields of an event by the user that say nothing about the other account."""


def connect(app: Flask) -> None:
    """Add the events to the personal data of the accounts of this application."""
    signals.of_rooms(signals.personal_data).connect(history, app)


def history(_app: Flask, *, user_id: int, **_extra: Any) -> Record:
    """Return the events about an account, and those by it without the names of other users."""
    # Not above: every command connects this, and few ask.
    from ..accounts.personal_data import own
    from .events import Filter, events

    user = db.session.get_one(User, user_id)
    acts = events(Filter(actor=user.reference), limit=None)
    return {
        "audit": own(events(Filter(subject=user.reference), limit=None)),
        "acts": [{name: event[name] for name in NAMES} for event in acts],
    }
