"""Grants: roles given to accounts, forever or for a while, and revoked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, text
from ..errors import Invalid
from ..extensions import db
from ..models import Grant, Role, User
from ..models.types import database_now
from ..types import Record
from ..unit.work import Unit
from . import authority, bulk
from .bulk import Account
from .grant_rows import (
    describe,
    end,
    end_in_words,
    expire_rows,
    give,
    is_over,
    list_open,
    list_open_of,
    take,
)
from .lookup import get_role, get_user, get_user_ever, get_users, list_roles, status

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
    for chunk in bulk.chunks(user_ids):
        for user_id, name in db.session.execute(_ROLE_NAMES, {"user_ids": chunk}):
            names.setdefault(user_id, []).append(name)
    return names


def held_roles(user: str, *, after: str | None = None, limit: int | None = None) -> list[Record]:
    """Return the roles that an account holds now, by name, with their permissions.

    :param after: the last name of the page before.
    :raises NotFound: there is no such account.
    """
    return [
        {"name": role.name, "permissions": authority.permission_names(role.get_permissions())}
        for role in list_roles(after, limit, held_by=get_user(user))
    ]


def of_user(user_id: int) -> list[Record]:
    """Return every grant that an account ever had, the newest first, without its name."""
    fields = (
        *("role", "state", "granted_at", "granted_by", "valid_until", "reason"),
        *("ended_at", "ended_by", "end_reason"),
    )
    rows = [record(grant) for grant in db.session.scalars(_every().where(Grant.user_id == user_id))]
    return [{field: row[field] for field in fields} for row in rows]


def _every() -> sa.Select[Grant]:
    return (
        sa.select(Grant)
        .options(so.joinedload(Grant.role), so.joinedload(Grant.user))
        .order_by(Grant.id.desc())
    )


def record(grant: Grant) -> Record:
    """Return the public form of a grant; its state is live, expired, revoked or replaced."""
    return describe(grant, grant.user.email or grant.user.reference, grant.role.name)


def expiring(*, until: datetime) -> list[Record]:
    """Return the live grants that end by themselves until then, the next first."""
    soon = (
        _every()
        .where(Grant.is_live(), Grant.valid_until <= until)
        .order_by(None)
        .order_by(Grant.valid_until, Grant.id)
    )
    return [record(grant) for grant in db.session.scalars(soon)]


def holding(role: Role) -> list[Record]:
    """Return the live grants of a role, the oldest first, without the role's name."""
    live = _every().where(Grant.role_id == role.id, Grant.is_live()).order_by(None)
    live = live.options(so.defaultload(Grant.user).undefer(User.locked_until))
    fields = ("user_id", "user", "status", "granted_at", "granted_by", "valid_until", "reason")
    rows = (
        {**record(grant), "status": status(grant.user)}
        for grant in db.session.scalars(live.order_by(Grant.id))
    )
    return [{field: row[field] for field in fields} for row in rows]


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

    :param until: when the grants end by themselves; None is forever.
    :param replace_end: change the end of a grant that an account holds already.
    :raises Conflict: an account holds the role until another time; nothing was granted.
    :raises Invalid: ``until`` has passed.
    :raises Refused: the last administrator's grant would get an end.
    """
    if until is not None:
        check_end(until)
    with unit:
        accounts = bulk.of(get_users(text.each(users)))
        return give(get_role(role), accounts, until=until, replace_end=replace_end, unit=unit)


def grant_where(
    role: str,
    criteria: Sequence[sa.ColumnElement[bool]],
    *,
    until: datetime | None = None,
    replace_end: bool = True,
    unit: Unit,
) -> list[Record]:
    """Give a role to every account that meets the criteria and :func:`lacks` it; as :func:`grant`.

    :returns: the accounts that hold it now and did not before.
    """
    if until is not None:
        check_end(until)
    with unit:
        users = bulk.accounts(lacks(role, until), *criteria)
        return give(get_role(role), users, until=until, replace_end=replace_end, unit=unit)


def lacks(role: str, until: datetime | None = None) -> sa.ColumnElement[bool]:
    """Return the condition that an account does not hold a role until then; None is forever.

    :raises NotFound: there is no such role.
    """
    same = (Grant.user_id == User.id, Grant.valid_until.is_not_distinct_from(until))
    return ~_holders(role).where(*same).exists()


def holds(role: str) -> sa.ColumnElement[bool]:
    """Return the condition that an account holds a role, or did until the end of the grant.

    :raises NotFound: there is no such role.
    """
    return User.id.in_(_holders(role))


def _holders(role: str) -> sa.Select[int]:
    open_grant = (Grant.role_id == get_role(role).id, Grant.ended_at.is_(None))
    return sa.select(Grant.user_id).where(*open_grant)


def check_end(until: datetime) -> None:
    """Check that the end of a grant or token is in the future.

    :raises Invalid: it has passed.
    """
    if until <= clock.now():
        raise Invalid(f"until {clock.rfc3339(until)} is in the past")


def difference_from_lasting(user: User, role: Role) -> str | None:
    """Return in words why the account does not hold this role forever, or None."""
    present = next(iter(list_open(Grant.user_id == user.id, Grant.role_id == role.id)), None)
    if present is None or is_over(present):
        return f"does not hold {role.name}"
    if present.valid_until is None:
        return None
    return f"holds {role.name} {end_in_words(present)} only"


# --- ending ------------------------------------------------------------------


def revoke(role: str, users: Iterable[str], *, unit: Unit) -> list[Record]:
    """Take a role away from accounts, and end their sessions.

    An account that does not hold the role stays unchanged.

    :raises Refused: no administrator would be left.
    """
    with unit:
        authority.require("roles:grant", unit)
        row_of_role, accounts = get_role(role), bulk.of(get_users(text.each(users)))
        authority.may_change_all([user.id for user in accounts], unit)
        rows = {row.user_id: row for row in list_open_of(accounts, Grant.role_id == row_of_role.id)}
        holdings = [rows[user.id] for user in accounts if user.id in rows]
        answers = {row["user_id"]: row for row in take(holdings, unit=unit)}
        return [answers.get(user.id) or _no_grant_record(user, row_of_role) for user in accounts]


def _no_grant_record(user: Account, role: Role) -> Record:
    return {
        "changed": False,
        "user_id": user.id,
        "user": user.email,
        "role": role.name,
        "state": "not held",
    }


def revoke_where(
    role: str, criteria: Sequence[sa.ColumnElement[bool]], *, unit: Unit
) -> list[Record]:
    """Take a role away from every account that meets the criteria and :func:`holds` it.

    :raises Refused: no administrator would be left.
    """
    with unit:
        authority.require("roles:grant", unit)
        users = bulk.accounts(holds(role), *criteria)
        authority.may_change_all([user.id for user in users], unit)
        return take(list_open_of(users, Grant.role_id == get_role(role).id), unit=unit)


def expire(*, unit: Unit) -> list[Record]:
    """Mark the grants whose end has passed as ended; since then they gave nothing anyway."""
    with unit:
        return expire_rows(list_open(Grant.valid_until <= database_now()), unit)


def end_all(users: Sequence[Account], *, unit: Unit) -> dict[int, list[str]]:
    """End every open grant of accounts that are being deleted; return the roles of each."""
    rows = list_open_of(users)
    end(rows, "revoked", unit)
    roles: dict[int, list[str]] = {user.id: [] for user in users}
    for row in rows:
        roles[row.user_id].append(row.role)
    return {id: sorted(names) for id, names in roles.items()}


def revoke_all(user: User, *, unit: Unit) -> list[str]:
    """Revoke every open grant of an account that stays, each with its event; return the roles."""
    authority.require("roles:grant", unit)
    return sorted(row["role"] for row in take(list_open(Grant.user_id == user.id), unit=unit))


def end_all_of_role(role: Role, *, unit: Unit) -> None:
    """End every open grant of a role that is being deleted."""
    take(list_open(Grant.role_id == role.id), unit=unit)
