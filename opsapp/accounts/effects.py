"""Effects of a change that have no event of their own: a dry run lists them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from .. import text
from ..engine.rows import among
from ..extensions import db
from ..models import ApiToken, User, UserSession
from ..unit.ledger import EVENT_EACH
from ..unit.work import Unit
from . import bulk
from .bulk import Account, chunks


def end_sessions(user: User, unit: Unit) -> None:
    """End every session and token of an account; a dry run notes how many."""
    note_ended(unit, bulk.of([user]))
    user.end_sessions()


def note_ended(unit: Unit, users: Sequence[Account]) -> None:
    """Note the sessions and tokens that end with a change; only a dry run counts them."""
    for ids, whose in groups(unit, users):
        counts = [
            describe_count(noun, *(_live(model, chunk) for chunk in chunks(ids)))
            for model, noun in ((UserSession, "session"), (ApiToken, "token"))
        ]
        if summary := " and ".join(filter(None, counts)):
            unit.note(f"ends {summary} of {whose}")


def groups(unit: Unit, users: Sequence[Account]) -> Iterator[tuple[Sequence[int], str]]:
    """Yield each account, or very many together, with their name; none unless it is a dry run."""
    if not unit.dry_run:
        return
    if len(users) > EVENT_EACH:
        yield [user.id for user in users], text.pluralize(len(users), "account")
        return
    for user in users:
        yield [user.id], user.email or f"user:{user.id}"


def _live(model: type[UserSession | ApiToken], ids: Sequence[int]) -> sa.Select[int]:
    return sa.select(model.id).join(model.user).where(model.is_live(), among(User.id, ids))


def describe_count(noun: str, *queries: sa.Select[Any]) -> str | None:
    """Return ``3 sessions``; None for none, or for rows without a noun."""
    if not noun:
        return None
    count = sum(
        db.session.scalar(sa.select(sa.func.count()).select_from(query.subquery())) or 0
        for query in queries
    )
    return text.pluralize(count, noun) if count else None
