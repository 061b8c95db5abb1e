"""Why somebody may do something, and who may do what."""

from __future__ import annotations

import sqlalchemy as sa

from .. import permissions
from ..extensions import db
from ..models import ADMIN, Grant, Role, User
from ..types import Record
from . import grants
from .lookup import get_user, role_names
from .records import status


def explain(reference: str, permission: str) -> Record:
    """Whether an account may do something now, and through which grant.

    ``allowed`` is the answer. ``because`` says it in words; the fields of the
    grant that gives the permission are None where none does.

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
        shown = grants.record(giving)
        answer |= {name: shown[name] for name in answer if name in shown and name != "user"}
    return answer


def _giving(user: User, permission: str) -> Grant | None:
    """The grant that gives the permission; of several, the one that lasts longest."""
    held = db.session.scalars(
        sa.select(Grant)
        .join(Grant.role)
        .where(Grant.user_id == user.id, Grant.is_live(), Role.deleted_at.is_(None))
        .order_by(Grant.valid_until.is_not(None), Grant.valid_until.desc(), Grant.id)
    )
    return next((g for g in held if permission in g.role.get_permissions()), None)


def _because(giving: Grant | None, state: str) -> str:
    if giving is None:
        return "no live grant gives it"
    how = "holds every permission" if giving.role.name == ADMIN else "has it"
    if state != "active":
        return f"the role {giving.role.name} {how}, but the account is {state}"
    return f"the role {giving.role.name} {how}"


def role_matrix() -> list[Record]:
    """A row for each permission that a role holds or the code declares; a column for each role."""
    living = db.session.scalars(
        sa.select(Role).where(Role.deleted_at.is_(None)).order_by(Role.name)
    ).all()
    known = {name for role in living for name in role.permissions} | set(permissions.DECLARED)
    return [
        {"permission": name, **{role.name: name in role.get_permissions() for role in living}}
        for name in sorted(known)
    ]


def user_matrix(user_ids: list[int] | None = None) -> list[Record]:
    """A row for each account that holds a role; a column for each role."""
    names = role_names()
    holders = (
        sa.select(User.id, User.email)
        .where(User.deleted_at.is_(None))
        .where(User.id.in_(sa.select(Grant.user_id).where(Grant.is_live())))
        .order_by(User.email)
    )
    if user_ids is not None:
        holders = holders.where(User.id.in_(user_ids))
    rows = db.session.execute(holders).all()
    held = grants.role_names_of([id for id, _email in rows])
    return [
        {"user": email, **{name: name in held.get(id, []) for name in names}} for id, email in rows
    ]
