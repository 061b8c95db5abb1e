"""Confirmation of changes that cannot simply be undone."""

from __future__ import annotations

import sys
from typing import Any

import click

from .. import text
from ..errors import Refused
from .messages import wrap
from .streams import printable


def is_interactive() -> bool:
    """Return true if stdin is a terminal, so that a question can be answered."""
    return sys.stdin is not None and sys.stdin.isatty()


def ask(words: str, **options: Any) -> str:
    """Return the answer of the user; the time to type it is not the time of the command."""
    from ..profiling.record.recording import waiting

    with waiting():
        return str(click.prompt(wrap(f"{words}:"), err=True, prompt_suffix=" ", **options))


def agrees(question: str) -> bool:
    """Return whether the user says yes; the time to think is not the time of the command."""
    from ..profiling.record.recording import waiting

    with waiting():
        words = wrap(f"{question} [y/N]:")
        return click.confirm(words, err=True, show_default=False, prompt_suffix=" ")


def approve(question: str, *, severe: bool = False) -> None:
    """Ask the operator before a change that cannot simply be undone.

    ``--yes`` answers the question, and is needed without a terminal. In production a
    ``severe`` change asks for the name of the environment, which ``--confirm NAME`` answers.

    :raises Refused: the operator declined, or there is no terminal to ask on.
    """
    from ..settings.config import PRODUCTION, environment

    ctx = click.get_current_context()
    if ctx.params.get("dry_run"):
        return None
    if severe and environment() == PRODUCTION:
        return _approve_by_name(question, environment(), ctx.params["confirm"])
    if ctx.params["yes"]:
        return None
    if not is_interactive():
        raise Refused(f"{question} Cannot ask: there is no terminal", hint="add --yes")
    if not agrees(printable(text.safe(question), sys.stderr)):
        raise Refused("declined; nothing was changed")
    return None


def _approve_by_name(question: str, name: str, answer: str | None) -> None:
    if answer is None:
        if not is_interactive():
            raise Refused(f"{question} This is {name}", hint=f"add --confirm {name}")
        question, order = text.safe(question), f"Type {text.safe(name)} to go on"
        does_fit = "\n" not in wrap(f"{question} {order}: ")
        words = f"{question} {order}" if does_fit else f"{question}\n{order}"
        answer = ask(printable(words, sys.stderr))
    if answer != name:
        raise Refused(f"{text.truncate(answer)} is not {name}; nothing was changed")
