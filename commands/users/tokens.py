"""`flask users tokens`: API tokens."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import answers, changes
from opsapp.cli.options import PERMISSION, USER, end_options, ending, if_exists_option
from opsapp.cli.output import say_if_lost
from opsapp.errors import Invalid
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.unit.work import Unit

DAYS = 90
FIELDS = (
    "id", "user_id", "user", "name", "state", "permissions", "created_at", "created_by",
    "valid_until", "used_at",
)  # fmt: skip


@click.group("tokens", cls=OpsGroup)
def cli() -> None:
    """Create, list and revoke API tokens.

    A token acts as its account, limited to its own permissions.
    """


@cli.command("create")
@click.argument("user", type=USER)
@click.argument("name")
@click.option(
    "--allow",
    multiple=True,
    type=PERMISSION,
    help="Permission of the token; can be repeated. Default: all of USER.",
)
@end_options("the token", default=f"; default {DAYS}d")
@if_exists_option("If USER has a token of this name: refuse, or keep a matching token.")
@changes("id", "user", "name", "permissions", "valid_until", "token", key="token")
def create_cmd(
    user: str,
    name: str,
    allow: tuple[str, ...],
    for_: timedelta | None,
    until: datetime | None,
    if_exists: str,
    unit: Unit,
) -> Record:
    """Create an API token, and print it once.

    It ends with the sessions of its account: when the account is deactivated, its
    password changes, or it loses a role. -q prints the token alone.

    \b
    Example:
      flask users tokens create ada@example.com deploy --allow users:read --for 90d
    """
    from opsapp.accounts import tokens

    if for_ is None and until is None:
        for_ = timedelta(days=DAYS)
    token = tokens.create(
        user,
        name,
        allow=allow,
        until=ending(for_, until),
        if_exists=if_exists,
        ends_then=until is not None,
        unit=unit,
    )
    if token["token"]:
        say_if_lost(f"the token is lost: flask users tokens revoke {token['user']} {token['name']}")
    return token


@cli.command("list")
@click.argument("user", type=USER, required=False)
@answers(
    "id",
    "user",
    "name",
    "state",
    "permissions",
    "valid_until",
    "used_at",
    fields=FIELDS,
    noun="tokens",
)
def list_cmd(user: str | None) -> list[Record]:
    """List the API tokens of one account or of all.

    Ended tokens are listed too. The secrets themselves are stored nowhere.

    \b
    Example:
      flask users tokens list ada@example.com
    """
    from opsapp.accounts import tokens

    return tokens.listing(user)


@cli.command("revoke")
@click.argument("user", type=USER, required=False)
@click.argument("name", required=False)
@click.option("--all", "everything", is_flag=True, help="Every token of USER, or of all accounts.")
@changes("id", "user", "name", "state", destructive=True)
def revoke_cmd(
    user: str | None, name: str | None, everything: bool, unit: Unit
) -> Record | list[Record]:
    """Revoke an API token at once.

    Requests with it are refused from now on. Its row stays, marked as ended.

    \b
    Examples:
      flask users tokens revoke ada@example.com ci --yes
      flask users tokens revoke --all --reason "leaked" --yes
    """
    from opsapp.accounts import tokens

    if everything == (name is not None):
        raise Invalid("name the user and the token, or choose --all")
    if everything:
        approve(f"Revoke every token of {user or 'every account'}?", severe=user is None)
        return tokens.revoke_all(user, unit=unit)
    assert user is not None  # noqa: S101  (the name comes after it)
    assert name is not None  # noqa: S101
    token = tokens.get(user, name)
    approve(f"Revoke the token {token.name} of {token.user.email}?")
    return tokens.revoke(user, name, unit=unit)
