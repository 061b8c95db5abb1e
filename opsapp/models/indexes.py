"""Partial indexes, which only migrations import.

An index that names a dialect makes SQLAlchemy import it, which would cost each command
30 ms.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from .accounts import Grant, Role, User
from .jobs import JobRun
from .mail import MailMessage
from .sessions import ApiToken


def _only(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


# Deleted accounts are listed by id only.
sa.Index("ix_ops_users_created_at_id", User.created_at, User.id, **_only("deleted_at IS NULL"))
sa.Index("ix_ops_users_idle_since_id", User.idle_since, User.id, **_only("deleted_at IS NULL"))
# A deleted role's name is free for a new one.
sa.Index("uq_ops_roles_name_live", Role.name, unique=True, **_only("deleted_at IS NULL"))
# An account holds a role once at a time.
sa.Index(
    "uq_ops_grants_open", Grant.user_id, Grant.role_id, unique=True, **_only("ended_at IS NULL")
)
sa.Index(
    "ix_ops_grants_valid_until",
    Grant.valid_until,
    **_only("ended_at IS NULL AND valid_until IS NOT NULL"),
)
# A token's name is free again once it has ended.
sa.Index(
    "uq_ops_api_tokens_open",
    ApiToken.user_id,
    ApiToken.name,
    unique=True,
    **_only("ended_at IS NULL"),
)
sa.Index("ix_ops_mail_messages_next_at", MailMessage.next_at, **_only("next_at IS NOT NULL"))
sa.Index("ix_ops_job_runs_open", JobRun.name, **_only("finished_at IS NULL"))
# Several hosts serve one schedule: the first to write a slot's row runs it.
sa.Index(
    "uq_ops_job_runs_name_slot", JobRun.name, JobRun.slot, unique=True, **_only("slot IS NOT NULL")
)
