"""`flask users offboard`, `personal-data` and `delete`: accounts whose users leave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opsapp import text
from opsapp.cli.base import OpsCommand, approve
from opsapp.cli.decorators import changes
from opsapp.cli.messages import say
from opsapp.cli.options import NEW_FILE, USER, receipt_option, users_argument
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.unit.work import Unit


@click.command("offboard", cls=OpsCommand)
@users_argument()
@receipt_option("what ended")
@changes(*("changed", "id", "email", "status", "roles", "sessions", "tokens"), destructive=True)
def offboard_cmd(users: tuple[str, ...], receipt: str | None, unit: Unit) -> list[Record]:
    """End all that accounts have: sessions, tokens and roles.

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
    approve(f"End the access of {text.listed(names)}?", severe=True)
    return offboarding.offboard(users, receipt=receipt, unit=unit)


@click.command("personal-data", cls=OpsCommand)
@click.argument("user", type=USER)
@click.argument("file", type=NEW_FILE)
@changes(
    *("id", "email", "file", "grants", "sessions", "tokens", "logins", "mail", "audit", "acts")
)
def personal_data_cmd(user: str, file: str, unit: Unit) -> Record:
    """Write all that is held about an account to a file.

    It answers a request for access under the GDPR (Article 15): JSON that only you can read,
    with the account, grants, sessions, log-ins, mail and events, and what the application
    adds. Secrets and the names of other people are left out.

    \b
    Example:
      flask users personal-data ada@example.com ada.json --reason "her request of Monday"
    """
    from opsapp import personal_data

    return personal_data.export(user, file, unit=unit)


@click.command("delete", cls=OpsCommand)
@click.argument("user", type=USER)
@receipt_option("what was erased")
@changes("id", "status", destructive=True)
def delete_cmd(user: str, receipt: str | None, unit: Unit) -> Record:
    """Erase the personal data of an account for good.

    The id, the history of its grants and the audit stay, without a name. A receipt is
    evidence of the erasure (GDPR, Article 17); it has the id and no name.

    \b
    Example:
      flask users delete ada@example.com --reason "left the company" --yes
    """
    from opsapp.accounts import users

    row = users.deletable(user)
    if row.deleted_at is None:
        approve(f"Erase the personal data of {row.email} (id {row.id}) for good?", severe=True)
    else:
        say(f"User {row.id} was deleted before.")
    return users.delete(user, receipt=receipt, unit=unit)


COMMANDS = (offboard_cmd, personal_data_cmd, delete_cmd)
