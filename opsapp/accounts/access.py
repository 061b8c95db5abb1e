"""Explanations: why an account may do something, and which role or account may do what."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, text
from ..extensions import db
from ..models import ADMIN, Grant, Role, User
from ..types import Record
from . import grants, permissions
from .lookup import get_user, list_roles, status


def explain(reference: str, permission: str) -> Record:
    """Return whether an account may do something now, and through which grant.

    ``allowed`` is the answer, and ``because`` explains it. Without a grant that gives the
    permission, the fields of the grant are None.

    :raises NotFound: there is no such account.
    """
    permission = permissions.parse(permission)
    user = get_user(reference)
    giving = _giving(user, permission)
    state = status(user)
    answer: Record = {
        "user": user.email,
        "permission": permission,
        "allowed": giving is not None and state == "active",
        "because": _because(giving, state) if giving else _why_not(user, permission),
        "role": None,
        "granted_at": None,
        "granted_by": None,
        "valid_until": None,
        "reason": None,
    }
    if giving is not None:
        fields = grants.record(giving)
        answer |= {name: fields[name] for name in answer.keys() & fields.keys() - {"user"}}
    return answer


def _giving(user: User, permission: str) -> Grant | None:
    """Return the grant that gives the permission; of several, the one that lasts longest."""
    live = db.session.scalars(
        sa.select(Grant)
        .join(Grant.role)
        .where(Grant.user_id == user.id, Grant.is_live(), Role.deleted_at.is_(None))
        .order_by(Grant.valid_until.is_not(None), Grant.valid_until.desc(), Grant.id)
    )
    return next((g for g in live if permission in g.role.get_permissions()), None)


def _because(giving: Grant, state: str) -> str:
    how = "holds every permission" if giving.role.name == ADMIN else "has it"
    if state != "active":
        return f"the role {giving.role.name} {how}, but the account is {state}"
    return f"the role {giving.role.name} {how}"


def _why_not(user: User, permission: str) -> str:
    """Return why no live grant gives a permission, and what would."""
    names = [role.name for role in _giving_roles(permission)]
    if names == [ADMIN] and permission not in permissions.DECLARED:
        from_roles = {name for role in list_roles() for name in role.permissions}
        near = text.did_you_mean(permission, from_roles | set(permissions.DECLARED))
        return f"no role but {ADMIN} holds {permission}" + (f": {near}" if near else "")
    past = db.session.scalars(
        sa.select(Grant)
        .join(Grant.role)
        .where(Grant.user_id == user.id, Role.name.in_(names), Role.deleted_at.is_(None))
        .order_by(Grant.id.desc())
    ).first()
    ending = f"{_ending(grants.record(past))}; " if past else ""
    return f"no live grant gives it: {ending}{' or '.join(names)} would give it"


def _ending(grant: Record) -> str:
    """Return how a past grant ended: ``support was revoked at … by ada (left the team)``.

    Of one that ended by itself, the actor and the reason are those who gave it.
    """
    has_expired = grant["state"] == "expired"
    how, by = ("expired", "granted_by") if has_expired else (f"was {grant['state']}", "ended_by")
    reason = grant["reason" if has_expired else "end_reason"]
    at = clock.rfc3339(grant["ended_at"].replace(microsecond=0))
    actor = f"{', granted' if has_expired else ''} by {grant[by]}" if grant[by] else ""
    return f"{grant['role']} {how} at {at}{actor}{f' ({reason})' if reason else ''}"


def _giving_roles(permission: str) -> list[Role]:
    """Return the roles that hold a permission, the admin role last."""
    roles = [role for role in list_roles() if permission in role.get_permissions()]
    return sorted(roles, key=lambda role: role.name == ADMIN)


def holders(permission: str) -> list[Record]:
    """Return a row for each account that has a permission now, and the grant that gives it."""
    permission = permissions.parse(permission)
    roles = [role.id for role in _giving_roles(permission)]
    live = (
        sa.select(Grant)
        .join(Grant.user)
        .options(so.contains_eager(Grant.user).undefer(User.locked_until))
        .options(so.joinedload(Grant.role))
        .where(Grant.role_id.in_(roles), Grant.is_live())
        .where(User.active.is_(True), User.deleted_at.is_(None))
        .order_by(User.email, Grant.id)
    )
    fields = ("user_id", "user", "role", "granted_at", "valid_until", "granted_by", "reason")
    rows = [(grant, grants.record(grant)) for grant in db.session.scalars(live)]
    return [
        {**{name: row[name] for name in fields}, "status": status(grant.user)}
        for grant, row in rows
    ]


def role_matrix() -> list[Record]:
    """Return a row for each permission held or declared, with a column for each role."""
    roles = list_roles()
    names = {name for role in roles for name in role.permissions} | set(permissions.DECLARED)
    return [
        {"permission": name, **{role.name: name in role.get_permissions() for role in roles}}
        for name in sorted(names)
    ]


ACCOUNT = ("user", "status")
"""The first columns of :func:`user_matrix`."""


def role_columns() -> dict[str, str]:
    """Return the column of each role in :func:`user_matrix`, by its name."""
    names = [role.name for role in list_roles()]
    return {name: f"role {name}" if name in ACCOUNT else name for name in names}


def user_matrix() -> list[Record]:
    """Return a row for each account that holds a role: its status, and a column for each role."""
    columns = role_columns()
    holders = (
        sa.select(User)
        .options(so.undefer(User.locked_until))
        .where(User.deleted_at.is_(None))
        .where(User.id.in_(sa.select(Grant.user_id).where(Grant.is_live())))
        .order_by(User.email)
    )
    users = db.session.scalars(holders).all()
    roles = grants.role_names_of([user.id for user in users])
    return [
        {
            "user": user.email,
            "status": status(user),
            **{column: name in roles.get(user.id, []) for name, column in columns.items()},
        }
        for user in users
    ]
