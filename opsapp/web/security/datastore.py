"""Flask-Security's datastore, which writes by our services in a unit of work.

Flask-Security changes the account's object and then calls ``put``. The datastore undoes
these changes, and the service with the same meaning makes them: checked, audited and
committed before Flask-Security sends its mail. Its ``commit`` has nothing left to do.

docs/decisions/web.md#flask-security-writes-through-our-services
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import sqlalchemy as sa
from flask import g, request, session
from flask_login import current_user
from flask_security.datastore import SQLAlchemyUserDatastore

from ... import addresses
from ...accounts import lookup, selfservice
from ...actors import Standing
from ...extensions import db
from ...models import Role, User
from ..actor import standing_of, unit_of_self
from . import browsers, recovery

BY_LINK = "recovered by a link in a mail"


class AuditedDatastore(SQLAlchemyUserDatastore):
    """A datastore on our lookups and services."""

    def __init__(self) -> None:
        super().__init__(db, cast(Any, User), cast(Any, Role))

    # --- finding -----------------------------------------------------------------

    def find_user(self, case_insensitive: bool = False, **kwargs: Any) -> Any:
        """Return the account with this e-mail, username or ``fs_uniquifier``, or None."""
        (attribute, value), *_ = kwargs.items()
        if not isinstance(value, str) or not value.isprintable():
            return None
        column = getattr(User, attribute)
        if attribute != "fs_uniquifier":
            value = addresses.canonical(value)
        return db.session.scalar(sa.select(User).where(column == value, User.deleted_at.is_(None)))

    def find_role(self, role: str) -> Any:
        """Return the role of this name, or None."""
        return lookup.find_role(role)

    # --- writing -----------------------------------------------------------------

    def put(self, model: Any) -> Any:
        """Store Flask-Security's changes of an account."""
        changes = _undo_changes(model)
        uniquifier = changes.get("fs_uniquifier", (model.fs_uniquifier,))[0]
        by_link = request.endpoint == "security.reset_password"
        if by_link:
            unit = unit_of_self(model, reason=BY_LINK, standing=Standing(model.id, uniquifier))
        else:
            unit = unit_of_self(model, standing=replace(standing_of(model), uniquifier=uniquifier))
        match sorted(changes):
            case []:
                pass
            case ["fs_uniquifier", "password"]:
                store = selfservice.recover if by_link else selfservice.change_password
                store(model.id, changes["password"][1], unit=unit)
                if by_link:
                    browsers.remember(model)  # Strangers who go on guessing lock its owner out.
            case ["password"]:
                before, after = changes["password"]
                selfservice.rehash_password(model.id, after, before=before, unit=unit)
            case columns:
                raise NotImplementedError(f"no service changes {', '.join(columns)}")
        return model

    def commit(self) -> None:
        """Refuse changes that no service has audited; all others are committed already."""
        if db.session.dirty or db.session.new or db.session.deleted:
            raise NotImplementedError("Flask-Security left changes that no service made")

    def tf_set(
        self,
        user: Any,
        primary_method: str,
        totp_secret: str | None = None,
        phone: str | None = None,
    ) -> None:
        """Store a second factor; each login with one calls this too, and changes nothing."""
        if user.tf_primary_method != primary_method or totp_secret not in (
            None,
            user.tf_totp_secret,
        ):
            with unit_of_self(user) as unit:
                selfservice.set_second_factor(
                    user.id,
                    primary_method,
                    totp_secret,
                    counter=g.get("paired_counter"),
                    unit=unit,
                )
                if not user.mf_recovery_codes:
                    g.first_codes = recovery.new_codes()
                    hashes = [recovery.hash_code(code) for code in g.first_codes]
                    selfservice.set_recovery_codes(user.id, hashes, unit=unit)
            keep_signed_in(user)

    def tf_reset(self, user: Any) -> None:
        """Remove the second factor."""
        selfservice.remove_second_factor(user.id, unit=unit_of_self(user))
        keep_signed_in(user)

    def mf_set_recovery_codes(self, user: Any, rcs: list[str] | None) -> None:
        """Store new recovery codes, which are hashed."""
        selfservice.set_recovery_codes(user.id, rcs or [], unit=unit_of_self(user))

    def use_recovery_code(self, user: Any, code: str) -> bool:
        """Use up a recovery code, which is hashed."""
        selfservice.use_recovery_code(user.id, code, unit=unit_of_self(user))
        return True


def _undo_changes(user: User) -> dict[str, tuple[Any, Any]]:
    """Undo the unwritten changes of an account; return them by column, before and after."""
    changes = {}
    for attribute in sa.inspect(user).attrs:
        if attribute.history.has_changes():
            before = attribute.history.deleted[0] if attribute.history.deleted else None
            changes[attribute.key] = (before, attribute.value)
    if changes:
        db.session.expire(user)
    return changes


def keep_signed_in(user: User) -> None:
    """Update this browser's cookie after a change that ended all other sessions."""
    if "key" in session and current_user.is_authenticated and current_user.id == user.id:
        session["_user_id"] = user.get_id()  # type: ignore[attr-defined]
