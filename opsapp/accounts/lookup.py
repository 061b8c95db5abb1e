"""Finding the account or role that a person means."""

from __future__ import annotations

import sqlalchemy as sa

from .. import addresses, text
from ..errors import NotFound
from ..extensions import db
from ..models import ADMIN, Role, User

LARGEST_ID = 2**31 - 1
"""PostgreSQL's integer; a larger one is nobody."""

_NEAR = 500
"""How many names with the same two first letters are compared for a suggestion."""


def find_user(reference: str) -> User | None:
    """The account with this id, e-mail address or username, or None.

    A username has neither ``@`` nor digits only, so the three never collide.
    Deleted accounts are found by id.
    """
    if reference.isascii() and reference.isdigit():
        return db.session.get(User, int(reference)) if _is_id(reference) else None
    if not reference.isprintable():
        return None  # No stored name is, and PostgreSQL takes neither NUL nor surrogates.
    column = User.email if "@" in reference else User.username
    return db.session.scalar(sa.select(User).where(column == addresses.canonical(reference)))


def _is_id(digits: str) -> bool:
    # Python refuses to read a number of thousands of digits.
    return len(digits) <= 10 and int(digits) <= LARGEST_ID


def get_user(reference: str) -> User:
    """The account with this id, e-mail address or username; it is not deleted.

    :raises NotFound: there is none; suggests the nearest name.
    """
    user = find_user(reference)
    if user is None or user.deleted_at:
        raise unknown_user(reference)
    return user


def get_user_ever(reference: str) -> User:
    """The same, a deleted account by its id included.

    :raises NotFound: there never was one; suggests the nearest name.
    """
    user = find_user(reference)
    if user is None:
        raise unknown_user(reference)
    return user


def unknown_user(reference: str) -> NotFound:
    """The error for an account that is not there; it suggests the nearest that is."""
    near = text.did_you_mean(addresses.canonical(reference), _names_like(reference))
    return NotFound(
        f"no user {text.shortened(reference)}", hint=near or "flask users list --search TEXT"
    )


def _names_like(reference: str) -> list[str]:
    start = addresses.canonical(reference)[:2]
    if not start or not start.isprintable():
        return []
    column = User.email if "@" in reference else User.username
    near = sa.select(column).where(column >= start, column < start + "\U0010fffd").limit(_NEAR)
    return [name for name in db.session.scalars(near) if name]


def find_role(name: str) -> Role | None:
    """The role of this name, or None; deleted ones are not found."""
    if not name.isprintable():
        return None
    return db.session.scalar(sa.select(Role).where(Role.name == name, Role.deleted_at.is_(None)))


def get_role(name: str) -> Role:
    """The role of this name.

    :raises NotFound: there is none; suggests the nearest name.
    """
    role = find_role(name)
    if role is None:
        # Without its built-in role the database was migrated and never made ready.
        near = "flask db init" if name == ADMIN else text.did_you_mean(name, role_names())
        raise NotFound(f"no role {text.shortened(name)}", hint=near or "flask roles list")
    return role


def role_names() -> list[str]:
    """The names of all roles, in order."""
    living = sa.select(Role.name).where(Role.deleted_at.is_(None)).order_by(Role.name)
    return list(db.session.scalars(living))
