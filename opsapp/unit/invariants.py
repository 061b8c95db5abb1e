"""Invariants: conditions that hold before and after every change, through any door."""

from __future__ import annotations

from typing import Protocol

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..actors import Standing
from ..errors import Refused
from ..extensions import this_app
from ..models import ADMIN, ApiToken, Grant, Role, User, UserSession
from ..state import EXTENSION


def still_stands(session: so.Session, standing: Standing) -> None:
    """Refuse a change by what has ended since its request began.

    :raises Refused: the token or the session is over, or the account is another than it was:
        deactivated, deleted, or with all its sessions ended.
    """
    current = sa.select(User.id).where(
        User.id == standing.user_id,
        User.fs_uniquifier == standing.uniquifier,
        User.active.is_(True),
    )
    for model, id in ((UserSession, standing.session_id), (ApiToken, standing.token_id)):
        if id is not None:
            current = current.join(model, model.user_id == User.id)
            current = current.where(model.id == id, model.is_live())
    if session.scalar(current) is None:
        credential = "token" if standing.token_id else "session" if standing.session_id else "link"
        raise Refused(f"the {credential} of this request has ended meanwhile; nothing was changed")


class Administration(Protocol):
    """The administrators of an application, ours or its own."""

    @property
    def create_admin(self) -> str:
        """The command that makes one."""

    def has_administrator(self, session: so.Session) -> bool | None:
        """Return whether one can sign in; None where nothing says who administers."""


class OurAdministration:
    """The administrators among our own accounts."""

    create_admin = "flask users create-admin EMAIL"

    def has_administrator(self, session: so.Session) -> bool:
        """Return whether an account that can sign in holds admin without an end.

        A grant with an end does not count, or the last administrator would vanish
        by the passing of time. A lockout does not disqualify: it ends by itself,
        and counting it would let strangers who guess passwords block changes.
        """
        lasting = (
            sa.select(sa.literal(1))
            .select_from(Grant)
            .join(Role, Role.id == Grant.role_id)
            .join(User, User.id == Grant.user_id)
            .where(Role.name == ADMIN, Role.deleted_at.is_(None))
            .where(Grant.ended_at.is_(None), Grant.valid_until.is_(None))
            .where(can_log_in())
            .limit(1)
        )
        return session.scalar(lasting) is not None


def can_log_in() -> sa.ColumnElement[bool]:
    """Return the condition that an account could sign in with its password."""
    return sa.and_(
        User.active.is_(True),
        User.deleted_at.is_(None),
        User.password.is_not(None),
        User.confirmed_at.is_not(None),
    )


def administration() -> Administration:
    """Return the administrators of the current application."""
    administration: Administration = this_app().extensions[EXTENSION].administration
    return administration


def has_administrator(session: so.Session) -> bool | None:
    """Return whether the application has one who can sign in; None where none is defined."""
    return administration().has_administrator(session)


def keep_an_administrator(session: so.Session, *, had_one: bool | None) -> None:
    """Refuse a change that takes the last administrator away.

    :raises Refused: there was one before the change and there is none after it.
    """
    if had_one and not has_administrator(session):
        raise Refused(
            "this would leave no active administrator who can sign in",
            hint=administration().create_admin,
        )
