"""Checks of an application that opsapp is attached to, for `flask ops doctor`."""

from __future__ import annotations

from collections.abc import Callable

from . import autogenerate
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


CHECKS: dict[str, Callable[[Attached], Verdict]] = {
    "tables": _tables,
    "autogenerate": _autogenerate,
}
BEFORE_TABLES = frozenset({"clock", "disk", "durability", "locks"})
"""Doctor's other checks that make sense before ``flask ops init``."""
OF_OUR_ACCOUNTS = frozenset({"grants"})
"""Doctor's checks of accounts that are ours."""
