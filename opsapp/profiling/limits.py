"""An end for what is measured, whatever it waits for."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from .. import clock
from ..errors import TimedOut

AGAIN_SECONDS = 1.0
"""Code may swallow an interruption, in a destructor for example, so it is repeated."""


class _Late(BaseException):
    """The time is up. A view's own ``except Exception`` must not take it for an error."""


@contextmanager
def within(seconds: float, subject: str) -> Iterator[None]:
    """Interrupt what runs inside once the time is up; for the main thread only.

    :param subject: what runs, for the message.
    :raises TimedOut: it was not done.
    """
    is_over = False

    def interrupt(*_signal: object) -> None:
        if not is_over:
            raise _Late

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        try:
            yield
        finally:
            is_over = True
    except _Late:
        raise TimedOut(
            f"{subject} did not end within {clock.shown(seconds)}",
            hint="--timeout, if it may take longer",
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
