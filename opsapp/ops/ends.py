"""Ends of roles: a role of an application that is taken away by a sweep.

The application does not know an end, so a role holds until ``flask ops roles expire`` runs.
Code that asks ``ops.can(user, role)`` heeds the end itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock
from ..engine.rows import remove
from ..extensions import db
from ..models import RoleEnd
from ..models.types import database_now
from ..types import Record
from ..unit.work import Unit
from .identity import Identity, Key
from .roles import ADMIN_NAMES

LATE = timedelta(minutes=15)
"""The time after which a sweep that has not run is a finding."""


def find(session: so.Session, subject: str, role: str) -> RoleEnd | None:
    """Return the end of a role that an account holds, or None."""
    query = sa.select(RoleEnd).where(RoleEnd.subject == subject, RoleEnd.role == role)
    return db.beside(session).scalar(query)


def of(session: so.Session, subject: str) -> list[Record]:
    """Return the ends of an account's roles, the next first."""
    query = sa.select(RoleEnd).where(RoleEnd.subject == subject).order_by(RoleEnd.valid_until)
    return [
        {
            "role": end.role,
            "valid_until": end.valid_until,
            "granted_by": end.granted_by,
            "reason": end.reason,
        }
        for end in db.beside(session).scalars(query)
    ]


def write(unit: Unit, subject: str, role: str, until: datetime | None) -> None:
    """Give a role an end in place of the one that it had; None is for ever."""
    put(unit.ours, subject, role, until, by=unit.actor.label(), reason=unit.reason)


def put(
    session: so.Session,
    subject: str,
    role: str,
    until: datetime | None,
    *,
    by: str = "",
    reason: str | None = None,
) -> None:
    """Do so for an event, which tells who granted the role, and why."""
    remove(session, RoleEnd, RoleEnd.subject == subject, RoleEnd.role == role)
    if until is not None:
        row = {"subject": subject, "role": role, "valid_until": until, "created_at": clock.now()}
        session.execute(sa.insert(RoleEnd), {**row, "granted_by": by, "reason": reason})


def over(session: so.Session, by: timedelta = timedelta()) -> Sequence[RoleEnd]:
    """Return the ends that have passed, the first first.

    :param by: only those that passed at least so long ago.
    """
    past = database_now() if not by else sa.literal(clock.now() - by, RoleEnd.valid_until.type)
    query = sa.select(RoleEnd).where(RoleEnd.valid_until <= past)
    return db.beside(session).scalars(query.order_by(RoleEnd.valid_until, RoleEnd.id)).all()


def is_over(session: so.Session, subject: str, role: str) -> bool:
    """Return whether a role that an account still holds has ended."""
    ended = sa.select(RoleEnd.id).where(
        RoleEnd.subject == subject, RoleEnd.role == role, RoleEnd.valid_until <= database_now()
    )
    return db.beside(session).scalar(ended) is not None


def ending_administrators(identity: Identity, session: so.Session) -> list[Key]:
    """Return the keys of the accounts whose role of an administrator has an end."""
    rows = db.beside(session).execute(sa.select(RoleEnd.subject, RoleEnd.role))
    keys = [
        identity.key_of(session, subject)
        for subject, role in rows.all()
        if role.rpartition(":")[2].lower() in ADMIN_NAMES
    ]
    return [key for key in keys if key is not None]
