"""`flask ops users`: the accounts of the application."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from opsapp import text
from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes, findings, page, page_options
from opsapp.cli.filters import ORDER, attached_filter
from opsapp.cli.options import (
    ROLE,
    USER,
    each_once,
    if_exists_option,
    receipt_option,
    users_argument,
)
from opsapp.cli.passwords import Source, password_options
from opsapp.errors import Invalid
from opsapp.types import Record

from .acceptance import approve_identity

if TYPE_CHECKING:
    from opsapp.ops.listing import Filter
    from opsapp.unit.work import Unit

SHOWN = ("id", "email", "username", "status", "roles", "last_seen_at")
FIELDS = ("id", "email", "username", "status", "roles", "created_at", "last_seen_at")


@click.group("users", cls=OpsGroup)
def cli() -> None:
    """Manage the application's accounts.

    USER is an id, an e-mail address or a username. Each change goes through the
    application's own model and functions. `flask ops identity` shows which.
    """


def _set_option(help: str) -> Callable[[Any], Any]:
    return click.option("--set", "pairs", metavar="NAME=VALUE", multiple=True, help=help)


def _values(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the attributes of ``--set``.

    :raises Invalid: one is no pair, or a name is there twice.
    """
    for pair in pairs:
        if "=" not in pair:
            raise Invalid(f"--set {pair} has no =", hint="--set NAME=VALUE")
    halves = (pair.partition("=") for pair in pairs)
    return each_once("--set", ((name, value) for name, _sign, value in halves))


# --- creating ----------------------------------------------------------------


@cli.command("create")
@click.argument("email", required=False)
@click.option("--username", help="Username of the account; enough if it has no address.")
@click.option("--role", type=ROLE, help="Also grant this role.")
@_set_option("Another attribute of the account; can be repeated.")
@if_exists_option("If the address is taken: refuse, or keep the account.")
@click.option("--no-password", is_flag=True, help="Set no password.")
@changes("id", "email", "username", "status", "roles", "password", destructive=True)
@password_options
def create_cmd(
    email: str | None,
    username: str | None,
    role: str | None,
    pairs: tuple[str, ...],
    if_exists: str,
    no_password: bool,
    source: Source,
    unit: Unit,
) -> Record:
    """Create an account by the application's own model.

    Attributes that the model needs are given by --set.

    \b
    Example:
      flask ops users create ada@example.com --set first_name=Ada --generate-password
    """
    from opsapp.ops import accounts

    if no_password and source.is_named:
        raise Invalid("--no-password cannot be combined with another password option")
    approve_identity()
    is_needed = not no_password and accounts.needs_password(email or username, if_exists)
    password = source.read(accounts.check_password) if is_needed else None
    account = accounts.create(
        email,
        username=username,
        password=password,
        role=role,
        values=_values(pairs),
        if_exists=if_exists,
        unit=unit,
    )
    return {**account, **source.password_field(email or username or "", password, unit)}


@cli.command("create-admin")
@click.argument("email", required=False)
@click.option("--username", help="Username of the account; enough if it has no address.")
@_set_option("Another attribute of the account; can be repeated.")
@if_exists_option("If the address is taken; update makes the account an active admin.", "update")
@changes("id", "email", "username", "status", "roles", "password", destructive=True)
@password_options
def create_admin_cmd(
    email: str | None,
    username: str | None,
    pairs: tuple[str, ...],
    if_exists: str,
    source: Source,
    unit: Unit,
) -> Record:
    """Create an administrator who can sign in.

    The account gets the application's own role, flag or word of an administrator. With
    --if-exists update, a password is set only if the account has none.

    \b
    Example:
      flask ops users create-admin ada@example.com --generate-password
    """
    from opsapp.ops import accounts

    approve_identity("admin")
    is_needed = accounts.needs_password(email or username, if_exists)
    password = source.read(accounts.check_password) if is_needed else None
    account = accounts.create_admin(
        email,
        username=username,
        password=password,
        values=_values(pairs),
        if_exists=if_exists,
        unit=unit,
    )
    return {**account, **source.password_field(email or username or "", password, unit)}


# --- finding -----------------------------------------------------------------


@cli.command("list")
@ORDER
@click.option("--after", type=USER, metavar="ID", help="Start after this id, for the next page.")
@page_options()
@answers(*SHOWN, fields=FIELDS, noun="users")
@attached_filter
def list_cmd(
    filter: Filter,
    sort: str,
    descending: bool,
    after: str | None,
    limit: int | None,
    count: bool,
) -> Any:
    """List accounts.

    Fifty at a time unless --limit or --all changes that. All filters must hold.

    \b
    Example:
      flask ops users list --role admin --format json
    """
    from opsapp.ops import listing

    if count:
        return listing.count(filter)
    read = partial(listing.users, filter, sort=sort, descending=descending, after=after)
    return page(read, limit, "--after")


