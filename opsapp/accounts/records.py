"""The public form of an account: the same dictionary in the API and in ``--format json``."""

from __future__ import annotations

from collections.abc import Sequence

from ..models import User
from ..types import Record
from . import authority, grants
from .lookup import get_user_ever, status


def user_record(user: User, roles: Sequence[str] | None = None) -> Record:
    """Return the public form of an account, without hashes, tokens or secrets."""
    return {
        "id": user.id,
        "email": user.email,
        "username": user.username,
        "status": status(user),
        "roles": grants.role_names(user.id) if roles is None else list(roles),
        "two_factor": user.tf_primary_method is not None,
        "created_at": user.created_at,
        "last_seen_at": user.idle_since if _is_seen(user) else None,
    }


def _is_seen(user: User) -> bool:
    # As User.is_seen() in SQL, for rows too.
    return bool(user.login_count) or user.idle_since != user.created_at


def detail(reference: str) -> Record:
    """Return all that an operator may know of an account; a deleted account by its id.

    :raises NotFound: there is no such account.
    """
    user = get_user_ever(reference)
    return {
        **user_record(user),
        "has_password": user.password is not None,
        "must_change_password": user.must_change_password,
        "confirmed_at": user.confirmed_at,
        "login_count": user.login_count,
        "last_login_at": user.last_login_at,
        "failed_logins": user.failed_logins,
        "locked_until": user.locked_until,
        "updated_at": user.updated_at,
        "deleted_at": user.deleted_at,
        "permissions": authority.permission_names(authority.permissions_of(user)),
        "grants": grants.of_user(user.id),
    }
