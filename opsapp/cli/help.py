"""How help looks: laid out by click, coloured by rich where somebody looks at it."""

from __future__ import annotations

import os
import re
import sys

import click

from .streams import printable

PROGRAM = re.compile(r"(?<![\w/-])flask (?=[a-z])")
"""Where words of ours say `flask`, for somebody who typed another program's name."""


class Formatter(click.HelpFormatter):
    """Click's, with the program's own name, and in colour on a terminal."""

    is_coloured = False
    program = "flask"

    def write_text(self, text: str) -> None:
        super().write_text(as_typed(text, self.program))

    def getvalue(self) -> str:
        plain = printable(super().getvalue(), sys.stdout)
        if not self.is_coloured:
            return plain
        # Imported here: a script's help, and completion, need not wait for rich.
        from .help_colours import coloured

        return coloured(plain)


class OpsContext(click.Context):
    """The context of our commands; it knows how their help looks."""

    def make_formatter(self) -> click.HelpFormatter:
        formatter = Formatter(width=self.terminal_width, max_width=self.max_content_width)
        formatter.is_coloured = wants_colour()
        formatter.program = self.find_root().info_name or "flask"
        # Click takes the colours out again where there is no terminal.
        self.color = formatter.is_coloured
        return formatter


def wants_colour() -> bool:
    """Whether stdout is for eyes: NO_COLOR, then FORCE_COLOR, then the terminal say so."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (sys.stdout is not None and sys.stdout.isatty())


def as_typed(text: str, program: str | None) -> str:
    """Our words with the program that somebody types instead of `flask`, if that is `opsapp`."""
    return PROGRAM.sub("opsapp ", text) if program == "opsapp" else text
