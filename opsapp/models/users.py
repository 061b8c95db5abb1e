"""Accounts: who may sign in."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import orm as so

from .. import clock
from ..extensions import Model
from .types import BigNumber, JSONWords, Number, UTCDateTime, Words

if TYPE_CHECKING:
    from .roles import Role

# Equality of identities is decided by Python's canonical form, never by a collation.
_identity = Words(320).with_variant(Words(320, collation="C"), "postgresql")


def new_uniquifier() -> str:
    """A fresh ``fs_uniquifier``: every session and token made with the old one ends."""
    return uuid4().hex


class User(Model):
    """An account. The names of the sign-in columns are Flask-Security's.

    A deleted account stays as a row without personal data (``deleted_at`` is
    set), because grants, audit and the application's own tables refer to its id.
    """

    __tablename__ = "users"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    email: so.Mapped[str | None] = so.mapped_column(_identity, unique=True)
    """In canonical form (NFKC, case folded); None once deleted."""
    username: so.Mapped[str | None] = so.mapped_column(_identity, unique=True)
    password: so.Mapped[str | None] = so.mapped_column(Words(255))
    """The argon2 hash; None means that nobody can sign in with a password."""
    active: so.Mapped[bool] = so.mapped_column(default=True)
    fs_uniquifier: so.Mapped[str] = so.mapped_column(
        Words(64),
        unique=True,
        default=new_uniquifier,
        active_history=True,  # The web's datastore compares the one that a request saw.
    )
    confirmed_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    last_login_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    current_login_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    last_login_ip: so.Mapped[str | None] = so.mapped_column(Words(64))
    current_login_ip: so.Mapped[str | None] = so.mapped_column(Words(64))
    login_count: so.Mapped[int] = so.mapped_column(Number, default=0)
    tf_primary_method: so.Mapped[str | None] = so.mapped_column(Words(64))
    tf_totp_secret: so.Mapped[str | None] = so.mapped_column(Words(255))
    tf_phone_number: so.Mapped[str | None] = so.mapped_column(Words(128))
    mf_recovery_codes: so.Mapped[list[str] | None] = so.mapped_column(JSONWords)
    tf_last_counter: so.Mapped[int | None] = so.mapped_column(BigNumber)
    """The time step of the last code that was accepted: a code is good once."""
    failed_logins: so.Mapped[int] = so.mapped_column(Number, default=0)
    failed_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    """When the last of them began."""
    locked_until: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    sessions_ended_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    idle_since: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    """The last sign of life: when it was last seen, else when it was created."""
    created_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    updated_at: so.Mapped[datetime] = so.mapped_column(
        UTCDateTime, default=clock.now, onupdate=clock.now
    )
    deleted_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    erased_as: so.Mapped[str | None] = so.mapped_column(Words(64), index=True)
    """A keyed fingerprint of a deleted account's address, to know a second deletion."""

    if TYPE_CHECKING:
        roles: so.Mapped[list[Role]]
        """The roles of the live grants; read-only. models/roles.py draws it."""

    def __init__(self, **columns: Any) -> None:
        super().__init__(**columns)

    def end_sessions(self) -> None:
        """Make every session and token of this account worthless."""
        self.fs_uniquifier = new_uniquifier()
        self.sessions_ended_at = clock.now()

    def forget_second_factor(self) -> None:
        """Take off two-factor authentication with its seed and recovery codes."""
        self.tf_primary_method = self.tf_totp_secret = self.tf_phone_number = None
        self.mf_recovery_codes = None

    def forget_failed_logins(self) -> None:
        """Lift a lock-out, and begin to count anew."""
        self.failed_logins = 0
        self.failed_at = self.locked_until = None

    @property
    def reference(self) -> str:
        """How the audit names this account: ``user:12``."""
        return f"user:{self.id}"
