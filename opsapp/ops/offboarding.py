"""Offboarding on an attached application: all that its own model and functions can end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..types import Record
from ..unit.receipts import Receipt, authorship
from ..unit.work import Unit
from . import accounts, grants, subjects
from .identity import Identity
from .subjects import changing


def offboard(references: Iterable[str], *, receipt: str | None = None, unit: Unit) -> list[Record]:
    """Deactivate accounts and take their roles away, in one unit.

    :param receipt: a new file, which has what ended once it is committed.
    :returns: for each account the roles that were taken, what becomes of its sessions, and
        as ``remaining`` the roles that the application does not let go.
    :raises Conflict: the file exists, or no column says whether an account is active.
    :raises Refused: no administrator would be left.
    """
    with Receipt(receipt) as evidence, changing(unit, "active") as identity:
        users = subjects.accounts(identity, unit.session, references)
        rows = [_offboard(identity, user, unit) for user in users]
        evidence.write({"accounts": rows, **authorship(unit)}, unit)
        return rows


def _offboard(identity: Identity, user: Any, unit: Unit) -> Record:
    roles = grants.take_all(identity, user, unit)
    account = accounts.switch_account(identity, user, False, unit)
    return {
        "changed": account["changed"] or bool(roles),
        "id": account["id"],
        "email": account["email"],
        "status": account["status"],
        "roles": roles,
        "sessions": account["sessions"],
        "remaining": account["roles"],
    }
