"""Sign-in: active accounts, passwords, second factors, lockouts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, signals, text
from ..engine.rows import among
from ..errors import Busy, Conflict
from ..extensions import db
from ..models import ApiToken, MailMessage, User, UserSession
from ..types import Record
from ..unit.ledger import fingerprint
from ..unit.work import Unit
from . import authority, bulk, grants, lockouts, passwords
from .bulk import Account
from .effects import end_sessions, note_ended
from .lookup import get_user, get_users
from .records import user_record

RESET = "reset_instructions"
"""The kind of the mail with a link to set a new password."""
RESET_EVERY = timedelta(minutes=5)


def activate(references: Iterable[str], *, unit: Unit) -> list[Record]:
    """Let these accounts sign in again."""
    with unit:
        return _set_active(references, True, unit)


def deactivate(references: Iterable[str], *, unit: Unit) -> list[Record]:
    """Stop these accounts from signing in; their sessions end at once.

    :raises Refused: no administrator would be left.
    """
    with unit:
        return _set_active(references, False, unit)


def _set_active(references: Iterable[str], active: bool, unit: Unit) -> list[Record]:
    """Change the accounts in the order named, each once, or none if one is unknown."""
    authority.require("users:write", unit)
    users = get_users(text.each(references))
    ids = [user.id for user in users]
    authority.may_change_all(ids, unit)
    others = bulk.of(user for user in users if user.active is not active)
    _switch(others, active, unit)
    changed_ids = {user.id for user in others}
    _read_again(ids)
    roles = grants.role_names_of(ids)
    return [
        {"changed": user.id in changed_ids, **user_record(user, roles.get(user.id, []))}
        for user in users
    ]


def _switch(users: Sequence[Account], active: bool, unit: Unit) -> None:
    """Activate or deactivate accounts that are not so yet, and end their sessions."""
    note_ended(unit, users)  # Before the rest: those of an inactive account do not count.
    ids = [user.id for user in users]
    bulk.update(User, ids, unit, active=active, **bulk.new_sessions())
    action = f"user:account:{'activate' if active else 'deactivate'}"
    bulk.record(action, ids, unit, before={"active": not active}, after={"active": active})
    signal = signals.user_updated if active else signals.user_deactivated
    bulk.announce(signal, [{"user_id": id} for id in ids], unit)


def _read_again(ids: Sequence[int]) -> None:
    """Have the session's accounts as statements left them, with their lockouts."""
    query = sa.select(User).options(so.undefer(User.locked_until))
    for chunk in bulk.chunks(ids):
        accounts = query.where(among(User.id, chunk))
        db.session.scalars(accounts, execution_options={"populate_existing": True}).all()


def set_active(user: User, active: bool, unit: Unit) -> bool:
    """Activate or deactivate an account and end its sessions; return whether it changed."""
    if user.active is active:
        return False
    end_sessions(user, unit)  # Before the rest: those of an inactive account do not count.
    user.active = active
    verb = "activate" if active else "deactivate"
    unit.record(
        f"user:account:{verb}",
        user.reference,
        before={"active": not active},
        after={"active": active},
    )
    unit.announce(signals.user_updated if active else signals.user_deactivated, user_id=user.id)
    return True


def deactivate_where(criteria: Sequence[sa.ColumnElement[bool]], *, unit: Unit) -> list[Record]:
    """Deactivate every active account that meets ``criteria``; return short records.

    :raises Refused: no administrator would be left.
    """
    with unit:
        authority.require("users:write", unit)
        users = bulk.accounts(is_active(), *criteria)
        authority.may_change_all([user.id for user in users], unit)
        _switch(users, False, unit)
        return [
            {"changed": True, "id": user.id, "email": user.email, "status": "inactive"}
            for user in users
        ]


def is_active() -> sa.ColumnElement[bool]:
    """Return the condition that an account is active."""
    return User.active.is_(True)


def confirm(user: User, unit: Unit) -> bool:
    """Confirm the account's address; return whether it changed anything."""
    if user.confirmed_at is not None:
        return False
    user.confirmed_at = clock.now()
    after = {"confirmed_at": clock.rfc3339(user.confirmed_at)}
    unit.record("user:email:confirm", user.reference, after=after)
    unit.announce(signals.user_updated, user_id=user.id)
    return True


