"""Lifecycle: a session from its first event to its last, inside of the walls of its mode."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask

from ..actors import Actor
from ..engine.connections import application_name, sqlite_file
from ..extensions import db
from ..mail import outbox
from ..state import attachment_of
from ..types import Record
from ..values import readable
from . import (
    audit_hook,
    interrupts,
    listeners,
    masking,
    readonly,
    sandbox,
    sessions,
    transactions,
    transcript,
    waits,
)
from .abandoned import Change
from .change_log import Writes, in_words
from .listeners import listen
from .modes import Mode
from .namespace import Catalogue, catalogue
from .pending import Pending
from .query.statement import refuse_further
from .query_log import Queries
from .sessions import Session
from .transactions import Remains

audit_hook.runs_inputs(__file__)


@dataclass(slots=True)
class Console:
    """A live session with everything that its door needs."""

    session: Session
    wall: str
    is_boundary: bool
    pending: Pending
    writes: Writes
    queries: Queries
    names: Catalogue = field(default_factory=Catalogue)
    ended: str = "exit"
    """The reason of its end, which the door sets."""
    would: Counter[Change] = field(default_factory=Counter)
    """The changes that a sandbox has discarded, by table; known once it has ended."""

    @property
    def may_commit(self) -> bool:
        """True if ``commit()`` works in the mode of the session."""
        return self.session.mode is not Mode.READ_ONLY

    @property
    def is_watched(self) -> bool:
        """True if the audit hook watches the session."""
        return audit_hook.is_on()

    def before(self, code: str, **more: Any) -> None:
        """Put an input on record.

        :raises NotReady: it cannot be recorded, so it may not run.
        """
        self.session.transcript.write("input", code, **more)
        audit_hook.announce()
        self.pending.follow(db.session())
        self.queries.begin()

    def record_nested_input(self, code: str) -> None:
        """Put an input that another one runs on record.

        :raises NotReady: it cannot be recorded, so it may not run.
        """
        self.session.transcript.write("input", code, nested=True)
        audit_hook.announce(nested=True)

    def execute(
        self, code: str, filename: str, names: dict[str, Any], symbol: str = "exec", flags: int = 0
    ) -> None:
        """Run code that is on record.

        :param symbol: ``exec`` for a program; ``single`` for an input, whose value is shown.
        :param flags: those of the ``__future__`` that earlier inputs imported.
        """
        exec(compile(code, filename, symbol, flags, dont_inherit=True), names)  # noqa: S102  (the user asked for it)

    def advise(self, error: BaseException) -> None:
        """Add to an error about an unbound name the way to what it stands for."""
        if isinstance(error, NameError) and error.name in self.names.unbound:
            error.add_note(f"  → {self.names.unbound[error.name]}")

    def after(self) -> Remains:
        """End the transactions of an input and send its mail; return its uncommitted changes."""
        try:
            return transactions.settle(self.writes, self.pending)
        finally:
            audit_hook.rest()
            if ids := outbox.take_kept():
                outbox.send(ids)

    def would_have(self) -> tuple[list[Record], list[Record]]:
        """Return the changes that a sandbox has discarded: of services, and rows by table."""
        changes = [change.record() for unit in self.session.units if unit.committed
                   for change in unit.recorded]  # fmt: skip
        tables = in_words(self.would).items()
        return changes, [{"table": table, "rows": words} for table, words in tables]


@contextmanager
def open_console(
    app: Flask,
    actor: Actor,
    mode: Mode,
    *,
    reason: str | None,
    by: str,
    idle_seconds: float,
    more: dict[str, Any],
) -> Iterator[Console]:
    """Open a session, and close it at the end.

    :param by: ``terminal``, ``code``, ``file``, ``stdin`` or ``kernel``.
    :param more: names that the door adds, each with its value and its line.
    :raises NotReady: the audit, the transcript or the database is not available.
    """
    sandbox.remove_abandoned()
    is_boundary, wall = _wall(mode)
    session = sessions.open_session(
        actor, mode, reason, by=by, wall=wall, audit_hook=audit_hook.is_on()
    )
    outcome = "error"
    try:
        with (
            _inside(app, session, is_boundary, wall, idle_seconds, more) as console,
            console.writes.abandoned.watch_closings(),
            waits.for_user(),
        ):
            yield console
        outcome = console.ended
    except SystemExit as error:
        outcome = str(getattr(error, "name", "exit"))  # A signal's has its name.
        raise
    finally:
        sessions.close_session(session, outcome=outcome)


@contextmanager
def _inside(
    app: Flask,
    session: Session,
    is_boundary: bool,
    wall: str,
    idle_seconds: float,
    more: dict[str, Any],
) -> Iterator[Console]:
    """Put up the walls of the session's mode, and watch it."""
    db.session.remove()
    application_name.set(f"opsapp shell:{session.mode.tag} {session.actor.label()}")
    if (attached := attachment_of(app)) is not None and attached.has_tables:
        attached.begin()  # Changes past commit() are audited too.
    lift = _enforce(session.mode, session.id, idle_seconds)
    try:
        console = _console(app, session, wall, is_boundary)
        console.names = catalogue(app, session, console.writes, console.pending, more)
        _watch(session)
        try:
            yield console
        finally:
            if session.transcript.is_forked:
                os._exit(1)  # The walls, the connections and the record are the parent's.
            console.would = Counter(console.writes.committed)
    finally:
        _leave(lift)


