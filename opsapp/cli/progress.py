"""The progress of long work on stderr: a bar on a terminal, an occasional line in a log."""

from __future__ import annotations

import sys
import time
from contextlib import AbstractContextManager
from typing import Any

from .. import clock
from ..text import pluralize
from .messages import say

LOG_SECONDS = 10
"""Seconds between two lines of a log."""
SCREEN_SECONDS = 0.1
"""Seconds between two states of the bar."""


class Progress(AbstractContextManager["Progress"]):
    """The progress of work on many rows.

    :param noun: the things that are counted, such as ``row``.
    """

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self._started = self._shown = time.monotonic()
        self._is_terminal = sys.stderr.isatty()
        self._bar: Any = None

    def __exit__(self, *_error: object) -> None:
        self.hide()

    def hide(self) -> None:
        """Remove the bar, for a line that is to stay; the next state shows it again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def show(self, count: int, fraction: float | None = None) -> None:
        """Show the state, if the last one is old enough.

        :param count: things done.
        :param fraction: how much of the work they are, from 0 to 1; None if that is unknown.
        """
        now = time.monotonic()
        if now - self._shown < (SCREEN_SECONDS if self._is_terminal else LOG_SECONDS):
            return
        self._shown = now
        seconds = now - self._started
        words = [pluralize(count, self._noun), f"{count / seconds:,.0f} a second"]
        if fraction:
            words.append(f"{clock.format_duration(seconds / fraction - seconds)} left")
        if self._is_terminal:
            self._draw(", ".join(words), fraction)
        else:
            share = f" ({fraction:.0%})" if fraction else ""
            say(f"{words[0]}{share}, {', '.join(words[1:])}")

    def _draw(self, words: str, fraction: float | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bar

        if self._bar is None:
            columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
            # Without a thread of its own, which would outlive a fork.
            self._bar = Bar(
                *(columns if fraction is not None else columns[2:]),
                console=Console(file=sys.stderr, markup=False, highlight=False),
                auto_refresh=False,
                transient=True,
            )
            self._bar.add_task(words, total=1, completed=fraction or 0)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=fraction or 0, description=words)
        self._bar.refresh()
