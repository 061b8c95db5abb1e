"""Personal data: everything that is held about an account, as a file for its owner.

Other rooms add theirs as an application does, by the signal ``personal_data``.

docs/decisions/accounts.md#a-user-gets-all-that-is-held
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from blinker import NamedSignal

from .. import signals
from ..errors import OpsError
from ..extensions import db, this_app
from ..models import User, UserSession
from ..types import Record
from ..unit.receipts import Receipt
from ..unit.work import Unit
from . import grants, logins, tokens
from .lookup import get_user_ever
from .records import detail

EXPORT = "user:data:export"
OTHERS = frozenset(
    {"actor", "granted_by", "ended_by", "created_by", "correlation", "ids", "digest"}
)
"""Fields that speak of other people, or of the machinery."""


def export(reference: str, file: str, *, unit: Unit) -> Record:
    """Write all that is held about an account to a new file, as JSON.

    Secrets are not in it, such as the hash of the password. An application adds what it holds by
    a receiver of :data:`opsapp.signals.personal_data`.

    :returns: how many entries there are of each kind.
    :raises Conflict: the file exists.
    :raises NotFound: there never was such an account.
    :raises OpsError: the application could not say what it holds.
    """
    user = get_user_ever(reference)
    with Receipt(file) as answer:
        data = _collect(user)  # Before the gate: it may take a while.
        with unit:
            answer.write(data, unit)
            unit.record(EXPORT, user.reference)
    counts = {kind: len(rows) for kind, rows in data.items() if isinstance(rows, list)}
    return {"id": user.id, "email": user.email, "file": file, **counts}


def _collect(user: User) -> Record:
    account = detail(str(user.id))
    del account["grants"]
    account["phone_number"] = user.tf_phone_number
    account["recovery_codes"] = len(user.mf_recovery_codes or ())
    return {
        "account": account,
        "grants": own(grants.of_user(user.id)),
        "sessions": _sessions(user),
        "tokens": own(tokens.listing(str(user.id))),
        "logins": logins.listing(str(user.id), limit=None),
        **_answers(signals.of_rooms(signals.personal_data), user),
        "application": _answers(signals.personal_data, user),
    }


def own(rows: Iterable[Mapping[str, Any]]) -> list[Record]:
    """Return the rows without what speaks of other people."""
    return [_without_others(row) for row in rows]


def _without_others(row: Mapping[str, Any]) -> Record:
    return {
        name: _without_others(value) if isinstance(value, Mapping) else value
        for name, value in row.items()
        if name not in OTHERS
    }


def _sessions(user: User) -> list[Record]:
    names = ("id", "opened_at", "seen_at", "expires_at", "ended_at", "ip", "user_agent")
    columns = [getattr(UserSession, name) for name in names]
    query = sa.select(*columns).where(UserSession.user_id == user.id).order_by(UserSession.id)
    return [dict(zip(names, row, strict=True)) for row in db.session.execute(query)]


def _answers(question: NamedSignal, user: User) -> Record:
    """Return the answers of all receivers as one dictionary.

    :raises OpsError: a receiver failed, and the answer would not be whole.
    """
    answers: Record = {}
    app = this_app()
    for receiver in question.receivers_for(app):
        try:
            answers |= receiver(app, user_id=user.id) or {}
        except Exception as error:
            name = getattr(receiver, "__qualname__", receiver)
            raise OpsError(f"{name} could not say what it holds: {error}") from error
    return answers
