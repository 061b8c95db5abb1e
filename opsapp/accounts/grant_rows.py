"""Changes of grants as rows: given and taken by statements, with their events.

docs/decisions/accounts.md#many-accounts-change-by-statements
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from .. import clock, signals
from ..errors import Conflict
from ..extensions import db
from ..models import Grant, Role, User
from ..models.types import UTCDateTime
from ..types import Record
from ..unit.work import Unit
from . import authority, bulk
from .bulk import Account
from .effects import note_ended
from .lookup import actor_name

SHOWN = 5
"""The most accounts that a refusal names."""

# --- giving ------------------------------------------------------------------


def give(
    role: Role,
    users: Sequence[Account],
    *,
    until: datetime | None,
    replace_end: bool = True,
    unit: Unit,
) -> list[Record]:
    """Return the live grants of ``role`` to these accounts until then, and which are new.

    :raises Conflict: one has another end, and ``replace_end`` is false.
    :raises Refused: the role holds more than the unit's account, or for longer.
    """
    authority.require("roles:grant", unit)
    authority.may_give(role, until, unit)
    present = {row.user_id: row for row in list_open_of(users, Grant.role_id == role.id)}
    others = [row for row in present.values() if row.valid_until != until]
    if not replace_end:
        _refuse_other_ends(role, [row for row in others if not is_over(row)])
    # A nearer end takes something away.
    authority.may_change_all([row.user_id for row in others], unit)
    replaced = {row.user_id: _summary(row) for row in others if not is_over(row)}
    end([row for row in others if row.user_id not in replaced], "expired", unit)
    end([row for row in others if row.user_id in replaced], "replaced", unit)
    kept = present.keys() - {row.user_id for row in others}
    new = _insert(role, [user.id for user in users if user.id not in kept], until, unit)
    _record_given(role, new, until, replaced, unit)
    ids = {user.id: new.get(user.id) or present[user.id].id for user in users}
    return answers(list(ids.values()), set(new.values()))


def _refuse_other_ends(role: Role, others: Sequence[Any]) -> None:
    if others:
        names = ", ".join(f"{row.email} {end_in_words(row)}" for row in others[:SHOWN])
        more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise Conflict(
            f"{role.name} is held until another time: {names}{more}",
            hint="--replace-end changes the ends; or leave these users out",
        )


def end_in_words(grant: Any) -> str:
    return f"until {clock.rfc3339(grant.valid_until)}" if grant.valid_until else "for ever"


def _insert(
    role: Role, user_ids: Sequence[int], until: datetime | None, unit: Unit
) -> dict[int, int]:
    """Write a grant for each account; return the grants' ids by those of the accounts."""
    columns = {
        Grant.user_id: User.id,
        Grant.role_id: sa.literal(role.id),
        Grant.granted_at: sa.literal(clock.now(), UTCDateTime),
        Grant.granted_by: sa.literal(unit.actor.label(), sa.Text),
        Grant.reason: sa.literal(unit.reason, sa.Text),
        Grant.valid_until: sa.literal(until, UTCDateTime),
    }
    new: dict[int, int] = {}
    for ids in bulk.chunks(user_ids):
        rows = sa.select(*columns.values()).where(User.id.in_(ids)).order_by(User.id)
        insert = sa.insert(Grant).from_select(list(columns), rows)
        for user_id, id in unit.session.execute(insert.returning(Grant.user_id, Grant.id)):
            new[user_id] = id
    return {id: new[id] for id in user_ids}


def _record_given(
    role: Role,
    new: Mapping[int, int],
    until: datetime | None,
    replaced: Mapping[int, Record],
    unit: Unit,
) -> None:
    after = {"role": role.name, "valid_until": until and clock.rfc3339(until)}
    for user_id in new:
        bulk.record("user:role:grant", [user_id], unit, before=replaced.get(user_id), after=after)
    payloads = [{"user_id": u, "role": role.name, "grant_id": id} for u, id in new.items()]
    bulk.announce(signals.role_granted, payloads, unit)


# --- taking ------------------------------------------------------------------


