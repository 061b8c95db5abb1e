"""Foreign keys: the columns by which an account holds the one row of a relation.

An application gives a role by ``user.role_id = 2`` as often as by ``user.role = role``. The
history of the relation has only the latter, and not the row before if no session had loaded it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..types import Record
from .changes import CREATE, GRANT, REVOKE, UPDATE, Change, Watch
from .protection import savepoint


class ForeignKeys:
    """Those of the watched relations, and the rows that they name."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._mapper = watch.mapper
        self._columns = watch.foreign

    def tell(self, connection: sa.Connection, changed: Iterable[Change]) -> Iterator[Change]:
        """Yield changes, with one of a foreign key as a role that is revoked or granted."""
        for change in changed:
            keys = self._columns.keys() & {*(change.before or ()), *(change.after or ())}
            if not keys or change.action not in (CREATE, UPDATE):
                yield change
                continue
            before, after = ({**(side or {})} for side in (change.before, change.after))
            values = {key: (before.pop(key, None), after.pop(key, None)) for key in sorted(keys)}
            if before or after or change.action == CREATE:
                yield Change(change.action, change.before and before, after)
            for key, (old, new) in values.items():
                if old is not None:
                    yield Change(REVOKE, self._grant(connection, key, old), None)
                if new is not None:
                    yield Change(GRANT, None, self._grant(connection, key, new))

    def _grant(self, connection: sa.Connection, key: str, value: Any) -> Record:
        """Return a role as the history of its relation tells it."""
        relation = self._mapper.relationships[self._columns[key]]
        ((_local, remote),) = relation.local_remote_pairs or ()
        name = relation.mapper.all_orm_descriptors.get("name")
        if not isinstance(name, so.InstrumentedAttribute):
            return self._watch.grant_of(relation.key, value)
        with savepoint(connection):
            role = connection.scalar(sa.select(name).where(remote == value).limit(1))
        return self._watch.grant_of(relation.key, value if role is None else role)
