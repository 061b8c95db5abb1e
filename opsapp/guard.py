"""The guard: accounts, roles, grants and the audit are written by a unit of work or not at all.

It stands where statements leave for the database, so it makes no difference
whether one comes from a flush, a bulk operation or SQLAlchemy Core: only a
connection that was opened for writing, as a unit and a migration do, may carry
it. SQL written as text goes around it; the audit's chain is for that.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql.dml import UpdateBase

from .errors import Refused
from .models import (
    ApiToken,
    AuditEvent,
    AuditHead,
    Grant,
    PersonalValue,
    Role,
    User,
    UserSession,
)

GUARDED = frozenset(
    model.__tablename__
    for model in (User, UserSession, ApiToken, Role, Grant, AuditEvent, AuditHead, PersonalValue)
)


def protect(engine: sa.Engine) -> None:
    """Refuse on this engine what would change a guarded table outside of a unit."""
    event.listen(engine, "before_execute", _refuse_outside)


def _refuse_outside(connection: sa.Connection, statement: Any, *_rest: Any) -> None:
    if not isinstance(statement, UpdateBase):
        return
    if getattr(statement.table, "name", None) not in GUARDED:
        return
    if not connection.get_execution_options().get("writing"):
        raise Refused(
            "accounts, roles, grants and the audit change through a unit of work only",
            hint="with Unit(actor=…, door=…) as unit: …",
        )
