"""Units of an application's own code: changes with a reason, through the gate and into the chain.

``with ops.unit(reason="…")`` is the door that commands have, for a request: changes of accounts
inside of it are events of the unit, instead of rows that wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.exc import DBAPIError

from .. import state
from ..actors import Actor
from ..engine.conditions import LOCK_SECONDS, translate_error
from ..engine.rows import remove
from ..errors import NotReady
from ..extensions import db
from ..models import AuditHead, PersonalValue
from ..redaction import SET
from ..types import Record
from ..unit import intents, ledger, pending
from ..unit.work import Unit
from . import role_ends
from .actor import actor_columns
from .commits import hold_commits
from .protection import UNIT

if TYPE_CHECKING:
    from .attached import Attached
    from .identity import Identity


def unit(*, reason: str | None = None, dry_run: bool = False) -> Unit:
    """Return a unit by the account of this request, or by the process's user.

    In the application's tests it only commits.

    :raises NotReady: ``flask ops init`` was not run.
    """
    attached: Attached = state.attachment_of(current_app)
    identity: Identity | None = attached.identity
    who: dict[str, Any] = actor_columns(identity, attached.parts.get("actor"))
    who = {**who, "actor": Actor(**who["actor"]), "reason": reason, "dry_run": dry_run}
    if attached.is_in_tests:
        return Unaudited(**who)
    if not attached.has_tables_by_now:
        raise NotReady("the change cannot be audited", hint="flask ops init")
    return OwnUnit(identity, **who)


class OwnUnit(Unit):
    """A unit on the session and the engine of an application.

    :param identity: its accounts; None where no model of them is known.
    """

    keeps_all = True

    def __init__(self, identity: Identity | None, **who: Any) -> None:
        super().__init__(**who)
        self._identity = identity
        self._commits = ExitStack()

    def __enter__(self) -> Unit:
        super().__enter__()
        if self._depth == 1:
            self._commits.enter_context(hold_commits(self.session))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._depth == 1:
            self._commits.close()
        super().__exit__(kind, error, trace)

    def _open(self) -> None:
        try:
            super()._open()
        except DBAPIError as error:
            raise translate_error(error) or error from error

    def _writing_connection(self) -> sa.Connection:
        options = {"writing": True, UNIT: self}
        connection = self.session.connection(intents.bind_arguments(self._accounts), options)
        if not db.is_all_ours:  # Else the gate is in a database of ours, and taken already.
            _wait_in_turn(connection)
        return connection

    def take(self, rows: Iterable[Record]) -> None:
        """Record what the observer saw, which would wait otherwise."""
        rows = list(rows)
        rules = self._identity.roles if self._identity is not None else ()
        for clearing in role_ends.clearing_statements(rules, rows):
            self.ours.connection().execute(clearing)
        for row in rows:
            if row["action"] == pending.KEY:
                self.name(row["after"])
                continue
            if row["action"] == pending.DELETE:
                remove(self.ours, PersonalValue, PersonalValue.subject == row["subject"])
            sides = {side: self._show_side(row[side]) for side in ledger.SIDES}
            self.record(row["action"], row["subject"], **sides)

    def _show_side(self, side: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return a side with the names that are kept beside the chain; others are hidden."""
        if side is None or self._identity is None:
            return None
        names = {
            part.name: name
            for name in sorted(ledger.PERSONAL)
            if (part := getattr(self._identity, name)) is not None
        }
        readable = pending.unmark(side) or {}
        return {
            names.get(name, name): readable[name]
            if name in names or value == readable[name]
            else SET
            for name, value in side.items()
        }


class Unaudited(Unit):
    """A unit in the application's tests: its changes are committed, and that is all."""

    def _open(self) -> None:
        self._forget()
        self._is_trial = False
        self._autoflush = self.session.autoflush

    def _close(self) -> None:
        self.session.flush()
        if not self.dry_run:
            self._commit()


def _wait_in_turn(connection: sa.Connection) -> None:
    """Wait for other units as ours do, on an engine that does not see to it by itself."""
    if connection.dialect.name == "sqlite":
        # The driver begins a transaction with the first statement that writes.
        connection.execute(sa.update(AuditHead).values(seq=AuditHead.seq))
    else:
        set_timeout = sa.text("SELECT set_config('lock_timeout', :value, true)")
        connection.execute(set_timeout, {"value": f"{LOCK_SECONDS}s"})
