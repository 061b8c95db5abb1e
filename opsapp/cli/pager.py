"""The pager of a terminal, for answers that are longer than the screen."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from typing import Any

from .. import settings

DEFAULT = "less"
OFF = ("", "cat")


def write(pieces: Iterable[str]) -> None:
    """Write to stdout; to the pager, if there are more lines than the screen has.

    The user may leave the pager before the end, which is no error.
    """
    room = _lines_of_screen()
    words = _program() if room else []
    rest = iter(pieces)
    head: list[str] = []
    while words and room > 0 and (piece := next(rest, None)) is not None:
        head.append(piece)
        room -= piece.count("\n")
    if words and room <= 0:
        _page(words, chain(head, rest))
        return
    sys.stdout.writelines(chain(head, rest))


def _lines_of_screen() -> int:
    """Return the lines of the terminal; 0 if stdout is none, or does not say."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).lines if sys.stdout.isatty() else 0
    except (OSError, ValueError):
        return 0


def _program() -> list[str]:
    """Return the words of the pager; none if it is switched off, or is not installed."""
    command = settings.get("OPSAPP_PAGER")
    if command is None:
        command = os.environ.get("PAGER", DEFAULT)
    words = shlex.split(command)
    is_usable = command not in OFF and os.environ.get("TERM") != "dumb"
    return words if is_usable and words and shutil.which(words[0]) else []


def _page(words: list[str], pieces: Iterable[str]) -> None:
    """Write to a pager, and wait for its end.

    Ctrl-C is its key, as it is git's: it has the terminal.
    """
    import subprocess  # Late: it is slow to import.

    environ = {"LESS": "FRX", "LV": "-c", **os.environ}
    pager = subprocess.Popen(words, stdin=subprocess.PIPE, env=environ, encoding="utf-8")
    stdin: Any = pager.stdin
    # Late, because the pager would inherit it.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with suppress(BrokenPipeError), pager:
            for piece in pieces:
                stdin.write(piece)
    finally:
        signal.signal(signal.SIGINT, handler)