def set_password(reference: str, password: str, *, must_change: bool = False, unit: Unit) -> Record:
    """Set the account's password and end its sessions; the same password changes nothing.

    The operator vouches for the address, as for that of a new account: it counts as confirmed.

    :param must_change: the pages let the user do nothing before choosing another one.
    :raises Invalid: the policy refuses it.
    :raises Busy: another process has replaced the same password meanwhile.
    """
    user = get_user(reference)
    before = user.password
    hashed = None if passwords.matches(password, before) else passwords.hash_password(password)
    with unit:
        user = authority.changeable(str(user.id), unit)
        if not hashed and user.password != before:
            raise Busy("another process set the password meanwhile", hint="try again")
        if hashed or (must_change and not user.must_change_password):
            store_password(user, hashed or str(before), unit, must_change=must_change)
        confirm(user, unit)
        return user_record(user)


def store_password(user: User, hashed: str, unit: Unit, *, must_change: bool = False) -> None:
    """Store a password's argon2 hash, and end the account's sessions."""
    had = "set" if user.password else None
    user.password, user.must_change_password = hashed, must_change
    end_sessions(user, unit)
    after = {"password": "set", "fingerprint": fingerprint(hashed)}
    after |= {"must_change": "yes"} if must_change else {}
    unit.record("user:password:set", user.reference, before={"password": had}, after=after)
    unit.announce(signals.user_updated, user_id=user.id)


def send_reset(references: Iterable[str], *, unit: Unit) -> list[Record]:
    """Mail accounts a link to set a new password; not again within :data:`RESET_EVERY`.

    After a change of the account, such as a used link, it is mailed again.

    The present password and the sessions stay until the link is used.

    :raises Conflict: an account is not active; nothing is sent.
    """
    with unit:
        users = dict.fromkeys(authority.changeable(name, unit) for name in text.each(references))
        for user in users:
            if not user.active:
                hint = f"flask users activate {user.email}"
                raise Conflict(f"user {user.email} is not active", hint=hint)
        return [
            {"changed": _send_reset(user, unit), "id": user.id, "email": user.email}
            for user in users
        ]


def _send_reset(user: User, unit: Unit) -> bool:
    lately = sa.select(MailMessage.id).where(
        MailMessage.about == user.reference,
        MailMessage.kind == RESET,
        # A change may have ended the link of an earlier mail.
        MailMessage.created_at >= max(clock.now() - RESET_EVERY, user.updated_at),
    )
    if db.session.scalar(lately.limit(1)) is not None:
        return False
    unit.record("user:reset:send", user.reference)
    unit.announce(signals.reset_requested, user_id=user.id)
    return True


def reset_access(reference: str, *, unit: Unit) -> Record:
    """End every session and token, and remove the second factor and its recovery codes."""
    with unit:
        user = authority.changeable(reference, unit)
        before = {
            "two_factor": user.tf_primary_method,
            "recovery_codes": len(user.mf_recovery_codes or []),
            "sessions": "open" if _has_credential(user) else "none",
        }
        after = {"two_factor": None, "recovery_codes": 0, "sessions": "none"}
        if before != after:
            user.forget_second_factor()
            end_sessions(user, unit)
            unit.record("user:access:reset", user.reference, before=before, after=after)
            unit.announce(signals.user_updated, user_id=user.id)
            if before["two_factor"]:
                unit.announce(signals.second_factor_changed, user_id=user.id, method=None)
        return user_record(user)


def _has_credential(user: User) -> bool:
    """Return whether a session or a token of this account works."""
    for model in (UserSession, ApiToken):
        live = sa.select(model.id).join(model.user).where(User.id == user.id, model.is_live())
        if db.session.scalar(live.limit(1)):
            return True
    return False


def unlock(reference: str, *, unit: Unit) -> Record:
    """Lift a lockout, and reset the counter of failed logins."""
    with unit:
        user = authority.changeable(reference, unit)
        if user.locked_until or user.failed_logins:
            until = user.locked_until and clock.rfc3339(user.locked_until)
            before = {"failed_logins": user.failed_logins, "locked_until": until}
            lockouts.forget(user, unit)
            after = {"failed_logins": 0, "locked_until": None}
            unit.record("user:account:unlock", user.reference, before=before, after=after)
        return user_record(user)
