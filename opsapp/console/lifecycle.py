"""The life of a session: on record, walled in by its mode, and gone without a trace but that."""

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
from sqlalchemy import event

from ..actors import Actor
from ..engine.connections import application_name, sqlite_file
from ..extensions import db
from ..mail import outbox
from ..types import Record
from ..values import readable
from . import audit_hook, readonly, sandbox, sessions, transactions, transcript
from .audit_hook import Watch
from .change_log import Change, Writes, told
from .modes import Mode
from .namespace import Catalogue, catalogue
from .query_log import Queries
from .sessions import Session


@dataclass(slots=True)
class Console:
    """A session that lives, with everything that its door needs."""

    session: Session
    wall: str
    is_boundary: bool
    writes: Writes
    queries: Queries
    watch: Watch
    names: Catalogue = field(default_factory=Catalogue)
    ended: str = "exit"
    """Why it ends; the door says so before it does."""
    would: Counter[Change] = field(default_factory=Counter)
    """What a sandbox has thrown away, by table; known once it has ended."""

    def before(self, code: str, **more: Any) -> None:
        """Put an input on record.

        :raises NotReady: it cannot be, so it may not run.
        """
        audit_hook.announce(self.watch, code, **more)
        self.queries.begin()

    def after(self) -> str | None:
        """End what an input left open, and send its mail; what the person should know."""
        try:
            return transactions.settle(self.writes)
        finally:
            audit_hook.rest(self.watch)
            if ids := outbox.take_kept():
                outbox.send(ids)

    def would_have(self) -> tuple[list[Record], list[Record]]:
        """What a sandbox has thrown away: what services did, and rows by table."""
        done = [one.record() for unit in self.session.units if unit.committed
                for one in unit.recorded]  # fmt: skip
        rows = [{"table": table, "rows": what} for table, what in told(self.would).items()]
        return done, rows


@contextmanager
def alive(
    app: Flask,
    actor: Actor,
    mode: Mode,
    *,
    reason: str | None,
    by: str,
    idle_seconds: float,
    more: dict[str, Any],
) -> Iterator[Console]:
    """A session from its first event to its last.

    :param by: ``terminal``, ``code``, ``file`` or ``stdin``.
    :param more: names that the door adds: of each the value and its line.
    :raises NotReady: the audit, the transcript or the database are not to be had.
    """
    sandbox.remove_abandoned()
    is_boundary, wall = _wall(mode)
    session = sessions.open_session(actor, mode, reason, by=by, wall=wall)
    ended = "error"
    try:
        with _inside(app, session, is_boundary, wall, idle_seconds, more) as console:
            yield console
        ended = console.ended
    except SystemExit as error:
        ended = str(getattr(error, "name", "exit"))  # A signal's says which one it was.
        raise
    finally:
        sessions.close_session(session, ended=ended)


@contextmanager
def _inside(
    app: Flask,
    session: Session,
    is_boundary: bool,
    wall: str,
    idle_seconds: float,
    more: dict[str, Any],
) -> Iterator[Console]:
    """The walls of the session's mode, and the witness, as long as it lives."""
    db.session.remove()
    application_name.set(f"opsapp shell:{session.mode.tag} {session.actor.label()}")
    lift = _enforce(session.mode, session.id, idle_seconds)
    try:
        engines = list(db.engines.values())
        _take_every_value(engines)
        watch = Watch(
            session.transcript, session.mode, _files(), str(transcript.folder().resolve())
        )
        queries = Queries(engines, db.session)
        console = Console(session, wall, is_boundary, Writes(engines), queries, watch)
        console.names = catalogue(app, session, console.writes, more)
        audit_hook.begin(watch)
        try:
            yield console
        finally:
            if session.transcript.is_forked:
                os._exit(1)  # The walls, the connections and the record are the parent's.
            console.would = Counter(console.writes.committed)
    finally:
        _leave(lift)


def _wall(mode: Mode) -> tuple[bool, str]:
    """What keeps the session from writing, and whether that is a boundary."""
    if mode is Mode.WRITE:
        return False, "nothing: what is committed stays"
    if mode is Mode.READ_ONLY:
        found = readonly.wall(db.engine)
        return found.is_boundary, found.says
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
    """Let a value that Python cannot hold be text, where an error would end the input."""
    for engine in engines:
        if engine.dialect.name == "postgresql":
            from .query.loaders import load_whole

            event.listen(engine, "checkout", lambda driver, *_rest: load_whole(driver))
        else:
            event.listen(engine, "checkout", _take_every_text)


def _take_every_text(driver: Any, *_rest: Any) -> None:
    driver.text_factory = readable


def _files() -> tuple[str, ...]:
    """The files of the real database, which nothing but its engine may touch."""
    engines = [engine for engine in db.engines.values() if engine.dialect.name == "sqlite"]
    paths = {str(Path(sqlite_file(engine)).resolve()) for engine in engines}
    return tuple(f"{path}{end}" for path in sorted(paths) for end in ("", "-wal", "-shm"))


def _leave(lift: Callable[[], None]) -> None:
    with contextlib.suppress(Exception):  # A broken connection has nothing left to undo.
        db.session.rollback()
    db.session.remove()
    outbox.take_kept()
    audit_hook.end()
    lift()
