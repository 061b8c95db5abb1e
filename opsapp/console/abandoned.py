"""Abandoned changes: of a session or connection that was closed before a commit.

Closing rolls back without a word: at the end of ``with app.app_context():``, of ``with
db.engine.connect()``, and of a session of the user's own. A call of ``rollback()`` is meant.
The reason is in docs/decisions/console.md#a-close-before-a-commit-is-told.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import takewhile
from types import FrameType
from weakref import WeakSet

import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event
from sqlalchemy import orm as so

from .pending import Pending, is_changed

Change = tuple[str, str]
"""A table, and ``inserted``, ``updated`` or ``deleted``."""

_CLOSE = sa.engine.Transaction.close.__code__
_ROLLBACKS = {sa.engine.Transaction.rollback.__code__, so.Session.rollback.__code__}
_REQUESTS = {
    function.__code__ for function in (Flask.wsgi_app, FlaskClient.open, FlaskClient.__exit__)
}
"""The functions in which a request ends, which may well leave its changes."""
_IN_BETWEEN = (
    *(__name__, "opsapp.console.change_log", "opsapp.console.namespace"),
    "opsapp.extensions",
)
"""The modules of opsapp through which a user's context ends."""


class Abandoned:
    """The changes that were abandoned since :meth:`take`, by table."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._changes: Counter[Change] = Counter()
        self._sessions: WeakSet[so.Session] = WeakSet()

    def add(self, changes: Counter[Change]) -> None:
        """Note changes that nothing will write."""
        self._changes += changes

    def take(self) -> Counter[Change]:
        """Return the changes, and forget them."""
        changes, self._changes = self._changes, Counter()
        return changes

    def add_open(self) -> None:
        """Note what waits in sessions other than the console's: the program has ended."""
        for session in self._sessions:
            if session is not self._pending.session:
                self.add(_unflushed_changes(session))

    @contextmanager
    def watch_closings(self) -> Iterator[None]:
        """Notice it when an input closes a session, whose objects SQLAlchemy forgets."""

        def begin(session: so.Session, _transaction: object) -> None:
            self._sessions.add(session)

        event.listen(so.Session, "after_transaction_create", begin)
        ends = {
            name: vars(so.Session)[name] for name in ("close", "reset") if name in vars(so.Session)
        }
        for name, end in ends.items():
            setattr(so.Session, name, self._noting(end))
        try:
            yield
        finally:
            event.remove(so.Session, "after_transaction_create", begin)
            for name, end in ends.items():
                setattr(so.Session, name, end)

    def _noting(self, end: Callable[[so.Session], None]) -> Callable[[so.Session], None]:
        @wraps(end)
        def end_session(session: so.Session) -> None:
            if (changes := _unflushed_changes(session)) and _is_for_an_input():
                self.add(changes)
            end(session)
            self._pending.forget_session(session)

        return end_session


def is_closed() -> bool:
    """Return whether a transaction is rolled back because an input closes its owner."""
    codes = {frame.f_code for frame in _callers()}
    return _CLOSE in codes and not codes & _ROLLBACKS and _is_for_an_input()


def _is_for_an_input() -> bool:
    """Return whether neither a request nor opsapp ends a session or connection of its own."""
    is_request = any(frame.f_code in _REQUESTS for frame in _stack())
    return not is_request and not any(map(_is_own, _callers()))


def _is_own(frame: FrameType) -> bool:
    module = _module_of(frame)
    return module.startswith("opsapp.") and module not in _IN_BETWEEN


def _callers() -> Iterator[FrameType]:
    """Yield the frames from here to the code of the input.

    That may be a view, and the code that sends it a request is further out.
    """
    return takewhile(lambda frame: _module_of(frame) != "__main__", _stack())


def _stack() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  (inspect is slower by far)
    while frame is not None:
        yield frame
        frame = frame.f_back


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _unflushed_changes(session: so.Session) -> Counter[Change]:
    """Return the objects that a flush would write, by table."""
    changed = [each for each in session.dirty if is_changed(each)]
    operations = (("inserted", session.new), ("updated", changed), ("deleted", session.deleted))
    return Counter(
        (sa.inspect(instance).mapper.local_table.description, operation)
        for operation, instances in operations
        for instance in instances
    )
