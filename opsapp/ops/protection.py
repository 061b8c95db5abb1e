"""Protection: the changes that opsapp refuses to an application's own code, where it asks for that.

``keep_admin="refuse"`` takes the gate before a change that may take the last administrator
away, so that no page and no command race for it. ``protect=`` refuses an attribute's change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.orm import attributes

from ..engine.conditions import LOCK_SECONDS
from ..errors import Refused
from ..unit import ledger, pending
from .changes import AS_LOADED, HasAdministrator, Watch

SAVEPOINT = "opsapp_observer"
UNIT = "opsapp_unit"
"""The option of a connection that is a unit's of the application's own code."""


class Protection:
    """The rules of one application.

    :param refuse: whether a change that leaves no administrator is refused.
    :param has_gate: False where the gate is in another database, so that a page and a command
        may race.
    """

    def __init__(
        self,
        watch: Watch,
        has_administrator: HasAdministrator,
        *,
        refuse: bool,
        has_gate: bool = True,
    ) -> None:
        self._watch = watch
        self._has_gate = has_gate
        self._has_administrator = has_administrator
        self.refuses = refuse

    def before_insert(self, user: Any) -> None:
        """Refuse an account that begins with a protected attribute.

        :raises Refused: one is set.
        """
        values = sa.inspect(user).dict
        self.refuse_protected(key for key in self._watch.protected if values.get(key))

    def before_update(self, user: Any, touched: Collection[str]) -> None:
        """Refuse a change of a protected attribute.

        :raises Refused: one changes.
        """
        for key in self._watch.protected.intersection(touched):
            if attributes.get_history(user, key, AS_LOADED).has_changes():
                self.refuse_protected([key])

    def before_flush(self, session: so.Session) -> None:
        """Take the gate if an administrator may go, before a row of this flush is locked."""
        model, watch = self._watch.mapper.class_, self._watch
        may_lose = any(isinstance(row, model) for row in session.deleted) or any(
            isinstance(row, model)
            and not watch.lasting.isdisjoint(watch.touched_keys(sa.inspect(row)))
            for row in session.dirty
        )
        if may_lose:
            connection = session.connection(bind_arguments={"mapper": watch.mapper})
            if not is_ours(connection) and unit_of(connection) is None:
                self.before_loss(connection, session)

    def before_bulk(
        self, connection: sa.Connection, session: so.Session, keys: Collection[str], may_lose: bool
    ) -> None:
        """Refuse a statement that sets a protected attribute; take the gate where one may go.

        :raises Refused: it sets one.
        """
        if unit_of(connection) is not None:
            return
        self.refuse_protected(self._watch.protected.intersection(keys))
        if may_lose:
            self.before_loss(connection, session)

    def refuse_protected(self, keys: Any) -> None:
        """Refuse the change of any of these attributes.

        :raises Refused: there is one.
        """
        for key in keys:
            raise Refused(
                f"{self._watch.mapper.class_.__name__}.{key} is protected: only opsapp changes it",
                hint="flask ops roles, flask ops users, or ops.unit() in the application's code",
            )

    def before_loss(self, connection: sa.Connection, session: so.Session) -> None:
        """Take the gate for this transaction, and note whether there is an administrator."""
        if not self.refuses:
            return
        transaction, _had_one = session.info.get(self, (None, None))
        if transaction is not session.get_transaction():
            if self._has_gate:
                _take_gate(connection)
            had_one = bool(self._has_administrator(session))
            session.info[self] = (session.get_transaction(), had_one)

    def after_loss(self, session: so.Session) -> None:
        """Refuse a change that has left no administrator, of an application whose accounts changed.

        :raises Refused: there was one when the transaction began to change accounts.
        """
        transaction, had_one = session.info.get(self, (None, False))
        if not had_one or transaction is not session.get_transaction():
            return
        if self._has_administrator(session) is False:
            raise Refused(
                "this would leave no active administrator who can sign in",
                hint="make another account an administrator first",
            )


def is_ours(connection: sa.Connection) -> bool:
    """Return whether the connection is a unit's, which writes events of its own."""
    options = connection.get_execution_options()
    return bool(options.get("writing")) and UNIT not in options


def unit_of(connection: sa.Connection) -> Any:
    """Return the unit of the application's own code that has the connection, or None."""
    return connection.get_execution_options().get(UNIT)


@contextmanager
def savepoint(connection: sa.Connection, *, seconds: float | None = None) -> Iterator[None]:
    """Keep the application's transaction usable after an error; SQLite's is so by itself.

    :param seconds: the longest wait for a lock; None is the application's own.
    """
    if connection.dialect.name == "sqlite" or pending.is_autocommit(connection):
        yield
        return
    is_bound = seconds is not None and connection.dialect.name == "postgresql"
    begin, end = pending.patience(seconds or 0)
    # By the driver: the session's own savepoints know nothing of this one.
    cursor = connection.connection.cursor()
    try:
        cursor.execute(f"SAVEPOINT {SAVEPOINT}")
        try:
            if is_bound:
                cursor.execute(begin)
            yield
            if is_bound:
                cursor.execute(end)
        except Exception:
            cursor.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}")
            raise
        cursor.execute(f"RELEASE SAVEPOINT {SAVEPOINT}")
    finally:
        cursor.close()


def is_begun(connection: sa.Connection) -> bool:
    """Return whether SQLite has a transaction open, which it ends itself where a disk is full."""
    if connection.dialect.name != "sqlite":
        return False
    driver: Any = connection.connection.dbapi_connection
    return bool(getattr(driver, "in_transaction", False))


def _take_gate(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        ledger.read_head(connection)
        return
    usual = connection.scalar(sa.text("SHOW lock_timeout"))
    set_timeout = sa.text("SELECT set_config('lock_timeout', :value, true)")
    connection.execute(set_timeout, {"value": f"{LOCK_SECONDS}s"})
    ledger.read_head(connection, lock=True)
    connection.execute(set_timeout, {"value": usual})
