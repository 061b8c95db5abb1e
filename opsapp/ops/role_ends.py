"""Ends of roles: a role of an application that is taken away by a sweep.

The application does not know an end, so a role holds until ``flask ops roles expire`` runs.
Code that asks ``ops.can(user, role)`` checks the end itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock
from ..engine.rows import remove
from ..extensions import db, this_app
from ..models import AuditEvent, PendingEvent, RoleEnd
from ..models.types import database_now
from ..state import attachment_of
from ..types import Record
from ..unit.pending import DELETE
from ..unit.work import Unit
from .changes import UPDATE
from .identity import Identity, Key
from .roles import ADMIN_NAMES, Rule

LATE = timedelta(minutes=15)
"""The time after which a sweep that has not run is a finding."""


def find(session: so.Session, subject: str, role: str) -> RoleEnd | None:
    """Return the end of a role that an account holds, or None."""
    query = sa.select(RoleEnd).where(RoleEnd.subject == subject, RoleEnd.role == role)
    return db.beside(session).scalar(query)


def of(session: so.Session, subject: str) -> list[Record]:
    """Return the ends of an account's roles, the next first."""
    if not attachment_of(this_app()).has_tables_by_now:
        return []
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
    """Give a role an end in place of the one that it had; None is forever."""
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


def passed_ends(session: so.Session, by: timedelta = timedelta()) -> Sequence[RoleEnd]:
    """Return the ends that have passed, the first first.

    :param by: only those that passed at least so long ago.
    """
    past = database_now() if not by else sa.literal(clock.now() - by, RoleEnd.valid_until.type)
    query = sa.select(RoleEnd).where(RoleEnd.valid_until <= past)
    return db.beside(session).scalars(query.order_by(RoleEnd.valid_until, RoleEnd.id)).all()


def clearing_statements(
    rules: Sequence[Rule], rows: Iterable[Mapping[str, Any]]
) -> Iterator[sa.TextClause]:
    """Yield what removes the ends of roles that the application's own code has given or taken.

    It is text for their transaction, where the guard would refuse a statement of SQLAlchemy's.

    :param rows: what the observer saw.
    """
    for row in rows:
        values = {"subject": row["subject"], "at": row["at"]}
        if row["action"] == DELETE:
            yield _CLEAR.bindparams(**values)
        elif roles := _roles_in(rules, row):
            yield _CLEAR_SOME.bindparams(**values, roles=sorted(roles))


def _roles_in(rules: Sequence[Rule], row: Mapping[str, Any]) -> set[str]:
    """Return the names of the roles, with and without their rule's."""
    pairs = set()
    for side in (row["before"] or {}, row["after"] or {}):
        if "relation" in side:
            relation, role = side["relation"], side["role"]
            pairs.add((relation, role.removeprefix(f"{relation}:")))
        elif row["action"] == UPDATE:
            pairs |= {
                (rule.attribute.name, getattr(rule, "role", str(side[rule.attribute.name])))
                for rule in rules
                if rule.attribute.name in side
            }
    return {name for rule, role in pairs for name in (role, f"{rule}:{role}")}


_CLEAR = sa.text(
    f"DELETE FROM {RoleEnd.__tablename__} WHERE subject = :subject AND created_at <= :at"  # noqa: S608  (our name)
).bindparams(sa.bindparam("at", type_=RoleEnd.created_at.type))
_CLEAR_SOME = sa.text(f"{_CLEAR.text} AND role IN :roles").bindparams(
    sa.bindparam("at", type_=RoleEnd.created_at.type), sa.bindparam("roles", expanding=True)
)


def account(identity: Identity, session: so.Session, subject: str) -> Any | None:
    """Return the account of an end, or None: it is deleted, or has another key now."""
    key = identity.key_of(session, subject)
    return None if key is None else session.get(identity.model, key)


def is_deleted(session: so.Session, end: RoleEnd) -> bool:
    """Return whether an event tells that the account of an end was deleted."""
    return any(
        db.beside(session).scalar(
            sa.select(sa.literal(1))
            .where(event.action == DELETE, event.subject == end.subject)
            .where(event.at >= end.created_at)
            .limit(1)
        )
        for event in (AuditEvent, PendingEvent)
    )


def is_over(session: so.Session, subject: str, role: str) -> bool:
    """Return whether a role that an account still holds has ended."""
    if not attachment_of(this_app()).has_tables_by_now:
        return False
    query = sa.select(RoleEnd.id).where(
        RoleEnd.subject == subject, RoleEnd.role == role, RoleEnd.valid_until <= database_now()
    )
    return db.beside(session).scalar(query) is not None


def ending_administrators(identity: Identity, session: so.Session) -> list[Key]:
    """Return the keys of the accounts whose role of an administrator has an end."""
    rows = db.beside(session).execute(sa.select(RoleEnd.subject, RoleEnd.role))
    keys = [
        identity.key_of(session, subject)
        for subject, role in rows.all()
        if role.rpartition(":")[2].lower() in ADMIN_NAMES
    ]
    return [key for key in keys if key is not None]
