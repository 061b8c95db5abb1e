"""The audit log: an append-only chain of events, its head, and what stands beside it."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..extensions import Model
from .types import BigNumber, JSONMapping, LongWords, UTCDateTime, Words


class AuditHead(Model):
    """One row: the end of the chain, and the gate that every writing unit locks first.

    It also carries the environment, so the gate's one statement shows a unit that it
    writes into the right database.
    """

    __tablename__ = "ops_audit_head"

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    chain: so.Mapped[str] = so.mapped_column(Words(36))
    """The chain's UUID, by which a checkpoint of another database is recognized."""
    environment: so.Mapped[str] = so.mapped_column(Words(64))
    key_id: so.Mapped[str] = so.mapped_column(Words(16))
    """A fingerprint of the audit key: a wrong key is noticed before it is used."""
    pepper_id: so.Mapped[str] = so.mapped_column(Words(16))
    """A fingerprint of ``SECURITY_PASSWORD_SALT``: with a wrong one no password verifies."""
    seq: so.Mapped[int] = so.mapped_column(BigNumber)
    hash: so.Mapped[str] = so.mapped_column(Words(64))


class AuditEvent(Model):
    """A change with its actor, time and reason; ``hash`` covers every other column.

    Personal data in ``before`` and ``after`` is replaced by a token, which
    :class:`PersonalValue` resolves until the erasure.
    """

    __tablename__ = "ops_audit_events"
    __table_args__ = (
        sa.Index("ix_ops_audit_events_at", "at"),
        sa.Index("ix_ops_audit_events_subject_seq", "subject", "seq"),
        sa.Index("ix_ops_audit_events_action_seq", "action", "seq"),
    )

    seq: so.Mapped[int] = so.mapped_column(BigNumber, primary_key=True, autoincrement=False)
    """From 1, without gaps."""
    at: so.Mapped[datetime] = so.mapped_column(UTCDateTime)
    actor: so.Mapped[dict[str, str]] = so.mapped_column(JSONMapping)
    door: so.Mapped[str] = so.mapped_column(Words(16))
    """``cli``, ``web``, ``api``, ``shell`` or ``job``."""
    action: so.Mapped[str] = so.mapped_column(Words(64))
    """``noun:subject:verb``, such as ``user:role:grant``."""
    subject: so.Mapped[str] = so.mapped_column(Words(64))
    """``user:12``, ``role:3``, an application's ``order:12``; ``users`` for a batch; or one of
    ``jobs``, ``database`` and ``audit``."""
    reason: so.Mapped[str | None] = so.mapped_column(LongWords)
    before: so.Mapped[dict[str, Any] | None] = so.mapped_column(JSONMapping)
    after: so.Mapped[dict[str, Any] | None] = so.mapped_column(JSONMapping)
    correlation: so.Mapped[str] = so.mapped_column(Words(36), index=True)
    """The id of the command or request."""
    previous: so.Mapped[str] = so.mapped_column(Words(64))
    hash: so.Mapped[str] = so.mapped_column(Words(64))


class PendingEvent(Model):
    """A change that waits for the next unit, which makes it an event of the chain.

    An application's own code writes it, in the transaction of the change and without the
    gate: no request waits for an operator.
    """

    __tablename__ = "ops_audit_pending"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True
    )
    at: so.Mapped[datetime] = so.mapped_column(UTCDateTime)
    actor: so.Mapped[dict[str, str]] = so.mapped_column(JSONMapping)
    door: so.Mapped[str] = so.mapped_column(Words(16))
    action: so.Mapped[str] = so.mapped_column(Words(64))
    subject: so.Mapped[str] = so.mapped_column(Words(64))
    before: so.Mapped[dict[str, Any] | None] = so.mapped_column(JSONMapping)
    after: so.Mapped[dict[str, Any] | None] = so.mapped_column(JSONMapping)
    correlation: so.Mapped[str] = so.mapped_column(Words(36))


class PersonalValue(Model):
    """A personal value that an event names by token; its row is removed on erasure.

    The token is a keyed hash of salt and value. So a replaced value is detected, and a
    token without its row reveals nothing.
    """

    __tablename__ = "ops_audit_personal"

    token: so.Mapped[str] = so.mapped_column(Words(32), primary_key=True)
    subject: so.Mapped[str] = so.mapped_column(Words(64), index=True)
    """The account whose erasure removes it, such as ``user:12``."""
    salt: so.Mapped[str] = so.mapped_column(Words(32))
    value: so.Mapped[str] = so.mapped_column(LongWords)
