"""The prompt (application, environment and mode), and the colours of SQL."""

from __future__ import annotations

import os
import sys
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.terminal.prompts import Prompts
from pygments.token import Token

from opsapp.console.modes import Mode
from opsapp.text import safe

COLOURS = {"production": "ansired bold", "development": "ansigreen"}
"""Any other environment is yellow: it may hold real people."""


class ModePrompts(Prompts):
    """``opsapp(production:ro)> ``; the shell knows the words."""

    shell: Any

    def in_prompt_tokens(self) -> list[tuple[Any, str]]:
        """Return the prompt before an input."""
        return [(Token.Prompt, self.shell.prompt_words)]

    def continuation_prompt_tokens(self, width: int | None = None, **_where: Any) -> Any:
        """Return the prompt before its further lines."""
        wide = len(self.shell.prompt_words) if width is None else width
        return [(Token.Prompt, "… ".rjust(wide))]

    def rewrite_prompt_tokens(self) -> list[tuple[Any, str]]:
        """Return the prompt before an input that IPython rewrote."""
        return [(Token.Prompt, "→ ".rjust(len(self.shell.prompt_words)))]

    def out_prompt_tokens(self) -> list[tuple[Any, str]]:
        """Return nothing: a value begins at the margin, as a table must."""
        return []


class BareDisplayHook(DisplayHook):
    """A display hook without ``Out[1]:``, and without a line for None."""

    def write_output_prompt(self) -> None:
        """Write nothing; IPython would begin a value of several lines on a new one."""
        self.prompt_end_newline = True


def words(name: str, environment: str, mode: Mode) -> str:
    """Return the text of the prompt."""
    return f"{name}({environment}:{mode.tag})> "


def style(environment: str) -> dict[Any, str]:
    """Return the prompt's colour for prompt_toolkit."""
    return {Token.Prompt: COLOURS.get(environment, "ansiyellow bold")}


def highlight_sql(statement: str) -> str:
    """Return SQL with colours on a terminal, and without control characters."""
    statement = safe(statement)
    if os.environ.get("NO_COLOR") or sys.stdout is None or not sys.stdout.isatty():
        return statement
    from pygments import highlight
    from pygments.formatters import TerminalFormatter
    from pygments.lexers import SqlLexer

    return str(highlight(statement, SqlLexer(), TerminalFormatter())).rstrip("\n")
