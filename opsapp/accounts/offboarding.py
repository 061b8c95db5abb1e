"""Offboarding: everything that an account has ends in one unit of work."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from .. import clock, text
from ..errors import Conflict
from ..files.drafts import Draft
from ..models import User
from ..models.types import canonical_json
from ..types import Record
from ..unit.work import Unit
from . import authority, grants, sessions, tokens
from .records import status
from .signin import set_active


def offboard(references: Iterable[str], *, receipt: str | None = None, unit: Unit) -> list[Record]:
    """Deactivate accounts, end their sessions and tokens, and revoke every grant.

    Their rows, addresses and history stay, for the audit; ``users.delete`` erases them.

    :param receipt: a new file, which has the answer as JSON lines once it is committed.
    :returns: for each account, what ended.
    :raises Conflict: the file exists.
    :raises Refused: no administrator would be left.
    """
    if receipt is not None and Path(receipt).exists():
        raise Conflict(f"{receipt} exists already", hint="name a new file")
    draft = Draft(receipt) if receipt is not None else None
    try:
        with unit:
            users = dict.fromkeys(
                authority.changeable(name, unit) for name in text.each(references)
            )
            rows = [_offboard(user, unit) for user in users]
            if draft is not None:
                _write(draft, rows, unit)
            return rows
    finally:
        if draft is not None:
            draft.discard()


def _write(draft: Draft, rows: Iterable[Record], unit: Unit) -> None:
    """Write the receipt, which appears when the unit is committed."""
    by = {
        "at": clock.rfc3339(clock.now()),
        "actor": unit.actor.label(),
        "reason": unit.reason,
        "correlation": unit.correlation,
    }
    lines = [canonical_json({**row, **by}) + "\n" for row in rows]
    draft.path.write_text("".join(lines), encoding="utf-8")
    draft.write_to_disk()
    unit.settle(lambda committed: draft.settle(placed=committed))


def _offboard(user: User, unit: Unit) -> Record:
    # Counted before: both end with the account's activity, and have no event of their own.
    ended = {
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
        **ended,
    }
