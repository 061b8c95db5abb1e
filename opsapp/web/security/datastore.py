"""Flask-Security's datastore, whose every write is one of our services in a unit of work.

Flask-Security changes the account's object and then says ``put``. What it wrote is
taken back here and done by the service that means the same: checked, audited,
committed and announced before Flask-Security goes on to send its mail. So there
is nothing left for its ``commit`` at the end of the request.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import sqlalchemy as sa
from flask import request, session
from flask_login import current_user
from flask_security.datastore import SQLAlchemyUserDatastore

from ... import addresses
from ...accounts import lookup, selfservice, users
from ...actors import Standing
from ...extensions import db
from ...models import Role, User
from ..actor import standing_of, unit_of_self

BY_LINK = "recovered by a link in a mail"


class AuditedDatastore(SQLAlchemyUserDatastore):
    """Accounts are found by our lookups and changed by our services."""

    def __init__(self) -> None:
        super().__init__(db, cast(Any, User), cast(Any, Role))

    # --- finding -----------------------------------------------------------------

    def find_user(self, case_insensitive: bool = False, **kwargs: Any) -> Any:
        """The account with this e-mail, username or ``fs_uniquifier``; not a deleted one."""
        (attribute, value), *_ = kwargs.items()
        if not isinstance(value, str) or not value.isprintable():
            return None
        column = getattr(User, attribute)
        wanted = value if attribute == "fs_uniquifier" else addresses.canonical(value)
        return db.session.scalar(sa.select(User).where(column == wanted, User.deleted_at.is_(None)))

    def find_role(self, role: str) -> Any:
        """The role of this name."""
        return lookup.find_role(role)

    # --- writing -----------------------------------------------------------------

    def put(self, model: Any) -> Any:
        """Write down what Flask-Security has changed on an account."""
        written = _take_back(model)
        seen = written.get("fs_uniquifier", (model.fs_uniquifier,))[0]
        if request.endpoint == "security.reset_password":
            unit = unit_of_self(model, reason=BY_LINK, standing=Standing(model.id, seen))
        else:
            unit = unit_of_self(model, standing=replace(standing_of(model), uniquifier=seen))
        match set(written):
            case changed if not changed:
                return model
            case changed if changed == {"password", "fs_uniquifier"}:
                selfservice.change_password(model.id, written["password"][1], unit=unit)
            case changed if changed == {"password"}:
                before, after = written["password"]
                selfservice.rehash_password(model.id, after, seen=before, unit=unit)
            case changed if changed == {"confirmed_at"}:
                selfservice.confirm(model.id, unit=unit)
            case changed:
                raise NotImplementedError(f"no service changes {', '.join(sorted(changed))}")
        return model

    def commit(self) -> None:
        """Everything is committed already; what is not, nobody has audited."""
        if db.session.dirty or db.session.new or db.session.deleted:
            raise NotImplementedError("Flask-Security left changes that no service made")

    def create_user(self, **kwargs: Any) -> Any:
        """The account of somebody who registers."""
        return users.register(
            kwargs["email"],
            username=kwargs.get("username"),
            hashed=kwargs["password"],
            unit=unit_of_self(None, reason="registration"),
        )

    def tf_set(
        self,
        user: Any,
        primary_method: str,
        totp_secret: str | None = None,
        phone: str | None = None,
    ) -> None:
        """Store a second factor; each log-in with one comes here too, and changes nothing."""
        if user.tf_primary_method != primary_method or totp_secret not in (
            None,
            user.tf_totp_secret,
        ):
            selfservice.set_second_factor(
                user.id, primary_method, totp_secret, unit=unit_of_self(user)
            )
            keep_signed_in(user)

    def tf_reset(self, user: Any) -> None:
        """Take the second factor off."""
        selfservice.remove_second_factor(user.id, unit=unit_of_self(user))
        keep_signed_in(user)

    def mf_set_recovery_codes(self, user: Any, rcs: list[str] | None) -> None:
        """Store new recovery codes; they come encrypted."""
        selfservice.set_recovery_codes(user.id, rcs or [], unit=unit_of_self(user))

    def mf_delete_recovery_code(self, user: Any, idx: int) -> bool:
        """Strike out the recovery code that was just used."""
        codes = user.mf_recovery_codes or []
        selfservice.use_recovery_code(user.id, codes[idx], unit=unit_of_self(user))
        return True


def _take_back(user: User) -> dict[str, tuple[Any, Any]]:
    """What was changed on the account and not written: by column, before and after."""
    written = {}
    for attribute in sa.inspect(user).attrs:
        if attribute.history.has_changes():
            before = attribute.history.deleted[0] if attribute.history.deleted else None
            written[attribute.key] = (before, attribute.value)
    if written:
        db.session.expire(user)
    return written


def keep_signed_in(user: User) -> None:
    """Let this browser's cookie follow its session, which outlived what ended all the others."""
    if "key" in session and current_user.is_authenticated and current_user.id == user.id:
        session["_user_id"] = user.get_id()  # type: ignore[attr-defined]
