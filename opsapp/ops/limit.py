"""A time limit for an application's own listeners, which run while a unit of ours holds the gate.

A listener that indexes for search or calls another service may hang, and every other change
would wait behind it. The error names the function, so that its owner can be found.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import flask_sqlalchemy
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import orm as so

from ..errors import TimedOut
from ..unit import work

SECONDS = 30.0
_LIBRARIES = frozenset(
    {sa.__name__, flask_sqlalchemy.__name__, contextlib.__name__, __name__.partition(".")[0]}
)
"""Packages whose functions are not the application's."""


@contextlib.contextmanager
def limit_time(session: so.Session, seconds: float | None = None) -> Iterator[None]:
    """Stop what runs inside, unless it reaches its commit in time.

    The limit needs signals, so it holds in the main thread of a process that has no alarm of
    its own, as a command is.

    :param seconds: None is :data:`SECONDS`.
    :raises TimedOut: a listener took longer; names its function.
    """
    if not _is_free():
        yield
        return

    def disarm(_session: so.Session) -> None:
        # During a commit an error would leave it open whether the change has happened.
        signal.setitimer(signal.ITIMER_REAL, 0)

    signal.signal(signal.SIGALRM, _time_out)
    signal.setitimer(signal.ITIMER_REAL, SECONDS if seconds is None else seconds)
    event.listen(session, "before_commit", disarm)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        event.remove(session, "before_commit", disarm)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _is_free() -> bool:
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def _time_out(_number: int, frame: FrameType | None) -> Any:
    holder = _holder(frame)
    name = f"{holder[0]} of {holder[1]}" if holder else "the change"
    raise TimedOut(
        f"{name} took longer than {SECONDS:.0f} seconds, while other changes waited;"
        " nothing was changed",
        hint="let it work after the commit, in a job" if holder else None,
    )


def _holder(frame: FrameType | None) -> tuple[str, str] | None:
    """Return the function of the application, and its module, that a unit called last."""
    holder = None
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if frame.f_globals is vars(work) or module.startswith(f"{__package__}."):
            break
        if module.partition(".")[0] not in _LIBRARIES:
            holder = (frame.f_code.co_name, module)
        frame = frame.f_back
    return holder
