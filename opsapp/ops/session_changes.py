"""Session changes: changes of accounts in a session, until its commit or its rollback.

It is for an application whose database does not have our tables: no row of ours can be in
its transaction. docs/decisions/observer.md#after-the-commit-where-no-table-may-be-added
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy import orm as so

from ..types import Record

if TYPE_CHECKING:
    from .seal import Sealer

_MARK = "opsapp.uncommitted"


class SessionChanges:
    """The changes of one session that wait for its commit.

    :param sealer: takes them when they are committed.
    """

    def __init__(self, session: so.Session, sealer: Sealer) -> None:
        self._sealer = sealer
        self._rows: list[tuple[list[Any], Record, bool]] = []
        """Each with the transactions that it is in, the innermost first."""
        event.listen(session, "after_commit", self._commit)
        event.listen(session, "after_soft_rollback", self._roll_back)

    @classmethod
    def of(cls, session: so.Session | None, sealer: Sealer) -> SessionChanges:
        """Return the one of this session.

        :raises ValueError: the change is of no session.
        """
        if session is None:
            raise ValueError("the change is of no session, so its commit is not heard")
        uncommitted: SessionChanges | None = session.info.get(_MARK)
        if uncommitted is None:
            uncommitted = session.info[_MARK] = cls(session, sealer)
        return uncommitted

    def add(self, session: so.Session | None, rows: list[Record], *, look: bool) -> None:
        """Keep rows until the commit.

        :param look: whether an administrator may be gone afterwards.
        """
        assert session is not None  # noqa: S101  (`of` has seen to it)
        inside = _around(session.get_nested_transaction() or session.get_transaction())
        self._rows += [(inside, row, look) for row in rows]

    def _commit(self, session: so.Session) -> None:
        # A savepoint's release comes here too, and commits nothing.
        if self._rows and not session.in_nested_transaction():
            rows, self._rows = self._rows, []
            self._sealer.take([row for _inside, row, _look in rows])
            self._sealer.notify(look=any(look for _inside, _row, look in rows))

    def _roll_back(self, _session: so.Session, transaction: Any) -> None:
        # That of a flush takes the savepoint along that it is in.
        while transaction.parent is not None and not transaction.nested:
            transaction = transaction.parent
        self._rows = [row for row in self._rows if transaction not in row[0]]


def _around(transaction: Any) -> list[Any]:
    inside = []
    while transaction is not None:
        inside.append(transaction)
        transaction = transaction.parent
    return inside
