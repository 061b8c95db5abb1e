"""The names on record: an endpoint's with its method before it, or a command's."""

from __future__ import annotations

import sqlalchemy as sa

from ... import text
from ...errors import NotFound
from ...extensions import db
from ...models import ProfileSeries, ProfileTrace


def is_request(name: str) -> bool:
    """Tell whether a name is an endpoint's, which begins with the method, or a command's."""
    return name.partition(" ")[0].isupper()


def resolve_names(name: str) -> list[str]:
    """Return this name; for an endpoint without a method, the names with each of its methods.

    :raises NotFound: nothing of this name is on record.
    """
    series = sa.select(ProfileSeries.name).where(ProfileSeries.kind.in_(("endpoint", "command")))
    recorded = set(db.ours.scalars(sa.union(series, sa.select(ProfileTrace.name))))
    if name in recorded:
        return [name]
    endpoints = {each: each.partition(" ")[2] for each in recorded if is_request(each)}
    names = sorted(each for each, endpoint in endpoints.items() if endpoint == name)
    if not names:
        hint = text.did_you_mean(name, sorted({*recorded, *endpoints.values()}))
        message = f"no endpoint or command {text.truncate(name)} is on record"
        raise NotFound(message, hint=hint or "flask profile report")
    return names
