"""Rows of a file, compared with the accounts that are there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from secrets import token_bytes
from typing import Any

import sqlalchemy as sa

from ... import clock, text
from ...engine.rows import among
from ...engine.scratch import Scratch
from ...errors import Conflict, NotFound
from ...extensions import db
from ...models import Grant, User
from ...models import Role as RoleModel
from ..lookup import get_role
from .fields import Reject, Row


@dataclass(slots=True)
class Verdict:
    """The consequence of each row of a batch."""

    creates: list[Row] = field(default_factory=list)
    updates: list[tuple[int, Row]] = field(default_factory=list)
    """Ids of accounts, and the rows that differ from them."""
    rejects: list[Reject] = field(default_factory=list)
    unchanged: int = 0
    skipped: int = 0
    roles: Mapping[str, RoleModel] = field(default_factory=dict)
    """The roles that the rows name."""


def judge(rows: Sequence[Row], on_conflict: str) -> Verdict:
    """Return the consequence of each row, by the database as it is now.

    :param on_conflict: the fate of an account that is there and differs: ``fail``, ``skip``
        or ``update``.
    """
    roles, missing = _roles({name for row in rows for name, _end in row.roles})
    verdict = Verdict(roles=roles)
    emails = [row.email for row in rows]
    accounts = {row.email: row for row in _select(_ACCOUNTS, User.email, emails)}
    names = [row.username for row in rows if row.username]
    owners: dict[str, int] = {
        row.username: row.id for row in _select(_OWNERS, User.username, names)
    }
    grants = _live_grants(
        [accounts[row.email].id for row in rows if row.roles and row.email in accounts]
    )
    for row in rows:
        account = accounts.get(row.email)
        missing_reason = next((missing[name] for name, _end in row.roles if name in missing), None)
        owner = owners.get(row.username) if row.username else None
        if missing_reason is not None:
            verdict.rejects.append(Reject(row.record, "roles", missing_reason, NotFound))
        elif owner is not None and (account is None or account.id != owner):
            reason = f"{row.username} is taken by user {owner}"
            verdict.rejects.append(Reject(row.record, "username", reason, Conflict))
        elif account is None and row.unreachable:
            reason = f"{text.truncate(row.email)}: {row.unreachable}"
            verdict.rejects.append(Reject(row.record, "email", reason))
        elif account is None:
            verdict.creates.append(row)
        elif not (differences := list(_differences(row, account, grants, roles))):
            verdict.unchanged += 1
        elif on_conflict == "update":
            verdict.updates.append((account.id, row))
        elif on_conflict == "skip":
            verdict.skipped += 1
        else:
            reason = f"{row.email} is user {account.id}, who differs in {', '.join(differences)}"
            verdict.rejects.append(Reject(row.record, "email", reason, Conflict))
    return verdict


def _differences(
    row: Row, account: Any, grants: Mapping[tuple[int, int], datetime | None], roles: Any
) -> Iterator[str]:
    """Yield each column in which a row asks for another account than there is."""
    if row.username is not None and row.username != account.username:
        yield "username"
    if row.active is not None and row.active != account.active:
        yield "active"
    if row.confirmed and account.confirmed_at is None:
        yield "confirmed"
    if row.password is not None and row.password != account.password:
        yield "password"
    for name, end in row.roles:
        if grants.get((account.id, roles[name].id), _NO_GRANT) != end:
            yield "roles"
            return


_NO_GRANT = object()

_ACCOUNTS = sa.select(
    User.id, User.email, User.username, User.active, User.confirmed_at, User.password
)
_OWNERS = sa.select(User.id, User.username)
_LIVE_GRANTS = sa.select(Grant.user_id, Grant.role_id, Grant.valid_until).where(
    Grant.ended_at.is_(None)
)


def _select(
    query: sa.Select[*tuple[Any, ...]], column: Any, values: Sequence[Any]
) -> Sequence[Any]:
    if not values:
        return []
    connection = db.session.connection()
    return connection.execute(query.where(among(column, values))).all()


def _live_grants(user_ids: Sequence[int]) -> dict[tuple[int, int], datetime | None]:
    """Return the ends of the live grants by account and role."""
    now = clock.now()
    grants = _select(_LIVE_GRANTS, Grant.user_id, user_ids)
    return {(user_id, role_id): end for user_id, role_id, end in grants if end is None or end > now}


def _roles(names: Iterable[str]) -> tuple[dict[str, RoleModel], dict[str, str]]:
    """Return the roles of these names, and of those that are not there the reason."""
    roles, missing = {}, {}
    for name in sorted(names):
        try:
            roles[name] = get_role(name)
        except NotFound as error:
            hint = f"; {error.hint}" if error.hint else ""
            missing[name] = f"{error.message}{hint}"
    return roles, missing


# --- rows of one file --------------------------------------------------------


class Seen:
    """The addresses and usernames of a file so far, to find those that are there twice.

    They are kept as keyed hashes in a temporary file.
    """

    def __init__(self) -> None:
        self._key = token_bytes(16)
        self._db = Scratch(isolation_level=None)
        self._db.execute("PRAGMA journal_mode=OFF")
        self._db.execute("PRAGMA cache_size=-8000")
        self._db.execute("CREATE TABLE seen (key INTEGER PRIMARY KEY, line INTEGER)")
        self._db.execute("BEGIN")

    def close(self) -> None:
        """Remove the temporary file."""
        self._db.close()

    def take(self, rows: Sequence[Row]) -> tuple[list[Row], list[Reject]]:
        """Return the rows that are new in this file, and rejects of the others."""
        rejects: list[Reject] = []
        for column, value_of in (("email", _email), ("username", _username)):
            rows, repeated = self._first(rows, column, value_of)
            rejects += repeated
        return list(rows), rejects

    def _first(
        self, rows: Sequence[Row], column: str, value_of: Callable[[Row], str | None]
    ) -> tuple[Sequence[Row], list[Reject]]:
        keys = [
            (self._hash(column, value), row.record.line) for row in rows if (value := value_of(row))
        ]
        before = self._db.total_changes
        self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", keys)
        if self._db.total_changes - before == len(keys):
            return rows, []
        new, repeated = [], []
        for row in rows:
            value = value_of(row)
            line = value and self._line_of(self._hash(column, value))
            if value is None or line == row.record.line:
                new.append(row)
            else:
                reason = f"{value} is in line {line} already"
                repeated.append(Reject(row.record, column, reason, Conflict))
        return new, repeated

    def _hash(self, column: str, value: str) -> int:
        hash = blake2b(f"{column}\0{value}".encode(), digest_size=8, key=self._key).digest()
        return int.from_bytes(hash, "big", signed=True)

    def _line_of(self, key: int) -> int:
        row = self._db.execute("SELECT line FROM seen WHERE key = ?", (key,)).fetchone()
        return int(row[0])


def _email(row: Row) -> str:
    return row.email


def _username(row: Row) -> str | None:
    return row.username
