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

import click

from .. import settings
from .tables import length

DEFAULT = "less"
OFF = ("", "cat")


def write(pieces: Iterable[str], *, is_wide: bool = False) -> None:
    """Write to stdout; to the pager, if there are more lines than the screen has.

    The user may leave the pager before the end, which is no error.

    :param is_wide: lines may be wider than the screen: the pager shows these too, and cuts them.
    """
    columns, room = _screen()
    words = _program() if room else []
    rest = iter(pieces)
    head: list[str] = []
    while words and room > 0 and (piece := next(rest, None)) is not None:
        head.append(piece)
        room -= piece.count("\n")
        if is_wide and any(length(click.unstyle(line)) > columns for line in piece.splitlines()):
            room = 0
    if words and room <= 0:
        _page(words, chain(head, rest), "FRSX" if is_wide else "FRX")
        return
    sys.stdout.writelines(chain(head, rest))


def _screen() -> tuple[int, int]:
    """Return the columns and lines of the terminal; 0 if stdout is none, or does not say."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()) if sys.stdout.isatty() else (0, 0)
    except (OSError, ValueError):
        return 0, 0


def _program() -> list[str]:
    """Return the words of the pager; none if it is switched off, or is not installed."""
    command = settings.get("OPSAPP_PAGER")
    if command is None:
        command = os.environ.get("PAGER", DEFAULT)
    words = shlex.split(command)
    is_usable = command not in OFF and os.environ.get("TERM") != "dumb"
    return words if is_usable and words and shutil.which(words[0]) else []


def _page(words: list[str], pieces: Iterable[str], less: str) -> None:
    """Write to a pager, and wait for its end. ``less`` may start no other program.

    Ctrl-C is its key, as it is git's: it has the terminal.
    """
    import subprocess  # Late: it is slow to import.

    from ..profiling.record.recording import waiting

    environ = {"LESS": less, "LESSSECURE": "1", "LV": "-c", **os.environ}
    pager = subprocess.Popen(words, stdin=subprocess.PIPE, env=environ, encoding="utf-8")
    stdin: Any = pager.stdin
    # Late, because the pager would inherit it.
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with suppress(BrokenPipeError), pager:
            for piece in pieces:
                with waiting():  # The pipe is full while the user reads.
                    stdin.write(piece)
            with waiting():
                stdin.close()
                pager.wait()
    finally:
        signal.signal(signal.SIGINT, handler)
