"""`flask users`: create, find, change and delete accounts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes, findings, page, page_options
from opsapp.cli.filters import ORDER, account_filter, is_by_filter
from opsapp.cli.options import ID, PERMISSION, ROLE, USER, if_exists_option, users_argument
from opsapp.cli.passwords import Source, password_options
from opsapp.errors import Invalid
from opsapp.types import Record

from . import files, logins, offboarding, sessions, tokens

if TYPE_CHECKING:
    from opsapp.accounts.listing import Filter
    from opsapp.unit.work import Unit

SHOWN = ("id", "email", "username", "status", "roles", "last_seen_at")
FIELDS = (
    "id", "email", "username", "status", "roles", "two_factor", "created_at", "last_seen_at",
)  # fmt: skip


@click.group(cls=OpsGroup)
def cli() -> None:
    """Manage accounts, sessions, tokens and passwords.

    USER is an id, an e-mail address or a username.
    """


for command in (
    *(sessions.cli, tokens.cli, logins.cli),
    *(files.import_cmd, files.export_cmd),
    *offboarding.COMMANDS,
):
    cli.add_command(command)

# --- creating ----------------------------------------------------------------


@cli.command("create")
@click.argument("email")
@click.option("--username", help="Username, to sign in with instead of the address.")
@click.option(
    "--role", "roles", type=ROLE, multiple=True, help="Also grant this role; can be repeated."
)
@if_exists_option("If the address is taken: refuse, or keep a matching account.")
@click.option(
    "--no-password", is_flag=True, help="Set no password: the account cannot sign in yet."
)
@changes("id", "email", "username", "status", "roles", "password")
@password_options
def create_cmd(
    email: str,
    username: str | None,
    roles: tuple[str, ...],
    if_exists: str,
    no_password: bool,
    source: Source,
    unit: Unit,
) -> Record:
    """Create an account.

    The password comes from a hidden prompt, or from one of the password options.

    \b
    Example:
      flask users create ada@example.com --username ada --generate-password
    """
    from opsapp.accounts import users

    if no_password and source.is_named:
        raise Invalid("--no-password cannot be combined with another password option")
    password = source.read() if not no_password and users.needs_password(email, if_exists) else None
    account = users.create(
        email,
        username=username,
        password=password,
        role=roles,
        if_exists=if_exists,
        needs_password=not no_password,
        unit=unit,
    )
    return {**account, **source.password_field(account["email"], password, unit)}


@cli.command("create-admin")
@click.argument("email")
@click.option("--username", help="Username, to sign in with instead of the address.")
@if_exists_option("If the address is taken; update makes the account an active admin.", "update")
@changes("id", "email", "username", "status", "roles", "password")
@password_options
def create_admin_cmd(
    email: str, username: str | None, if_exists: str, source: Source, unit: Unit
) -> Record:
    """Create an administrator who can sign in.

    The password comes from a hidden prompt, stdin, a private file, or is generated
    and shown once. With --if-exists update, an existing account becomes an active
    administrator; its password is set only if it has none, or if stdin or a file
    names another.

    \b
    Example:
      flask users create-admin ada@example.com --generate-password
    """
    from opsapp.accounts import users

    explicit = source.stdin or source.file
    is_needed = users.needs_password(email, if_exists) or (explicit and if_exists == "update")
    password = source.read() if is_needed else None
    account = users.create_admin(
        email,
        username=username,
        password=password,
        generated=not explicit,
        if_exists=if_exists,
        unit=unit,
    )
    return {**account, **source.password_field(account["email"], password, unit)}


# --- finding -----------------------------------------------------------------


@cli.command("list")
@ORDER
@click.option("--after", type=ID, metavar="ID", help="Start after this account, for the next page.")
@page_options()
@answers(*SHOWN, fields=FIELDS, noun="users")
@account_filter
def list_cmd(
    filter: Filter,
    sort: str,
    descending: bool,
    after: int | None,
    limit: int | None,
    count: bool,
) -> Any:
    """List accounts.

    Fifty at a time unless --limit or --all changes that. The next page starts after
    the id of the last account. All filters must hold. With --sort seen, accounts
    never seen are sorted by their creation time.

    \b
    Example:
      flask users list --role admin --format json
    """
    from opsapp.accounts import listing

    if count:
        return listing.count(filter)
    read = partial(listing.users, filter, sort=sort, descending=descending, after=after)
    return page(read, limit, "--after")


@cli.command("show")
@click.argument("user", type=USER)
@answers()
def show_cmd(user: str) -> Record:
    """Show an account, without its secrets.

    Deleted accounts are shown by id.

    \b
    Example:
      flask users show ada@example.com
    """
    from opsapp.accounts import records

    return records.detail(user)


@cli.command("can")
@click.argument("user", type=USER)
@click.argument("permission", type=PERMISSION)
@answers()
def can_cmd(user: str, permission: str) -> Record:
    """Check whether an account has a permission, and why.

    Exits 0 for yes and 6 for no.

    \b
    Example:
      flask users can ada@example.com users:write
    """
    from opsapp.accounts import access

    answer = access.explain(user, permission)
    findings(not answer["allowed"])
    return answer


# --- changing ----------------------------------------------------------------


@cli.command("update")
@click.argument("user", type=USER)
@click.option("--email", help="New address; sessions under the old one end.")
@click.option("--username", help="New username; an empty one removes it.")
@changes("id", "email", "username", "status", "roles")
def update_cmd(user: str, email: str | None, username: str | None, unit: Unit) -> Record:
    """Change an account's e-mail address or username.

    Roles, grants and history stay with the account.

    \b
    Example:
      flask users update ada --email ada.lovelace@example.com
    """
    from opsapp.accounts import users

    if email is None and username is None:
        raise Invalid("nothing to update", hint="--email ADDRESS or --username NAME")
    return users.update(user, email=email, username=username, unit=unit)


@cli.command("activate")
@users_argument()
@changes("changed", "id", "email", "status")
def activate_cmd(users: tuple[str, ...], unit: Unit) -> list[Record]:
    """Allow deactivated accounts to sign in again.

    The opposite of deactivate: roles and password are as they were, sessions are not.

    \b
    Example:
      flask users activate ada@example.com
    """
    from opsapp.accounts import signin

    return signin.activate(users, unit=unit)


@cli.command("deactivate")
@users_argument(required=False)
@changes("changed", "id", "email", "status", destructive=True)
@account_filter
def deactivate_cmd(users: tuple[str, ...], filter: Filter, unit: Unit) -> list[Record]:
    """Block accounts from signing in, and end their sessions.

    Name the accounts, or choose them by filters. With filters it asks, and a script
    needs --yes.

    \b
    Examples:
      flask users deactivate ada@example.com
      flask users deactivate --idle-for 90d --without-role admin --yes
    """
    from opsapp.accounts import signin

    if is_by_filter(users, filter, "Deactivate {}", signin.is_active()):
        return signin.deactivate_where(filter.criteria(), unit=unit)
    return signin.deactivate(users, unit=unit)


@cli.command("set-password")
@click.argument("user", type=USER)
@click.option(
    "--must-change", is_flag=True, help="The user must choose another one at the next login."
)
@changes("id", "email", "status", "password")
@password_options
def set_password_cmd(user: str, must_change: bool, source: Source, unit: Unit) -> Record:
    """Set the password of an account, and end its sessions.

    The password comes from a hidden prompt, a file or stdin, or is generated and shown once.
    The password policy is the same as on the pages. The address counts as confirmed, so that
    the user can sign in. A lockout after too many failed logins stays: `flask users unlock`
    lifts it.

    \b
    Example:
      flask users set-password ada@example.com --generate-password --must-change
    """
    from opsapp.accounts import signin
    from opsapp.accounts.lookup import get_user

    get_user(user)  # Report an unknown user before the operator types a password twice.
    password = source.read()
    record = signin.set_password(user, password, must_change=must_change, unit=unit)
    return {**record, **source.password_field(record["email"], password, unit)}


@cli.command("send-reset")
@users_argument()
@changes("changed", "id", "email", web=True)
def send_reset_cmd(users: tuple[str, ...], unit: Unit) -> list[Record]:
    """Mail users a link to set a new password.

    The link works for an hour. Until it is used, the present password and the sessions
    stay; `flask users reset-access` ends those. No second mail is sent within five minutes,
    unless the account has changed since.

    \b
    Example:
      flask users send-reset ada@example.com
    """
    from opsapp.accounts import signin

    return signin.send_reset(users, unit=unit)


@cli.command("reset-access")
@click.argument("user", type=USER)
@changes("id", "email", "two_factor", destructive=True)
def reset_access_cmd(user: str, unit: Unit) -> Record:
    """End all sessions and remove two-factor authentication.

    For a lost phone or a stolen laptop: tokens end too, the password stays.

    \b
    Example:
      flask users reset-access ada@example.com --yes
    """
    from opsapp.accounts import signin
    from opsapp.accounts.lookup import get_user

    approve(f"End every session of {get_user(user).email} and remove its second factor?")
    return signin.reset_access(user, unit=unit)


@cli.command("unlock")
@click.argument("user", type=USER)
@changes("id", "email", "status")
def unlock_cmd(user: str, unit: Unit) -> Record:
    """Unlock an account after too many failed logins.

    A lockout also ends by itself, after a time.

    \b
    Example:
      flask users unlock ada@example.com
    """
    from opsapp.accounts import signin

    return signin.unlock(user, unit=unit)
