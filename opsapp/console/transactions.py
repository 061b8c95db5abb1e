"""Between two inputs no transaction is open: what was not committed is undone, and said."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..engine.connections import SANDBOX
from ..extensions import db
from .change_log import Writes, told


def settle(writes: Writes) -> str | None:
    """End every transaction that an input left open; what the person should know of it.

    What was loaded stays loaded. Objects that were changed and not flushed stay as they
    are, unless their connection was lost: they are only in memory.
    """
    session = db.session()
    lost = writes.uncommitted()
    waiting = _changed(session)
    if lost or _is_broken(session, writes):
        session.rollback()
        waiting = 0
    else:
        for connection in writes.open():
            _let_go(connection)
    if not waiting:
        if (transaction := session.get_transaction()) is not None:
            transaction.close()  # The session's own rollback would forget what was loaded.
        for connection in writes.open():  # Those that the person opened.
            connection.rollback()
    # A query in the next input would flush what waits, and that would be undone at its end.
    session.autoflush = not waiting
    if lost:
        words = ", ".join(f"{table} ({what})" for table, what in told(lost).items())
        return f"Rolled back, because no transaction stays open: {words}. commit() in one go."
    if waiting:
        noun = "change waits" if waiting == 1 else "changes wait"
        return f"{waiting} {noun}: commit() writes, rollback() forgets."
    return None


def _is_broken(session: so.Session, writes: Writes) -> bool:
    """Whether a connection was lost, or a flush has failed: only a rollback goes on from there."""
    return not session.is_active or any(one.invalidated for one in writes.open())


def _let_go(connection: sa.Connection) -> None:
    """End the transaction in the database, while SQLAlchemy's goes on with its objects.

    It has read only. What comes next begins a new one, which is what it expects of a driver.
    """
    if connection.get_execution_options().get(SANDBOX):
        return
    driver = connection.connection.dbapi_connection
    if driver is None:
        return
    if connection.dialect.name == "sqlite":
        cursor = driver.cursor()
        cursor.execute("ROLLBACK")
        cursor.execute("BEGIN")  # It holds nothing before its first statement.
    else:
        driver.rollback()


def forget(session: so.Session) -> int:
    """Undo everything that is not committed; how many objects were changed."""
    count = _changed(session)
    session.rollback()
    session.autoflush = True
    return count


def _changed(session: so.Session) -> int:
    """How many objects were changed and not flushed."""
    return len(session.new) + len(session.dirty) + len(session.deleted)
