"""Separate audit log: a unit's transactions in its database, around the application's own.

The order: intents → the application's commit → events. Each is on the disk before the next
begins, so a process that is killed leaves an intent and no doubt that there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from sqlalchemy import orm as so
from sqlalchemy.exc import DBAPIError

from .. import text
from ..engine.conditions import translate_error
from ..errors import OpsError
from ..extensions import undo
from ..types import Fields
from . import intents, ledger, pending
from .ledger import Recorded


class Work(Protocol):
    """The part of a unit that is needed here."""

    correlation: str
    keys: list[Fields]

    @property
    def ours(self) -> so.Session:
        """The session for the tables of opsapp."""

    @property
    def columns(self) -> dict[str, Any]:
        """The columns that every event of the unit has."""


class SeparateAudit:
    """The audit's side of one unit.

    :param accounts: the accounts of the application, which has the other side.
    """

    def __init__(self, unit: Work, accounts: intents.Accounts) -> None:
        self._unit = unit
        self._accounts = accounts
        self._seqs: list[int] = []

    def intend(self, changes: Sequence[Recorded], marks: intents.Marks) -> int:
        """Commit the intents of changes; return the number of the last one.

        :raises NotReady: they cannot be written, or the outcome of an earlier one is unknown.
        """
        intended = [
            intents.intent_of(change, *mark) for change, mark in zip(changes, marks, strict=True)
        ]
        try:
            with self._transaction() as head:
                intents.refuse_unfinished(self._unit.ours, self._unit.correlation)
                for row in self._unit.keys:
                    ledger.add_key(self._unit.ours.connection(), row)
                self._append(head, intended)
        except DBAPIError as error:
            raise ledger.unwritable(error) from error
        self._seqs = list(range(head.seq - len(intended) + 1, head.seq + 1))
        return head.seq

    @contextmanager
    def fail_on_error(self) -> Iterator[None]:
        """End the intents as failed, if the application's commit inside fails.

        :raises OpsError: it is not known if it did: a connection is gone.
        """
        try:
            yield
        except BaseException as error:
            self._fail(error)
            raise

    def finish(self, changes: Sequence[Recorded], prepare: Callable[[], None]) -> int:
        """Commit the events of changes that are made; return the number of the last one.

        The rows of ours that follow from them, such as the end of a role, are written too.

        :param prepare: writes what is to be committed with them, such as mail.
        :raises OpsError: the audit has no more than the intents.
        """
        try:
            with self._transaction() as head:
                self._append(head, changes)
                for change in changes:
                    event = {**self._unit.columns, **change.record()}
                    self._accounts.follow(self._unit.ours, event)
                prepare()
        except (DBAPIError, OpsError) as error:
            raise OpsError(
                f"the event of the change could not be written: {_in_words(error)}",
                hint=f"{intents.HINT} {self._seqs[0]}",
            ) from error
        return head.seq

    def _fail(self, error: BaseException) -> None:
        is_known = not getattr(error, "connection_invalidated", False)
        try:
            if is_known:
                # The driver's message may name a person, and the audit keeps it forever.
                because = type(getattr(error, "orig", None) or error).__name__
                after = {"intents": self._seqs, "because": because}
                with self._transaction() as head:
                    self._append(head, [Recorded(intents.FAIL, "audit", None, after)])
                return
        except (DBAPIError, OpsError) as second:
            raise OpsError(
                f"the change failed, and the audit log could not record that: {_in_words(second)}",
                hint=f"{intents.HINT} {self._seqs[0]}",
            ) from error
        raise OpsError(
            "the connection broke during the commit: the change may or may not have happened",
            hint=f"{intents.HINT} {self._seqs[0]}",
        ) from error

    def _append(self, head: ledger.Head, changes: Sequence[Recorded]) -> None:
        connection = self._unit.ours.connection()
        pending.seal(connection, head)
        ledger.append(connection, head, ledger.rows(connection, changes, self._unit.columns))

    @contextmanager
    def _transaction(self) -> Iterator[ledger.Head]:
        """Open a transaction of the audit, and commit it; yields the end of the chain."""
        session = self._unit.ours
        # Rows that services wrote follow from the events, and a listener of the application's
        # commit may have read: what began without the gate is no transaction of the audit.
        undo(session)
        try:
            session.connection(execution_options={"writing": True})
            head = ledger.take_gate(session)
            yield head
            session.commit()
        finally:
            undo(session)


def _in_words(error: DBAPIError | OpsError) -> str:
    condition = error if isinstance(error, OpsError) else translate_error(error)
    return condition.message if condition else text.first_line(error.orig or error)  # type: ignore[union-attr]
