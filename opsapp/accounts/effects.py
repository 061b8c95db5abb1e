"""Effects of a change that have no event of their own: a dry run lists them."""

from __future__ import annotations

import sqlalchemy as sa

from ..extensions import db
from ..models import ApiToken, Login, MailMessage, PersonalValue, User, UserSession
from ..unit.work import Unit


def note_ended(unit: Unit, *criteria: sa.ColumnElement[bool], of: str | None = None) -> None:
    """Note the sessions and tokens that end with a change; only a dry run counts them.

    :param criteria: the accounts that it is about.
    :param of: their name; None says how many they are.
    """
    if not unit.dry_run:
        return
    counts = [
        _counted(sa.select(model.id).join(model.user).where(model.is_live(), *criteria), noun)
        for model, noun in ((UserSession, "session"), (ApiToken, "token"))
    ]
    if ended := " and ".join(filter(None, counts)):
        whose = of or _counted(sa.select(User.id).where(*criteria), "account")
        unit.note(f"ends {ended} of {whose}")


def note_erased(user: User, unit: Unit) -> None:
    """Note what the erasure of an account removes; only a dry run counts it."""
    if not unit.dry_run:
        return
    about = (
        (sa.select(UserSession.id).where(UserSession.user_id == user.id), "session"),
        (sa.select(ApiToken.id).where(ApiToken.user_id == user.id), "token"),
        (sa.select(Login.id).where(Login.user_id == user.id), "log-in"),
        (sa.select(MailMessage.id).where(MailMessage.about == user.reference), "message"),
        (
            sa.select(PersonalValue.token).where(PersonalValue.subject == user.reference),
            "name of the audit",
        ),
    )
    counts = [text for query, noun in about if (text := _counted(query, noun))]
    unit.note(f"erases {', '.join(['address, username, password', *counts])} of {user.email}")


def _counted(query: sa.Select[int] | sa.Select[str], noun: str) -> str | None:
    """Return ``3 sessions``; None for none."""
    count = db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
    first, space, rest = noun.partition(" ")
    plural = f"{first}{'' if count == 1 else 's'}{space}{rest}"
    return f"{count:,} {plural}" if count else None
