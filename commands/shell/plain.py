"""`flask shell --plain`: Python's console, as Flask's own shell, with every input on record."""

from __future__ import annotations
import __future__

import code
import readline
import rlcompleter
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from operator import or_
from types import FrameType
from typing import NoReturn

from flask import current_app, g

from opsapp import text
from opsapp.cli.messages import say
from opsapp.cli.process_signals import Stopped
from opsapp.console.lifecycle import Console
from opsapp.console.preferences import Preferences
from opsapp.profiling.record.recording import waiting

from . import conditions, help_pager
from .banner import name_of_application

FUTURE = reduce(
    or_, (getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
)
"""The flags of a compiler that ``from __future__ import …`` sets."""


class Plain(code.InteractiveConsole):
    """Python's console, whose inputs are recorded before they run."""

    def __init__(self, console: Console, idle_seconds: float) -> None:
        super().__init__({**console.names.namespace(), "g": g, "__name__": "__main__"})
        self.console = console
        self.idle_seconds = idle_seconds

    def raw_input(self, prompt: str = "") -> str:
        """Return the next line; the time of the user is not the time of the command."""
        try:
            with waiting(), _alarm(self.idle_seconds):
                return super().raw_input(prompt)
        except Idle:
            self.console.ended = "idle"
            pause = text.pluralize(self.idle_seconds / 60, "minute")
            say(f"\nNo line for {pause}: rolled back, session closed.")
            raise

    def runsource(self, source: str, filename: str = "<input>", symbol: str = "single") -> bool:
        """Run an input once it is whole and on record; return whether it goes on.

        :raises NotReady: it cannot be recorded, so it is not run.
        """
        try:
            if self.compile(source, filename, symbol) is None:
                return True
        except (OverflowError, SyntaxError, ValueError):
            self.showsyntaxerror(filename)
            return False
        if source.strip():
            self.console.before(source)
            try:
                self._run(source, filename, symbol)
            finally:
                for remark in self.console.after().remarks(may_commit=self.console.may_commit):
                    say(remark)
        return False

    def _run(self, source: str, filename: str, symbol: str) -> None:
        flags = self.compile.compiler.flags & FUTURE
        try:
            self.console.execute(f"{source}\n", filename, self.locals, symbol, flags)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  (the console goes on)
            sys.last_type, sys.last_value, sys.last_traceback = (  # For pdb.pm().
                type(error), error, error.__traceback__,
            )  # fmt: skip
            self.console.advise(error)
            conditions.tell(error, may_commit=self.console.may_commit)


class Idle(EOFError):
    """No line came for as long as the setting allows."""


def start(
    console: Console, preferred: Preferences, *, idle_seconds: float, show_banner: bool
) -> None:
    """Run Python's console until the user leaves.

    :raises Stopped: a signal ended it.
    """
    plain = Plain(console, idle_seconds)
    readline.set_completer(rlcompleter.Completer(plain.locals).complete)
    readline.parse_and_bind("tab: complete")
    readline.parse_and_bind(f"set editing-mode {preferred.editing}")
    banner = (
        f"Python {sys.version} on {sys.platform}\n"
        f"App: {name_of_application()}\nInstance: {current_app.instance_path}\n"
        f"Mode: {console.session.mode.value}: {console.wall}. Every input is recorded."
    )
    with _signals(), help_pager.of_python():
        plain.interact(banner=banner if show_banner else "", exitmsg="")


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> NoReturn:
        raise Idle

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _signals() -> Iterator[None]:
    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise Stopped(number)

    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: stop,
        signal.SIGHUP: stop,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
