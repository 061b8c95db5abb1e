"""`flask ops roles`: the roles of the application, and who holds them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from opsapp.cli.base import OpsGroup
from opsapp.cli.decorators import answers, changes, findings, say_afterwards
from opsapp.cli.options import ROLE, USER, end_options, ending, users_argument
from opsapp.types import Record

from .acceptance import approve_identity

if TYPE_CHECKING:
    from opsapp.unit.work import Unit

GRANT_SHOWN = ("changed", "user", "role", "state", "valid_until")
HISTORY_SHOWN = ("at", "user", "role", "action", "valid_until", "by", "reason", "audit_seq")


@click.group("roles", cls=OpsGroup)
def cli() -> None:
    """Grant and revoke the application's own roles.

    ROLE is a name. If the application has two kinds of roles, groups:staff names one.
    """


@cli.command("list")
@answers("name", "kind", "holders", "read_only", noun="roles")
def list_cmd() -> list[Record]:
    """List roles with the number of accounts that hold each.

    \b
    Example:
      flask ops roles list
    """
    from opsapp.ops import listing

    return listing.roles()


@cli.command("grant")
@click.argument("role", type=ROLE)
@users_argument()
@end_options("the grant")
@click.option("--replace-end", is_flag=True, help="Change the end of a role that is held.")
@changes(*GRANT_SHOWN, key="user_id", destructive=True)
def grant_cmd(
    role: str,
    users: tuple[str, ...],
    for_: timedelta | None,
    until: datetime | None,
    replace_end: bool,
    unit: Unit,
) -> list[Record]:
    """Grant a role, permanently or until a time.

    If a user holds it until another time or forever, nothing is granted without
    --replace-end.

    The application knows no ends: `flask ops roles expire`, run by cron every minute or
    five, takes the role away. Code that asks ops.can(user, role) checks the end itself.

    \b
    Example:
      flask ops roles grant support ada@example.com --for 8h --reason "on call"
    """
    from opsapp.ops import grants

    approve_identity("roles")
    until = ending(for_, until)
    rows = grants.grant(role, users, until=until, replace_end=replace_end, unit=unit)
    if until and any(row["changed"] for row in rows):
        say_afterwards("The role ends when flask ops roles expire runs after that time.")
    return rows


@cli.command("revoke")
@click.argument("role", type=ROLE)
@users_argument()
@changes(*GRANT_SHOWN, key="user_id", destructive=True)
def revoke_cmd(role: str, users: tuple[str, ...], unit: Unit) -> list[Record]:
    """Revoke a role from accounts.

    The last administrator cannot lose the role that makes one.

    \b
    Example:
      flask ops roles revoke support ada@example.com --reason "moved on"
    """
    from opsapp.ops import grants

    approve_identity("roles")
    return grants.revoke(role, users, unit=unit)


@cli.command("expire")
@changes(*GRANT_SHOWN, key="user_id")
def expire_cmd(unit: Unit) -> list[Record]:
    """Take away the roles whose end has passed, for cron.

    Exit code 6 says that a role cannot be taken, or that the account of an end is not found:
    it may hold the role by another key.

    \b
    Example:
      flask ops roles expire
    """
    from opsapp.ops import grants, settlement

    settlement.settle_certain(unit)
    rows = grants.expire(unit=unit)
    findings(any(not row["changed"] for row in rows))
    return rows


@cli.command("history")
@click.argument("user", type=USER, required=False)
@click.option("--role", type=ROLE, help="Only grants of this role.")
@answers(*HISTORY_SHOWN, noun="grants")
def history_cmd(user: str | None, role: str | None) -> list[Record]:
    """List past and present grants that the audit log has.

    Grants from before `flask ops init` are not in it.

    \b
    Example:
      flask ops roles history ada@example.com
    """
    from opsapp.ops import grants

    return grants.history(user, role=role)