def _console(app: Flask, session: Session, wall: str, is_boundary: bool) -> Console:
    engines = list(db.engines.values())
    _take_every_value(engines)
    interrupts.hear(engines)
    masking.mask(engines, app.import_name)
    pending = Pending(db.session())
    writes = Writes(engines, pending)
    return Console(session, wall, is_boundary, pending, writes, Queries(engines))


def _watch(session: Session) -> None:
    if audit_hook.is_on():
        protected = str(transcript.folder().resolve())
        audit_hook.begin(audit_hook.Watch(session.transcript, session.mode, _files(), protected))


def _wall(mode: Mode) -> tuple[bool, str]:
    """Return whether a boundary keeps the session from writing, and a description of it."""
    if mode is Mode.WRITE:
        return False, "committed changes stay"
    if mode is Mode.READ_ONLY:
        wall = readonly.wall(db.engine)
        return wall.is_boundary, wall.description
    if db.engine.dialect.name == "sqlite":
        return True, "a copy of the file, removed at the end"
    return True, "one transaction that is never committed; changed rows stay locked till the end"


def _enforce(mode: Mode, session: str, idle_seconds: float) -> Callable[[], None]:
    if mode is Mode.READ_ONLY:
        return readonly.enforce(db.engines)
    if mode is Mode.SANDBOX:
        return sandbox.enter(session, idle_seconds=idle_seconds)
    return lambda: None


def _take_every_value(engines: list[sa.Engine]) -> None:
    """Return every row, and values that Python cannot hold as text, instead of an error."""
    for engine in engines:
        refuse_further(engine)
        if engine.dialect.name == "postgresql":
            from .query.loaders import load_whole

            listen(engine, "checkout", lambda driver, *_rest: load_whole(driver))
        elif engine.dialect.name == "sqlite":
            listen(engine, "checkout", _take_every_text)


def _take_every_text(driver: Any, *_rest: Any) -> None:
    driver.text_factory = readable


def _files() -> tuple[str, ...]:
    """Return the files of the real database, which only its engine may open."""
    engines = [engine for engine in db.engines.values() if engine.dialect.name == "sqlite"]
    paths = {str(Path(sqlite_file(engine)).resolve()) for engine in engines}
    return tuple(f"{path}{end}" for path in sorted(paths) for end in ("", "-wal", "-shm"))


def _leave(lift: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # A broken connection has nothing left to undo.
        db.session.rollback()
    db.session.remove()
    outbox.take_kept()
    audit_hook.end()
    listeners.remove_all(db.engines.values())
    lift()
