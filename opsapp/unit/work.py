"""The unit of work: the one place where changes to accounts, roles and grants are committed.

The order never differs: take the gate (lock the audit's head row, as the first statement) → change
→ check the invariants → append the audit events, those that wait first → write the mail → commit →
send the signals. One unit at a time is inside, so each check still holds at the commit. An event
and its change are one transaction, so neither exists without the other. There are three
transactions if an application's accounts are in another database than the audit: see ``intents``. A
dry run ends with a rollback. A console's sandbox never commits: it does not lock the gate, writes
no event and announces nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from blinker import NamedSignal
from sqlalchemy import exc
from sqlalchemy import orm as so

from .. import clock, signals, text
from ..actors import Actor, Powers, Standing
from ..engine.connections import BOOKKEEPING, SANDBOX
from ..errors import InDoubt, OpsError
from ..extensions import begin_anew, db, this_app, undo
from ..types import Fields
from . import intents, invariants, ledger, pending
from .ledger import Recorded
from .separate_audit import SeparateAudit

FATAL = (exc.SQLAlchemyError, OpsError)
"""The errors by which a receiver before the commit undoes the change."""
_WRITING = {"writing": True}
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Unit(AbstractContextManager["Unit"]):
    """One audited transaction, with its actor, reason and door.

    Services take it as ``unit`` and enter it where they need the gate, after
    slow work such as hashing a password. Entering it again joins the
    transaction that is open, so a door can put several services into one.

    :param door: ``cli``, ``web``, ``api``, ``shell`` or ``job``.
    :param dry_run: do everything, then roll back and announce nothing.
    :param powers: what the account behind it may do; None, as for the operating
        system's user, is everything. The services ask inside of the gate.
    :param standing: the session or token that it came with, looked at again inside of the gate.
    :param correlation: the id of the request it belongs to; None makes a new one.
    :param adopt: take over what the session has not saved yet, instead of refusing it.
        It flushes that first, outside of the unit: the guarded tables refuse it.
    :raises Invalid: the reason has hostile characters.
    """

    keeps_all = False  # True commits changes without an event too, instead of undoing them.

    def __init__(
        self,
        *,
        actor: Actor,
        door: str,
        reason: str | None = None,
        dry_run: bool = False,
        powers: Powers | None = None,
        standing: Standing | None = None,
        correlation: str | None = None,
        adopt: bool = False,
    ) -> None:
        self.actor = actor
        self.door = door
        self.reason = text.validate(reason, "reason", longest=500) if reason else None
        self.dry_run = dry_run
        self.powers, self.standing = powers, standing
        self.correlation = correlation or str(uuid4())
        self.adopt = adopt
        self.recorded: list[Recorded] = []
        self.effects: list[str] = []
        """Sentences for a dry run: ends of sessions and the like, which are no events."""
        self.committed = False
        self.seq: int | None = None
        """The last audit event's number, once it is committed; kept while the next is open."""
        self.events = range(0)
        """The numbers of its audit events, once they are written."""
        self.intent: int | None = None
        """The number of its intent, where the audit is in another database than the change."""
        self._depth, self._gate = 0, ExitStack()
        self._autoflush: bool
        self._is_trial: bool
        self._head: ledger.Head | None = None
        """The end of the chain while the unit is open; a trial appends nothing to it."""
        self._had_administrator: bool | None
        self._accounts: intents.Accounts | None
        """The accounts of an application, where they are in another database than the audit."""
        self._written_before: int
        self._rows_of_others: list[dict[str, Any]]
        self.keys: list[Fields] = []
        """The rows of :meth:`name`."""
        self._announcements: list[tuple[NamedSignal, dict[str, Any]]]
        self._settlements: list[Callable[[bool], None]]
        self._witnesses: list[Callable[[ledger.Head], None]]

    @property
    def changed(self) -> bool:
        """True if there was a change, or would have been one without the dry run."""
        return bool(self.recorded)

    @property
    def session(self) -> so.Session:
        """The database session that the unit's services use."""
        return db.session()

    @property
    def ours(self) -> so.Session:
        """The session for the tables of opsapp; the same one, if the database is."""
        return db.ours()

    def record(
        self,
        action: str,
        subject: str,
        *,
        before: Fields | None = None,
        after: Fields | None = None,
    ) -> None:
        """Record a change; its audit event is written before the commit.

        :param action: ``noun:subject:verb``, such as ``user:role:grant``.
        :raises ValueError: an ``email`` or ``username`` of what is no account.
        """
        self.recorded.append(Recorded(action, subject, before, after))

    def chain(self, row: dict[str, Any]) -> None:
        """Have an event of another actor chained, before the unit's own.

        :param row: every column but seq, previous and hash.
        """
        self._rows_of_others.append(row)

    def name(self, row: Fields) -> None:
        """Keep beside the chain what an opaque subject stands for.

        :param row: the columns of a personal value, whose token is in the subject.
        """
        ledger.add_key(self.ours.connection(), row)
        self.keys.append(row)

    def note(self, effect: str) -> None:
        """Note a side effect of the change, for a dry run."""
        self.effects.append(effect)

    def settle(self, act: Callable[[bool], None]) -> None:
        """Call ``act`` when the unit ends: with True right after the commit, else with False.

        So a file, which no rollback removes, is there if and only if its event is.
        """
        self._settlements.append(act)

    def attest(self, act: Callable[[ledger.Head], None]) -> None:
        """Call ``act`` with the end of the chain, once the events are written, before the commit.

        An error in it undoes the change. A dry run, and a unit without a change, do not call it.
        """
        self._witnesses.append(act)

    def announce(self, signal: NamedSignal, **payload: Any) -> None:
        """Send ``signal`` once the change is committed."""
        self._announcements.append((signal, payload))

    def __enter__(self) -> Unit:
        if self._depth == 0:
            self._open()
        self._depth += 1
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self._depth -= 1
        if self._depth:
            return
        try:
            if error is None:
                self._close()
        finally:
            # After a commit this ends nothing; after anything else it undoes all.
            try:
                self._undo()
                self.session.autoflush = self._autoflush
            finally:
                self._settle(False)
                # An error after the commit, such as a full disk's, undoes nothing.
                if self.committed and not self._is_trial:
                    self._send()

    def _undo(self, end: Callable[[so.Session], None] = undo) -> None:
        with self._gate:
            for session in dict.fromkeys((self.session, self.ours)):
                end(session)

    def _open(self) -> None:
        session = self.session
        if not self.adopt:
            if session.new or session.dirty or session.deleted:
                raise RuntimeError("the session has unsaved changes; enter the unit before that")
            # Rows that were read before, or that an earlier unit has left, may be out of date.
            self._undo(begin_anew)
        self._forget()
        self._accounts = intents.accounts()
        # Services count on it that a query sees what they have just changed.
        self._autoflush, session.autoflush = session.autoflush, True
        try:
            self._is_trial = bool(db.our_engine.get_execution_options().get(SANDBOX))
            if self._accounts is None:
                self._writing_connection()
            elif not self._is_trial:
                self._gate.enter_context(intents.gate())
                self.ours.connection(execution_options=_WRITING)
            head = ledger.take_gate(self.ours, lock=not self._is_trial)
            self._head = None if self._is_trial else head
            if self._accounts is not None:
                self._written_before = self._accounts.writes
                self._writing_connection()
            if self.standing is not None:
                invariants.still_stands(session, self.standing)
            self._had_administrator = self._has_administrator_before()
        except BaseException:
            self._undo()
            session.autoflush = self._autoflush
            raise

    def _forget(self) -> None:
        """Begin without what the unit did when it was entered before."""
        self.recorded, self.events, self.effects, self.committed = [], range(0), [], False
        self._announcements, self._settlements, self._witnesses = [], [], []
        self._rows_of_others, self.keys = [], []

    def _has_administrator_before(self) -> bool | None:
        if not self.adopt or self._is_trial:
            return invariants.has_administrator(self.session)
        # Adopted changes are in this transaction already; another one sees the state before.
        with db.session.session_factory() as other:
            return invariants.has_administrator(other)

    def _writing_connection(self) -> sa.Connection:
        arguments = intents.bind_arguments(self._accounts)
        if not self.adopt:
            return self.session.connection(arguments, _WRITING)
        self.session.flush()
        return self.session.connection(arguments).execution_options(writing=True)

    def _close(self) -> None:
        self.session.flush()
        if not (self.recorded or self.keeps_all):
            return
        invariants.keep_an_administrator(self.session, had_one=self._had_administrator)
        if self.recorded and self._is_in_two_databases:
            self._commit_in_two()
            return
        head = self._head if self.recorded else None
        if head is not None:
            self._append(head)
        if not self.dry_run:
            if head is not None:
                self._attest(head)
            self._prepare()
            with block_stop_signals():
                self._commit()
                self._settle(not self._is_trial)

    def _attest(self, head: ledger.Head) -> None:
        for act in self._witnesses:
            act(head)

    def _append(self, head: ledger.Head) -> None:
        connection = self.ours.connection()
        changes = ledger.in_batches(self.recorded)
        try:
            # Before our own: they were committed, or our change would still wait for their locks.
            pending.seal(connection, head)
            rows = ledger.rows(connection, changes, self.columns)
            last = head.seq + len(self._rows_of_others)
            ledger.append(connection, head, [*self._rows_of_others, *rows])
            self.events = range(last + 1, head.seq + 1)
        except exc.DBAPIError as error:
            raise ledger.unwritable(error) from error

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that every event of the unit has."""
        return {
            "at": clock.now(),
            "actor": self.actor.record(),
            "door": self.door,
            "reason": self.reason,
            "correlation": self.correlation,
        }

    def _prepare(self) -> None:
        """Let what must not be lost, such as mail, be written in this transaction.

        :raises SQLAlchemyError: a receiver could not write.
        :raises OpsError: a receiver refused.
        """
        if not self._is_trial:
            app = this_app()
            for signal, payload in self._announcements:
                signals.prepare(signal, app, FATAL, **self._origin, **payload)

    @property
    def _origin(self) -> dict[str, Any]:
        return {"actor": self.actor, "correlation": self.correlation}

    def _commit(self) -> None:
        try:
            for session in dict.fromkeys((self.ours, self.session)):
                session.commit()
        except exc.DBAPIError as error:
            if error.connection_invalidated or _is_of_the_disk(error):
                cause = "connection broke" if error.connection_invalidated else "disk failed"
                raise InDoubt(
                    f"the {cause} during the commit: it may or may not have happened",
                    hint=f"flask audit list --correlation {self.correlation}",
                ) from error
            raise
        self.committed = True
        self.seq = self.events[-1] if self.events else self.seq

    # --- two databases -----------------------------------------------------------

    @property
    def _is_in_two_databases(self) -> bool:
        """True if the change, and not only its event, is to be committed, elsewhere."""
        if self._accounts is None or self._is_trial or self.dry_run:
            return False
        return self.adopt or self._accounts.writes != self._written_before

    def _commit_in_two(self) -> None:
        assert self._accounts is not None  # noqa: S101  (the caller has seen to it)
        changes = ledger.in_batches(self.recorded)
        marks = self._accounts.marks(self.session, changes)
        with block_stop_signals():
            audit = SeparateAudit(self, self._accounts)
            self.intent = audit.intend(changes, marks)
            with audit.fail_on_error():
                self.session.commit()
            self.committed, self.seq = True, self.intent
            self.seq = audit.finish(changes, self._prepare)
            self.events = range(self.seq - len(changes) + 1, self.seq + 1)
            if self._witnesses and (head := ledger.read_head(self.ours)) is not None:
                self._attest(head)
            self._settle(True)

    def _settle(self, committed: bool) -> None:
        while self._settlements:
            self._settlements.pop()(committed)

    def _send(self) -> None:
        app = this_app()
        for announced, payload in self._announcements:
            signals.announce(announced, app, **self._origin, **payload)
        if self._announcements:
            signals.announce(signals.all_announced, app, **self._origin)


@contextmanager
def block_stop_signals() -> Iterator[None]:
    """Block stop signals, so that none arrives between a commit and its record."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def bookkeeping(
    *, bind: str | None = BOOKKEEPING, patience: float | None = None
) -> Iterator[so.Session]:
    """Open a short transaction for logins, sessions' use, mail and profiles.

    The audit does not hold these. It has a session and connections of its own, so it neither
    sees nor ends the transaction of a request, and takes no gate. Never enter it inside of a
    unit, which it would wait for. It may count failed logins, and may not change what
    an account is.

    :param bind: the engine; None is that of requests, for who is done with it.
    :param patience: seconds to wait for others that write; None is the usual time.
    """
    engine = db.our_engine if bind is None else db.engines[bind]
    own = engine.execution_options(writing=True, patience=patience)
    with so.Session(own) as session, session.begin():
        yield session


def _is_of_the_disk(error: exc.DBAPIError) -> bool:
    """Return whether SQLite's file failed behind the frames: its log may hold the commit."""
    name: str = getattr(error.orig, "sqlite_errorname", "")
    return name.startswith("SQLITE_IOERR") and name != "SQLITE_IOERR_WRITE"