@cli.command("show")
@click.argument("user", type=USER)
@answers()
def show_cmd(user: str) -> Record:
    """Show an account, without its secrets.

    \b
    Example:
      flask ops users show ada@example.com
    """
    from opsapp.ops import listing

    return listing.detail(user)


@cli.command("can")
@click.argument("user", type=USER)
@click.argument("role_or_permission", type=ROLE)
@answers()
def can_cmd(user: str, role_or_permission: str) -> Record:
    """Check whether an account has a role or permission, and why.

    A permission is known if the application keeps it with its roles. Exits 0 for yes and 6
    for no.

    \b
    Examples:
      flask ops users can ada@example.com admin
      flask ops users can ada@example.com "can_list on UserView"
    """
    from opsapp.ops import explanations

    answer = explanations.explain(user, role_or_permission)
    findings(not answer["allowed"])
    return answer


# --- changing ----------------------------------------------------------------


@cli.command("update")
@click.argument("user", type=USER)
@click.option("--email", help="New address.")
@click.option("--username", help="New username.")
@_set_option("Another attribute; can be repeated. The audit log keeps its name only.")
@changes("id", "email", "username", "status", "roles", destructive=True)
def update_cmd(
    user: str, email: str | None, username: str | None, pairs: tuple[str, ...], unit: Unit
) -> Record:
    """Change an account's names and other attributes.

    \b
    Example:
      flask ops users update ada --email ada.lovelace@example.com
    """
    from opsapp.ops import accounts

    if email is None and username is None and not pairs:
        raise Invalid("nothing to update", hint="--email, --username or --set NAME=VALUE")
    approve_identity()
    return accounts.update(user, email=email, username=username, values=_values(pairs), unit=unit)


@cli.command("activate")
@users_argument()
@changes("changed", "id", "email", "status", destructive=True)
def activate_cmd(users: tuple[str, ...], unit: Unit) -> list[Record]:
    """Allow deactivated accounts to sign in again.

    \b
    Example:
      flask ops users activate ada@example.com
    """
    from opsapp.ops import accounts

    approve_identity("active")
    return accounts.set_active(users, True, unit=unit)


@cli.command("deactivate")
@users_argument()
@changes("changed", "id", "email", "status", "sessions", destructive=True)
def deactivate_cmd(users: tuple[str, ...], unit: Unit) -> list[Record]:
    """Block accounts from signing in.

    The answer says what becomes of their sessions: ended, refused at next request, or
    go on, if the application does not ask whether an account is active.

    \b
    Example:
      flask ops users deactivate ada@example.com
    """
    from opsapp.ops import accounts

    approve_identity("active")
    return accounts.set_active(users, False, unit=unit)


@cli.command("offboard")
@users_argument()
@receipt_option("what ended")
@changes(*("changed", "id", "email", "status", "roles", "sessions", "remaining"), destructive=True)
def offboard_cmd(users: tuple[str, ...], receipt: str | None, unit: Unit) -> list[Record]:
    """Deactivate accounts and take all their roles away.

    The answer says what becomes of their sessions, as deactivate does, and which roles
    remain because the application does not let them go.

    \b
    Example:
      flask ops users offboard ada@example.com --receipt ada.json --yes
    """
    from opsapp.ops import offboarding

    approve_identity("active")
    approve(f"End the access of {text.join_some(users)}?", severe=True)
    return offboarding.offboard(users, receipt=receipt, unit=unit)


@cli.command("set-password")
@click.argument("user", type=USER)
@changes("id", "email", "status", "password", destructive=True)
@password_options
def set_password_cmd(user: str, source: Source, unit: Unit) -> Record:
    """Set a password by the application's own function.

    The password comes from a hidden prompt, a file or stdin, or is generated and shown once.

    \b
    Example:
      flask ops users set-password ada@example.com --password-file ada.password
    """
    from opsapp.extensions import db
    from opsapp.ops import accounts
    from opsapp.ops.subjects import this_identity

    approve_identity("passwords")
    # Report an unknown user before the operator types a password twice.
    this_identity().get(db.session(), user)
    password = source.read(accounts.check_password)
    record = accounts.set_password(user, password, unit=unit)
    return {**record, **source.password_field(str(record["email"] or user), password, unit)}


@cli.command("delete")
@click.argument("user", type=USER)
@receipt_option("what was erased")
@changes("id", "status", destructive=True)
def delete_cmd(user: str, receipt: str | None, unit: Unit) -> Record:
    """Delete an account by the application's own function.

    Its personal values beside the audit log go with it. Ops(erase=…) names the function.

    \b
    Example:
      flask ops users delete ada@example.com --reason "left the company" --yes
    """
    from opsapp.extensions import db
    from opsapp.ops import accounts
    from opsapp.ops.subjects import this_identity

    approve_identity("erase")
    account = this_identity().record(this_identity().get(db.session(), user))
    approve(f"Delete the account {account['email'] or account['id']} for good?", severe=True)
    return accounts.delete(user, receipt=receipt, unit=unit)
