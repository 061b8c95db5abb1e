"""The roles and grants of the database, and the changes that make them those of a file.

docs/decisions/accounts.md#the-file-of-roles-is-written-by-hand
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import clock, text
from ..errors import Busy, Invalid, NotFound, OpsError
from ..extensions import db
from ..models import ADMIN, Grant, Role, User
from ..types import Record
from ..unit.work import Unit
from ..values import damage
from . import authority, grants, permissions, role_file, roles
from .lookup import find_users, list_roles, unknown_user
from .role_file import EVERY, FOR_EVER, Access, Definition, Holders


@dataclass(frozen=True, slots=True)
class Plan:
    """The access of now, and that which a file asks for."""

    present: Access
    target: Access

    @property
    def difference(self) -> list[str]:
        """The lines of the file that change, with ``-`` and ``+``."""
        return role_file.difference(*map(role_file.render, (self.present, self.target)))

    @property
    def changes(self) -> list[Record]:
        """A row for each role and grant that changes."""
        rows = _compare(self.present.roles, self.target.roles, None)
        for name in self.present.grants.keys() | self.target.grants.keys():
            before, after = (a.grants.get(name, {}) for a in (self.present, self.target))
            rows += _compare(before, after, name)
        return sorted(rows, key=lambda row: (row["role"], row["user"] or ""))


def export(*, with_grants: bool) -> str:
    """Return the roles as a file, and on request their live grants.

    :raises OpsError: a role's permissions cannot be read.
    """
    present = _roles()
    names = present if with_grants else ()
    return role_file.render(Access(present, _grants(names)))


def _roles() -> dict[str, Definition]:
    return {role.name: _definition(role) for role in list_roles()}


def _definition(role: Role) -> Definition:
    if isinstance(role.permissions, damage.Damaged):
        raise OpsError(f"the permissions of role {role.name} are damaged", hint="flask doctor")
    names = EVERY if role.builtin else tuple(sorted(role.permissions))
    return Definition(role.description, names)


def _grants(names: Collection[str]) -> dict[str, Holders]:
    """Return the live grants of these roles."""
    holders: dict[str, dict[str, datetime | None]] = {name: {} for name in names}
    live = (
        sa.select(Role.name, User.email, Grant.valid_until)
        .join(Role, Role.id == Grant.role_id)
        .join(User, User.id == Grant.user_id)
        .where(Grant.is_live(), Role.deleted_at.is_(None), User.deleted_at.is_(None))
        .where(Role.name.in_(list(names)))
    )
    for role, email, until in db.session.execute(live) if names else ():
        holders[role][str(email)] = until
    return dict(holders)


# --- the plan ------------------------------------------------------------------


def plan(words: str, *, name: str, prune: bool = False) -> Plan:
    """Return the changes that make the database like a file.

    Roles and grants that the file does not name stay, unless ``prune``; the grants of a role
    without a table of grants stay always.

    :param name: the file, for the errors.
    :raises Invalid: the file cannot be read; names the line.
    :raises NotFound: it names a permission, role or account that there is none of; as above.
    """
    access, present = role_file.parse(words, name=name), _roles()
    if prune and not access.roles:
        raise Invalid(f"{name} defines no role, and --prune would delete all")
    file = _File(name, words)
    file.check_permissions(access, present)
    holders = {role: file.holders(role, users) for role, users in access.grants.items()}
    removals = {role for role in present if role not in access.roles and role != ADMIN}
    removals = removals if prune else set()
    file.check_roles(holders, {*access.roles, *present} - removals, removals)
    current = _grants({*holders, *removals} & present.keys())
    remaining = {role: entry for role, entry in present.items() if role not in removals}
    return Plan(
        Access(present, current),
        Access(
            {**remaining, **access.roles},
            {
                role: {**({} if prune else current.get(role, {})), **holders[role]}
                for role in holders
            },
        ),
    )


@dataclass(frozen=True, slots=True)
class _File:
    """A file whose names are looked up."""

    name: str
    words: str

    def _error(self, error: OpsError, *path: str) -> OpsError:
        return role_file.locate_error(error, self.name, self.words, *path)

    def check_permissions(self, access: Access, present: Mapping[str, Definition]) -> None:
        """Refuse a permission that no code asks for and no role holds yet."""
        in_use = {name for role in present.values() for name in role.permissions}
        vocabulary = {*permissions.DECLARED, *in_use, *EVERY}
        for role, entry in access.roles.items():
            for permission in entry.permissions:
                if permission not in vocabulary:
                    near = text.did_you_mean(permission, sorted(vocabulary))
                    hint = near or f"flask roles allow {role} {permission}, if it is meant"
                    error = NotFound(f"no permission {permission}", hint=hint)
                    raise self._error(error, "roles", role, "permissions", permission)

    def check_roles(
        self, names: Iterable[str], roles: Collection[str], removals: Collection[str]
    ) -> None:
        """Refuse grants of a role that will not be there."""
        for role in names:
            if role in removals:
                error = Invalid(f"--prune would delete role {role}, which the file does not define")
                raise self._error(error, "grants", role)
            if role not in roles:
                near = text.did_you_mean(role, sorted(roles))
                raise self._error(NotFound(f"no role {role}", hint=near), "grants", role)

    def holders(self, role: str, users: Holders) -> Holders:
        """Return the grants by the addresses of today."""
        holders: dict[str, datetime | None] = {}
        for reference, user in find_users(users).items():
            if user is None or user.email is None:
                raise self._error(unknown_user(reference), "grants", role, reference)
            if user.email in holders:
                error = Invalid(f"{text.truncate(reference)} is there twice, as {user.email}")
                raise self._error(error, "grants", role, reference)
            until = users[reference]
            if until is not None and until <= clock.now():
                error = Invalid(f"{user.email}: {clock.rfc3339(until)} is in the past")
                raise self._error(error, "grants", role, reference)
            holders[user.email] = until
        return holders


# --- its application -----------------------------------------------------------


def apply(
    words: str, *, name: str, prune: bool = False, preview: Plan | None = None, unit: Unit
) -> list[Record]:
    """Make the database like a file; return each change.

    :param preview: the plan that the operator agreed to.
    :raises Busy: the changes would be others by now.
    :raises Refused: no administrator would be left.
    """
    with unit:
        authority.require("roles:write", unit)
        now = plan(words, name=name, prune=prune)
        if preview is not None and now != preview:
            raise Busy("the roles were changed while the plan was shown", hint="try again")
        _define(now, unit)
        _revoke(now, unit)
        _delete(now, unit)
        _give(now, unit)
        return now.changes


def _define(plan: Plan, unit: Unit) -> None:
    for name, role in plan.target.roles.items():
        before = plan.present.roles.get(name)
        if before is None:
            roles.create(name, description=role.description, allow=role.permissions, unit=unit)
            continue
        if before.description != role.description:
            roles.update(name, description=role.description, unit=unit)
        if before.permissions != role.permissions:
            roles.set_permissions(name, role.permissions, unit=unit)


def _revoke(plan: Plan, unit: Unit) -> None:
    for name, holders in plan.target.grants.items():
        if users := plan.present.grants.get(name, {}).keys() - holders.keys():
            grants.revoke(name, sorted(users), unit=unit)


def _delete(plan: Plan, unit: Unit) -> None:
    for name in plan.present.roles.keys() - plan.target.roles.keys():
        roles.delete(name, revoke=True, unit=unit)


def _give(plan: Plan, unit: Unit) -> None:
    for name, holders in plan.target.grants.items():
        before = plan.present.grants.get(name, {})
        by_end: dict[datetime | None, list[str]] = {}
        for user, until in holders.items():
            if user not in before or before[user] != until:
                by_end.setdefault(until, []).append(user)
        for until, users in by_end.items():
            grants.grant(name, users, until=until, replace_end=True, unit=unit)


def _compare(before: Mapping[str, Any], after: Mapping[str, Any], role: str | None) -> list[Record]:
    """Return the rows of the roles that differ, or of the grants of one role."""
    addition, removal = ("create", "delete") if role is None else ("grant", "revoke")
    rows = []
    for name in before.keys() | after.keys():
        if name in before and name in after and before[name] == after[name]:
            continue
        verb = addition if name not in before else removal if name not in after else "update"
        rows.append(
            {
                "changed": True,
                "action": verb,
                "role": role or name,
                "user": None if role is None else name,
                "before": _side_value(before, name),
                "after": _side_value(after, name),
            }
        )
    return rows


def _side_value(side: Mapping[str, Any], name: str) -> Any:
    value = side.get(name)
    if isinstance(value, Definition):
        return {"description": value.description, "permissions": list(value.permissions)}
    return FOR_EVER if value is None and name in side else value
