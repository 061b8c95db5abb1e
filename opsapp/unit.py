"""The unit of work: the one place where changes to accounts, roles and grants are committed.

The order never differs: take the gate (lock the audit's head row, as the first
statement) → change → check the invariants → append the audit events → commit →
send the signals. Whoever is inside is alone, so what was checked is still true
at the commit; an event and its change are one transaction, so neither exists
without the other; a dry run is the same with a rollback at the end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from secrets import token_hex
from types import TracebackType
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from blinker import NamedSignal
from flask import Flask, current_app
from sqlalchemy import event, exc
from sqlalchemy import orm as so

from . import chain, clock, config, invariants, text
from .actors import Actor
from .engine import explained
from .errors import Busy, NotReady, OpsError, Refused, TimedOut
from .extensions import db, this_app
from .models import AuditEvent, AuditHead, Grant, PersonalValue, Role, User
from .models.types import canonical_json

GUARDED = (User, Role, Grant, AuditEvent, AuditHead, PersonalValue)
"""The models that only a unit of work may write."""

PERSONAL = frozenset({"email", "username"})
"""The keys of an event's before and after whose values are personal data."""

log = logging.getLogger(__name__)

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """One change: what the audit will say of it, its personal values still readable."""

    action: str
    subject: str
    before: Values | None
    after: Values | None

    def record(self) -> dict[str, Any]:
        return {
            "action": self.action,
            "subject": self.subject,
            "before": self.before,
            "after": self.after,
        }


class Unit(AbstractContextManager["Unit"]):
    """Who changes, why, and through which door; entered, the transaction that does it.

    Services take it as ``unit`` and enter it where they need the gate, after
    slow work such as hashing a password. Entering it again joins the
    transaction that is open, so a door can put several services into one.

    :param door: ``cli``, ``api``, ``shell`` or ``job``.
    :param dry_run: do everything, then roll back and announce nothing.
    :raises Invalid: the reason has hostile characters.
    """

    def __init__(
        self,
        *,
        actor: Actor,
        door: str,
        reason: str | None = None,
        dry_run: bool = False,
    ) -> None:
        self.actor = actor
        self.door = door
        self.reason = text.checked(reason, "reason", longest=500) if reason else None
        self.dry_run = dry_run
        self.correlation = str(uuid4())
        self.recorded: list[Recorded] = []
        self.committed = False
        self.seq: int | None = None
        """The last audit event's number, once it is committed."""
        self._depth = 0
        self._personal: list[PersonalValue] = []
        self._announcements: list[tuple[NamedSignal, dict[str, Any]]] = []

    @property
    def changed(self) -> bool:
        """Whether anything was changed, or would have been."""
        return bool(self.recorded)

    @property
    def session(self) -> so.Session:
        """The database session that the unit's services use."""
        return db.session()

    def record(
        self,
        action: str,
        subject: str,
        *,
        before: Values | None = None,
        after: Values | None = None,
    ) -> None:
        """Say what was changed; the audit event is written before the commit.

        :param action: ``noun:subject:verb``, such as ``user:role:grant``.
        """
        self.recorded.append(Recorded(action, subject, before, after))

    def announce(self, signal: NamedSignal, **payload: Any) -> None:
        """Send ``signal`` once the change is committed."""
        self._announcements.append((signal, payload))

    def __enter__(self) -> Unit:
        if self._depth == 0:
            self._open()
        self._depth += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._depth -= 1
        if self._depth:
            return
        try:
            if error is None:
                self._close()
        finally:
            # After a commit this ends nothing; after anything else it undoes all.
            self.session.rollback()
            self.session.info.pop("unit", None)
        if self.committed:
            self._send()

    def _open(self) -> None:
        session = self.session
        if session.new or session.dirty or session.deleted:
            raise RuntimeError("the session has unsaved changes; enter the unit before making them")
        session.rollback()  # What was read before the gate may be out of date.
        self.recorded, self.committed = [], False
        self._personal, self._announcements = [], []
        session.connection(execution_options={"writing": True})
        try:
            self._head = take_gate(session)
            self._had_administrator = invariants.has_administrator(session)
        except BaseException:
            session.rollback()
            raise
        session.info["unit"] = self

    def _close(self) -> None:
        session = self.session
        session.flush()
        if self.recorded:
            invariants.keep_an_administrator(session, had_one=self._had_administrator)
            self._append()
        if self.dry_run or not self.recorded:
            return
        try:
            session.commit()
        except exc.DBAPIError as error:
            if error.connection_invalidated:
                raise OpsError(
                    "the connection broke during the commit: it may or may not have happened",
                    hint=f"flask audit list --correlation {self.correlation}",
                ) from error
            raise
        self.committed = True
        self.seq = self._head.seq

    def _append(self) -> None:
        key = audit_key(current_app)
        rows = [self._row(change) for change in self.recorded]
        try:
            self.session.add_all(self._personal)
            self.session.flush()
            append(self.session.connection(), key, self._head, rows)
        except exc.DBAPIError as error:
            raise _unwritable(error) from error

    def _row(self, change: Recorded) -> dict[str, Any]:
        return {
            "at": clock.now(),
            "actor": self.actor.record(),
            "door": self.door,
            "action": change.action,
            "subject": change.subject,
            "reason": self.reason,
            "before": self._without_names(change.subject, change.before),
            "after": self._without_names(change.subject, change.after),
            "correlation": self.correlation,
        }

    def _without_names(self, subject: str, values: Values | None) -> dict[str, Any] | None:
        """``values`` with every personal one replaced by its token."""
        if values is None:
            return None
        return {
            name: self._token(subject, value) if name in PERSONAL and value else value
            for name, value in values.items()
        }

    def _token(self, subject: str, value: str) -> dict[str, str]:
        salt = token_hex(16)
        token = chain.personal_token(audit_key(current_app), salt, value)
        user_id = int(subject.removeprefix("user:"))
        self._personal.append(PersonalValue(token=token, user_id=user_id, salt=salt, value=value))
        return {"personal": token}

    def _send(self) -> None:
        app = this_app()
        for signal, payload in self._announcements:
            for receiver in signal.receivers_for(app):
                try:
                    receiver(app, actor=self.actor, correlation=self.correlation, **payload)
                except Exception:
                    # The change is committed: a receiver's error may not undo or hide it.
                    log.exception("a receiver of the signal %s failed", signal.name)


