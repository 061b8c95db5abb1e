"""Intents: the audit of changes that are in another database than the audit log.

No transaction spans both databases. So each change is written down twice: before the
application's commit as an intent, and after it as the event that it is. An intent that no
event follows has an unknown outcome; ``flask ops audit settle`` compares and closes it.
See docs/decisions/ops.md#intents-changes-in-two-databases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.exc import DBAPIError

from .. import state
from ..engine import locks
from ..engine.conditions import LOCK_SECONDS
from ..errors import NotReady
from ..extensions import db, this_app
from ..models import AuditEvent
from ..types import Fields, Record
from .ledger import Recorded

PREFIX = "intent:"
"""The beginning of an intent's action; the event's own follows."""
FAIL, SETTLE = "audit:intent:fail", "audit:intent:settle"
ROW = "row"
"""The key in an intent's before and after of the fingerprint of the account's row."""
HINT = "flask ops audit settle"

Marks = Sequence[tuple[str | None, str | None]]
"""For each change the fingerprints of its accounts, before and after it."""


class Accounts(Protocol):
    """The accounts of an application, as a unit asks for them where it has two databases."""

    @property
    def writes(self) -> int:
        """The statements other than a SELECT that this process has sent to their database."""

    @property
    def bind_arguments(self) -> dict[str, Any]:
        """The arguments by which a session of the application uses their database."""

    def mark(self, session: so.Session, change: Recorded) -> str | None:
        """Return the fingerprint of the accounts of a change, as the database has them."""

    def marks(self, session: so.Session, changes: Sequence[Recorded]) -> Marks:
        """Return the fingerprints of changes that are flushed and not committed."""

    def follow(self, session: so.Session, row: Mapping[str, Any]) -> None:
        """Change the rows of ours that an event changes, such as the end of a role."""


def bind_arguments(accounts: Accounts | None) -> dict[str, Any]:
    """Return the arguments by which a session uses the database of the accounts."""
    return {} if accounts is None else accounts.bind_arguments


def accounts() -> Accounts | None:
    """Return the accounts of an application with two databases; None where there is one."""
    attached = state.attachment_of(this_app())
    accounts: Accounts | None = attached and attached.separate_database
    return accounts


@contextmanager
def gate() -> Iterator[None]:
    """Be the only unit, through the several transactions that one has here.

    :raises Busy: another process is inside of one.
    """
    stack = ExitStack()
    stack.enter_context(locks.hold_lock(db.our_engine, "gate", wait=LOCK_SECONDS))
    try:
        yield
    finally:
        with suppress(DBAPIError):  # A server that is gone has let go.
            stack.close()


def intent_of(change: Recorded, before: str | None, after: str | None) -> Recorded:
    """Return the intent of a change.

    :param before: the fingerprint of the account before the change; so ``after``.
    """
    return Recorded(
        PREFIX + change.action,
        change.subject,
        _with_mark(change.before, before),
        _with_mark(change.after, after),
    )


def _with_mark(side: Fields | None, mark: str | None) -> Fields | None:
    return side if mark is None else {**(side or {}), ROW: mark}


def without_mark(side: Mapping[str, Any] | None) -> Record | None:
    """Return one side of an intent as its event has it."""
    return {name: value for name, value in (side or {}).items() if name != ROW} or None


def unfinished_numbers(
    session: so.Session | sa.Connection, *, correlation: str | None = None
) -> list[int]:
    """Return the numbers of the intents whose outcome is unknown, the oldest first.

    :param correlation: only those of this command or request.
    """
    later = so.aliased(AuditEvent)
    is_its_end = sa.or_(
        later.action == FAIL,
        sa.and_(
            sa.literal(PREFIX, sa.String) + later.action == AuditEvent.action,
            later.subject == AuditEvent.subject,
        ),
    )
    has_end = sa.exists().where(
        later.seq > AuditEvent.seq, later.correlation == AuditEvent.correlation, is_its_end
    )
    query = sa.select(AuditEvent.seq).where(
        AuditEvent.action.startswith(PREFIX), ~has_end.correlate(AuditEvent)
    )
    if correlation is not None:
        query = query.where(AuditEvent.correlation == correlation)
    return list(session.execute(query.order_by(AuditEvent.seq)).scalars())


def refuse_unfinished(session: so.Session, correlation: str) -> None:
    """Refuse another change under the same id: its event would seem to be the first one's.

    :raises NotReady: the outcome of an earlier one is unknown.
    """
    if seqs := unfinished_numbers(session, correlation=correlation):
        raise NotReady(f"the outcome of the change before is unknown: intent {seqs[0]}", hint=HINT)
