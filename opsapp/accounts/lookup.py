"""Lookups of accounts and roles, with a suggestion when there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from .. import addresses, text
from ..errors import NotFound
from ..extensions import db
from ..models import ADMIN, Role, User

LARGEST_ID = 2**31 - 1
"""PostgreSQL's integer; no account has a larger id."""

_NEAR = 500
"""The most names with the same beginning that are compared for a suggestion."""
_AT_ONCE = 1000
"""The references that one statement looks for."""
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
    column = User.email if "@" in reference else User.username
    return db.session.scalar(sa.select(User).where(column == addresses.canonical(reference)))


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


def get_users(references: Iterable[str]) -> list[User]:
    """Return the accounts of these references in their order, each once.

    A few statements find very many.

    :raises NotFound: the first that there is none of, or that is deleted.
    """
    users: dict[User, None] = {}
    for reference, user in find_users(references).items():
        if user is None or user.deleted_at:
            raise unknown_user(reference)
        users[user] = None
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
    return NotFound(f"no user {text.shortened(reference)}", hint=hint)


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
    return None


def actor_name(label: str | None) -> str | None:
    """Return an actor's label with the present address of an account in place of ``user:12``."""
    reference, space, rest = (label or "").partition(" ")
    if not reference.startswith("user:"):
        return label
    user = find_user(reference.removeprefix("user:"))
    return f"{user.email}{space}{rest}" if user and user.email else label


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
        raise NotFound(f"no role {text.shortened(name)}", hint=near or "flask roles list")
    return role


def list_roles(after: str | None = None, limit: int | None = None) -> Sequence[Role]:
    """Return the roles by name, without deleted ones.

    :param after: leave out this name and those before it.
    """
    query = sa.select(Role).where(Role.deleted_at.is_(None)).order_by(Role.name).limit(limit)
    if after is not None:
        query = query.where(Role.name > text.checked(after, "after", longest=64))
    return db.session.scalars(query).all()
