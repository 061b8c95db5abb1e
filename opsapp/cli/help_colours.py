"""The colours of help, by rich: headings, names, examples, defaults."""

from __future__ import annotations

import io
import re

from rich.console import Console
from rich.text import Text
from rich.theme import Theme

STYLES = {
    "heading": "bold",
    "name": "cyan",
    "metavar": "yellow",
    "default": "dim",
    "example": "green",
}
PARTS = [
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        r"^(?P<heading>Usage:)|(?<=\s)(?P<default>\[[^]|]+\])(?=\s|$)",
        r"^ *(?P<heading>[A-Z][\w ]*:)$",
        # The first column of a list: a command with its line beside it, an option.
        r"^  (?P<name>\w[\w-]*)(?=  +\S)",
        r"^  (?P<name>-[\w-]+(?:, --[\w-]+)*)(?: (?P<metavar>\S.*?))?(?=  +\S|$)",
        r"(?<=[\s(])(?P<name>--[a-z][\w-]*)",
        # The last: what it matches is an example and nothing else.
        r"^  Examples?:\n(?P<example>(?: {4}.*\n)+)",
    )
]
"""The parts of a page of help; the name of a group is the name of its style."""


def highlight(page: str) -> str:
    """Return a page of help in colour, with the same words on the same lines."""
    text = Text(page, end="")
    for part in PARTS:
        text.highlight_regex(part)
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        theme=Theme(STYLES),
        highlight=False,
        width=max(map(len, page.splitlines()), default=1),  # COLUMNS=0 would leave no line.
    )
    with console.capture() as captured:
        console.print(text, soft_wrap=True, end="")
    return captured.get()
