"""Asking before something that cannot simply be undone."""

from __future__ import annotations

import sys

import click

from .. import text
from ..errors import Refused
from .streams import printable


def is_interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


def approve(question: str, *, severe: bool = False) -> None:
    """Ask before something that cannot simply be undone.

    On a terminal it asks, unless ``--yes`` was given; without one ``--yes`` is
    needed. In production a ``severe`` act asks to type the environment's name
    instead, which ``--confirm NAME`` does without a terminal.

    :raises Refused: nobody agreed.
    """
    from ..config import PRODUCTION, environment

    ctx = click.get_current_context()
    if ctx.params.get("dry_run"):
        return None
    if severe and environment() == PRODUCTION:
        return _approve_by_name(question, environment(), ctx.params["confirm"])
    if ctx.params["yes"]:
        return None
    if not is_interactive():
        raise Refused(f"{question} Nobody is here to answer", hint="repeat it with --yes")
    if not click.confirm(printable(text.safe(question), sys.stderr), err=True):
        raise Refused("declined; nothing was changed")
    return None


def _approve_by_name(question: str, name: str, given: str | None) -> None:
    if given is None:
        if not is_interactive():
            raise Refused(f"{question} This is {name}", hint=f"repeat it with --confirm {name}")
        words = f"{text.safe(question)} Type {text.safe(name)} to go on"
        given = click.prompt(printable(words, sys.stderr), err=True)
    if given != name:
        raise Refused(f"{text.shortened(given)} is not {name}; nothing was changed")
