"""Acceptance: the event of the audit log that says by which identity accounts were changed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..extensions import db
from ..models import AuditEvent
from ..types import Record
from ..unit.work import Unit
from .identity import Identity

ACTION = "identity:accounts:accept"
SUBJECT = "identity"


def describe_identity(identity: Identity) -> Record:
    """Return the parts of an identity as the audit keeps them: attributes, and their sources."""
    parts = {
        name: f"{getattr(identity, name)} ({identity.sources.get(name, '')})"
        for name in ("email", "username", "active", "password")
        if getattr(identity, name) is not None
    }
    roles = [f"{rule.kind} {rule.attribute}" for rule in identity.roles]
    model = f"{identity.model.__module__}.{identity.model.__qualname__}"
    return {"model": model, "parts": parts, "roles": roles}


def is_accepted(identity: Identity, session: so.Session) -> bool:
    """Return whether accounts were changed by this identity before."""
    return _last(session) == describe_identity(identity)


def record(identity: Identity, unit: Unit) -> None:
    """Record the identity, unless the last event of its kind has it already."""
    if any(change.action == ACTION for change in unit.recorded):
        return
    before, after = _last(unit.session), describe_identity(identity)
    if before != after:
        unit.record(ACTION, SUBJECT, before=before, after=after)


def _last(session: so.Session) -> Record | None:
    query = sa.select(AuditEvent.after).where(AuditEvent.action == ACTION)
    return db.beside(session).scalar(query.order_by(AuditEvent.seq.desc()).limit(1))
