"""Changes of grants as rows: given and taken by statements, with their events.

docs/decisions/accounts.md#many-accounts-change-by-statements
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import clock, signals, text
from ..engine.rows import among
from ..errors import Conflict
from ..extensions import db
from ..models import ADMIN, Grant, Role, User
from ..models.types import UTCDateTime
from ..types import Record
from ..unit.work import Unit
from . import authority, bulk
from .bulk import Account
from .effects import note_ended
from .lookup import actor_name

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
    unchanged = present.keys() - {row.user_id for row in others}
    granted_at = clock.now()
    new = _insert(
        role, [user for user in users if user.id not in unchanged], until, granted_at, unit
    )
    _record_grants(role, new, until, replaced, unit)
    as_new = {
        "role": role.name,
        "state": "live",
        "granted_at": granted_at,
        "granted_by": actor_name(unit.actor.label()),
        "reason": unit.reason,
        "valid_until": until,
        **dict.fromkeys(("ended_at", "ended_by", "end_reason")),
    }
    return [
        {"changed": True, "id": new[id], "user_id": id, "user": email, **as_new}
        if id in new
        else {"changed": False, **_record(present[id])}
        for id, email in users
    ]


def _refuse_other_ends(role: Role, others: Sequence[Any]) -> None:
    if others:
        holders = text.join_some([f"{row.email} {end_in_words(row)}" for row in others])
        raise Conflict(
            f"{role.name} is already held with another end: {holders}",
            hint="add --replace-end to change the end, or omit these users",
        )


def end_in_words(grant: Any) -> str:
    return f"until {clock.rfc3339(grant.valid_until)}" if grant.valid_until else "forever"


def _insert(
    role: Role,
    users: Sequence[Account],
    until: datetime | None,
    granted_at: datetime,
    unit: Unit,
) -> dict[int, int]:
    """Write a grant for each account; return the grants' ids by those of the accounts."""
    columns = {
        Grant.user_id: User.id,
        Grant.role_id: sa.literal(role.id),
        Grant.granted_at: sa.literal(granted_at, UTCDateTime),
        Grant.granted_by: sa.literal(unit.actor.label(), sa.Text),
        Grant.reason: sa.literal(unit.reason, sa.Text),
        Grant.valid_until: sa.literal(until, UTCDateTime),
    }
    new: dict[int, int] = {}
    for chunk in bulk.chunks([user.id for user in users]):
        rows = sa.select(*columns.values()).where(among(User.id, chunk)).order_by(User.id)
        insert = sa.insert(Grant).from_select(list(columns), rows)
        for user_id, id in unit.session.execute(insert.returning(Grant.user_id, Grant.id)):
            new[user_id] = id
    return {user.id: new[user.id] for user in users}


def _record_grants(
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
    if new and role.name == ADMIN:
        unit.announce(signals.administrators_added, user_ids=list(new))


# --- taking ------------------------------------------------------------------


def take(rows: Sequence[Any], *, unit: Unit) -> list[Record]:
    """End these open grants, each with its event; the sessions of their accounts end too."""
    over = [row for row in rows if is_over(row)]
    live = [row for row in rows if not is_over(row)]
    note_ended(unit, [Account(row.user_id, row.email) for row in live])
    answers = {row["id"]: row for row in expire_rows(over, unit)}
    values = end(live, "revoked", unit)
    bulk.update(User, list({row.user_id for row in live}), unit, **bulk.new_sessions())
    for row in live:
        bulk.record("user:role:revoke", [row.user_id], unit, before=_summary(row))
        answers[row.id] = {"changed": True, **_record(row), **values}
    payloads = [{"user_id": row.user_id, "role": row.role, "grant_id": row.id} for row in live]
    bulk.announce(signals.role_revoked, payloads, unit)
    return [answers[row.id] for row in rows]


def expire_rows(rows: Sequence[Any], unit: Unit) -> list[Record]:
    """Mark these grants as ended at their end."""
    end(rows, "expired", unit)
    for row in rows:
        bulk.record("user:role:expire", [row.user_id], unit, before=_summary(row))
    return [
        {"changed": True, **_record(row), "state": "expired", "ended_at": row.valid_until}
        for row in rows
    ]


def end(rows: Sequence[Any], how: str, unit: Unit) -> Record:
    """Mark these grants as ended; return what their records have of it, unless by their end."""
    ids = [row.id for row in rows]
    if how == "expired":
        bulk.update(Grant, ids, unit, ended_how=how, ended_at=Grant.valid_until)
        return {}
    by, now = unit.actor.label(), clock.now()
    values = {"ended_at": now, "ended_by": by, "end_reason": unit.reason}
    bulk.update(Grant, ids, unit, ended_how=how, **values)
    return {**values, "ended_by": actor_name(by), "state": how}


# --- rows --------------------------------------------------------------------


def is_over(grant: Any) -> bool:
    return grant.valid_until is not None and grant.valid_until <= clock.now()


def _summary(grant: Any) -> dict[str, Any]:
    """Return a row of an open grant as its event has it."""
    return {
        "role": grant.role,
        "valid_until": grant.valid_until and clock.rfc3339(grant.valid_until),
    }


def _record(row: Any) -> Record:
    return describe(row, row.email or f"user:{row.user_id}", row.role)


_OPEN = (
    sa.select(*Grant.__table__.columns, User.email, Role.name.label("role"))
    .join(User, User.id == Grant.user_id)
    .join(Role, Role.id == Grant.role_id)
    .where(Grant.ended_at.is_(None))
    .order_by(Grant.id)
)


def list_open(*criteria: sa.ColumnElement[bool]) -> Sequence[Any]:
    """Return the rows of the grants that are not marked as ended; some may be past their end."""
    return db.session.execute(_OPEN.where(*criteria)).all()


def list_open_of(users: Sequence[Account], *criteria: sa.ColumnElement[bool]) -> list[Any]:
    return [
        row
        for chunk in bulk.chunks([user.id for user in users])
        for row in list_open(among(Grant.user_id, chunk), *criteria)
    ]


def describe(grant: Any, user: str, role: str) -> Record:
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
