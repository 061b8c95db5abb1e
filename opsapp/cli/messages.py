"""Remarks on stderr: progress, warnings, hints. Answers go to stdout.

With a JSON format stderr has nothing or one object: the error, or the remarks.

docs/decisions/cli.md#stderr-is-one-object-for-programs
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import suppress

import click

from .. import text
from ..errors import OpsError, brief
from .help import rewrite_commands
from .tables import hanging, terminal_width

_KEPT = "opsapp.remarks"
_words: list[str] = []
"""Of the process, since its threads remark too."""


def say(message: str, *, in_json: bool = True) -> None:
    """Print a remark on stderr, shortened, and escaped for terminals.

    :param in_json: False for what the answer says itself, if it is JSON.
    """
    ctx = click.get_current_context(silent=True)
    format = wanted_format()
    if format == "json" and not in_json:
        return
    message = brief(text.safe(rewrite_commands(message, ctx)))
    if ctx is not None and is_for_programs(format) and _takes_format(ctx):
        _keep(message, ctx.find_root())
    else:
        print_error(wrap(message))


def wrap(message: str, *, indent: str = "") -> str:
    """Return a message in lines that break between words, where stderr is a terminal.

    The terminal itself would break inside an address.

    :param indent: goes before each line but the first.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        return message
    return "\n".join(
        hanging(line, room=terminal_width(), indent=indent) for line in message.split("\n")
    )


def _takes_format(ctx: click.Context) -> bool:
    """Return whether the command answers in a format, as all do but shells and runners."""
    return any(param.name == "format" for param in ctx.command.params)


def _keep(message: str, root: click.Context) -> None:
    if _KEPT not in root.meta:
        root.meta[_KEPT] = []
        root.call_on_close(lambda: _print_remarks(root))
    if root.meta[_KEPT] is not None:  # Else the error has been printed.
        root.meta[_KEPT].append(message)


def _print_remarks(root: click.Context) -> None:
    if remarks := take_remarks(root):
        print_error(json.dumps({"remarks": remarks}))


def take_remarks(root: click.Context) -> list[str]:
    """Return the remarks so far, for the object to print; later ones are left out."""
    remarks: list[str] = root.meta.get(_KEPT) or []
    root.meta[_KEPT] = None
    return remarks


def print_error(message: str) -> None:
    """Print ``message`` on stderr as it is."""
    # A closed stderr must not hide the exit code.
    with suppress(OSError, ValueError):
        sys.stderr.write(message + "\n")
        sys.stderr.flush()


def remember_words(args: Sequence[str]) -> None:
    """Remember the arguments of the command line, which click consumes as it parses them."""
    _words[:] = args


def wanted_format() -> str:
    """Return the format of the command line or the environment. It may not be parsed yet."""
    args = _words
    format = ""
    for word, following in zip(args, [*args[1:], ""], strict=False):
        if word == "--":
            break  # The rest belongs to another program.
        if word == "--format":
            format = following
        elif word.startswith("--format="):
            format = word.removeprefix("--format=")
    from ..settings import get

    with suppress(OpsError):  # The command reports that the setting is wrong.
        format = format or get("OPSAPP_FORMAT") or ""
    return format


def is_for_programs(format: str) -> bool:
    """Return whether errors and remarks in this format are JSON."""
    return format in ("json", "jsonl")