def take(rows: Sequence[Any], *, unit: Unit) -> list[Record]:
    """End these open grants, each with its event; the sessions of their accounts end too."""
    over = [row for row in rows if is_over(row)]
    live = [row for row in rows if not is_over(row)]
    note_ended(unit, [_Holder(row.user_id, row.email) for row in live])
    expire_rows(over, unit)
    end(live, "revoked", unit)
    bulk.update(list({row.user_id for row in live}), unit, **bulk.new_sessions())
    for row in live:
        bulk.record("user:role:revoke", [row.user_id], unit, before=_summary(row))
    payloads = [{"user_id": row.user_id, "role": row.role, "grant_id": row.id} for row in live]
    bulk.announce(signals.role_revoked, payloads, unit)
    ids = [row.id for row in rows]
    return answers(ids, set(ids))


class _Holder(NamedTuple):
    id: int
    email: str | None


def end(rows: Sequence[Any], how: str, unit: Unit) -> None:
    end: dict[str, Any] = {"ended_at": Grant.valid_until}
    if how != "expired":
        by, why = unit.actor.label(), unit.reason
        end = {"ended_at": clock.now(), "ended_by": by, "end_reason": why}
    for chunk in bulk.chunks([row.id for row in rows]):
        update = sa.update(Grant).where(Grant.id.in_(chunk))
        unit.session.execute(update.values(ended_how=how, **end))


def expire_rows(rows: Sequence[Any], unit: Unit) -> None:
    end(rows, "expired", unit)
    for row in rows:
        bulk.record("user:role:expire", [row.user_id], unit, before=_summary(row))


# --- rows --------------------------------------------------------------------


def is_over(grant: Any) -> bool:
    return grant.valid_until is not None and grant.valid_until <= clock.now()


def _summary(grant: Any) -> dict[str, Any]:
    """Return a row of an open grant as its event has it."""
    return {
        "role": grant.role,
        "valid_until": grant.valid_until and clock.rfc3339(grant.valid_until),
    }


def answers(ids: Sequence[int], changed: Set[int]) -> list[Record]:
    """Return these grants as records, in this order, with whether they were changed."""
    rows = {}
    for chunk in bulk.chunks(ids):
        for row in db.session.execute(_WHOLE.where(Grant.id.in_(chunk))):
            user = row.email or f"user:{row.user_id}"
            rows[row.id] = {"changed": row.id in changed, **described(row, user, row.role)}
    return [rows[id] for id in ids]


_OPEN = (
    sa.select(Grant.id, Grant.user_id, Grant.valid_until, User.email, Role.name.label("role"))
    .join(User, User.id == Grant.user_id)
    .join(Role, Role.id == Grant.role_id)
    .where(Grant.ended_at.is_(None))
    .order_by(Grant.id)
)
_WHOLE = (
    sa.select(*Grant.__table__.columns, User.email, Role.name.label("role"))
    .join(User, User.id == Grant.user_id)
    .join(Role, Role.id == Grant.role_id)
)


def list_open(*criteria: sa.ColumnElement[bool]) -> Sequence[Any]:
    """Return the rows of the grants that are not marked as ended; some may be past their end."""
    return db.session.execute(_OPEN.where(*criteria)).all()


def list_open_of(users: Sequence[Account], *criteria: sa.ColumnElement[bool]) -> list[Any]:
    ids = [user.id for user in users]
    return [
        row for chunk in bulk.chunks(ids) for row in list_open(Grant.user_id.in_(chunk), *criteria)
    ]


def described(grant: Any, user: str, role: str) -> Record:
    state = grant.ended_how or ("expired" if is_over(grant) else "live")
    return {
        "id": grant.id,
        "user_id": grant.user_id,
        "user": user,
        "role": role,
        "state": state,
        "granted_at": grant.granted_at,
        "granted_by": actor_name(grant.granted_by),
        "reason": grant.reason,
        "valid_until": grant.valid_until,
        "ended_at": grant.ended_at or (grant.valid_until if state == "expired" else None),
        "ended_by": actor_name(grant.ended_by),
        "end_reason": grant.end_reason,
    }
