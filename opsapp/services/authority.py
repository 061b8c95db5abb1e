"""May this be done by who does it: permissions, and never more than one holds oneself.

Every verb asks here inside of its unit. The operating system's user may do
everything (who can run ``flask`` has the database anyway); an account may do
what its live grants allow, less what its token leaves out.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from ..errors import Refused
from ..extensions import db
from ..models import Role, User
from ..models.roles import EveryPermission
from ..powers import Powers
from ..unit import Unit


def held_by(powers: Powers) -> Set[str]:
    """The permissions that count now."""
    user = db.session.get(User, powers.user_id)
    if user is None or not user.active:
        return frozenset()
    held = permissions_of(user)
    if powers.scope is None:
        return held
    return powers.scope if isinstance(held, EveryPermission) else held & powers.scope


def permissions_of(user: User) -> Set[str]:
    """What the account's live grants allow."""
    sets = [role.get_permissions() for role in user.roles]
    if any(isinstance(held, EveryPermission) for held in sets):
        return EveryPermission()
    return frozenset().union(*sets)


def lacks(needed: Set[str], held: Set[str]) -> list[str]:
    """The permissions of ``needed`` that ``held`` does not have; ``*`` is every one."""
    if isinstance(held, EveryPermission):
        return []
    return ["*"] if isinstance(needed, EveryPermission) else sorted(needed - held)


def require(permission: str, unit: Unit) -> None:
    """Refuse who does not hold the permission.

    :raises Refused: names it.
    """
    if unit.powers is not None and permission not in held_by(unit.powers):
        raise Refused(f"that needs the permission {permission}")


def may_give(role: Role, unit: Unit) -> None:
    """Refuse to hand out what one does not hold, as Kubernetes does.

    :raises Refused: names what is missing.
    """
    if unit.powers is None:
        return
    if missing := lacks(role.get_permissions(), held_by(unit.powers)):
        raise Refused(f"role {role.name} holds {', '.join(missing)}, which you do not")


def may_allow(permissions: Iterable[str], unit: Unit) -> None:
    """Refuse to put into a role, or take out of it, what one does not hold.

    :raises Refused: names what is missing.
    """
    if unit.powers is None:
        return
    if missing := lacks(frozenset(permissions), held_by(unit.powers)):
        raise Refused(f"you do not hold {', '.join(missing)}")


def may_change(user: User, unit: Unit) -> None:
    """Refuse to change an account that may do more than whoever changes it.

    Whoever could change an administrator's address could become one by mail.

    :raises Refused: names what is missing.
    """
    if unit.powers is None or unit.powers.user_id == user.id:
        return
    if missing := lacks(permissions_of(user), held_by(unit.powers)):
        raise Refused(f"user {user.id} holds {', '.join(missing)}, which you do not")
