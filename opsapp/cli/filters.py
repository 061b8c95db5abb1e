"""The options that select accounts or audit events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from .. import text
from ..errors import Busy, Invalid
from ..types import AccountFilter
from .confirm import approve
from .options import ACTION, DURATION, ROLE, SINCE, UNTIL, Body, with_options

_ACCOUNTS = (
    click.Option(
        ["--role"],
        type=ROLE,
        multiple=True,
        help="Accounts that hold this role now; repeat it to require several roles.",
    ),
    click.Option(["--without-role"], type=ROLE, help="Accounts that do not hold this role now."),
    click.Option(
        ["--status"],
        type=click.Choice(["active", "inactive", "locked", "deleted"]),
        help="Accounts in this state. Default: all but deleted ones.",
    ),
    click.Option(["--search"], metavar="TEXT", help="Part of the e-mail address or username."),
    click.Option(
        ["--idle-for"], type=DURATION, help="Accounts not seen for this long, such as 90d."
    ),
    click.Option(["--never-logged-in"], is_flag=True, help="Accounts that have never signed in."),
    click.Option(
        ["--without-second-factor"], is_flag=True, help="Accounts that sign in by password only."
    ),
    click.Option(
        ["--service"], is_flag=True, help="Accounts with a live API token and no password."
    ),
    click.Option(
        ["--created-since"], type=SINCE, metavar="TIME", help="Created at or after this time."
    ),
    click.Option(
        ["--created-until"], type=UNTIL, metavar="TIME", help="Created at or before this time."
    ),
    click.Option(
        ["--seen-since"], type=SINCE, metavar="TIME", help="Last seen at or after this time."
    ),
    click.Option(
        ["--seen-until"], type=UNTIL, metavar="TIME", help="Last seen at or before this time."
    ),
)

_ACTIVITY = click.Option(
    ["--status"], type=click.Choice(["active", "inactive"]), help="Accounts in this state."
)

ORDER = with_options(
    click.Option(
        ["--sort"],
        type=click.Choice(["id", "email", "created", "seen"]),
        default="id",
        show_default=True,
        help="Sort order.",
    ),
    click.Option(["--descending"], is_flag=True, help="Largest or newest first."),
    click.Option(["--count"], is_flag=True, help="Print only the number of accounts."),
)
"""The options of a list of accounts that no condition has."""

_EVENTS = (
    click.Option(
        ["--since"],
        type=SINCE,
        metavar="TIME",
        help="Events since this time: monday, 24h.",
    ),
    click.Option(
        ["--until"],
        type=UNTIL,
        metavar="TIME",
        help="Events until this time; a date alone means the end of that day.",
    ),
    click.Option(
        ["--actor"],
        metavar="NAME",
        help="Events by this USER, login name, sudo name or host, or an actor as listed.",
    ),
    click.Option(
        ["--action"],
        type=ACTION,
        metavar="ACTION",
        help="Events of this kind, such as user:role:grant or user:role.",
    ),
    click.Option(
        ["--subject"],
        metavar="SUBJECT",
        help="Events about a USER, role:NAME, database or NOUN:ID.",
    ),
    click.Option(["--reason"], metavar="TEXT", help="Events whose reason has this text."),
    click.Option(["--correlation"], metavar="ID", help="Events of one command or request."),
)


def account_filter(body: Body) -> Body:
    """Add the options that select accounts; the function takes ``filter``, their Filter."""

    def kind() -> type[AccountFilter]:
        from ..accounts.listing import Filter

        return Filter

    return _with_filter(kind, _ACCOUNTS)(body)


def attached_filter(body: Body) -> Body:
    """Add those that select accounts of an application with a model of its own."""
    names = {field.name for field in fields(AccountFilter)} - {"status"}
    options = [option for option in _ACCOUNTS if option.name in names]

    def kind() -> type[AccountFilter]:
        from ..ops.listing import Filter

        return Filter

    return _with_filter(kind, (_ACTIVITY, *options))(body)


def is_by_filter(
    users: tuple[str, ...], filter: Any, change: str, *criteria: Any, severe: bool = False
) -> bool:
    """Return whether accounts are chosen by a filter, after asking; else they are named.

    :param change: what would be done to how many, such as ``Deactivate {}``.
    :param criteria: the further conditions on the accounts that would change.
    :raises Invalid: accounts are named and filtered, or neither.
    :raises Refused: the operator declined.
    :raises Busy: there were others when the operator answered.
    """
    from ..accounts import listing
    from ..extensions import end_session

    if bool(users) == (filter != listing.Filter()):
        raise Invalid("name the users, or choose them by a filter such as --idle-for 90d")
    if users:
        return False
    count, digest = listing.count_and_digest(filter, *criteria)
    if count:
        accounts = text.pluralize(count, "account")
        end_session()  # No transaction waits for the answer, and the next count is a new one.
        approve(f"{change.format(accounts)}?", severe=severe)
        # A question may stand for minutes, in which users sign up.
        if listing.count_and_digest(filter, *criteria) != (count, digest):
            raise Busy("the accounts changed while the question was shown", hint="try again")
    return True


def event_filter(body: Body) -> Body:
    """Add the options that select events; the function takes ``filter``, their Filter."""

    def kind() -> type[Any]:
        from ..audit.events import Filter

        return Filter

    return _with_filter(kind, _EVENTS)(body)


def _with_filter(
    kind: Callable[[], type[Any]], options: tuple[click.Option, ...]
) -> Callable[[Body], Body]:
    """Add the options of a service's ``Filter``, which the function takes as ``filter``.

    :param kind: imports the class late, so that help and completion do not import the service.
    """

    def decorate(body: Body) -> Body:
        def command(**params: Any) -> Any:
            filter_type = kind()
            values = {field.name: params.pop(field.name) for field in fields(filter_type)}
            filter = filter_type(**{name: value for name, value in values.items() if value != ()})
            return body(filter=filter, **params)

        command.__doc__, command.__name__ = body.__doc__, body.__name__
        return with_options(*options)(command)

    return decorate
