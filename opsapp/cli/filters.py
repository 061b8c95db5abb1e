"""The options that say which accounts, or which events, are meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from typing import Any

import click

from .options import DURATION, ROLE, SINCE, UNTIL, with_options

Body = Callable[..., Any]

_ACCOUNTS = (
    click.Option(["--role"], type=ROLE, help="Holding this role now."),
    click.Option(["--without-role"], type=ROLE, help="Not holding this role now."),
    click.Option(
        ["--status"],
        type=click.Choice(["active", "inactive", "locked", "deleted"]),
        help="In this state; without this, deleted ones are left out.",
    ),
    click.Option(["--search"], metavar="TEXT", help="Part of the e-mail or username."),
    click.Option(["--idle-for"], type=DURATION, metavar="90d", help="Not seen for that long."),
    click.Option(["--never-logged-in"], is_flag=True, help="Never signed in."),
    click.Option(["--created-since"], type=SINCE, metavar="TIME", help="Created since then."),
    click.Option(["--created-until"], type=UNTIL, metavar="TIME", help="Created until then."),
    click.Option(["--seen-since"], type=SINCE, metavar="TIME", help="Last seen since then."),
    click.Option(["--seen-until"], type=UNTIL, metavar="TIME", help="Last seen until then."),
)

_EVENTS = (
    click.Option(["--since"], type=SINCE, metavar="TIME", help="Since then; 24h is a day ago."),
    click.Option(
        ["--until"],
        type=UNTIL,
        metavar="TIME",
        help="Until then; a date alone means the end of that day.",
    ),
    click.Option(["--actor"], metavar="NAME", help="By this login name, sudo name or host."),
    click.Option(
        ["--action"], metavar="ACTION", help="Of this kind: user:role:grant, or user:role."
    ),
    click.Option(
        ["--subject"], metavar="WHAT", help="About a USER, role:NAME, database or NOUN:ID."
    ),
    click.Option(["--correlation"], metavar="ID", help="Of one command or request."),
)


def account_filter(body: Body) -> Body:
    """Add the options that say which accounts; the function takes ``filter``, their Filter."""
    return _filtered(body, "opsapp.accounts.listing", _ACCOUNTS)


def event_filter(body: Body) -> Body:
    """Add the options that say which events; the function takes ``filter``, their Filter."""
    return _filtered(body, "opsapp.audit.events", _EVENTS)


def _filtered(body: Body, service: str, options: tuple[click.Option, ...]) -> Body:
    """``body`` called with a ``Filter`` of the service in place of the options of its fields."""

    def filtered(**given: Any) -> Any:
        # Help and completion do without the service and what it imports.
        kind = import_module(service).Filter
        filter = kind(**{field.name: given.pop(field.name) for field in fields(kind)})
        return body(filter=filter, **given)

    filtered.__doc__, filtered.__name__ = body.__doc__, body.__name__
    return with_options(*options)(filtered)
