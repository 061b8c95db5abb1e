"""What the console says first: where it is, what it may do, and every name it has."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable
from typing import NamedTuple

import click

from opsapp.console.lifecycle import Console
from opsapp.console.modes import Mode
from opsapp.console.namespace import Name
from opsapp.engine.connections import shown_url
from opsapp.extensions import db
from opsapp.text import safe


class Styled(NamedTuple):
    """A line with its colour, and whether it is bold; colour repeats what the words say."""

    line: str
    colour: str | None = None
    bold: bool = False


def painted(lines: Iterable[Styled]) -> str:
    """Lines in their colours, unless the person declines them."""
    if os.environ.get("NO_COLOR"):
        return "\n".join(one.line for one in lines)
    return "\n".join(click.style(one.line, fg=one.colour, bold=one.bold) for one in lines)


A_GROUP = 24
"""Names of a group that the banner lists; ``%names`` lists them all."""


def banner(console: Console, name: str, environment: str) -> list[Styled]:
    """The banner as lines: environment, database and mode before anything else."""
    is_production = environment == "production"
    where = [
        Styled(f"{name} · {environment}", "red" if is_production else "green", bold=True),
        *_said("database", safe(shown_url(db.engine.url))),
        *_mode(console),
        Styled(f"session   {console.session.id}, every input is recorded"),
    ]
    return [*where, *catalogue(console, A_GROUP), *_last(console)]


def _mode(console: Console) -> list[Styled]:
    mode = console.session.mode
    colour = "red" if mode is Mode.WRITE else None
    lines = _said("mode", f"{mode.value}: {safe(console.wall)}", colour)
    if mode is Mode.READ_ONLY and not console.is_boundary:
        lines += _said("", "a speed bump, no boundary: see OPSAPP_READONLY_DATABASE_URL", "yellow")
    return lines


def _said(about: str, words: str, colour: str | None = None) -> list[Styled]:
    """Words about where one is, in lines that the terminal need not break within one of them."""
    room = max(30, shutil.get_terminal_size().columns - 10)
    lines = textwrap.wrap(words, room, break_long_words=False, break_on_hyphens=False)
    return [Styled(f"{about if i == 0 else '':<10}{line}", colour) for i, line in enumerate(lines)]


def catalogue(console: Console, at_most: int | None = None) -> list[Styled]:
    """Every name with its line, by group."""
    lines: list[Styled] = []
    for group, names in console.names.groups().items():
        lines += [Styled(""), Styled(safe(group), bold=True), *_group(names[:at_most])]
        if left := len(names) - len(names[:at_most]):
            lines.append(Styled(f"  … and {left} more: %names"))
    return lines


def _group(names: list[Name]) -> list[Styled]:
    wide = min(28, max((len(one.name) for one in names), default=0))
    return [Styled(line) for one in names for line in _entry(one, wide)]


def _entry(one: Name, wide: int) -> list[str]:
    """A name and what it is, in lines that the terminal need not break within a word."""
    room = max(30, min(90, shutil.get_terminal_size().columns - wide - 4))
    first, *more = textwrap.wrap(safe(one.line), room, max_lines=3, placeholder=" …") or [""]
    return [f"  {one.name:<{wide}}  {first}".rstrip(), *(f"{'':{wide + 4}}{line}" for line in more)]


def _last(console: Console) -> list[Styled]:
    clashes = [Styled(f"Clash: {safe(clash)}.", "yellow") for clash in console.names.clashes]
    return [Styled(""), *clashes, Styled("%names lists these again, %quickref IPython's own.")]
