"""Observer: writes down what an application's own code changes of its accounts.

Each change is a row of ``ops_audit_pending``, in the transaction of the change. Nothing is
refused unless ``Ops`` says so, and an error here does not break the application's request.
See docs/decisions/observer.md.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.exc import DBAPIError

from .. import clock, text
from ..engine.connections import SANDBOX
from ..models import PendingEvent
from ..types import Record
from ..unit import pending
from . import role_ends
from .actor import actor_columns
from .changes import Accounts, Change, HasAdministrator, Watch
from .foreign_keys import ForeignKeys
from .protection import SAVEPOINT, Protection, is_begun, is_ours, savepoint, unit_of
from .seal import Sealer
from .session_changes import SessionChanges

log = logging.getLogger(__name__)

LOCK_SECONDS = 1.0
"""Seconds that a request waits at most for a lock on our tables, such as a migration's."""
LOOK_AGAIN_SECONDS = 60.0
"""Seconds after which a database without our tables is looked at again."""
MARK = "opsapp.observer"


class Observer:
    """The observer of one application's accounts.

    :param actor: returns who a request is; see :func:`.actor_columns`.
    :param strict: let an error here fail the flush of the application.
    :param protected: the attributes that only a unit may change.
    :param refuse: whether a change that leaves no administrator is refused.
    :param is_apart: whether our tables are in another database, which no transaction of the
        application spans: a change is written after its commit.
    """

    def __init__(
        self,
        accounts: Accounts,
        sealer: Sealer,
        has_administrator: HasAdministrator,
        *,
        actor: Callable[[], Any] | None = None,
        strict: bool = False,
        protected: Collection[str] = (),
        refuse: bool = False,
        is_apart: bool = False,
    ) -> None:
        self.accounts = accounts
        self.sealer = sealer
        self.watch = Watch(accounts, protected)
        self.foreign_keys = ForeignKeys(self.watch)
        self.protection = Protection(
            self.watch, has_administrator, refuse=refuse, has_gate=not is_apart
        )
        self._is_apart = is_apart
        self._actor = actor
        self._strict = strict
        self._absent_until: WeakKeyDictionary[sa.Dialect, float] = WeakKeyDictionary()

    # --- flushes -----------------------------------------------------------------

    def before_update(self, connection: sa.Connection, user: Any) -> None:
        """Refuse what is to be refused, and remember the values that no session has loaded."""
        state: so.InstanceState[Any] = sa.inspect(user)
        state.info.pop(MARK, None)  # It is of a flush that failed.
        touched = self.watch.touched_keys(state)
        if not touched or is_ours(connection):
            return
        if unit_of(connection) is None:
            self.protection.before_update(user, touched)
        state.info[MARK] = (self, touched, {})
        if missing := self.watch.unloaded_keys(state, touched):
            with self.log_errors(connection):
                if self.is_ready(connection):
                    state.info[MARK] = (
                        self,
                        touched,
                        self._stored_values(connection, state, missing),
                    )

    def after_update(
        self,
        connection: sa.Connection,
        user: Any,
        touched: frozenset[str],
        unloaded: Record,
    ) -> None:
        """Write the events of a changed account.

        :param touched: the watched attributes that were set.
        :param unloaded: the values before of those that the session had not loaded.
        """
        events = self.watch.update_events(user, touched, unloaded)
        changed = self.foreign_keys.tell(connection, events)
        self.write(connection, so.object_session(user), lambda: self._rows(user, changed))

    def before_insert(self, connection: sa.Connection, user: Any) -> None:
        """Refuse what is to be refused."""
        if not is_ours(connection) and unit_of(connection) is None:
            self.protection.before_insert(user)

    def after_insert(self, connection: sa.Connection, user: Any) -> None:
        """Write the events of a new account."""
        if not is_ours(connection):
            session = so.object_session(user)
            changed = self.foreign_keys.tell(connection, self.watch.creation_events(user))
            self.write(connection, session, lambda: self._rows(user, changed))

    def before_delete(self, connection: sa.Connection, user: Any) -> None:
        """Write the event of an account while its values are there."""
        if not is_ours(connection):
            session = so.object_session(user)
            self.write(
                connection, session, lambda: self._rows(user, self.watch.deletion_events(user))
            )

    def _stored_values(
        self, connection: sa.Connection, state: so.InstanceState[Any], keys: Iterable[str]
    ) -> Record:
        """Return the values that the database has before the flush."""
        mapper = self.watch.mapper
        columns = {key: mapper.get_property(key).columns[0] for key in keys}
        pairs = zip(mapper.primary_key, state.identity or (), strict=True)
        query = sa.select(*columns.values()).select_from(mapper.persist_selectable)
        with savepoint(connection):
            row = connection.execute(query.where(*(key == value for key, value in pairs))).first()
        return dict(zip(columns, row or (), strict=False))

    def _rows(self, user: Any, changed: Iterable[Change]) -> list[Record]:
        state: so.InstanceState[Any] = sa.inspect(user)
        key = (state.identity or state.mapper.primary_key_from_instance(user))[0]
        rows = self.rows((key, change) for change in changed)
        name = self.accounts.name_record(user) if rows else None
        if name is not None:
            rows.append({**rows[0], "action": pending.KEY, "before": None, "after": name})
        return rows

    # --- rows --------------------------------------------------------------------

    def rows(self, changed: Iterable[tuple[Any, Change]]) -> list[Record]:
        """Return the rows of changes, each with the key of its account; None means many."""
        rows = []
        for key, change in changed:
            subject = "users" if key is None else self.accounts.subject_of(key)
            rows.append({"subject": subject, **change._asdict()})
        if not rows:
            return rows
        common = {"at": clock.now(), **actor_columns(self.accounts, self._actor)}
        return [{**common, **row} for row in rows]

    def write(
        self,
        connection: sa.Connection,
        session: so.Session | None,
        make: Callable[[], list[Record]],
    ) -> None:
        """Write rows in the application's transaction; the sealer hears of it at the commit.

        In a unit of the application's own code they are events of the unit.
        """
        if (unit := unit_of(connection)) is not None:
            unit.take(make())
            return
        with self.log_errors(connection):
            if self.is_ready(connection) and (rows := make()):
                look = any(self.watch.is_lasting(row) for row in rows)
                if self._is_apart:
                    SessionChanges.of(session, self.sealer).add(session, rows, look=look)
                    return
                if not pending.add_in_savepoint(connection, rows, SAVEPOINT, LOCK_SECONDS):
                    with savepoint(connection, seconds=LOCK_SECONDS):
                        pending.add(connection, rows)
                for clearing in role_ends.clearing_statements(self.accounts.roles, rows):
                    with savepoint(connection, seconds=LOCK_SECONDS):
                        connection.execute(clearing)
                if session is not None:
                    mark = session.info.setdefault(MARK, [self, False])
                    mark[1] |= look

    @contextmanager
    def log_errors(self, connection: sa.Connection) -> Iterator[None]:
        """Log and count an error instead of raising it, unless the observer is strict.

        :raises DBAPIError: SQLite has undone the application's transaction with it, which the
            application would take for committed otherwise.
        """
        was_begun = is_begun(connection)
        try:
            yield
        except Exception as error:
            self._absent_until.pop(connection.dialect, None)
            if self._strict:
                raise
            if was_begun and not is_begun(connection):
                raise _as_of_theirs(error) from error
            cause = error.orig or error if isinstance(error, DBAPIError) else error
            reason = f"{type(cause).__name__}: {text.first_line(cause)}"
            log.error("a change of an account is not in the audit log: %s", reason)  # noqa: TRY400  (a traceback would show values)
            self.sealer.note_gap(reason)

    def is_ready(self, connection: sa.Connection) -> bool:
        """Return whether ``flask ops init`` has made our tables; a no is looked at again later.

        The sealer looks if they are in another database.
        """
        if self._is_apart:
            # A commit inside of a sandbox is not kept, and a thread knows nothing of sandboxes.
            return not connection.get_execution_options().get(SANDBOX)
        until = self._absent_until.get(connection.dialect)
        if until == 0:
            return True
        if until is None or monotonic() > until:
            with savepoint(connection):
                has_table = sa.inspect(connection).has_table(PendingEvent.__tablename__)
            until = 0 if has_table else monotonic() + LOOK_AGAIN_SECONDS
            self._absent_until[connection.dialect] = until
        return until == 0


def _as_of_theirs(error: Exception) -> Exception:
    """Return an error of the driver as SQLAlchemy raises those of the application's statements."""
    if not isinstance(error, sqlite3.Error):
        return error
    return DBAPIError.instance("INSERT INTO ops_audit_pending", None, error, sqlite3.Error)
