"""Help: laid out by click, and coloured by rich on a terminal."""

from __future__ import annotations

import re
import sys

import click

from .streams import printable, wants_colour

PROGRAM = re.compile(r"(?<![\w/-])flask (?=[a-z])")
"""The program's name in help texts and hints, where a user of `opsapp` reads another one."""


OPS = "ops"
"""The group that has our commands on an application that is not built on opsapp."""
IN_OPS = "opsapp.in_ops"
"""The key in a context's ``meta`` for a command of that group with a name of its own."""
_OF_OPS = re.compile(
    r"(?<![\w/-])flask (?:db (?=init|status|backup)"
    r"|(?=(?:users|roles|audit|jobs|mail|profile|query|shell|doctor|completion)\b))"
)


class Formatter(click.HelpFormatter):
    """Click's formatter, with the program's own name, and in colour on a terminal."""

    is_coloured = False
    context: click.Context | None = None

    def write_text(self, text: str) -> None:
        super().write_text(rewrite_commands(text, self.context))

    def getvalue(self) -> str:
        plain = printable(super().getvalue(), sys.stdout)
        if not self.is_coloured:
            return plain
        # Late: rich is slow to import, and pipes have no colours.
        from .help_colours import highlight

        return highlight(plain)


class OpsContext(click.Context):
    """The context of our commands, with our formatter."""

    def make_formatter(self) -> click.HelpFormatter:
        formatter = Formatter(width=self.terminal_width, max_width=self.max_content_width)
        formatter.is_coloured = wants_colour()
        formatter.context = self
        # Otherwise click removes the colours where there is no terminal.
        self.color = formatter.is_coloured
        return formatter


def rewrite_commands(text: str, ctx: click.Context | None) -> str:
    """Return ``text`` with its commands as the user types them: ``opsapp …`` or ``flask ops …``."""
    if ctx is None:
        return text
    if ctx.find_root().info_name == "opsapp":
        return PROGRAM.sub("opsapp ", text)
    return _OF_OPS.sub(f"flask {OPS} ", text) if is_in_ops(ctx) else text


def is_in_ops(ctx: click.Context) -> bool:
    """Return whether the command is one of ``flask ops``, by whatever name."""
    if ctx.meta.get(IN_OPS):
        return True
    while ctx.parent is not None:
        if ctx.info_name == OPS and ctx.parent.parent is None:
            return True
        ctx = ctx.parent
    return False
