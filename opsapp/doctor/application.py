"""The checks of an application and its database, in the order in which they are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from ..errors import OpsError
from ..extensions import db, this_attachment
from ..ops import checks
from . import maintenance, rooms, server
from .findings import Check, Finding, finding, run_check


def check_application() -> Iterator[Finding]:
    """Yield every check that needs the database; one that cannot be made is a failure itself."""
    reachable = run_check("database", server.check_database)
    yield reachable
    if reachable["state"] == "fail":
        return  # The others would only say so again.
    for check, function in _checks().items():
        yield run_check(check, function)
        for session in dict.fromkeys((db.session, db.ours)):
            session.rollback()
    with suppress(OpsError):  # A schedule that cannot be read is the finding of the jobs.
        for check, message, advice in maintenance.findings():
            yield finding(check, "warn", message, advice)


def _checks() -> dict[str, Check]:
    attached = this_attachment()
    if attached is None:
        return {**rooms.CHECKS, **server.CHECKS}
    names = rooms.CHECKS.keys() - rooms.OF_ACCOUNTS if attached.has_tables else ()
    return {
        **{name: partial(_check_attached, attached, name) for name in checks.CHECKS},
        **{name: check for name, check in rooms.CHECKS.items() if name in names},
        **server.CHECKS,
    }


def _check_attached(attached: Any, name: str) -> Finding:
    return finding(name, *checks.CHECKS[name](attached))
