"""Erasure of accounts' personal data, in every table.

docs/decisions/accounts.md#a-deleted-account-stays-as-a-row
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from .. import clock, signals
from ..engine.rows import among, remove
from ..models import ApiToken, Login, LoginFailures, MailMessage, PersonalValue, User, UserSession
from ..unit import chain
from ..unit.ledger import audit_key
from ..unit.work import Unit
from . import authority, bulk, grants
from .bulk import Account, chunks
from .effects import describe_count, groups


def erase(users: Sequence[Account], unit: Unit) -> dict[str, int]:
    """Erase these accounts, with their sessions, tokens, logins, mail and grants.

    :returns: how many rows of each kind are gone.
    """
    ids = [user.id for user in users]
    authority.may_change_all(ids, unit)
    note_erased(unit, users)
    roles = grants.end_all(users, unit=unit)
    if users:
        key = audit_key()
        marks = [{"id": u.id, "erased_as": chain.fingerprint(key, u.email or "")} for u in users]
        unit.session.execute(sa.update(User), marks)
    bulk.update(User, ids, unit, **dict.fromkeys(_PERSONAL), **_deletion(), **bulk.new_sessions())
    erased = {
        name: sum(
            remove(unit.session, column.class_, among(column, keys(chunk))) for chunk in chunks(ids)
        )
        for name, (column, keys, _noun) in ERASED.items()
    }
    for id in ids:
        # The event names no address, which would survive the erasure in it.
        before, after = {"roles": roles[id]}, {"roles": list[str]()}
        bulk.record("user:account:delete", [id], unit, before=before, after=after)
    bulk.announce(signals.user_deleted, [{"user_id": id} for id in ids], unit)
    return erased


def _deletion() -> dict[str, Any]:
    return {"active": False, "deleted_at": clock.now()}


_PERSONAL = (
    *("email", "username", "password", "tf_primary_method", "tf_totp_secret", "tf_phone_number"),
    "mf_recovery_codes",
)
"""The columns of an account that an erasure empties."""


def note_erased(unit: Unit, users: Sequence[Account]) -> None:
    """Note what the erasure of accounts removes; only a dry run counts it."""
    for ids, whose in groups(unit, users):
        counts = [
            describe_count(
                noun,
                *(sa.select(column).where(among(column, keys(chunk))) for chunk in chunks(ids)),
            )
            for column, keys, noun in ERASED.values()
        ]
        erased = ", ".join(["address, username, password", *filter(None, counts)])
        unit.note(f"erases {erased} of {whose}")


def _same(ids: Sequence[int]) -> Sequence[int]:
    return ids


def references(ids: Sequence[int]) -> list[str]:
    """Return the names of these accounts in the audit."""
    return [f"user:{id}" for id in ids]


ERASED: dict[str, tuple[Any, Callable[[Sequence[int]], Sequence[Any]], str]] = {
    "sessions": (UserSession.user_id, _same, "session"),
    "tokens": (ApiToken.user_id, _same, "token"),
    "logins": (Login.user_id, _same, "login"),
    "lockouts": (LoginFailures.user_id, _same, ""),
    "mail": (MailMessage.about, references, "message"),
    "audit_names": (PersonalValue.subject, references, "name of the audit log"),
}
"""The rows that an erasure removes: the column that names the account, how, and their noun."""
