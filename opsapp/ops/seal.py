"""Sealing: the changes of an application's own code become events of the chain.

A unit chains them before its own events, ``flask ops audit seal`` chains all of them, and
in a server a thread does, a moment after the application's commit. The thread never waits
for the gate: where an operator holds it, it comes back.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING
from uuid import uuid4

from .. import clock, text
from ..actors import at_terminal
from ..types import Record
from ..unit import ledger, pending
from ..unit.work import bookkeeping

if TYPE_CHECKING:
    from flask import Flask
    from sqlalchemy import orm as so

    from .changes import Accounts

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Seconds for which commits gather before they are chained."""
PATIENCE = 0.05
"""Seconds that the thread waits for a lock: none of an operator's."""
GAP, NOBODY = "audit:observer:gap", "user:admin:missing"


def seal(*, patience: float | None = None) -> int:
    """Chain every change that waits, in short transactions; return how many.

    :param patience: seconds to wait for the gate; None is the usual time.
    :raises Busy: another process holds it.
    """
    total = 0
    while count := _seal_batch(patience):
        total += count
    return total


def _seal_batch(patience: float | None) -> int:
    with bookkeeping(patience=patience) as session:
        return pending.seal(session.connection(), ledger.take_gate(session))


class Sealer:
    """The thread of one process that chains what the process has written.

    It starts with the first commit of a watched change, and ends with the process.
    """

    def __init__(self, app: Flask, accounts: Accounts) -> None:
        self._app = weakref.ref(app)
        self._accounts = accounts
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._pid = 0
        self._must_look = False
        self._gaps: list[str] = []
        self._is_down = False

    def notify(self, *, look: bool = False) -> None:
        """Have the thread chain what was committed.

        :param look: whether an administrator may be gone.
        """
        self._must_look |= look
        self._due.set()
        if self._pid != os.getpid():
            self._start()

    def note_gap(self, reason: str) -> None:
        """Count a change that could not be written; the next seal makes an event of it."""
        with self._lock:
            self._gaps.append(reason)
        self.notify()

    def _start(self) -> None:
        with self._lock:
            if self._pid == os.getpid():
                return
            # A forked process has the memory of the thread, and not the thread.
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="opsapp-sealer", daemon=True).start()
            atexit.register(self._finish)

    def _run(self) -> None:
        pause = threading.Event()
        while self._app() is not None:
            if not self._due.wait(timeout=60 * PAUSE_SECONDS):
                continue
            pause.wait(PAUSE_SECONDS)
            self._due.clear()
            if not self.work():
                self._due.set()

    def _finish(self) -> None:
        if self._due.is_set() and self._pid == os.getpid():
            self.work()

    def work(self) -> bool:
        """Look, write gaps, chain; tell whether all of it was done. It never raises."""
        app = self._app()
        if app is None:
            return True
        try:
            with app.app_context():
                self._write_own()
                seal(patience=PATIENCE)
        except Exception as error:  # noqa: BLE001  (the application must not notice)
            # Log only the first of a row of failures; a gate that is held is one of them.
            level = logging.DEBUG if self._is_down else logging.INFO
            log.log(level, "changes wait for the audit: %s", text.first_line(error))
            self._is_down = True
            return False
        self._is_down = False
        return True

    # --- events of its own ---------------------------------------------------------

    def _write_own(self) -> None:
        """Write what is to be said of the observer itself, to be chained as the rest."""
        with self._lock:
            gaps, self._gaps = self._gaps, []
            must_look, self._must_look = self._must_look, False
        try:
            if gaps or must_look:
                with bookkeeping(patience=PATIENCE) as session:
                    self._add_own(session, gaps, must_look)
        except BaseException:
            with self._lock:
                self._gaps = gaps + self._gaps
                self._must_look |= must_look
            raise

    def _add_own(self, session: so.Session, gaps: list[str], must_look: bool) -> None:
        rows = []
        if gaps:
            rows.append(_own(GAP, "audit", {"missing": len(gaps), "error": gaps[-1]}))
        if must_look and self._accounts.has_administrator(session) is False:
            log.critical("no active administrator who can log in is left")
            rows.append(_own(NOBODY, "users", {"administrators": 0}))
        if rows:
            pending.add(session.connection(), rows)


def _own(action: str, subject: str, after: Record) -> pending.Row:
    return {
        "at": clock.now(),
        "actor": at_terminal().record(),
        "door": "code",
        "action": action,
        "subject": subject,
        "before": None,
        "after": after,
        "correlation": str(uuid4()),
    }
