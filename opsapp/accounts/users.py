"""Accounts: create, change, delete.

docs/decisions/accounts.md#a-deleted-account-stays-as-a-row
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import sqlalchemy as sa

from .. import addresses, clock, signals, text
from ..errors import Busy, Conflict
from ..extensions import db
from ..models import ADMIN, User
from ..redaction import SET
from ..types import Record
from ..unit import chain
from ..unit.ledger import audit_key, fingerprint
from ..unit.receipts import Receipt
from ..unit.work import Unit
from . import authority, bulk, grant_rows, grants, lockouts, passwords, reachable, usernames
from .bulk import Account
from .effects import end_sessions
from .erasure import erase
from .erasure import references as names_of
from .lookup import find_user, find_users, get_role, unknown_users
from .records import user_record
from .signin import confirm, set_active, store_password

ATTEMPTS = 5

# --- creating ----------------------------------------------------------------


def create(
    email: str,
    *,
    username: str | None = None,
    password: str | None = None,
    role: str | Sequence[str] | None = None,
    if_exists: str = "error",
    needs_password: bool = False,
    unit: Unit,
) -> Record:
    """Create an account, and grant it the roles that are named.

    :param role: one role or several.
    :param password: None makes an account that cannot sign in yet.
    :param if_exists: ``error``, or ``keep`` an account that meets the request; see
        :func:`create_admin` for ``update``.
    :param needs_password: an account to keep must have a password.
    :raises Conflict: the address or the username is taken, or the account to keep differs.
    :raises Busy: other processes keep changing the account.
    """
    email = reachable.clean(email)
    username = usernames.clean(username) if username else None
    return _retry(
        lambda: _create(
            email,
            username,
            password,
            list(text.each(role or ())),
            if_exists=if_exists,
            needs_password=needs_password,
            unit=unit,
        )
    )


def _create(
    email: str,
    username: str | None,
    password: str | None,
    roles: Sequence[str],
    *,
    if_exists: str,
    needs_password: bool = True,
    unit: Unit,
) -> Record:
    hashed = None
    if password is not None and find_user(email) is None:
        hashed = passwords.hash_password(password)
    with unit:
        authority.require("users:write", unit)
        user = find_user(email)
        if (user is None and bool(password) != bool(hashed)) or (user and if_exists == "update"):
            raise _ChangedMeanwhileError(email)
        if user is None:
            user = _insert(email, username, hashed, unit)
            if roles:  # First, since the answer about a role tells whether there is one.
                authority.require("roles:grant", unit)
            for role in roles:
                grant_rows.give(get_role(role), bulk.of([user]), until=None, unit=unit)
        elif if_exists == "error":
            raise Conflict(
                f"user {email} exists already, with id {user.id}",
                hint=f"flask users show {user.id}, or --if-exists keep",
            )
        else:
            is_admin = ADMIN in roles and needs_password
            hint = "--if-exists update makes it one" if is_admin else None
            _refuse_unlike(user, username, roles, needs_password, hint)
        return user_record(user)


class _ChangedMeanwhileError(Busy):
    """The account changed between the lookup and the gate."""

    def __init__(self, email: str) -> None:
        super().__init__(f"user {email} is being changed by another process", hint="try again")


def _retry(attempt: Callable[[], Record]) -> Record:
    """Call ``attempt`` again while the account changes under it, and return its answer.

    A password is hashed before the gate, since that is slow. The account may have changed
    when the gate is taken.
    """
    for _turn in range(ATTEMPTS - 1):
        with suppress(_ChangedMeanwhileError):
            return attempt()
    return attempt()


def _refuse_unlike(
    user: User, username: str | None, roles: Sequence[str], needs_password: bool, hint: str | None
) -> None:
    """Refuse to keep an account that does not meet the request.

    docs/decisions/accounts.md#keep-compares-with-the-request

    :param hint: None names the command for the first difference.
    :raises Conflict: lists the differences.
    """
    name = user.email
    differences = [*_differences(user, username, needs_password)]
    for role in roles:
        if lack := grants.difference_from_lasting(user, get_role(role)):
            differences.append((lack, f"flask roles grant {role} {name}"))
    if differences:
        texts = ", ".join(difference for difference, _hint in differences)
        raise Conflict(f"user {name} exists and {texts}", hint=hint or differences[0][1])


def _differences(
    user: User, username: str | None, needs_password: bool
) -> Iterator[tuple[str, str]]:
    """Yield each difference from a new account, with the command that would end it."""
    name = user.email
    if not user.active:
        yield "is inactive", f"flask users activate {name}"
    if user.confirmed_at is None:
        yield "is not confirmed", f"flask users send-reset {name}"
    if needs_password and user.password is None:
        yield "has no password", f"flask users set-password {name}"
    if username is not None and user.username != username:
        difference = f"has the username {user.username}" if user.username else "has no username"
        yield difference, f"flask users update {name} --username {username}"


def _insert(
    email: str,
    username: str | None,
    hashed: str | None,
    unit: Unit,
    *,
    confirmed: bool = True,
) -> User:
    _refuse_taken_username(username, None)
    now = clock.now()
    user = User(
        email=email,
        username=username,
        password=hashed,
        # An operator's needs no confirmation mail to sign in.
        confirmed_at=now if confirmed else None,
        created_at=now,
        idle_since=now,
    )
    unit.session.add(user)
    unit.session.flush()
    lockouts.take_over(unit.session, [(user.id, email), (user.id, username)])
    after = {"email": email, "username": username, "password": SET if hashed else None}
    after |= {"fingerprint": fingerprint(hashed)} if hashed else {}
    after |= {"confirmed": "yes"} if confirmed else {}
    unit.record("user:account:create", user.reference, after=after)
    unit.announce(signals.user_created, user_id=user.id)
    return user


def _refuse_taken_username(username: str | None, owner: int | None) -> None:
    if username is None:
        return
    holder = find_user(username)
    if holder is not None and holder.id != owner:
        raise Conflict(f"username {username} is taken by user {holder.id}")


def register(email: str, *, unit: Unit) -> User:
    """Return the account of a user who registers; if new, without password or confirmation.

    :raises Invalid: it is not an address, or mail cannot reach it, with or without an account.
    """
    email = reachable.clean_of_stranger(email)
    with unit:
        return find_user(email) or _insert(email, None, None, unit, confirmed=False)


def create_admin(
    email: str,
    *,
    username: str | None = None,
    password: str | None = None,
    generated: bool = False,
    if_exists: str = "error",
    unit: Unit,
) -> Record:
    """Create an account that is active, can sign in, and holds the admin role forever.

    :param generated: the operator did not choose ``password``.
    :param if_exists: ``error``; ``keep`` an account that meets this already; or ``update`` it. An
        update sets the password only if the account has none, or if the operator chose another.
    :raises Conflict: the address is taken and ``if_exists`` is ``error``.
    """
    email = reachable.clean(email)
    username = usernames.clean(username) if username else None
    if if_exists != "update":
        return create(
            email,
            username=username,
            password=password,
            role=ADMIN,
            if_exists=if_exists,
            needs_password=True,
            unit=unit,
        )
    return _retry(lambda: _make_admin(email, username, password, generated, unit))


def _make_admin(
    email: str, username: str | None, password: str | None, generated: bool, unit: Unit
) -> Record:
    existing = find_user(email)
    if existing is None:
        return _create(email, username, password, [ADMIN], if_exists="update", unit=unit)
    replace = password is not None and (
        existing.password is None
        or (not generated and not passwords.matches(password, existing.password))
    )
    hashed = passwords.hash_password(password) if replace and password else None
    before = (existing.id, existing.password)
    with unit:
        user = find_user(email)
        if user is None or (user.id, user.password) != before:
            raise _ChangedMeanwhileError(email)
        set_active(user, True, unit)
        confirm(user, unit)
        if hashed:
            store_password(user, hashed, unit)
        if username:
            _rename(user, {"username": username}, unit)
        grant_rows.give(get_role(ADMIN), bulk.of([user]), until=None, unit=unit)
        return user_record(user)


def needs_password(email: str, if_exists: str) -> bool:
    """Return whether :func:`create_admin` or :func:`create` would use a password.

    A door asks this before it prompts for a password or generates one.
    """
    user = find_user(addresses.clean(email))
    return user is None or (if_exists == "update" and user.password is None)


# --- changing ----------------------------------------------------------------


def update(
    reference: str, *, email: str | None = None, username: str | None = None, unit: Unit
) -> Record:
    """Change the address or the username; an empty username removes it.

    :raises Conflict: another account has it.
    """
    values: dict[str, str | None] = {}
    if email is not None:
        values["email"] = reachable.clean(email)
    if username is not None:
        values["username"] = usernames.clean(username) if username else None
    with unit:
        user = authority.changeable(reference, unit)
        if new := values.get("email"):
            if new != user.email:
                authority.may_move(user, unit)
            holder = find_user(new)
            if holder is not None and holder.id != user.id:
                raise Conflict(f"e-mail {new} is taken by user {holder.id}")
        _rename(user, values, unit)
        return user_record(user)


def _rename(user: User, values: dict[str, str | None], unit: Unit) -> None:
    _refuse_taken_username(values.get("username"), user.id)
    before = {name: getattr(user, name) for name in values if getattr(user, name) != values[name]}
    if not before:
        return
    after = {name: values[name] for name in before}
    if "email" in before:
        # Sessions opened under the old address end with it.
        end_sessions(user, unit)
    for name, value in after.items():
        setattr(user, name, value)
    lockouts.take_over(unit.session, [(user.id, value) for value in after.values()])
    if "email" in before:
        unit.announce(signals.user_email_changed, user_id=user.id, before=before["email"])
    unit.record("user:account:update", user.reference, before=before, after=after)
    unit.announce(signals.user_updated, user_id=user.id)


# --- deleting ----------------------------------------------------------------


def delete(
    references: str | Iterable[str], *, receipt: str | None = None, unit: Unit
) -> list[Record]:
    """Erase the accounts' personal data, here and beside the audit, and end their grants.

    The rows, their ids and the history of their grants stay; the audit then shows ``user:12``
    instead of a name. A keyed fingerprint recognizes a second deletion by the same
    address, which changes nothing.

    :param receipt: a new file, which has what was erased, and no personal datum.
    :raises Conflict: the file exists.
    :raises NotFound: there never was such an account.
    :raises Refused: no administrator would be left.
    """
    with Receipt(receipt) as evidence, unit:
        authority.require("users:write", unit)
        users = deletable(text.each(references))
        deleted_ids = {user.id for user in users if user.deleted_at is not None}
        rows = bulk.of(users)
        _erase([user for user in rows if user.id not in deleted_ids], evidence, unit)
        return [_erased_record(user.id, changed=user.id not in deleted_ids) for user in rows]


def delete_where(
    criteria: Sequence[sa.ColumnElement[bool]], *, receipt: str | None = None, unit: Unit
) -> list[Record]:
    """Erase every account that meets the criteria, as :func:`delete` does.

    :raises Refused: no administrator would be left.
    """
    with Receipt(receipt) as evidence, unit:
        authority.require("users:write", unit)
        users = bulk.accounts(*criteria)
        _erase(users, evidence, unit)
        return [_erased_record(user.id, changed=True) for user in users]


def _erase(users: Sequence[Account], receipt: Receipt, unit: Unit) -> None:
    if users:
        erased = erase(users, unit)
        receipt.write({"subjects": names_of([user.id for user in users]), "erased": erased}, unit)


def _erased_record(id: int, *, changed: bool) -> Record:
    return {"changed": changed, "id": id, "status": "deleted"}


def deletable(references: Iterable[str]) -> list[User]:
    """Return the accounts to delete, or those that were deleted under these addresses.

    :raises NotFound: there never was such an account.
    """
    users: dict[User, None] = {}
    missing: list[str] = []
    for reference, present in find_users(references).items():
        if user := present or _find_erased_user(reference):
            users[user] = None
        else:
            missing.append(reference)
    if missing:
        raise unknown_users(missing)
    return list(users)


def _find_erased_user(reference: str) -> User | None:
    address = addresses.canonical(reference)
    if "@" not in address:
        return None
    fingerprint = chain.fingerprint(audit_key(), address)
    return db.session.scalar(
        sa.select(User).where(User.erased_as == fingerprint).order_by(User.id.desc()).limit(1)
    )
