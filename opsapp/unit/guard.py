"""The guard: only a unit of work writes accounts, roles, grants and the audit log.

So are the tables that an application marks with :func:`guard_table`.

It stands where statements leave for the database, so it makes no difference
whether one comes from a flush, a bulk operation or SQLAlchemy Core: only a
connection that was opened for writing, as a unit and a migration do, may carry
it. SQL written as text goes around it; the audit's chain is for that.
"""

from __future__ import annotations

from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.sql.dml import UpdateBase

from ..errors import Refused
from ..extensions import Model
from ..models import (
    AccessReview,
    ApiToken,
    AuditEvent,
    AuditHead,
    Grant,
    PersonalValue,
    ReviewItem,
    Role,
    RoleEnd,
    User,
    UserSession,
)

GUARDED = frozenset(
    model.__tablename__
    for model in (
        User,
        UserSession,
        ApiToken,
        Role,
        RoleEnd,
        AccessReview,
        ReviewItem,
        Grant,
        AuditEvent,
        AuditHead,
        PersonalValue,
    )
)

_SERVICES = "a service does that: users.update(…), signin.deactivate(…), grants.grant(…)"

_added: set[str] = set()
Guarded = TypeVar("Guarded", bound=type[Model])


def guard_table(model: Guarded) -> Guarded:
    """Restrict writes to a model's table to units of work."""
    _added.add(model.__tablename__)
    return model


def protect(engine: sa.Engine) -> None:
    """Refuse on this engine what would change a guarded table outside of a unit."""
    event.listen(engine, "before_execute", _refuse_outside)


def _refuse_outside(connection: sa.Connection, statement: Any, *_rest: Any) -> None:
    if not isinstance(statement, UpdateBase):
        return
    table = getattr(statement.table, "name", None)
    is_ours = table in GUARDED
    if not is_ours and table not in _added:
        return
    if not connection.get_execution_options().get("writing"):
        what = "accounts, roles, grants and the audit log change" if is_ours else f"{table} change"
        raise Refused(
            f"{what} through a unit of work only",
            hint=_SERVICES
            if is_ours
            else "a service of the application does that: a function that takes unit=",
        )
