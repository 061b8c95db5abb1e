"""Grants: roles given to accounts, for ever or for a while, and revoked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, signals, text
from ..errors import Conflict, Invalid
from ..extensions import db
from ..models import Grant, Role, User
from ..models.types import database_now
from ..types import Record
from ..unit.work import Unit
from . import authority
from .effects import note_ended
from .lookup import actor_name, get_role, get_user, get_user_ever

SHOWN = 5
"""The most accounts that a refusal names."""

# --- reading -----------------------------------------------------------------


def role_names(user_id: int) -> list[str]:
    """Return the names of the roles that an account holds now."""
    return role_names_of([user_id]).get(user_id, [])


# Built once, for every page of accounts.
_ROLE_NAMES = (
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
    """Return the names of the roles that each of these accounts holds now, by its id."""
    names: dict[int, list[str]] = {}
    for user_id, name in db.session.execute(_ROLE_NAMES, {"user_ids": user_ids}):
        names.setdefault(user_id, []).append(name)
    return names


def of_user(user_id: int) -> list[Record]:
    """Return every grant that an account ever had, the newest first, without its name."""
    fields = (
        *("role", "state", "granted_at", "granted_by", "valid_until", "reason"),
        *("ended_at", "ended_by", "end_reason"),
    )
    return _records(_every().where(Grant.user_id == user_id), fields)


def _records(query: sa.Select[Grant], fields: Sequence[str]) -> list[Record]:
    rows = [record(grant) for grant in db.session.scalars(query)]
    return [{field: row[field] for field in fields} for row in rows]


def _every() -> sa.Select[Grant]:
    return (
        sa.select(Grant)
        .options(so.joinedload(Grant.role), so.joinedload(Grant.user))
        .order_by(Grant.id.desc())
    )


def record(grant: Grant) -> Record:
    """Return the public form of a grant; its state is live, expired, revoked or replaced."""
    state = grant.ended_how or ("expired" if _is_over(grant) else "live")
    return {
        "id": grant.id,
        "user_id": grant.user_id,
        "user": grant.user.email or grant.user.reference,
        "role": grant.role.name,
        "state": state,
        "granted_at": grant.granted_at,
        "granted_by": actor_name(grant.granted_by),
        "reason": grant.reason,
        "valid_until": grant.valid_until,
        "ended_at": grant.ended_at or (grant.valid_until if state == "expired" else None),
        "ended_by": actor_name(grant.ended_by),
        "end_reason": grant.end_reason,
    }


def expiring(*, within: timedelta) -> list[Record]:
    """Return the live grants that end by themselves within this time, the next first."""
    soon = (
        _every()
        .where(Grant.is_live(), Grant.valid_until <= clock.now() + within)
        .order_by(None)
        .order_by(Grant.valid_until, Grant.id)
    )
    return [record(grant) for grant in db.session.scalars(soon)]


def holding(role: Role) -> list[Record]:
    """Return the live grants of a role, the oldest first, without the role's name."""
    live = _every().where(Grant.role_id == role.id, Grant.is_live()).order_by(None)
    fields = ("user_id", "user", "granted_at", "granted_by", "valid_until", "reason")
    return _records(live.order_by(Grant.id), fields)


