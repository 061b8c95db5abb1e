"""Lookups of accounts and roles, with a suggestion when there is none."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from .. import addresses, text
from ..errors import NotFound
from ..extensions import db
from ..models import ADMIN, Role, User

LARGEST_ID = 2**31 - 1
"""PostgreSQL's integer; no account has a larger id."""

_NEAR = 500
"""The most names with the same beginning that are compared for a suggestion."""
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
