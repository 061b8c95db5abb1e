"""Checks of an application that opsapp is attached to, for `flask ops doctor`."""

from __future__ import annotations

from collections.abc import Callable

from ..extensions import db
from . import autogenerate, ends
from .attached import Attached

Verdict = tuple[str, str, str | None]
"""The state (``ok``, ``warn``, ``fail``), what is so, and the advice."""


def _tables(attached: Attached) -> Verdict:
    if attached.has_tables:
        return "ok", "opsapp's tables are there", None
    return "fail", "opsapp's tables are not there: nothing is audited", "flask ops init"


def _autogenerate(attached: Attached) -> Verdict:
    obstacle = autogenerate.obstacle(attached.app, is_in_code=attached.is_in_code)
    if obstacle is None:
        return "ok", "flask db migrate leaves opsapp's tables alone", None
    message = f"flask db migrate would drop opsapp's tables: {obstacle}"
    return "warn", message, autogenerate.advice(is_in_code=attached.is_in_code)


def _ends(attached: Attached) -> Verdict:
    late = ends.over(db.session(), by=ends.LATE) if attached.has_tables else ()
    if not late:
        return "ok", "no role is held past its end", None
    message = f"{len(late)} roles are held past their end: flask ops roles expire has not run"
    return "fail", message, "run it by cron every minute or five"


def _deactivation(attached: Attached) -> Verdict:
    identity = attached.identity
    if identity is None or identity.active is None:
        return "ok", "opsapp deactivates no account of this application", None
    if identity.after_deactivation == "go on":
        message = f"sessions of an inactive account go on: is_active does not ask {identity.active}"
        return "warn", message, "Ops(app, db, end_sessions=lambda user: …)"
    return "ok", f"sessions of a deactivated account are {identity.after_deactivation}", None


CHECKS: dict[str, Callable[[Attached], Verdict]] = {
    "tables": _tables,
    "autogenerate": _autogenerate,
    "ends of roles": _ends,
    "deactivation": _deactivation,
}
BEFORE_TABLES = frozenset({"clock", "disk", "durability", "locks"})
"""Doctor's other checks that make sense before ``flask ops init``."""
OF_OUR_ACCOUNTS = frozenset({"grants"})
"""Doctor's checks of accounts that are ours."""
