"""`flask users offboard`, `personal-data` and `delete`: accounts whose users leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opsapp import text
from opsapp.cli.base import OpsCommand, approve
from opsapp.cli.decorators import changes
from opsapp.cli.filters import account_filter, is_by_filter
from opsapp.cli.messages import say
from opsapp.cli.options import NEW_FILE, USER, receipt_option, users_argument
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.accounts.listing import Filter
    from opsapp.unit.work import Unit


@click.command("offboard", cls=OpsCommand)
@users_argument()
@receipt_option("what ended")
@changes(*("changed", "id", "email", "status", "roles", "sessions", "tokens"), destructive=True)
def offboard_cmd(users: tuple[str, ...], receipt: str | None, unit: Unit) -> list[Record]:
    """Revoke all access of accounts: sessions, tokens and roles.

    The accounts are deactivated, and every grant is revoked, in one change. Their history
    stays; `flask users delete` erases the personal data. Pass - as USER to read the
    accounts from stdin. A receipt is JSON, and its checkpoint is one for
    `flask audit verify`.

    \b
    Examples:
      flask users offboard ada@example.com --reason "left the company" --yes
      flask users offboard ada@example.com --receipt ada.json --yes
    """
    from opsapp.accounts import offboarding
    from opsapp.accounts.lookup import get_user

    names = [str(get_user(user).email) for user in users]
    approve(f"End the access of {text.join_some(names)}?", severe=True)
    return offboarding.offboard(users, receipt=receipt, unit=unit)


@click.command("personal-data", cls=OpsCommand)
@click.argument("user", type=USER)
@click.argument("file", type=NEW_FILE)
@changes(
    *("id", "email", "file", "grants", "sessions", "tokens", "logins", "mail", "audit", "acts")
)
def personal_data_cmd(user: str, file: str, unit: Unit) -> Record:
    """Export all data held about an account.

    It answers a request for access under the GDPR (Article 15): JSON that only you can read,
    with the account, grants, sessions, logins, mail and events, and what the application
    adds. Secrets and the names of other people are left out.

    \b
    Example:
      flask users personal-data ada@example.com ada.json --reason "her request of Monday"
    """
    from opsapp.accounts import personal_data

    return personal_data.export(user, file, unit=unit)


@click.command("delete", cls=OpsCommand)
@users_argument(required=False)
@receipt_option("what was erased")
@changes("changed", "id", "status", destructive=True)
@account_filter
def delete_cmd(
    users: tuple[str, ...], filter: Filter, receipt: str | None, unit: Unit
) -> list[Record]:
    """Erase the personal data of accounts for good.

    The ids, the history of their grants and the audit log stay, without a name. Name the
    accounts, or choose them by filters. Pass - as USER to read the accounts from stdin. A
    receipt is evidence of the erasure (GDPR, Article 17); it has the ids and no name.

    \b
    Examples:
      flask users delete ada@example.com --reason "left the company" --yes
      flask users delete --status inactive --idle-for 1095d --yes
    """
    from opsapp.accounts import users as service

    erase = "Erase the personal data of {} for good"
    if is_by_filter(users, filter, erase, severe=True):
        return service.delete_where(filter.criteria(), receipt=receipt, unit=unit)
    rows = service.deletable(users)
    for row in rows:
        if row.deleted_at is not None:
            say(f"User {row.id} was deleted before.")
    if accounts := [f"{row.email} (id {row.id})" for row in rows if row.deleted_at is None]:
        approve(f"{erase.format(text.join_some(accounts))}?", severe=True)
    return service.delete(users, receipt=receipt, unit=unit)


COMMANDS = (offboard_cmd, personal_data_cmd, delete_cmd)
