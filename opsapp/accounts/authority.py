"""May this be done by who does it: permissions, and never more than one holds oneself.

Every verb asks here inside of its unit. The operating system's user may do
everything (who can run ``flask`` has the database anyway); an account may do
what its live grants allow, less what its token leaves out.
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


def held_by(powers: Powers) -> Set[str]:
    """The permissions that count now."""
    user = db.session.get(User, powers.user_id)
    if user is None or not user.active:
        return frozenset()
    return _within(powers.scope, permissions_of(user))


def _within(scope: frozenset[str] | None, held: Set[str]) -> Set[str]:
    """What is held, less what the token leaves out."""
    if scope is None:
        return held
    return scope if isinstance(held, EveryPermission) else held & scope


def permissions_of(user: User) -> Set[str]:
    """What the account's live grants allow."""
    return _together(user.roles)


def _together(roles: Iterable[Role]) -> Set[str]:
    sets = [role.get_permissions() for role in roles]
    if any(isinstance(held, EveryPermission) for held in sets):
        return EveryPermission()
    return frozenset().union(*sets)


def _held_until(powers: Powers, until: datetime | None) -> Set[str]:
    """The permissions that count now and still will at ``until``; None is for ever."""
    lasts: sa.ColumnElement[bool] = Grant.valid_until.is_(None)
    if until is not None:
        lasts = sa.or_(lasts, Grant.valid_until >= until)
    lasting = (
        sa.select(Role)
        .join(Grant, Grant.role_id == Role.id)
        .where(Grant.user_id == powers.user_id, Grant.is_live(), Role.deleted_at.is_(None), lasts)
    )
    return _within(powers.scope, _together(db.session.scalars(lasting)))


def listed(held: Set[str]) -> list[str]:
    """The permissions by name; ``*`` is every one."""
    return ["*"] if isinstance(held, EveryPermission) else sorted(held)


def lacks(needed: Set[str], held: Set[str]) -> list[str]:
    """The permissions of ``needed`` that ``held`` does not have; ``*`` is every one."""
    if isinstance(held, EveryPermission):
        return []
    return listed(needed if isinstance(needed, EveryPermission) else needed - held)


def require(permission: str, unit: Unit) -> None:
    """Refuse who does not hold the permission.

    :raises Refused: names it.
    """
    if unit.powers is not None and permission not in held_by(unit.powers):
        raise Refused(f"that needs the permission {permission}")


def may_give(role: Role, until: datetime | None, unit: Unit) -> None:
    """Refuse to hand out what one does not hold, as Kubernetes does, or not for so long.

    :param until: when it shall end; None is never.
    :raises Refused: names what is missing.
    """
    if unit.powers is None:
        return
    needed = role.get_permissions()
    if missing := lacks(needed, held_by(unit.powers)):
        raise Refused(f"role {role.name} holds {', '.join(missing)}, which {_who(unit)} not")
    if missing := lacks(needed, _held_until(unit.powers, until)):
        end = f"until {clock.rfc3339(until)}" if until else "for ever"
        raise Refused(f"you do not hold {', '.join(missing)} {end} yourself")


def _who(unit: Unit) -> str:
    return "this token does" if unit.actor.token else "you do"


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

    Whoever could change an administrator's address could become one by mail. A
    token that leaves something out may do less than its own account, too.

    :raises Refused: names what is missing.
    """
    if unit.powers is None:
        return
    if missing := lacks(permissions_of(user), held_by(unit.powers)):
        raise Refused(f"user {user.id} holds {', '.join(missing)}, which {_who(unit)} not")


def changeable(reference: str, unit: Unit) -> User:
    """The account that is meant, if whoever does this may change it.

    :raises NotFound: there is no such account.
    :raises Refused: names what is missing.
    """
    require("users:write", unit)
    user = get_user(reference)
    may_change(user, unit)
    return user


def may_move(user: User, unit: Unit) -> None:
    """Refuse to give an account another address to who may not give all that it holds.

    Who reads the mail can become that account, for as long as it holds what it does;
    and a token that moves its own account would outlive its end.

    :raises Refused: it is a token of this account, or names what is missing.
    """
    if unit.powers is None:
        return
    if unit.powers.user_id == user.id and unit.actor.token:
        raise Refused("a token may not change its own account's e-mail; sign in to do that")
    live = sa.select(Grant).where(Grant.user_id == user.id, Grant.is_live())
    for grant in db.session.scalars(live):
        may_give(grant.role, grant.valid_until, unit)
