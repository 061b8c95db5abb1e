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

from flask import current_app
from sqlalchemy import orm as so

from .. import clock, settings, text
from ..actors import at_terminal
from ..engine.connections import BOOKKEEPING
from ..errors import NotReady
from ..extensions import db
from ..profiling import metrics
from ..state import attachment_of
from ..types import Record
from ..unit import ledger, pending
from ..unit.work import bookkeeping
from . import role_ends

if TYPE_CHECKING:
    from flask import Flask

    from .changes import HasAdministrator

log = logging.getLogger(__name__)

PAUSE_SECONDS = 1.0
"""Seconds for which commits gather before they are chained."""
PATIENCE = 0.05
"""Seconds that the thread waits for a lock: none of an operator's."""
MOST_TAKEN = 10_000
"""Changes that the thread keeps in memory, as long as a database of our own is away."""
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


def count_waiting() -> int:
    """Return how many changes wait."""
    count, _since = pending.waiting(db.ours())
    return count


class Sealer:
    """The thread of one process that chains what the process has written.

    It starts with the first commit of a watched change, and ends with the process.
    """

    def __init__(self, app: Flask, has_administrator: HasAdministrator) -> None:
        self._app = weakref.ref(app)
        self._has_administrator = has_administrator
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._pid = 0
        self._must_look = False
        self._gaps: list[str] = []
        self._uncounted = 0
        """The gaps that are not in the metrics yet."""
        self._taken: list[Record] = []
        """Committed changes that are in no table yet: docs/decisions/observer.md."""
        self._is_down = False
        self._is_kept = True

    def notify(self, *, look: bool = False) -> None:
        """Have the thread chain what was committed.

        :param look: whether an administrator may be gone.
        """
        self._must_look |= look
        self._due.set()
        if self._pid != os.getpid():
            self._start()

    def take(self, rows: list[Record]) -> None:
        """Take changes that are committed and in no table, to write them in the thread.

        Those beyond :data:`MOST_TAKEN` are counted as missing: memory has an end.
        """
        with self._lock:
            if self._pid not in (0, os.getpid()):
                self._taken = []  # They are the parent's, which writes them.
            room = max(0, MOST_TAKEN - len(self._taken))
            self._taken += rows[:room]
            self._gaps += ["more changes wait than fit"] * len(rows[room:])

    def note_gap(self, reason: str) -> None:
        """Count a change that could not be written; the next seal makes an event of it."""
        with self._lock:
            self._gaps.append(reason)
            # The thread counts: a context would end the application's session, where that is
            # in the middle of a flush outside of one.
            self._uncounted += 1
        self.notify()

    def _start(self) -> None:
        if self._pid:
            # A fork copies the thread's memory and not the thread, and a lock may be held in it.
            self._lock, self._due = threading.Lock(), threading.Event()
            self._due.set()
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            threading.Thread(target=self._run, name="opsapp-sealer", daemon=True).start()
            atexit.register(_finish, weakref.ref(self))

    def _run(self) -> None:
        pause = threading.Event()
        while self._app() is not None:
            if not self._due.wait(timeout=60 * PAUSE_SECONDS):
                continue
            pause.wait(PAUSE_SECONDS)
            self._due.clear()
            if not self.work():
                self._due.set()

    def finish(self) -> None:
        """Chain what the thread has not come to; at the end of the process."""
        if self._due.is_set() and self._pid == os.getpid() and not self.work() and self._taken:
            log.error("%d changes of accounts are not in the audit log", len(self._taken))

    def work(self) -> bool:
        """Look, write gaps, chain; tell whether all of it was done. It never raises."""
        app = self._app()
        if app is None:
            return True
        try:
            with app.app_context():
                try:
                    if not self._has_place():
                        return True
                    self._write_own()
                    seal(patience=PATIENCE)
                finally:
                    self._measure(app)
        except Exception as error:  # noqa: BLE001  (the application must not notice)
            # Log only the first of a row of failures; a gate that is held is one of them.
            level = logging.DEBUG if self._is_down else logging.INFO
            log.log(level, "changes wait for the audit log: %s", text.first_line(error))
            self._is_down = True
            return False
        self._is_down = False
        return True

    def _has_place(self) -> bool:
        """Return whether there are tables of ours; before `flask ops init` nothing is audited.

        After a failure it looks again, since `flask ops drop` may have run.
        """
        attached = attachment_of(current_app)
        if attached is None:
            return True
        if attached.look_again() if self._is_down else attached.has_tables_by_now:
            return True
        with self._lock:
            self._taken, self._gaps = [], []
        return False

    def _measure(self, app: Flask) -> None:
        if not _has_metrics(app):
            return
        with self._lock:
            uncounted, self._uncounted = self._uncounted, 0
        if uncounted:
            errors.inc(uncounted)
        with so.Session(db.engines[BOOKKEEPING]) as session:
            count, since = pending.waiting(session)
        queue.set(count)
        lag.set((clock.now() - since).total_seconds() if since else 0)

    # --- events of its own ---------------------------------------------------------

    def _write_own(self) -> None:
        """Write what is to be said of the observer itself, to be chained as the rest."""
        with self._lock:
            gaps, self._gaps = self._gaps, []
            changes, self._taken = self._taken, []
            must_look, self._must_look = self._must_look, False
        try:
            if changes or gaps or must_look:
                with bookkeeping(patience=PATIENCE) as session:
                    if changes:
                        _add_taken(session, changes)
                    self._add_own(session, gaps, must_look)
        except BaseException:
            with self._lock:
                self._gaps = gaps + self._gaps
                self._taken = changes + self._taken
                self._must_look |= must_look
            raise

    def _add_own(self, session: so.Session, gaps: list[str], must_look: bool) -> None:
        rows = []
        if gaps:
            rows.append(_own_event(GAP, "audit", {"missing": len(gaps), "error": gaps[-1]}))
        if must_look:
            was_kept, self._is_kept = self._is_kept, self._is_administered(session)
            if was_kept and not self._is_kept:
                log.critical("no active administrator who can sign in is left")
                rows.append(_own_event(NOBODY, "users", {"administrators": 0}))
        if rows:
            pending.add(session.connection(), rows)

    def _is_administered(self, session: so.Session) -> bool:
        if db.ours is db.session:
            return self._has_administrator(session) is not False
        with db.session.session_factory() as own_session:
            return self._has_administrator(own_session) is not False


def _add_taken(session: so.Session, changes: list[Record]) -> None:
    pending.add(session.connection(), changes)
    identity = getattr(attachment_of(current_app), "identity", None)
    for clearing in role_ends.clearing_statements(identity.roles if identity else (), changes):
        session.execute(clearing)


def _own_event(action: str, subject: str, after: Record) -> Record:
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


def _finish(sealer: weakref.ref[Sealer]) -> None:
    if (it := sealer()) is not None:
        it.finish()


# --- metrics -----------------------------------------------------------------

errors = metrics.counter("opsapp_observer_errors", "Changes that the observer could not write.")
queue = metrics.gauge(
    "opsapp_audit_waiting", "Changes that wait to be chained.", together="livemostrecent"
)
lag = metrics.gauge(
    "opsapp_audit_lag_seconds",
    "Seconds since the oldest change that waits to be chained.",
    together="livemostrecent",
)


def _has_metrics(app: Flask) -> bool:
    try:
        return bool(settings.of(app, "OPSAPP_METRICS"))
    except NotReady:  # A setting that cannot be read must not break a request.
        return False