def history(
    user: str | None = None,
    *,
    role: str | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> list[Record]:
    """Return past and present grants of an account, of a role, or of both, the newest first.

    :param user: any account that ever existed; a deleted account by its id.
    :param before: the id of the last grant of the page before.
    :raises NotFound: there never was such an account or role.
    """
    query = _every().limit(limit)
    if before is not None:
        query = query.where(Grant.id < before)
    if user is not None:
        query = query.where(Grant.user_id == get_user_ever(user).id)
    if role is not None:
        ids = db.session.scalars(sa.select(Role.id).where(Role.name == role)).all()
        query = query.where(Grant.role_id.in_(ids or [get_role(role).id]))
    return [record(grant) for grant in db.session.scalars(query)]


# --- granting ----------------------------------------------------------------


def grant(
    role: str,
    users: Iterable[str],
    *,
    until: datetime | None = None,
    replace_end: bool = False,
    unit: Unit,
) -> list[Record]:
    """Give a role to accounts.

    :param until: when the grants end by themselves; None is for ever.
    :param replace_end: change the end of a grant that an account holds already.
    :raises Conflict: an account holds the role until another time; nothing was granted.
    :raises Invalid: ``until`` has passed.
    :raises Refused: the last administrator's grant would get an end.
    """
    if until is not None:
        check_end(until)
    with unit:
        named = get_role(role)
        accounts = _accounts(users)
        if not replace_end:
            _refuse_other_ends(named, accounts, until)
        results = [give(named, user, until=until, unit=unit) for user in accounts]
        return [_answer(grant, changed) for grant, changed in results]


def _refuse_other_ends(role: Role, accounts: Iterable[User], until: datetime | None) -> None:
    open_grants = [grant for user in accounts if (grant := _find_open(role, user))]
    others = [
        f"{grant.user.email} {_end_in_words(grant)}"
        for grant in open_grants
        if grant.valid_until != until and not _is_over(grant)
    ]
    if others:
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise Conflict(
            f"{role.name} is held until another time: {', '.join(others[:SHOWN])}{more}",
            hint="--replace-end changes the ends; or leave these users out",
        )


def _end_in_words(grant: Grant) -> str:
    return f"until {clock.rfc3339(grant.valid_until)}" if grant.valid_until else "for ever"


def check_end(until: datetime) -> None:
    """Check that the end of a grant or token is in the future.

    :raises Invalid: it has passed.
    """
    if until <= clock.now():
        raise Invalid(f"until {clock.rfc3339(until)} has passed already")


def _accounts(users: Iterable[str]) -> list[User]:
    return list(dict.fromkeys(get_user(reference) for reference in text.each(users)))


def _answer(grant: Grant, changed: bool) -> Record:
    return {"changed": changed, **record(grant)}


def give(role: Role, user: User, *, until: datetime | None, unit: Unit) -> tuple[Grant, bool]:
    """Return the live grant of ``role`` to ``user`` until then, and whether it is new.

    :raises Refused: the role holds more than the unit's account, or for longer.
    """
    authority.require("roles:grant", unit)
    authority.may_give(role, until, unit)
    present = _find_open(role, user)
    before = None
    if present is not None:
        if present.valid_until == until:
            return present, False
        authority.may_change(user, unit)  # A nearer end takes something away.
        before = None if _is_over(present) else _summary(present)
        _end(present, "replaced" if before else "expired", unit)
        # The open grant must be gone before another takes its place in the index.
        unit.session.flush()
    new = Grant(
        user=user,
        role=role,
        granted_at=clock.now(),
        granted_by=unit.actor.label(),
        reason=unit.reason,
        valid_until=until,
    )
    unit.session.add(new)
    unit.session.flush()
    unit.record("user:role:grant", user.reference, before=before, after=_summary(new))
    unit.announce(signals.role_granted, user_id=user.id, role=role.name, grant_id=new.id)
    return new, True


def difference_from_lasting(user: User, role: Role) -> str | None:
    """Return in words why the account does not hold this role for ever, or None."""
    present = _find_open(role, user)
    if present is None or _is_over(present):
        return f"does not hold {role.name}"
    if present.valid_until is None:
        return None
    return f"holds {role.name} {_end_in_words(present)} only"


def _find_open(role: Role, user: User) -> Grant | None:
    """Return the grant that is not marked as ended; it may be past its end."""
    return db.session.scalar(
        _every().where(Grant.user_id == user.id, Grant.role_id == role.id, Grant.ended_at.is_(None))
    )


def _is_over(grant: Grant) -> bool:
    return grant.valid_until is not None and grant.valid_until <= clock.now()


def _summary(grant: Grant) -> dict[str, Any]:
    until = clock.rfc3339(grant.valid_until) if grant.valid_until else None
    return {"role": grant.role.name, "valid_until": until}


def _end(grant: Grant, how: str, unit: Unit) -> None:
    grant.ended_at = grant.valid_until if how == "expired" else clock.now()
    grant.ended_how = how
    if how != "expired":
        grant.ended_by, grant.end_reason = unit.actor.label(), unit.reason


# --- ending ------------------------------------------------------------------


def revoke(role: str, users: Iterable[str], *, unit: Unit) -> list[Record]:
    """Take a role away from accounts, and end their sessions.

    An account that does not hold the role stays unchanged.

    :raises Refused: no administrator would be left.
    """
    with unit:
        authority.require("roles:grant", unit)
        named = get_role(role)
        return [_revoke_from(user, named, unit) for user in _accounts(users)]


def _revoke_from(user: User, role: Role, unit: Unit) -> Record:
    authority.may_change(user, unit)
    present = _find_open(role, user)
    if present is None:
        return {
            "changed": False,
            "user_id": user.id,
            "user": user.email,
            "role": role.name,
            "state": "not held",
        }
    _revoke(present, unit)
    return _answer(present, True)


def _revoke(grant: Grant, unit: Unit) -> None:
    if _is_over(grant):
        _expire(grant, unit)
        return
    before = _summary(grant)
    note_ended(unit, User.id == grant.user_id, of=grant.user.email)
    _end(grant, "revoked", unit)
    grant.user.end_sessions()
    unit.record("user:role:revoke", grant.user.reference, before=before)
    unit.announce(
        signals.role_revoked, user_id=grant.user_id, role=grant.role.name, grant_id=grant.id
    )


def _expire(grant: Grant, unit: Unit) -> None:
    before = _summary(grant)
    _end(grant, "expired", unit)
    unit.record("user:role:expire", grant.user.reference, before=before)


def expire(*, unit: Unit) -> list[Record]:
    """Mark the grants whose end has passed as ended; since then they gave nothing anyway."""
    with unit:
        over = unit.session.scalars(
            _every()
            .where(Grant.ended_at.is_(None), Grant.valid_until <= database_now())
            .order_by(None)
            .order_by(Grant.id)
        ).all()
        for grant in over:
            _expire(grant, unit)
        return [_answer(grant, True) for grant in over]


def end_all(user: User, *, unit: Unit) -> list[str]:
    """End every open grant of an account that is being deleted; return the roles."""
    grants = _list_open(Grant.user_id == user.id)
    for grant in grants:
        _end(grant, "revoked", unit)
    return sorted(grant.role.name for grant in grants)


def revoke_all(user: User, *, unit: Unit) -> list[str]:
    """Revoke every open grant of an account that stays, each with its event; return the roles."""
    authority.require("roles:grant", unit)
    grants = _list_open(Grant.user_id == user.id)
    for grant in grants:
        _revoke(grant, unit)
    return sorted(grant.role.name for grant in grants)


def end_all_of_role(role: Role, *, unit: Unit) -> None:
    """End every open grant of a role that is being deleted."""
    for grant in _list_open(Grant.role_id == role.id):
        _revoke(grant, unit)


def _list_open(criterion: sa.ColumnElement[bool]) -> Sequence[Grant]:
    return db.session.scalars(_every().where(criterion, Grant.ended_at.is_(None))).all()
