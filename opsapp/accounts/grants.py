"""Grants: a role given to accounts, for ever or for a while, and taken away again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, signals, text
from ..errors import Invalid
from ..extensions import db
from ..models import Grant, Role, User
from ..models.types import database_now
from ..types import Record
from ..unit.work import Unit
from . import authority
from .lookup import get_role, get_user, get_user_ever

# --- reading -----------------------------------------------------------------


def role_names(user_id: int) -> list[str]:
    """The names of the roles an account holds now."""
    return role_names_of([user_id]).get(user_id, [])


# Made once, for every page of accounts.
_HELD = (
    sa.select(Grant.user_id, Role.name)
    .join(Role, Role.id == Grant.role_id)
    .where(
        Grant.user_id.in_(sa.bindparam("user_ids", expanding=True)),
        Grant.is_live(),
        Role.deleted_at.is_(None),
    )
    .order_by(Role.name)
)


def role_names_of(user_ids: Sequence[int]) -> dict[int, list[str]]:
    """The names of the roles each of these accounts holds now, in one query."""
    found: dict[int, list[str]] = {}
    for user_id, name in db.session.execute(_HELD, {"user_ids": user_ids}):
        found.setdefault(user_id, []).append(name)
    return found


def of_user(user_id: int) -> list[Record]:
    """Every grant an account ever had, the newest first, without the account's name."""
    shown = ("role", "state", "granted_at", "granted_by", "valid_until", "reason")
    found = db.session.scalars(_every().where(Grant.user_id == user_id))
    return [_only(shown, record(grant)) for grant in found]


def _only(names: Sequence[str], row: Record) -> Record:
    return {name: row[name] for name in names}


def _every() -> sa.Select[Grant]:
    return (
        sa.select(Grant)
        .options(so.joinedload(Grant.role), so.joinedload(Grant.user))
        .order_by(Grant.id.desc())
    )


def record(grant: Grant) -> Record:
    """The public form of a grant; its state is live, expired, revoked or replaced."""
    state = grant.ended_how or "live"
    if state == "live" and grant.valid_until and grant.valid_until <= clock.now():
        state = "expired"
    return {
        "id": grant.id,
        "user_id": grant.user_id,
        "user": grant.user.email or grant.user.reference,
        "role": grant.role.name,
        "state": state,
        "granted_at": grant.granted_at,
        "granted_by": grant.granted_by,
        "reason": grant.reason,
        "valid_until": grant.valid_until,
        "ended_at": grant.ended_at or (grant.valid_until if state == "expired" else None),
        "ended_by": grant.ended_by,
        "end_reason": grant.end_reason,
    }


def expiring(*, within: timedelta) -> list[Record]:
    """The live grants that end by themselves within this time, the next one first."""
    soon = (
        _every()
        .where(Grant.is_live(), Grant.valid_until <= clock.now() + within)
        .order_by(None)
        .order_by(Grant.valid_until, Grant.id)
    )
    return [record(grant) for grant in db.session.scalars(soon)]


def holding(role: Role) -> list[Record]:
    """The live grants of a role, the oldest first, without the role's name."""
    live = _every().where(Grant.role_id == role.id, Grant.is_live()).order_by(None)
    shown = ("user_id", "user", "granted_at", "granted_by", "valid_until", "reason")
    found = [record(grant) for grant in db.session.scalars(live.order_by(Grant.id))]
    return [_only(shown, row) for row in found]


def history(user: str | None = None, *, role: str | None = None) -> list[Record]:
    """Grants past and present of an account, of a role, or of both, the newest first.

    :param user: any account that was ever there, a deleted one by its id.
    :raises NotFound: there is no such account, or never was such a role.
    """
    query = _every()
    if user is not None:
        query = query.where(Grant.user_id == get_user_ever(user).id)
    if role is not None:
        ids = db.session.scalars(sa.select(Role.id).where(Role.name == role)).all()
        query = query.where(Grant.role_id.in_(ids or [get_role(role).id]))
    return [record(grant) for grant in db.session.scalars(query)]


# --- granting ----------------------------------------------------------------


def grant(
    role: str, users: Iterable[str], *, until: datetime | None = None, unit: Unit
) -> list[Record]:
    """Give a role to accounts. A live grant with another end is replaced by this one.

    :param until: when the grants end by themselves; None is for ever.
    :raises Invalid: ``until`` has passed.
    :raises Refused: the last administrator's grant would get an end.
    """
    if until is not None and until <= clock.now():
        raise Invalid(f"until {clock.rfc3339(until)} has passed already")
    with unit:
        held = get_role(role)
        given = [give(held, user, until=until, unit=unit) for user in _accounts(users)]
        return [_answer(*one) for one in given]


def _accounts(users: Iterable[str]) -> list[User]:
    return list(dict.fromkeys(get_user(reference) for reference in text.each(users)))


def _answer(grant: Grant, changed: bool) -> Record:
    return {"changed": changed, **record(grant)}


