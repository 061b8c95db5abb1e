"""Roles: named sets of permissions. Grants of them are in :mod:`.grants`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from .. import clock, text
from ..errors import Conflict, Invalid, Refused
from ..extensions import db
from ..models import ADMIN, AuditEvent, Grant, Role, User
from ..types import Record
from ..unit.work import Unit
from ..values import damage
from . import authority, grants, permissions
from .lookup import find_role, get_role, list_roles

LONGEST_NAME = 64
LONGEST_DESCRIPTION = 255
_Held = tuple[int, int]
"""How many accounts hold a role, and how many of them are inactive."""
NO_HOLDERS: _Held = (0, 0)
NAME = re.compile(r"[a-z][a-z0-9_.-]*")


def record(role: Role, holder_counts: _Held | None = None) -> Record:
    """Return the public form of a role; ``inactive`` is how many holders are deactivated."""
    holders, inactive = holder_counts or _holders().get(role.id, NO_HOLDERS)
    return {
        "id": role.id,
        "name": role.name,
        "description": role.description,
        "permissions": _permissions(role),
        "builtin": role.builtin,
        "holders": holders,
        "inactive": inactive,
        "created_at": role.created_at,
    }


def _permissions(role: Role) -> list[str]:
    if isinstance(role.permissions, damage.Damaged):
        return damage.display_items(role.permissions)
    return authority.permission_names(role.get_permissions())


def detail(name: str) -> Record:
    """Return a role with its live grants.

    :raises NotFound: there is no such role.
    """
    role = get_role(name)
    return {**record(role), "grants": grants.holding(role)}


def _holders() -> dict[int, _Held]:
    """Return how many accounts hold each role now, and how many of them are inactive, by its id."""
    inactive = sa.func.count().filter(User.active.is_(False))
    query = (
        sa.select(Grant.role_id, sa.func.count(), inactive)
        .join(User, User.id == Grant.user_id)
        .where(Grant.is_live(), User.deleted_at.is_(None))
        .group_by(Grant.role_id)
    )
    return {row[0]: (row[1], row[2]) for row in db.session.execute(query)}


def listing(*, after: str | None = None, limit: int | None = None) -> list[Record]:
    """Return the roles by name.

    :param after: the last name of the page before.
    """
    holders = _holders()
    return [record(role, holders.get(role.id, NO_HOLDERS)) for role in list_roles(after, limit)]


def clean_name(value: str) -> str:
    """Return ``value`` as a role's name: small letters, digits, ``.``, ``_`` and ``-``.

    :raises Invalid: it has other characters.
    """
    value = text.canonical(text.validate(value, "role", longest=LONGEST_NAME))
    if not NAME.fullmatch(value):
        raise Invalid(
            f"role {text.truncate(value)}: a name starts with a letter"
            " and has letters a-z, digits, '.', '_' and '-'"
        )
    return value


def clean_description(value: str) -> str:
    """Return the purpose of a role; it may be empty.

    :raises Invalid: it is too long, or has a hostile character.
    """
    return text.validate(value, "description", longest=LONGEST_DESCRIPTION) if value else ""


def create(
    name: str,
    *,
    description: str = "",
    allow: Iterable[str] = (),
    if_exists: str = "error",
    unit: Unit,
) -> Record:
    """Create a role with these permissions.

    :param if_exists: ``error``, or ``keep`` a matching role of this name.
    :raises Conflict: there is a role of this name, or the one to keep differs.
    """
    name = clean_name(name)
    description = clean_description(description)
    allowed = sorted({permissions.parse(permission) for permission in text.each(allow)})
    with unit:
        authority.require("roles:write", unit)
        authority.may_allow(allowed, unit)
        role = find_role(name)
        if role is None:
            role = Role(name=name, description=description, permissions=allowed)
            unit.session.add(role)
            unit.session.flush()
            after = {"name": name, "description": description, "permissions": allowed}
            unit.record("role:definition:create", role.reference, after=after)
        elif if_exists == "error":
            hint = f"flask roles show {name}, or --if-exists keep"
            raise Conflict(f"role {name} exists already", hint=hint)
        else:
            _refuse_unlike(role, description, allowed)
        return record(role)


def _refuse_unlike(role: Role, description: str, allowed: list[str]) -> None:
    """Refuse to keep a role without these permissions, or with another description."""
    if missing := authority.missing_from(role.get_permissions(), set(allowed)):
        raise Conflict(
            f"role {role.name} exists and does not hold {', '.join(missing)}",
            hint=f"flask roles allow {role.name} {' '.join(missing)}",
        )
    if description not in ("", role.description):
        raise Conflict(
            f"role {role.name} exists and has another description",
            hint=f"flask roles update {role.name} --description TEXT",
        )


def ensure_admin(unit: Unit) -> None:
    """Create the built-in admin role, if it is missing."""
    with unit:
        if find_role(ADMIN) is None:
            role = Role(name=ADMIN, description="Holds every permission.", builtin=True)
            unit.session.add(role)
            unit.session.flush()
            after = {"name": ADMIN, "description": role.description}
            unit.record("role:definition:create", role.reference, after=after)


def update(
    name: str, *, new_name: str | None = None, description: str | None = None, unit: Unit
) -> Record:
    """Change a role's name or description; grants and permissions stay.

    :raises Conflict: another role has the new name.
    :raises Refused: the built-in role would be renamed.
    """
    values: dict[str, str] = {}
    if new_name is not None:
        values["name"] = clean_name(new_name)
    if description is not None:
        values["description"] = clean_description(description)
    with unit:
        authority.require("roles:write", unit)
        role = find_role(name) or _find_renamed_role(name, values.get("name")) or get_role(name)
        before = {key: getattr(role, key) for key in values if getattr(role, key) != values[key]}
        if "name" in before:
            _refuse_builtin(role, "renamed")
            if find_role(values["name"]) is not None:
                raise Conflict(f"role {values['name']} exists already")
        if before:
            after = {key: values[key] for key in before}
            for key, value in after.items():
                setattr(role, key, value)
            unit.record("role:definition:update", role.reference, before=before, after=after)
        return record(role)


def _find_renamed_role(name: str, new_name: str | None) -> Role | None:
    """Return the role of the new name, if an event says that it had the old one."""
    role = find_role(new_name) if new_name else None
    if role is None:
        return None
    renamings = sa.select(AuditEvent.before).where(
        AuditEvent.subject == role.reference, AuditEvent.action == "role:definition:update"
    )
    was = [before.get("name") for before in db.session.scalars(renamings) if before]
    return role if name in was else None


def allow(name: str, names: Iterable[str], *, unit: Unit) -> Record:
    """Add permissions to a role."""
    return _edit(name, set.union, names, unit)


def deny(name: str, names: Iterable[str], *, unit: Unit) -> Record:
    """Take permissions away from a role."""
    return _edit(name, set.difference, names, unit)


def set_permissions(name: str, names: Iterable[str], *, unit: Unit) -> Record:
    """Let a role hold these permissions and no others."""
    with unit:
        present = set(get_role(name).permissions)
        return _edit(name, set.symmetric_difference, present ^ set(names), unit)


def _edit(name: str, combine: Any, names: Iterable[str], unit: Unit) -> Record:
    parsed = {permissions.parse(permission) for permission in text.each(names)}
    with unit:
        authority.require("roles:write", unit)
        authority.may_allow(parsed, unit)
        role = get_role(name)
        _refuse_builtin(role, "edited: it holds every permission")
        before = role.permissions
        after = sorted(combine(set(before), parsed))
        if after != before or isinstance(before, damage.Damaged):
            role.permissions = after
            unit.record(
                "role:permissions:update",
                role.reference,
                before={"permissions": damage.display_items(before)},
                after={"permissions": after},
            )
        return record(role)


def delete(name: str, *, revoke: bool = False, unit: Unit) -> Record:
    """Delete a role; the history of its grants stays.

    :param revoke: end its live grants; without it they are a conflict.
    :raises: what :func:`deletable` raises.
    """
    with unit:
        authority.require("roles:write", unit)
        role = deletable(name, revoke=revoke)
        if role.deleted_at is None:
            grants.end_all_of_role(role, unit=unit)
            before = {"name": role.name, "permissions": damage.display_items(role.permissions)}
            role.deleted_at = clock.now()
            unit.record("role:definition:delete", role.reference, before=before)
        return record(role)


def deletable(name: str, *, revoke: bool = False) -> Role:
    """Return the role to delete, or the last deleted role of this name.

    :raises Conflict: an account holds it, and ``revoke`` is false.
    :raises NotFound: there never was one.
    :raises Refused: it is built in.
    """
    newest = sa.select(Role).where(Role.name == name).order_by(Role.id.desc()).limit(1)
    role = find_role(name) or db.session.scalar(newest) or get_role(name)
    if role.deleted_at is None:
        _refuse_builtin(role, "deleted")
        holders, _inactive = _holders().get(role.id, NO_HOLDERS)
        if holders and not revoke:
            raise Conflict(
                f"role {name} is held by {text.pluralize(holders, 'user')}",
                hint=f"flask roles delete {name} --revoke",
            )
    return role


def _refuse_builtin(role: Role, verb: str) -> None:
    if role.builtin:
        raise Refused(f"the built-in role {role.name} cannot be {verb}")
