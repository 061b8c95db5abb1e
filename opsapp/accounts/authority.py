"""Permission checks, made by services inside of their unit.

A user of the operating system may do everything: an operator who can run ``flask`` has
the database anyway. An account may do what its live grants allow, restricted to the
scope of its token. No account gives or takes away more than it holds itself.

docs/decisions/accounts.md#authority-is-checked-inside-the-gate
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import datetime

import sqlalchemy as sa

from .. import clock
from ..actors import Powers
from ..errors import Refused
from ..extensions import db
from ..models import Grant, Role, User
from ..models.accounts import EveryPermission
from ..unit.work import Unit
from .lookup import get_user

READ_ROLES = "roles:read"
"""The permission to see what roles and accounts may do."""


def permissions_now(powers: Powers) -> Set[str]:
    """Return the permissions that count now."""
    user = db.session.get(User, powers.user_id)
    if user is None or not user.active:
        return frozenset()
    return _within(powers.scope, permissions_of(user))


def _within(scope: frozenset[str] | None, permissions: Set[str]) -> Set[str]:
    """Restrict permissions to the scope of a token; None is no restriction."""
    if scope is None:
        return permissions
    return scope if isinstance(permissions, EveryPermission) else permissions & scope


def permissions_of(user: User) -> Set[str]:
    """Return the permissions that the account's live grants give."""
    return _union(user.roles)


def _union(roles: Iterable[Role]) -> Set[str]:
    sets = [role.get_permissions() for role in roles]
    if any(isinstance(permissions, EveryPermission) for permissions in sets):
        return EveryPermission()
    return frozenset().union(*sets)


def _permissions_until(powers: Powers, until: datetime | None) -> Set[str]:
    """Return the permissions that last until then; None is forever."""
    lasts: sa.ColumnElement[bool] = Grant.valid_until.is_(None)
    if until is not None:
        lasts = sa.or_(lasts, Grant.valid_until >= until)
    lasting = (
        sa.select(Role)
        .join(Grant, Grant.role_id == Role.id)
        .where(Grant.user_id == powers.user_id, Grant.is_live(), Role.deleted_at.is_(None), lasts)
    )
    return _within(powers.scope, _union(db.session.scalars(lasting)))


def permission_names(permissions: Set[str]) -> list[str]:
    """Return the sorted names of these permissions; ``*`` is every permission."""
    return ["*"] if isinstance(permissions, EveryPermission) else sorted(permissions)


def missing_from(permissions: Set[str], needed: Set[str]) -> list[str]:
    """Return the names of the needed permissions that are not among these."""
    if isinstance(permissions, EveryPermission):
        return []
    return permission_names(needed if isinstance(needed, EveryPermission) else needed - permissions)


def require(permission: str, unit: Unit) -> None:
    """Check that the unit's account holds a permission.

    :raises Refused: it does not.
    """
    if unit.powers is not None and permission not in permissions_now(unit.powers):
        raise Refused(f"that needs the permission {permission}")


def may_give(role: Role, until: datetime | None, unit: Unit) -> None:
    """Check that the unit's account holds what the role gives, for as long (as Kubernetes does).

    :param until: the end of the grant; None is never.
    :raises Refused: it lacks permissions; a reader of roles learns which.
    """
    if unit.powers is None:
        return
    needed = role.get_permissions()
    _refuse_more(f"role {role.name}", needed, permissions_now(unit.powers), unit)
    end = f"until {clock.rfc3339(until)}" if until else "forever"
    _refuse_more(
        f"role {role.name}", needed, _permissions_until(unit.powers, until), unit, f" {end}"
    )


def _refuse_more(
    holder: str, needed: Set[str], permissions: Set[str], unit: Unit, end: str = ""
) -> None:
    """Refuse what needs more permissions than are held; only a reader of roles learns which.

    :param holder: the role or the account that holds what is needed.
    """
    if missing := missing_from(permissions, needed):
        may_read = unit.powers is not None and READ_ROLES in permissions_now(unit.powers)
        names = f"{', '.join(missing)}, which" if may_read else "permissions that"
        who = "this token does" if unit.actor.token else "you do"
        raise Refused(f"{holder} holds {names} {who} not hold{end}")


def may_allow(permissions: Iterable[str], unit: Unit) -> None:
    """Check that the unit's account holds what it adds to a role, or takes out of it.

    :raises Refused: names the permissions that it lacks.
    """
    if unit.powers is None:
        return
    if missing := missing_from(permissions_now(unit.powers), frozenset(permissions)):
        raise Refused(f"that needs the permission {', '.join(missing)}")


def may_change(user: User, unit: Unit) -> None:
    """Check that the unit's account may do as much as the account that it changes.

    An account that could change an administrator's address could become an administrator
    by mail. A token with a narrow scope may do less than its own account, too.

    :raises Refused: names the permissions that it lacks.
    """
    if unit.powers is not None:
        _refuse_more(f"user {user.id}", permissions_of(user), permissions_now(unit.powers), unit)


def may_change_all(ids: Iterable[int], unit: Unit) -> None:
    """Check that the unit's account may do as much as each of these accounts.

    :raises Refused: names the permissions that it lacks.
    """
    if unit.powers is not None:
        for id in ids:
            may_change(db.session.get_one(User, id), unit)


def changeable(reference: str, unit: Unit) -> User:
    """Return an account that the unit's account may change.

    :raises NotFound: there is no such account.
    :raises Refused: names the permissions that the unit's account lacks.
    """
    require("users:write", unit)
    user = get_user(reference)
    may_change(user, unit)
    return user


def may_move(user: User, unit: Unit) -> None:
    """Check that the unit's account may change the address of an account.

    The reader of the new address can become that account, so this needs all that the
    account holds. A token could outlive its end by it, so none moves its own account.

    :raises Refused: it is a token of this account, or names the permissions that it lacks.
    """
    if unit.powers is None:
        return
    if unit.powers.user_id == user.id and unit.actor.token:
        raise Refused("a token may not change its own account's e-mail; sign in to do that")
    live = sa.select(Grant).where(Grant.user_id == user.id, Grant.is_live())
    for grant in db.session.scalars(live):
        may_give(grant.role, grant.valid_until, unit)