def give(role: Role, user: User, *, until: datetime | None, unit: Unit) -> tuple[Grant, bool]:
    """The live grant of ``role`` to ``user`` that ends at ``until``; whether it is new.

    :raises Refused: the role may do what whoever gives it may not, or not for so long.
    """
    authority.require("roles:grant", unit)
    authority.may_give(role, until, unit)
    now = clock.now()
    present = _open(role, user)
    if present is not None and present.valid_until == until:
        return present, False
    if present is not None:
        authority.may_change(user, unit)  # A nearer end takes something away.
    before = None
    if present is not None:
        over = present.valid_until is not None and present.valid_until <= now
        before = None if over else _summary(present)
        _end(present, "expired" if over else "replaced", unit)
    new = Grant(
        user=user,
        role=role,
        granted_at=now,
        granted_by=unit.actor.label(),
        reason=unit.reason,
        valid_until=until,
    )
    unit.session.add(new)
    unit.session.flush()
    unit.record("user:role:grant", user.reference, before=before, after=_summary(new))
    unit.announce(signals.role_granted, user_id=user.id, role=role.name, grant_id=new.id)
    return new, True


def unlike_lasting(user: User, role: Role) -> str | None:
    """What differs from holding this role for ever, in words; None if nothing does."""
    present = _open(role, user)
    if present is None or (present.valid_until and present.valid_until <= clock.now()):
        return f"does not hold {role.name}"
    if present.valid_until is None:
        return None
    return f"holds {role.name} until {clock.rfc3339(present.valid_until)} only"


def _open(role: Role, user: User) -> Grant | None:
    """The grant that is not marked as ended; it may be past its end."""
    return db.session.scalar(
        _every().where(Grant.user_id == user.id, Grant.role_id == role.id, Grant.ended_at.is_(None))
    )


def _summary(grant: Grant) -> dict[str, Any]:
    until = clock.rfc3339(grant.valid_until) if grant.valid_until else None
    return {"role": grant.role.name, "valid_until": until}


def _end(grant: Grant, how: str, unit: Unit) -> None:
    grant.ended_at = grant.valid_until if how == "expired" else clock.now()
    grant.ended_how = how
    if how != "expired":
        grant.ended_by, grant.end_reason = unit.actor.label(), unit.reason
    # The open grant must be gone before another takes its place in the index.
    unit.session.flush()


# --- ending ------------------------------------------------------------------


def revoke(role: str, users: Iterable[str], *, unit: Unit) -> list[Record]:
    """Take a role away from accounts; their sessions end. Not held is already so.

    :raises Refused: no administrator would be left.
    """
    with unit:
        authority.require("roles:grant", unit)
        held = get_role(role)
        return [_revoked(held, user, unit) for user in _accounts(users)]


def _revoked(role: Role, user: User, unit: Unit) -> Record:
    authority.may_change(user, unit)
    present = _open(role, user)
    if present is None:
        return {
            "changed": False,
            "user_id": user.id,
            "user": user.email,
            "role": role.name,
            "state": "not held",
        }
    return _answer(present, _revoke(present, unit))


def _revoke(grant: Grant, unit: Unit) -> bool:
    if grant.valid_until is not None and grant.valid_until <= clock.now():
        return _expire(grant, unit)
    before = _summary(grant)
    _end(grant, "revoked", unit)
    grant.user.end_sessions()
    unit.record("user:role:revoke", grant.user.reference, before=before)
    unit.announce(
        signals.role_revoked, user_id=grant.user_id, role=grant.role.name, grant_id=grant.id
    )
    return True


def _expire(grant: Grant, unit: Unit) -> bool:
    before = _summary(grant)
    _end(grant, "expired", unit)
    unit.record("user:role:expire", grant.user.reference, before=before)
    return True


def expire(*, unit: Unit) -> list[Record]:
    """Mark the grants whose end has passed as ended. They gave nothing since then anyway."""
    with unit:
        over = unit.session.scalars(
            _every()
            .where(Grant.ended_at.is_(None), Grant.valid_until <= database_now())
            .order_by(None)
            .order_by(Grant.id)
        ).all()
        return [_answer(grant, _expire(grant, unit)) for grant in over]


def end_all(user: User, *, unit: Unit) -> list[str]:
    """End every open grant of an account that is being deleted; the roles it held."""
    held = _opened(Grant.user_id == user.id)
    for grant in held:
        _end(grant, "revoked", unit)
    return sorted(grant.role.name for grant in held)


def end_all_of_role(role: Role, *, unit: Unit) -> None:
    """End every open grant of a role that is being deleted."""
    for grant in _opened(Grant.role_id == role.id):
        _revoke(grant, unit)


def _opened(criterion: sa.ColumnElement[bool]) -> Sequence[Grant]:
    return db.session.scalars(_every().where(criterion, Grant.ended_at.is_(None))).all()
