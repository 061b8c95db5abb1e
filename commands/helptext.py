"""How help looks: click's own formatter, with colours on a terminal.

Rich would cost a fifth of `import flask.cli` (docs/performance.md), which is all that
help may cost beyond it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable

import click

_EXAMPLES = re.compile(r"^( *Examples?:)$", re.MULTILINE)
_EXAMPLE = re.compile(r"^( *)(\S.*)$")
PROGRAM = re.compile(r"(?<![\w/-])flask (?=[a-z])")
"""Where words of ours say `flask`, for somebody who typed another program's name."""


class Formatter(click.HelpFormatter):
    """Click's, with headings, names and examples in colour, and the program's own name."""

    is_coloured = False
    program = "flask"

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        super().write_usage(prog, args, self._styled("Usage:", bold=True) + " ")

    def write_heading(self, heading: str) -> None:
        self.write(f"{'':>{self.current_indent}}{self._styled(heading + ':', bold=True)}\n")

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        styled = [(self._styled(term, fg="cyan"), text) for term, text in rows]
        super().write_dl(styled, col_max, col_spacing)

    def write_text(self, text: str) -> None:
        start = len(self.buffer)
        super().write_text(as_typed(text, self.program))
        written = "".join(self.buffer[start:])
        del self.buffer[start:]
        told, *examples = _EXAMPLES.split(written, maxsplit=1)
        self.write(told)
        if examples:
            self.write(self._styled(examples[0], bold=True))
            self.write("\n".join(map(self._example, examples[1].split("\n"))))

    def _example(self, line: str) -> str:
        found = _EXAMPLE.match(line)
        return found[1] + self._styled(found[2], fg="green") if found else line

    def _styled(self, text: str, **style: object) -> str:
        return click.style(text, **style) if self.is_coloured and text else text  # type: ignore[arg-type]


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
