"""Offboarding: everything that an account has ends in one unit of work."""

from __future__ import annotations

from collections.abc import Iterable

from .. import text
from ..models import User
from ..types import Record
from ..unit.receipts import Receipt, authorship
from ..unit.work import Unit
from . import authority, grants, sessions, tokens
from .lookup import status
from .signin import set_active


def offboard(references: Iterable[str], *, receipt: str | None = None, unit: Unit) -> list[Record]:
    """Deactivate accounts, end their sessions and tokens, and revoke every grant.

    Their rows, addresses and history stay, for the audit; ``users.delete`` erases them.

    :param receipt: a new file, which has what ended once it is committed.
    :returns: for each account, what ended.
    :raises Conflict: the file exists.
    :raises Refused: no administrator would be left.
    """
    with Receipt(receipt) as evidence, unit:
        users = dict.fromkeys(authority.changeable(name, unit) for name in text.each(references))
        rows = [_offboard(user, unit) for user in users]
        evidence.write({"accounts": rows, **authorship(unit)}, unit)
        return rows


def _offboard(user: User, unit: Unit) -> Record:
    # Counted before: both end with the account's activity, and have no event of their own.
    counts = {
        "sessions": len(sessions.listing(str(user.id))),
        "tokens": [row["name"] for row in tokens.listing(str(user.id)) if row["state"] == "live"],
    }
    roles = grants.revoke_all(user, unit=unit)
    was_active = set_active(user, False, unit)
    return {
        "changed": was_active or bool(roles),
        "id": user.id,
        "email": user.email,
        "status": status(user),
        "roles": roles,
        **counts,
    }
