"""`flask roles`: roles and their grants.

Decisions: docs/decisions/accounts.md
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from opsapp import text
from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes
from opsapp.cli.filters import account_filter, is_by_filter
from opsapp.cli.options import (
    NEXT,
    PERMISSION,
    ROLE,
    USER,
    default_option,
    end_options,
    ending,
    if_exists_option,
    users_argument,
)
from opsapp.errors import Invalid
from opsapp.types import Record

from . import files, reviews

if TYPE_CHECKING:
    from opsapp.accounts.listing import Filter
    from opsapp.unit.work import Unit

ROLE_SHOWN = ("name", "description", "permissions", "holders")
GRANT_SHOWN = ("user", "role", "state", "valid_until", "granted_by", "reason")
WHO_SHOWN = ("user", "role", "status", "granted_at", "valid_until", "granted_by", "reason")
HISTORY_SHOWN = (
    *("user", "role", "state", "granted_at", "granted_by", "reason"),
    *("valid_until", "ended_at", "ended_by", "end_reason"),
)
GRANT_FIELDS = (
    "id", "user_id", "user", "role", "state", "granted_at", "granted_by", "reason", "valid_until",
    "ended_at", "ended_by", "end_reason",
)  # fmt: skip
ROLE_FIELDS = (
    "id", "name", "description", "permissions", "builtin", "holders", "inactive", "created_at",
)  # fmt: skip


@click.group(cls=OpsGroup)
def cli() -> None:
    """Manage roles and their grants.

    The built-in role admin holds every permission.
    """


for command in (files.export_cmd, files.apply_cmd, reviews.cli):
    cli.add_command(command)

# --- roles -------------------------------------------------------------------


@cli.command("list")
@answers(*ROLE_SHOWN, "inactive", fields=ROLE_FIELDS, noun="roles")
def list_cmd() -> list[Record]:
    """List roles with the number of accounts that hold each.

    Only grants that are live now are counted; how many of them are of deactivated accounts
    is under inactive.

    \b
    Example:
      flask roles list
    """
    from opsapp.accounts import roles

    return roles.listing()


@cli.command("show")
@click.argument("role", type=ROLE)
@answers()
def show_cmd(role: str) -> Record:
    """Show a role and the accounts that hold it.

    Each grant is shown with its start, end, actor and reason, and the status of its account.

    \b
    Example:
      flask roles show admin
    """
    from opsapp.accounts import roles

    return roles.detail(role)


@cli.command("create")
@click.argument("name")
@click.option("--description", default="", help="Purpose of the role.")
@click.option(
    "--allow", type=PERMISSION, multiple=True, help="Permission of the role; can be repeated."
)
@if_exists_option("If the name is taken: refuse, or keep a matching role.")
@changes(*ROLE_SHOWN, key="name")
def create_cmd(
    name: str, description: str, allow: tuple[str, ...], if_exists: str, unit: Unit
) -> Record:
    """Create a role.

    It may hold a permission that no code asks for yet.

    \b
    Example:
      flask roles create support --allow users:read --description "First line"
    """
    from opsapp.accounts import roles

    return roles.create(name, description=description, allow=allow, if_exists=if_exists, unit=unit)


@cli.command("update")
@click.argument("role", type=ROLE)
@click.option("--name", "new_name", metavar="NAME", help="New name; grants stay.")
@click.option("--description", help="Purpose of the role.")
@changes(*ROLE_SHOWN, key="name")
def update_cmd(role: str, new_name: str | None, description: str | None, unit: Unit) -> Record:
    """Rename a role or change its description.

    Its holders keep it. The built-in role cannot be renamed.

    \b
    Example:
      flask roles update support --name helpdesk
    """
    from opsapp.accounts import roles

    if new_name is None and description is None:
        raise Invalid("nothing to update", hint="--name NAME or --description TEXT")
    return roles.update(role, new_name=new_name, description=description, unit=unit)


@cli.command("delete")
@click.argument("role", type=ROLE)
@click.option("--revoke", is_flag=True, help="Also revoke it from all accounts that hold it.")
@changes("name", key="name", destructive=True)
def delete_cmd(role: str, revoke: bool, unit: Unit) -> Record:
    """Delete a role, but keep the history of its grants.

    A role with holders is not deleted, unless --revoke takes it away first.

    \b
    Example:
      flask roles delete support --revoke --yes
    """
    from opsapp.accounts import roles

    row = roles.deletable(role, revoke=revoke)
    if row.deleted_at is None:
        holders = roles.record(row)["holders"] if revoke else 0
        loss = f" and revoke it from {text.pluralize(holders, 'user')}" if holders else ""
        approve(f"Delete the role {row.name}{loss}?", severe=True)
    return roles.delete(role, revoke=revoke, unit=unit)


@cli.command("allow")
@click.argument("role", type=ROLE)
@click.argument("permissions", metavar="PERMISSION…", type=PERMISSION, nargs=-1, required=True)
@changes(*ROLE_SHOWN, key="name")
def allow_cmd(role: str, permissions: tuple[str, ...], unit: Unit) -> Record:
    """Add permissions to a role.

    All holders have them at once.

    \b
    Example:
      flask roles allow support users:read audit:read
    """
    from opsapp.accounts import roles

    return roles.allow(role, permissions, unit=unit)


@cli.command("deny")
@click.argument("role", type=ROLE)
@click.argument("permissions", metavar="PERMISSION…", type=PERMISSION, nargs=-1, required=True)
@changes(*ROLE_SHOWN, key="name")
def deny_cmd(role: str, permissions: tuple[str, ...], unit: Unit) -> Record:
    """Remove permissions from a role.

    Holders of another role with them still have them: `flask users can` explains it.

    \b
    Example:
      flask roles deny support users:read
    """
    from opsapp.accounts import roles

    return roles.deny(role, permissions, unit=unit)


# --- grants ------------------------------------------------------------------


@cli.command("grant")
@click.argument("name", metavar="ROLE", type=ROLE)
@users_argument(required=False)
@end_options("the grant")
@click.option("--replace-end", is_flag=True, help="Change the end of existing grants.")
@changes("changed", *GRANT_SHOWN, key="user_id", destructive=True)
@account_filter
def grant_cmd(
    name: str,
    users: tuple[str, ...],
    filter: Filter,
    for_: timedelta | None,
    until: datetime | None,
    replace_end: bool,
    unit: Unit,
) -> list[Record]:
    """Grant a role, permanently or until a time.

    A grant stops working at its end. If an account holds the role until another time, or
    forever, nothing is granted without --replace-end. Name the accounts, or choose them by
    filters. Pass - as USER to read the accounts from stdin.

    \b
    Examples:
      flask roles grant support ada@example.com --for 8h --reason "on call"
      cat team.txt | flask roles grant support - --until 2030-12-31
      flask roles grant support --status active --without-role support --yes
    """
    from opsapp.accounts import grants

    end = ending(for_, until)
    if is_by_filter(users, filter, f"Grant {name} to {{}}", grants.lacks(name, end)):
        criteria = filter.criteria()
        return grants.grant_where(name, criteria, until=end, replace_end=replace_end, unit=unit)
    return grants.grant(name, users, until=end, replace_end=replace_end, unit=unit)


@cli.command("revoke")
@click.argument("name", metavar="ROLE", type=ROLE)
@users_argument(required=False)
@changes("changed", "user", "role", "state", key="user_id", destructive=True)
@account_filter
def revoke_cmd(name: str, users: tuple[str, ...], filter: Filter, unit: Unit) -> list[Record]:
    """Revoke a role from accounts, and end their sessions.

    The last administrator cannot lose the role admin. Name the accounts, or choose them by
    filters. Pass - as USER to read the accounts from stdin.

    \b
    Examples:
      flask roles revoke support ada@example.com --reason "moved on"
      flask roles revoke support --idle-for 90d --yes
    """
    from opsapp.accounts import grants

    if is_by_filter(users, filter, f"Revoke {name} from {{}}", grants.holds(name)):
        return grants.revoke_where(name, filter.criteria(), unit=unit)
    return grants.revoke(name, users, unit=unit)


@cli.command("expire")
@changes("changed", "user", "role", "valid_until", key="user_id")
def expire_cmd(unit: Unit) -> list[Record]:
    """Record expired grants as ended, for cron.

    They stopped working at their end; this only marks it in the history.

    \b
    Example:
      flask roles expire
    """
    from opsapp.accounts import grants

    return grants.expire(unit=unit)


@cli.command("expiring")
@default_option("--within", NEXT, "14d", "How far to look ahead: 30d, or until friday.")
@answers("user", "role", "valid_until", "granted_by", "reason", fields=GRANT_FIELDS, noun="grants")
def expiring_cmd(within: datetime) -> list[Record]:
    """List the grants that end soon, soonest first.

    Grants without an end are not listed.

    \b
    Example:
      flask roles expiring --within friday
    """
    from opsapp.accounts import grants

    return grants.expiring(until=within)


@cli.command("who")
@click.argument("permission", type=PERMISSION)
@answers(*WHO_SHOWN, fields=("user_id", *WHO_SHOWN), noun="users")
def who_cmd(permission: str) -> list[Record]:
    """List the accounts that have a permission.

    Each with the role that gives it, since when and until when. Inactive accounts can do
    nothing, and are not listed.

    \b
    Example:
      flask roles who users:write
    """
    from opsapp.accounts import access

    return access.holders(permission)


def _matrix_fields(by_user: bool) -> list[str]:
    from opsapp.accounts import access
    from opsapp.accounts.lookup import list_roles

    if by_user:
        return [*access.ACCOUNT, *access.role_columns().values()]
    return ["permission", *(role.name for role in list_roles())]


@cli.command("matrix")
@click.option(
    "--users", "by_user", is_flag=True, help="Accounts and roles instead of roles and permissions."
)
@answers(fields=_matrix_fields, noun="users")
def matrix_cmd(by_user: bool) -> list[Record]:
    """Show a table of roles and permissions.

    With --users, show a table of accounts, each with its status, and roles.

    \b
    Example:
      flask roles matrix --users
    """
    from opsapp.accounts import access

    return access.user_matrix() if by_user else access.role_matrix()


@cli.command("history")
@click.argument("user", type=USER, required=False)
@click.option("--role", type=ROLE, help="Only grants of this role.")
@answers(*HISTORY_SHOWN, fields=GRANT_FIELDS, noun="grants")
def history_cmd(user: str | None, role: str | None) -> list[Record]:
    """List past and present grants.

    Each with its actor, reason, start and end.

    \b
    Example:
      flask roles history ada@example.com
    """
    from opsapp.accounts import grants

    return grants.history(user, role=role)
