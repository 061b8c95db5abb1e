"""Checks of an application that opsapp is attached to, for `flask ops doctor`."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from .. import text
from ..extensions import db
from ..unit import intents
from . import autogenerate, role_ends
from .attached import Attached

Verdict = tuple[str, str, str | None]
"""The state (``ok``, ``warn``, ``fail``), what is so, and the advice."""


def _tables(attached: Attached) -> Verdict:
    if attached.has_tables:
        return "ok", "opsapp's tables are there", None
    return "fail", "opsapp's tables are not there: nothing is audited", "flask ops init"


def _intents(attached: Attached) -> Verdict:
    if attached.own is None:
        return "ok", "a change and its event are one transaction", None
    seqs = intents.unfinished_numbers(db.ours()) if attached.has_tables else []
    if not seqs:
        return "ok", "each change that was intended is done or failed", None
    message = f"intents of unknown outcome: {len(seqs)}, the first is event {seqs[0]}"
    return "fail", message, intents.HINT


def _autogenerate(attached: Attached) -> Verdict:
    if attached.own is not None:
        return "ok", "opsapp's tables are in a database of their own", None
    obstacle = autogenerate.obstacle(attached.app, is_in_code=attached.is_in_code)
    if obstacle is None:
        return "ok", "flask db migrate leaves opsapp's tables alone", None
    reason, advice = obstacle
    return "warn", f"flask db migrate would drop opsapp's tables: {reason}", advice


def _ends(attached: Attached) -> Verdict:
    late = role_ends.passed_ends(db.ours(), by=role_ends.LATE) if attached.has_tables else ()
    if not late:
        return "ok", "no role is held past its end", None
    identity = attached.identity
    for end in late if identity is not None else ():
        if role_ends.account(identity, db.session(), end.subject) is None and not (
            role_ends.is_deleted(db.session(), end)
        ):
            message = f"{end.role} of {end.subject} has ended, and its account is not found"
            advice = f"revoke the role of its new key, then flask ops roles revoke {end.role}"
            return "fail", message, f"{advice} {end.subject}"
    roles = text.pluralize(len(late), "role")
    message = f"{roles} held past the end: flask ops roles expire has not run"
    return "fail", message, "run it by cron every minute or five"


def _accounts(attached: Attached) -> Verdict:
    identity = attached.identity
    if identity is None:
        return "ok", "this application has no model of accounts that opsapp knows", None
    db.session.execute(sa.select(identity.model).limit(1))
    return "ok", f"the table of {identity.model.__name__} has what the model has", None


def _deactivation(attached: Attached) -> Verdict:
    identity = attached.identity
    if identity is None or identity.active is None or not identity.active.is_settable:
        return "ok", "opsapp cannot deactivate accounts of this application", None
    if identity.after_deactivation == "may go on":
        message = (
            "sessions of an inactive account may go on: is_authenticated does not follow the column"
        )
        return "warn", message, "Ops(app, db, end_sessions=lambda user: …)"
    return "ok", f"sessions of a deactivated account are {identity.after_deactivation}", None


CHECKS: dict[str, Callable[[Attached], Verdict]] = {
    "tables": _tables,
    "unfinished changes": _intents,
    "autogenerate": _autogenerate,
    "ends of roles": _ends,
    "accounts": _accounts,
    "deactivation": _deactivation,
}
