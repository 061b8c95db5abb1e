"""Explanations: why an account may do something, and which role or account may do what."""

from __future__ import annotations

import sqlalchemy as sa

from .. import permissions
from ..extensions import db
from ..models import ADMIN, Grant, Role, User
from ..types import Record
from . import grants
from .lookup import get_user, list_roles
from .records import status


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
        "because": _because(giving, state),
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


def _because(giving: Grant | None, state: str) -> str:
    if giving is None:
        return "no live grant gives it"
    how = "holds every permission" if giving.role.name == ADMIN else "has it"
    if state != "active":
        return f"the role {giving.role.name} {how}, but the account is {state}"
    return f"the role {giving.role.name} {how}"


def role_matrix() -> list[Record]:
    """Return a row for each permission held or declared, with a column for each role."""
    roles = list_roles()
    names = {name for role in roles for name in role.permissions} | set(permissions.DECLARED)
    return [
        {"permission": name, **{role.name: name in role.get_permissions() for role in roles}}
        for name in sorted(names)
    ]


def user_matrix(user_ids: list[int] | None = None) -> list[Record]:
    """Return a row for each account that holds a role, with a column for each role."""
    names = [role.name for role in list_roles()]
    holders = (
        sa.select(User.id, User.email)
        .where(User.deleted_at.is_(None))
        .where(User.id.in_(sa.select(Grant.user_id).where(Grant.is_live())))
        .order_by(User.email)
    )
    if user_ids is not None:
        holders = holders.where(User.id.in_(user_ids))
    rows = db.session.execute(holders).all()
    roles = grants.role_names_of([id for id, _email in rows])
    return [
        {"user": email, **{name: name in roles.get(id, []) for name in names}} for id, email in rows
    ]
