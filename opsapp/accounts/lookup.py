"""Lookups of accounts and roles, with a suggestion when there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from .. import addresses, clock, text
from ..errors import NotFound
from ..extensions import db
from ..models import ADMIN, Grant, Role, User

LARGEST_ID = 2**31 - 1
"""PostgreSQL's integer; no account has a larger id."""

_NEAR = 500
"""The most names with the same beginning that are compared for a suggestion."""
_SLIP = 3
"""The first letters that a name of another beginning may have otherwise."""
_AT_ONCE = 1000
"""The references that one statement looks for."""
_REFERENCE = re.compile(r"user:(\d+)([@ ].*)?", re.DOTALL)
"""The account of a label, and the rest: nothing, ``@db1`` or `` (token ci)@db1``."""
LONGEST_START = 40
"""Characters of the longest beginning that is looked for."""


def find_user(reference: str) -> User | None:
    """Return the account with this id, e-mail address or username, or None.

    A username has no ``@`` and is not all digits, so the three never collide.
    Deleted accounts are found by id.
    """
    if reference.isascii() and reference.isdigit():
        return db.session.get(User, int(reference)) if _is_id(reference) else None
    if not reference.isprintable():
        return (
            None  # Stored names are printable, and PostgreSQL accepts neither NUL nor surrogates.
        )
    name = addresses.canonical(reference)  # Other spellings of the @ become one.
    column = User.email if "@" in name else User.username
    return db.session.scalar(sa.select(User).where(column == name))


def _is_id(digits: str) -> bool:
    # Python refuses to read a number of thousands of digits.
    return len(digits) <= 10 and int(digits) <= LARGEST_ID


def get_user(reference: str) -> User:
    """Return the account with this id, e-mail address or username.

    :raises NotFound: there is none, or it is deleted; suggests the nearest name.
    """
    user = find_user(reference)
    if user is None or user.deleted_at:
        raise unknown_user(reference)
    return user


def get_user_ever(reference: str) -> User:
    """Return the account with this reference; a deleted account by its id.

    :raises NotFound: there never was one; suggests the nearest name.
    """
    user = find_user(reference)
    if user is None:
        raise unknown_user(reference)
    return user


def status(user: User) -> str:
    """Return ``deleted``, ``inactive``, ``locked`` or ``active``."""
    if user.deleted_at:
        return "deleted"
    if not user.active:
        return "inactive"
    return "locked" if user.locked_until and user.locked_until > clock.now() else "active"


def get_users(references: Iterable[str]) -> list[User]:
    """Return the accounts of these references in their order, each once.

    A few statements find very many.

    :raises NotFound: there is none of some, or it is deleted.
    """
    users: dict[User, None] = {}
    missing: list[str] = []
    for reference, user in find_users(references).items():
        if user is None or user.deleted_at:
            missing.append(reference)
        else:
            users[user] = None
    if missing:
        raise unknown_users(missing)
    return list(users)


def find_users(references: Iterable[str]) -> dict[str, User | None]:
    """Return the account of each reference, as :func:`find_user` does, in their order."""
    names = list(dict.fromkeys(references))
    users: dict[str, User | None] = {}
    for start in range(0, len(names), _AT_ONCE):
        users |= _find_each(names[start : start + _AT_ONCE])
    return users


def _find_each(references: Sequence[str]) -> dict[str, User | None]:
    if len(references) == 1:
        return {references[0]: find_user(references[0])}
    ids, names = _split(references)
    canonical = list(names.values())
    query = sa.select(User).where(
        User.id.in_(ids.values()) | User.email.in_(canonical) | User.username.in_(canonical)
    )
    users: dict[int | str | None, User] = {}
    for user in db.session.scalars(query):
        users |= {user.id: user, user.email: user, user.username: user}
    users.pop(None, None)  # A deleted account has no address.
    return {name: users.get(ids.get(name, names.get(name))) for name in references}


def _split(references: Sequence[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Return the references that are ids, and those that are names in canonical form."""
    digits = [name for name in references if name.isascii() and name.isdigit()]
    ids = {name: int(name) for name in digits if _is_id(name)}
    others = set(references).difference(digits)
    return ids, {name: addresses.canonical(name) for name in others if name.isprintable()}


def unknown_user(reference: str) -> NotFound:
    """Return the error for a missing account, with the nearest name as its hint."""
    hint = _nearest(addresses.canonical(reference)) or "flask users list --search TEXT"
    return NotFound(f"no user {text.truncate(reference)}", hint=hint)


def unknown_users(references: Sequence[str]) -> NotFound:
    """Return the error for missing accounts, of which there is one at least."""
    first, *others = references
    error = unknown_user(first)
    if not others:
        return error
    names = text.join_some([text.truncate(reference) for reference in references])
    return NotFound(f"no users {names}", hint=error.hint)


def _nearest(name: str) -> str | None:
    """Return the suggestion of the nearest name: of those with the longest common beginning."""
    if not name.isprintable():
        return None
    column = User.email if "@" in name else User.username
    for length in range(min(len(name), LONGEST_START), 1, -1):
        start = name[:length]
        alike = sa.select(column).where(column >= start, column < start + "\U0010fffd")
        names = db.session.scalars(alike.order_by(column).limit(_NEAR)).all()
        if near := text.did_you_mean(name, filter(None, names)):
            return near
    # Or of those with the same end, for a slip in the first letters.
    size = sa.func.length(column)
    alike = sa.select(column).where(
        column.endswith(name[_SLIP:], autoescape=True), size.between(len(name) - 1, len(name) + 1)
    )
    names = db.session.scalars(alike.order_by(column).limit(_NEAR)).all()
    letters = set(name[:_SLIP])
    # One domain makes all its addresses alike.
    others = [other for other in names if other and len(letters & set(other[:_SLIP])) > 1]
    return text.did_you_mean(name, others)


def actor_name(label: str | None) -> str | None:
    """Return an actor's label with the present address of an account in place of ``user:12``."""
    reference = _REFERENCE.fullmatch(label or "")
    if not reference:
        return label
    user = find_user(reference[1])
    # Kept, for the session would forget it, and ask again for the next row by the same actor.
    db.session.info.setdefault("actors", {})[reference[1]] = user
    return f"{user.email}{reference[2] or ''}" if user and user.email else label


def find_role(name: str) -> Role | None:
    """Return the role of this name, or None; deleted roles are not found."""
    if not name.isprintable():
        return None
    return db.session.scalar(sa.select(Role).where(Role.name == name, Role.deleted_at.is_(None)))


def get_role(name: str) -> Role:
    """Return the role of this name.

    :raises NotFound: there is none; suggests the nearest name.
    """
    role = find_role(name)
    if role is None:
        # A database without its built-in role was migrated and never initialised.
        names = [role.name for role in list_roles()]
        near = "flask db init" if name == ADMIN else text.did_you_mean(name, names)
        raise NotFound(f"no role {text.truncate(name)}", hint=near or "flask roles list")
    return role


def list_roles(
    after: str | None = None, limit: int | None = None, *, held_by: User | None = None
) -> Sequence[Role]:
    """Return the roles by name, without deleted ones.

    :param after: leave out this name and those before it.
    :param held_by: only the roles that this account holds now.
    """
    query = sa.select(Role).where(Role.deleted_at.is_(None)).order_by(Role.name).limit(limit)
    if held_by is not None:
        conditions = (Grant.role_id == Role.id, Grant.user_id == held_by.id, Grant.is_live())
        query = query.where(sa.exists().where(*conditions))
    if after is not None:
        query = query.where(Role.name > text.validate(after, "after", longest=64))
    return db.session.scalars(query).all()
