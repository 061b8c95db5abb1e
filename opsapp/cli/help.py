"""Help: laid out by click, and coloured by rich on a terminal."""

from __future__ import annotations

import os
import re
import sys

import click

from .streams import printable

PROGRAM = re.compile(r"(?<![\w/-])flask (?=[a-z])")
"""The program's name in help texts and hints, where a user of `opsapp` reads another one."""


class Formatter(click.HelpFormatter):
    """Click's formatter, with the program's own name, and in colour on a terminal."""

    is_coloured = False
    program = "flask"

    def write_text(self, text: str) -> None:
        super().write_text(as_typed(text, self.program))

    def getvalue(self) -> str:
        plain = printable(super().getvalue(), sys.stdout)
        if not self.is_coloured:
            return plain
        # Late: rich is slow to import, and pipes have no colours.
        from .help_colours import coloured

        return coloured(plain)


class OpsContext(click.Context):
    """The context of our commands, with our formatter."""

    def make_formatter(self) -> click.HelpFormatter:
        formatter = Formatter(width=self.terminal_width, max_width=self.max_content_width)
        formatter.is_coloured = wants_colour()
        formatter.program = self.find_root().info_name or "flask"
        # Otherwise click removes the colours where there is no terminal.
        self.color = formatter.is_coloured
        return formatter


def wants_colour() -> bool:
    """Return true for colours: NO_COLOR, then FORCE_COLOR, then the terminal decide."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stdout is not None and sys.stdout.isatty())


def as_typed(text: str, program: str | None) -> str:
    """Return ``text`` with the commands of `opsapp`, if the user typed that instead of `flask`."""
    return PROGRAM.sub("opsapp ", text) if program == "opsapp" else text
