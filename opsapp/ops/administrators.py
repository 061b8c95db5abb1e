"""Administrators of an attached application: the last of them, and the role that makes one."""

from __future__ import annotations

from sqlalchemy import orm as so

from ..errors import Conflict
from . import capabilities, role_ends
from .identity import Identity
from .roles import ADMIN_NAMES


def has_administrator(identity: Identity | None, session: so.Session) -> bool | None:
    """Return whether an administrator without an end can sign in; None where none is defined."""
    if identity is None or identity.admin is None:
        return None
    ending = role_ends.ending_administrators(identity, session)
    return identity.has_administrator(session, without=ending)


def role(identity: Identity, session: so.Session) -> str:
    """Return the role that makes an administrator, as ``roles grant`` takes it.

    :raises Conflict: there is none that can be written.
    """
    for rule in identity.roles:
        for name in rule.names(session):
            if rule.read_only is None and name.lower() in ADMIN_NAMES:
                return f"{rule.attribute.name}:{name}"
    names = ", ".join(sorted(ADMIN_NAMES))
    raise Conflict(
        f"no role of {identity.model.__name__} is called {names}, so none makes an administrator",
        hint="make it in the application, or "
        + capabilities.hint(identity.model.__name__, "roles"),
    )


class Administration:
    """The administrators of an attached application, as the unit's invariant asks for them."""

    create_admin = "flask ops users create-admin EMAIL"

    def __init__(self, identity: Identity | None) -> None:
        self.identity = identity

    def has_administrator(self, session: so.Session) -> bool | None:
        """Return whether an administrator can sign in; None where none is defined."""
        return has_administrator(self.identity, session)
