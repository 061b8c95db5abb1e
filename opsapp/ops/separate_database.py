"""Separate database: our tables in another one than the application's accounts.

``OPSAPP_DATABASE_URL`` names one of their own: for MySQL and MariaDB, and where no table may be
added. Accounts with a bind key have one of theirs, while our tables are in the default one.
See docs/decisions/ops.md#intents-changes-in-two-databases.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy import orm as so

from .. import settings
from ..actors import Actor
from ..engine import connections
from ..engine.rows import remove
from ..errors import NotReady
from ..libpq import modern_url
from ..models import PersonalValue, RoleEnd
from ..unit import guard, ledger, pending
from ..unit.intents import Marks
from ..unit.ledger import Recorded
from . import role_ends
from .grants import EXPIRE, GRANT, REVOKE

if TYPE_CHECKING:
    from flask import Flask

    from .identity import Identity

KINDS = frozenset({"sqlite", "postgresql"})
"""The databases that our tables can be in."""


def find_engine(app: Flask, engine: sa.Engine) -> sa.Engine | None:
    """Return an engine to the database of our own; None if that is the application's.

    :raises NotReady: opsapp cannot use the URL.
    """
    address = settings.of(app, settings.DATABASE)
    if address is None:
        return None
    url = connections.check_url(address)
    if is_one(url, engine.url):
        return None
    own = sa.create_engine(url, **connections.options(url))
    connections.prepare(own)
    guard.protect(own)
    return own


def refuse_kind(engine: sa.Engine) -> None:
    """Refuse a database that cannot have our tables.

    :raises NotReady: it is neither SQLite nor PostgreSQL.
    """
    if engine.dialect.name not in KINDS:
        raise NotReady(
            f"opsapp's tables cannot be in a {engine.dialect.name} database",
            hint=f"{settings.DATABASE}=sqlite:////srv/ops.sqlite or"
            " postgresql://USER@HOST/NAME: a database of their own",
        )


def is_one(first: sa.URL, second: sa.URL) -> bool:
    """Return whether two URLs lead to one database, whatever the driver and the user."""
    return _place(first) == _place(second)


def _place(url: sa.URL) -> tuple[Any, ...]:
    """Return which database a URL leads to, whatever its driver and its user."""
    if url.get_backend_name() == "sqlite":
        return ("sqlite", str(Path(str(url.database)).resolve()))
    if url.get_backend_name() == "postgresql":
        url = sa.make_url(modern_url(url.set(drivername="postgresql").render_as_string(False)))
    host = url.host or url.query.get("host") or "localhost"
    return (url.get_backend_name(), host, url.port, url.database)


class SeparateDatabase:
    """The accounts of such an application, as a unit of work asks for them.

    :param engines: the application's.
    """

    def __init__(self, identity: Identity | None, engines: Iterable[sa.Engine]) -> None:
        self._identity = identity
        self._engines = list(engines)
        self.writes = 0
        """The statements other than a SELECT that were sent to the application's database."""
        for engine in self._engines:
            event.listen(engine, "before_cursor_execute", self._count)

    def leave(self) -> None:
        """Count no statements any more."""
        for engine in self._engines:
            event.remove(engine, "before_cursor_execute", self._count)

    def _count(self, _connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if not statement.lstrip().upper().startswith(_READS):
            self.writes += 1

    @property
    def bind_arguments(self) -> dict[str, Any]:
        """The arguments by which a session of the application uses their database."""
        if self._identity is None:
            return {}
        return {"mapper": sa.inspect(self._identity.model)}

    # --- rows of theirs ----------------------------------------------------------

    def marks(self, session: so.Session, changes: Sequence[Recorded]) -> Marks:
        """Return the fingerprints of changes that are flushed and not committed."""
        identity = self._identity
        if identity is None:
            return [(None, None)] * len(changes)
        connection = session.connection(self.bind_arguments)
        # Read anew, since the database may keep a value otherwise than it was set; and by
        # another connection, which sees the row before the change.
        with so.Session(connection.engine) as before, so.Session(connection) as after:
            return [(self.mark(before, change), self.mark(after, change)) for change in changes]

    def mark(self, session: so.Session, change: Recorded) -> str | None:
        """Return the fingerprint of the accounts of a change, as they are; None if it has none."""
        identity, subjects = self._identity, _subjects(change.subject, change.after)
        if identity is None or not subjects:
            return None
        attributes = str((change.after or {}).get("set") or "")
        names = _compared_names(identity, attributes.split(", "))
        rows = [_row(identity, session, subject, names) for subject in subjects]
        return ledger.fingerprint(json.dumps(rows, default=str, sort_keys=True))

    # --- rows of ours ------------------------------------------------------------

    def follow(self, session: so.Session, row: Mapping[str, Any]) -> None:
        """Change the rows of ours that an event changes, such as the end of a role."""
        action, before, after = row["action"], row["before"] or {}, row["after"] or {}
        if self._identity is not None:
            for clearing in role_ends.clearing_statements(self._identity.roles, [row]):
                session.execute(clearing)
        for subject in _subjects(row["subject"], after):
            if action == GRANT:
                until = after.get("valid_until")
                role_ends.put(
                    session,
                    subject,
                    str(after["role"]),
                    datetime.fromisoformat(until) if until else None,
                    by=Actor(**row["actor"]).label(),
                    reason=row["reason"],
                )
            elif action in (REVOKE, EXPIRE):
                role_ends.put(session, subject, str(before["role"]), None)
            elif action == pending.DELETE:
                for model in (PersonalValue, RoleEnd):
                    remove(session, model, model.subject == subject)


_READS = ("SELECT", "SHOW", "SET", "PRAGMA", "EXPLAIN")


def _subjects(subject: str, after: Mapping[str, Any] | None) -> list[str]:
    """Return the accounts that an event is about."""
    if subject == "users":
        return [f"user:{id}" for id in (after or {}).get("ids", ())]
    return [subject] if subject.startswith("user:") else []


def _compared_names(identity: Identity, attributes: Iterable[str]) -> list[str]:
    """Return the attributes that tell whether a change is made: watched ones, and those named."""
    columns: so.Mapper[Any] = sa.inspect(identity.model)
    return sorted(
        {*identity.watched_names, *identity.secret, *attributes} & {*columns.column_attrs.keys()}
    )


def _row(
    identity: Identity, session: so.Session, subject: str, names: Iterable[str]
) -> dict[str, Any] | None:
    key = identity.key_of(session, subject)
    user = None if key is None else session.get(identity.model, key)
    if user is None:
        return None
    return {
        "status": identity.status(user),
        "roles": identity.roles_of(user),
        "values": {name: getattr(user, name) for name in names},
    }
