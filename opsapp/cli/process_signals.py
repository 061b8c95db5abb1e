"""Signals that end a command, and signals that it must not inherit as ignored or blocked."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

IGNORED_ON_PURPOSE = frozenset(
    {
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT),  # nohup; commands that a script runs in &
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),  # The shell controls the terminal.
        *(signal.SIGPIPE, signal.SIGXFSZ),  # Python, which restores them in child processes.
    }
)


class Stopped(SystemExit):
    """A signal that ends the command: raised as an exception, so that everything is undone."""

    def __init__(self, number: int) -> None:
        self.number = 128 + number
        super().__init__(self.number)
        self.name = signal.Signals(number).name
        self.is_reported = False


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


def reset_signals() -> None:
    """Restore the signals that a caller ignored or blocked: we and our jobs inherit that.

    A process that ignores SIGCHLD cannot learn how a program ended. One that blocks
    SIGTERM cannot be stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in signal.valid_signals() - IGNORED_ON_PURPOSE:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def handle_signals() -> dict[signal.Signals, Any]:
    """Make the signals of :data:`STOPPING` raise :class:`Stopped`; return the old handlers."""
    reset_signals()
    # SIGHUP is ignored under nohup, and stays so.
    numbers = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, _stop) for number in numbers}
