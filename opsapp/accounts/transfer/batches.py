"""One batch of an import: its unit of work and its audit event.

The event has fingerprints in place of addresses and hashes. They are facts of
`audit verify --state`, and reveal nothing after an erasure.

docs/decisions/accounts.md#the-event-of-a-batch-has-the-facts-of-its-accounts
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ... import clock, signals
from ...engine.rows import insert_many, reserve_ids
from ...errors import Busy
from ...models import ADMIN, AuditEvent, Grant, User
from ...unit import chain
from ...unit.ledger import audit_key
from ...unit.work import Unit
from .. import authority, bulk, lockouts, signin, users
from ..grant_rows import give
from .comparison import Verdict
from .fields import Row

IMPORT = "user:account:import"
"""The action of the event of a batch."""
ACCOUNTS = "accounts"
"""The addresses of new accounts in the event of a dry run."""


@dataclass(slots=True)
class Position:
    """How far an import has come, by its last event."""

    subject: str
    """The name of the import in the audit, made of the file's digest."""
    seq: int | None = None
    row: int = 0
    done: bool = False


def read_position(unit: Unit, subject: str) -> Position:
    """Return how far the import of this subject has come."""
    query = sa.select(AuditEvent.seq, AuditEvent.after).where(AuditEvent.subject == subject)
    last = unit.session.execute(query.order_by(AuditEvent.seq.desc()).limit(1)).one_or_none()
    if last is None:
        return Position(subject)
    return Position(subject, last.seq, last.after["last"], last.after["done"])


def refuse_other_process(unit: Unit, position: Position) -> None:
    """Check inside of the gate that no other process has imported this file meanwhile.

    :raises Busy: one has.
    """
    newest = sa.select(sa.func.max(AuditEvent.seq)).where(AuditEvent.subject == position.subject)
    if unit.session.scalar(newest) != position.seq:
        raise Busy("another process is importing this file", hint="try again when it has finished")


def write(
    verdict: Verdict, place: dict[str, Any], *, subject: str, invite: bool, unit: Unit
) -> None:
    """Create and update the accounts of a batch, and record its event.

    :param place: the event's account of the file and of the position in it.
    :param invite: write a mail of welcome to each new account.
    :raises Refused: the unit's account may not do that.
    """
    authority.require("users:write", unit)
    for user_id, row in verdict.updates:
        _update(user_id, row, verdict, unit)
    ids = _create(verdict, unit) if verdict.creates else []
    for user_id in ids:
        unit.announce(signals.user_created, user_id=user_id, invited=invite)
    counts = {"created": len(ids), "updated": len(verdict.updates)}
    if unit.dry_run:
        emails = [row.email for row in verdict.creates]
        facts = {ACCOUNTS: emails, **_gifts(verdict.creates, emails)}
    else:
        facts = _facts(verdict.creates, ids)
    unit.record(IMPORT, subject, after={**place, **counts, **facts})


def _create(verdict: Verdict, unit: Unit) -> Sequence[int]:
    connection = unit.session.connection()
    now = clock.now()
    ids = reserve_ids(connection, User, len(verdict.creates))
    secrets = os.urandom(16 * len(ids)).hex()
    rows = [
        (
            *(id, row.email, row.username, row.password, row.active is not False),
            secrets[32 * index : 32 * index + 32],
            None if row.confirmed is False else now,
        )
        for index, (id, row) in enumerate(zip(ids, verdict.creates, strict=True))
    ]
    times = {"idle_since": now, "created_at": now, "updated_at": now}
    insert_many(connection, User, _COLUMNS, rows, login_count=0, **times)
    accounts = zip(ids, verdict.creates, strict=True)
    names = [(id, name) for id, row in accounts for name in (row.email, row.username)]
    lockouts.take_over(unit.session, names)
    _grant(verdict, ids, unit)
    return ids


_COLUMNS = ("id", "email", "username", "password", "active", "fs_uniquifier", "confirmed_at")


def _grant(verdict: Verdict, ids: Sequence[int], unit: Unit) -> None:
    gifts = {role for row in verdict.creates for role in row.roles}
    if not gifts:
        return
    authority.require("roles:grant", unit)
    for name, end in gifts:
        authority.may_give(verdict.roles[name], end, unit)
    rows = [
        (id, verdict.roles[name].id, end)
        for id, row in zip(ids, verdict.creates, strict=True)
        for name, end in row.roles
    ]
    insert_many(
        unit.session.connection(),
        Grant,
        ("user_id", "role_id", "valid_until"),
        rows,
        granted_at=clock.now(),
        granted_by=unit.actor.label(),
        reason=unit.reason,
    )
    admin = verdict.roles[ADMIN].id if ADMIN in verdict.roles else None
    if added := [user_id for user_id, role_id, _end in rows if role_id == admin]:
        unit.announce(signals.administrators_added, user_ids=added)


def _update(user_id: int, row: Row, verdict: Verdict, unit: Unit) -> None:
    """Create an account as the row says, by the services of the single changes."""
    user = authority.changeable(str(user_id), unit)
    if row.username is not None:
        users.update(str(user_id), username=row.username, unit=unit)
    if row.active is not None:
        signin.set_active(user, row.active, unit)
    if row.confirmed:
        signin.confirm(user, unit)
    if row.password is not None and row.password != user.password:
        signin.store_password(user, row.password, unit)
    for name, end in row.roles:
        give(verdict.roles[name], bulk.of([user]), until=end, replace_end=True, unit=unit)


def _facts(rows: Sequence[Row], ids: Sequence[int]) -> dict[str, Any]:
    """Return what the event says of the new accounts: lists in the order of the ids."""
    key = audit_key()
    facts: dict[str, Any] = {
        "ids": list(ids),
        "emails": [chain.secret(key, row.email) for row in rows],
    }
    for name, values in (
        ("usernames", [row.username for row in rows]),
        ("passwords", [row.password for row in rows]),
    ):
        if any(values):
            facts[name] = [value and chain.secret(key, value) for value in values]
    for name, marks in (
        ("inactive", [row.active is False for row in rows]),
        ("unconfirmed", [row.confirmed is False for row in rows]),
    ):
        if any(marks):
            facts[name] = [id for id, is_so in zip(ids, marks, strict=True) if is_so]
    return facts | _gifts(rows, ids)


def _gifts(rows: Sequence[Row], accounts: Sequence[Any]) -> dict[str, Any]:
    """Return the roles that the new accounts get, with their holders; nothing if there are none.

    :param accounts: the id or the address of each row's account.
    """
    holders: dict[tuple[str, str | None], list[Any]] = {}
    for account, row in zip(accounts, rows, strict=True):
        for role, end in row.roles:
            until = clock.rfc3339(end) if end else None
            holders.setdefault((role, until), []).append(account)
    gifts = [
        {"role": role, "valid_until": end, "holders": users}
        for (role, end), users in holders.items()
    ]
    return {"roles": gifts} if gifts else {}
