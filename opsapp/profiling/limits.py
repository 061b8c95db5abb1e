"""Time limits of measurements."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from .. import clock
from ..errors import TimedOut

AGAIN_SECONDS = 1.0
"""Seconds until the next interruption: code may swallow one, in a destructor for example."""


class _Late(BaseException):
    """The end of the time. No Exception, so that a view does not handle it as an error."""


@contextmanager
def within(seconds: float, subject: str) -> Iterator[None]:
    """Interrupt the block after these seconds; for the main thread only.

    :param subject: the name of the measurement, for the message.
    :raises TimedOut: the block did not end in time.
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