def _unwritable(error: exc.DBAPIError) -> OpsError:
    """Why the audit could not be written; what waits or is too late may be tried again."""
    known = explained(error)
    if isinstance(known, Busy | TimedOut):
        return known
    return NotReady(
        "the audit cannot be written, so nothing was changed:"
        f" {text.safe(str(error.orig).splitlines()[0])}",
        hint="flask doctor",
    )


def audit_key(app: Flask) -> bytes:
    """The key of the chain, from the configuration."""
    return str(app.config["OPSAPP_AUDIT_KEY"]).encode()


@dataclass(slots=True)
class Head:
    """The end of the chain: where the next event is tied on."""

    environment: str
    seq: int
    hash: str


def take_gate(session: so.Session) -> Head:
    """Lock the audit's head row and return it: from here on this transaction is alone.

    :raises NotReady: the database was not initialised, or its schema is not this code's.
    :raises Refused: the database is stamped with another environment's name.
    """
    gate = sa.select(AuditHead.environment, AuditHead.seq, AuditHead.hash).with_for_update()
    row = session.execute(gate).one_or_none()
    if row is None:
        raise NotReady("the database is not initialised", hint="flask db init")
    head = Head(*row)
    _refuse_other_revision(session)
    environment = current_app.config["OPSAPP_ENV"]
    if head.environment != environment:
        raise Refused(
            f"this database is stamped {text.safe(head.environment)},"
            f" and OPSAPP_ENV is {text.safe(environment)}",
            hint="flask doctor",
        )
    return head


def _refuse_other_revision(session: so.Session) -> None:
    ours = config.head_revision()
    # An application's own migrations have their row beside ours.
    present = session.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
    if ours not in present:
        raise other_revision(max(present, default="none"))


def other_revision(present: str) -> NotReady:
    """The error for a database whose schema is not the one this code was written for."""
    ours = config.head_revision()
    behind = present < ours or present == "none"
    return NotReady(
        f"the database is at revision {present}, and this code is at {ours}",
        hint="flask db init" if behind else "deploy the code that the database fits",
    )


def append(connection: sa.Connection, key: bytes, head: Head, rows: list[dict[str, Any]]) -> None:
    """Write ``rows`` as the next events of the chain and move ``head`` to its new end.

    The caller holds the gate. Rows have every column but seq, previous and hash.
    """
    for row in rows:
        head.seq += 1
        row["seq"], row["previous"] = head.seq, head.hash
        texts = {name: _as_stored(row[name]) for name in ("actor", "before", "after")}
        head.hash = row["hash"] = chain.link(
            key,
            head.hash,
            (
                row["seq"],
                row["at"],
                texts["actor"] or "",
                row["door"],
                row["action"],
                row["subject"],
                row["reason"],
                texts["before"],
                texts["after"],
                row["correlation"],
            ),
        )
    connection.execute(sa.insert(AuditEvent), rows)
    connection.execute(sa.update(AuditHead).values(seq=head.seq, hash=head.hash))


def _as_stored(value: Values | None) -> str | None:
    return None if value is None else canonical_json(value)


@event.listens_for(so.Session, "before_flush")
def _guard_flush(session: so.Session, _context: Any, _instances: Any) -> None:
    if "unit" in session.info:
        return
    touched = [*session.new, *session.dirty, *session.deleted]
    if any(isinstance(row, GUARDED) and session.is_modified(row) for row in touched) or any(
        isinstance(row, GUARDED) for row in session.deleted
    ):
        raise _outside()


@event.listens_for(so.Session, "do_orm_execute")
def _guard_statement(state: so.ORMExecuteState) -> None:
    if state.is_select or "unit" in state.session.info:
        return
    mapper = state.bind_mapper
    if mapper is not None and issubclass(mapper.class_, GUARDED):
        raise _outside()


def _outside() -> Refused:
    return Refused(
        "accounts, roles, grants and the audit change through a unit of work only",
        hint="with Unit(actor=…, door=…) as unit: …",
    )
