"""Accounts: create, show, change, deactivate, delete."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import sqlalchemy as sa
from flask import current_app

from .. import chain, clock, signals, text
from ..errors import Conflict, Invalid
from ..extensions import db
from ..models import ADMIN, PersonalValue, User
from ..models.users import new_uniquifier
from ..unit import Unit, audit_key
from . import grants, passwords
from .lookup import find_user, get_role, get_user, unknown_user

LONGEST_EMAIL = 254
LONGEST_USERNAME = 64
EVENT_EACH = 100
"""Up to so many accounts, a bulk change writes an event for each; above, one a batch."""
BATCH = 500

Record = dict[str, Any]
T = TypeVar("T")


# --- records -----------------------------------------------------------------


def status(user: User) -> str:
    """``deleted``, ``inactive``, ``locked`` or ``active``."""
    if user.deleted_at:
        return "deleted"
    if not user.active:
        return "inactive"
    return "locked" if user.locked_until and user.locked_until > clock.now() else "active"


def record(user: User, roles: Sequence[str] | None = None) -> Record:
    """The public form of an account; no hash, token or secret is in it."""
    return {
        "id": user.id,
        "email": user.email,
        "username": user.username,
        "status": status(user),
        "roles": grants.role_names(user.id) if roles is None else list(roles),
        "two_factor": user.tf_primary_method is not None,
        "created_at": user.created_at,
        "last_seen_at": user.idle_since if user.login_count else None,
    }


def detail(reference: str) -> Record:
    """Everything an operator may know of an account, deleted ones included by id.

    :raises NotFound: there is no such account.
    """
    user = find_user(reference)
    if user is None:
        raise unknown_user(reference)
    return {
        **record(user),
        "has_password": user.password is not None,
        "confirmed_at": user.confirmed_at,
        "login_count": user.login_count,
        "failed_logins": user.failed_logins,
        "locked_until": user.locked_until,
        "updated_at": user.updated_at,
        "deleted_at": user.deleted_at,
        "permissions": _permissions(user),
        "grants": [grants.record(grant) for grant in grants.of_user(user.id)],
    }


def _permissions(user: User) -> list[str]:
    if any(role.name == ADMIN for role in user.roles):
        return ["*"]
    return sorted({name for role in user.roles for name in role.permissions})


# --- checking input ----------------------------------------------------------


def clean_email(value: str) -> str:
    """``value`` as the canonical address it is stored and looked up by.

    :raises Invalid: it is not an address, or has hostile characters.
    """
    from email_validator import EmailNotValidError, validate_email

    value = text.checked(value, "e-mail", longest=LONGEST_EMAIL)
    try:
        parsed = validate_email(value, check_deliverability=False)
    except EmailNotValidError as error:
        raise Invalid(f"e-mail {text.shortened(value)}: {error}") from error
    return text.canonical(parsed.normalized)


def clean_username(value: str) -> str:
    """``value`` as the canonical username: letters, digits, ``.``, ``_`` and ``-``.

    :raises Invalid: another character, its place named; or digits only, which is an id.
    """
    value = text.canonical(text.checked(value, "username", longest=LONGEST_USERNAME))
    for position, character in enumerate(value, start=1):
        if not (character.isalnum() or character in "._-"):
            raise Invalid(f"username has {character!r} at position {position}")
    if value.isdigit():
        raise Invalid("username has digits only, which would be an id")
    return value


# --- creating ----------------------------------------------------------------


def create(
    email: str,
    *,
    username: str | None = None,
    password: str | None = None,
    role: str | None = None,
    if_exists: str = "error",
    unit: Unit,
) -> Record:
    """A new account, with a role if one is named.

    :param password: None makes an account that cannot sign in yet.
    :param if_exists: ``error`` or ``keep``; see :func:`create_admin` for ``update``.
    :raises Conflict: the address or the username is taken.
    """
    email = clean_email(email)
    username = clean_username(username) if username else None
    hashed = None
    if password is not None and find_user(email) is None:
        hashed = passwords.hashed(password)
    with unit:
        user = find_user(email)
        if user is None:
            user = _insert(email, username, hashed, unit)
            if role:
                grants.give(get_role(role), user, until=None, unit=unit)
        elif if_exists == "error":
            raise Conflict(
                f"user {email} exists already, with id {user.id}",
                hint=f"flask users show {user.id}",
            )
        return record(user)


def _insert(email: str, username: str | None, hashed: str | None, unit: Unit) -> User:
    _refuse_taken_username(username, None)
    now = clock.now()
    user = User(
        email=email,
        username=username,
        password=hashed,
        # Whoever an operator creates needs no confirmation mail to sign in.
        confirmed_at=now,
        created_at=now,
        idle_since=now,
    )
    unit.session.add(user)
    unit.session.flush()
    unit.record(
        "user:account:create",
        user.reference,
        after={"email": email, "username": username, "password": "set" if hashed else None},
    )
    unit.announce(signals.user_created, user_id=user.id)
    return user


def _refuse_taken_username(username: str | None, owner: int | None) -> None:
    if username is None:
        return
    holder = find_user(username)
    if holder is not None and holder.id != owner:
        raise Conflict(f"username {username} is taken by user {holder.id}")


def create_admin(
    email: str,
    *,
    username: str | None = None,
    password: str | None = None,
    generated: bool = False,
    if_exists: str = "error",
    unit: Unit,
) -> Record:
    """An account that is active, can sign in, and holds the admin role for ever.

    :param if_exists: what to do with an account that is there already: ``error``;
        ``keep`` it as it is; or ``update`` it into an active administrator. An update
        sets the password only if the account has none, or if ``password`` was given
        (``generated`` says that it was not) and differs from the present one.
    :raises Conflict: the address is taken and ``if_exists`` is ``error``.
    """
    email = clean_email(email)
    existing = find_user(email)
    if existing is None or if_exists != "update":
        return create(
            email,
            username=username,
            password=password,
            role=ADMIN,
            if_exists=if_exists,
            unit=unit,
        )
    replace = password is not None and (
        existing.password is None
        or (not generated and not passwords.matches(password, existing.password))
    )
    hashed = passwords.hashed(password, user=existing) if replace and password else None
    with unit:
        user = get_user(email)
        _set_active(user, True, unit)
        if hashed:
            _store_password(user, hashed, unit)
        if username:
            _rename(user, {"username": clean_username(username)}, unit)
        grants.give(get_role(ADMIN), user, until=None, unit=unit)
        return record(user)


def needs_password(email: str, if_exists: str) -> bool:
    """Whether :func:`create_admin` or :func:`create` would use a password at all.

    A door asks this before it prompts for one or generates it.
    """
    user = find_user(clean_email(email))
    return user is None or (if_exists == "update" and user.password is None)


# --- changing ----------------------------------------------------------------


def update(
    reference: str, *, email: str | None = None, username: str | None = None, unit: Unit
) -> Record:
    """Change the address or the username; an empty username removes it.

    :raises Conflict: somebody else has it.
    """
    wanted: dict[str, str | None] = {}
    if email is not None:
        wanted["email"] = clean_email(email)
    if username is not None:
        wanted["username"] = clean_username(username) if username else None
    with unit:
        user = get_user(reference)
        if new := wanted.get("email"):
            holder = find_user(new)
            if holder is not None and holder.id != user.id:
                raise Conflict(f"e-mail {new} is taken by user {holder.id}")
        _rename(user, wanted, unit)
        return record(user)


def _rename(user: User, wanted: dict[str, str | None], unit: Unit) -> None:
    _refuse_taken_username(wanted.get("username"), user.id)
    before = {name: getattr(user, name) for name in wanted if getattr(user, name) != wanted[name]}
    if not before:
        return
    after = {name: wanted[name] for name in before}
    for name, value in after.items():
        setattr(user, name, value)
    if "email" in before:
        # Sessions opened under the old address end with it.
        user.end_sessions()
    unit.record("user:account:update", user.reference, before=before, after=after)
    unit.announce(signals.user_updated, user_id=user.id)


def activate(references: Iterable[str], *, unit: Unit) -> list[Record]:
    """Let these accounts sign in again."""
    with unit:
        users = _all(references)
        changed = [_set_active(user, True, unit) for user in users]
        return _marked(users, changed)


def deactivate(references: Iterable[str], *, unit: Unit) -> list[Record]:
    """Let these accounts sign in no more; their sessions end at once.

    :raises Refused: no administrator would be left.
    """
    with unit:
        users = _all(references)
        changed = [_set_active(user, False, unit) for user in users]
        return _marked(users, changed)


def _all(references: Iterable[str]) -> list[User]:
    """The accounts in the order named, each once; nothing is done if one is unknown."""
    return list(dict.fromkeys(get_user(reference) for reference in references))


def _marked(users: list[User], changed: list[bool]) -> list[Record]:
    names = grants.role_names_of([user.id for user in users])
    return [
        {"changed": was, **record(user, names.get(user.id, []))}
        for user, was in zip(users, changed, strict=True)
    ]


def _set_active(user: User, active: bool, unit: Unit) -> bool:
    if user.active is active:
        return False
    user.active = active
    user.end_sessions()
    verb = "activate" if active else "deactivate"
    unit.record(
        f"user:account:{verb}",
        user.reference,
        before={"active": not active},
        after={"active": active},
    )
    unit.announce(
        signals.user_updated if active else signals.user_deactivated, user_id=user.id
    )
    return True


def deactivate_where(criteria: Sequence[sa.ColumnElement[bool]], *, unit: Unit) -> list[Record]:
    """Deactivate every active account that meets ``criteria``; the records are short.

    Above :data:`EVENT_EACH` accounts an event stands for a batch of :data:`BATCH`,
    with their ids and a digest of them.

    :raises Refused: no administrator would be left.
    """
    with unit:
        found = unit.session.execute(
            sa.select(User.id, User.email)
            .where(User.active.is_(True), User.deleted_at.is_(None), *criteria)
            .order_by(User.id)
        ).all()
        now = clock.now()
        for batch in _batches(found):
            ended = {"active": False, "sessions_ended_at": now}
            unit.session.execute(
                sa.update(User),
                [{"id": id, "fs_uniquifier": new_uniquifier(), **ended} for id, _email in batch],
            )
        _record_bulk("deactivate", [id for id, _email in found], unit)
        return [
            {"changed": True, "id": id, "email": email, "status": "inactive"}
            for id, email in found
        ]


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def _record_bulk(verb: str, ids: list[int], unit: Unit) -> None:
    change: dict[str, Any] = {"before": {"active": True}, "after": {"active": False}}
    if len(ids) <= EVENT_EACH:
        for id in ids:
            unit.record(f"user:account:{verb}", f"user:{id}", **change)
    else:
        for batch in _batches(ids):
            digest = hashlib.sha256(",".join(map(str, batch)).encode()).hexdigest()
            after = {"active": False, "ids": list(batch), "count": len(batch), "digest": digest}
            unit.record(f"user:account:{verb}", "users", before={"active": True}, after=after)
    for id in ids:
        unit.announce(signals.user_deactivated, user_id=id)


def set_password(reference: str, password: str, *, unit: Unit) -> Record:
    """Give the account this password; its sessions end. The same password changes nothing.

    :raises Invalid: the policy refuses it.
    """
    user = get_user(reference)
    same = passwords.matches(password, user.password)
    hashed = None if same else passwords.hashed(password, user=user)
    with unit:
        user = get_user(str(user.id))
        if hashed:
            _store_password(user, hashed, unit)
        return record(user)


def _store_password(user: User, hashed: str, unit: Unit) -> None:
    had = "set" if user.password else None
    user.password = hashed
    user.end_sessions()
    unit.record(
        "user:password:set", user.reference, before={"password": had}, after={"password": "set"}
    )
    unit.announce(signals.user_updated, user_id=user.id)


def reset_access(reference: str, *, unit: Unit) -> Record:
    """End every session and token, and take off the second factor and its recovery codes."""
    with unit:
        user = get_user(reference)
        before = {
            "two_factor": user.tf_primary_method,
            "recovery_codes": len(user.mf_recovery_codes or []),
            "sessions": "open" if user.may_have_sessions else "none",
        }
        after = {"two_factor": None, "recovery_codes": 0, "sessions": "none"}
        if before != after:
            user.forget_second_factor()
            user.end_sessions()
            unit.record("user:access:reset", user.reference, before=before, after=after)
            unit.announce(signals.user_updated, user_id=user.id)
        return record(user)


def unlock(reference: str, *, unit: Unit) -> Record:
    """Lift a lock-out and forget the failed log-ins that led to it."""
    with unit:
        user = get_user(reference)
        if user.locked_until or user.failed_logins:
            until = user.locked_until and clock.rfc3339(user.locked_until)
            before = {"failed_logins": user.failed_logins, "locked_until": until}
            user.locked_until, user.failed_logins = None, 0
            after = {"failed_logins": 0, "locked_until": None}
            unit.record("user:account:unlock", user.reference, before=before, after=after)
        return record(user)


# --- deleting ----------------------------------------------------------------


def delete(reference: str, *, unit: Unit) -> Record:
    """Erase the account's personal data, here and beside the audit, and end its grants.

    The row, its id and the history of its grants stay; the audit then says
    ``user:12`` where it said a name. A second deletion by the same address is
    known by a keyed fingerprint and changes nothing.

    :raises NotFound: there never was such an account.
    :raises Refused: no administrator would be left.
    """
    with unit:
        user = deletable(reference)
        if user.deleted_at is None:
            _erase(user, unit)
        return record(user)


def deletable(reference: str) -> User:
    """The account to delete, or the one that was deleted under this address.

    :raises NotFound: there never was such an account.
    """
    user = find_user(reference) or _erased(reference)
    if user is None:
        raise unknown_user(reference)
    return user


def _erased(reference: str) -> User | None:
    if "@" not in reference:
        return None
    print_ = chain.fingerprint(audit_key(current_app), text.canonical(reference))
    return db.session.scalar(
        sa.select(User).where(User.erased_as == print_).order_by(User.id.desc()).limit(1)
    )


def _erase(user: User, unit: Unit) -> None:
    held = grants.end_all(user, unit=unit)
    email = user.email or ""
    user.erased_as = chain.fingerprint(audit_key(current_app), email)
    user.email = user.username = user.password = None
    user.active = False
    user.end_sessions()
    user.forget_second_factor()
    user.last_login_ip = user.current_login_ip = None
    user.deleted_at = clock.now()
    unit.session.execute(sa.delete(PersonalValue).where(PersonalValue.user_id == user.id))
    # The event names no address: it would keep what it says was erased.
    unit.record("user:account:delete", user.reference, before={"roles": held}, after={"roles": []})
    unit.announce(signals.user_deleted, user_id=user.id)
