"""Lists of accounts: filtered, sorted, and paged so that a million of them stay quick.

A page starts after the account where the last one ended (keyset paging): the
database walks an index from there, however far in that is, so the hundredth
page costs what the first one does. The cursor is that account's id.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from .. import addresses, clock, text
from ..errors import Invalid, NotFound
from ..extensions import db
from ..models import Grant, User
from ..types import Record
from . import grants
from .lookup import get_role
from .records import user_record

STATUSES = ("active", "inactive", "locked", "deleted")
SORTS: dict[str, Any] = {
    "id": User.id,
    "email": User.email,
    "created": User.created_at,
    "seen": User.idle_since,
}
LONGEST_SEARCH = 320
CHUNK = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which accounts are meant; all conditions must hold. Deleted ones only if asked for."""

    role: str | None = None
    without_role: str | None = None
    status: str | None = None
    search: str | None = None
    idle_for: timedelta | None = None
    never_logged_in: bool = False
    created_since: datetime | None = None
    created_until: datetime | None = None
    seen_since: datetime | None = None
    seen_until: datetime | None = None

    def criteria(self) -> list[sa.ColumnElement[bool]]:
        """The conditions for a query.

        :raises NotFound: a role that is named does not exist.
        :raises Invalid: what is searched for has a hostile character.
        """
        chosen = [_status(self.status)]
        if self.role:
            chosen.append(_holds(self.role))
        if self.without_role:
            chosen.append(~_holds(self.without_role))
        if self.search:
            part = addresses.canonical(text.checked(self.search, "search", longest=LONGEST_SEARCH))
            chosen.append(
                User.email.contains(part, autoescape=True)
                | User.username.contains(part, autoescape=True)
            )
        if self.idle_for is not None:
            chosen.append(User.idle_since <= clock.now() - self.idle_for)
        if self.never_logged_in:
            chosen.append(User.login_count == 0)
        if self.seen_since or self.seen_until:
            chosen.append(User.login_count > 0)
        bounds = (
            (User.created_at, self.created_since, self.created_until),
            (User.idle_since, self.seen_since, self.seen_until),
        )
        for column, since, until in bounds:
            chosen += [column >= since] if since else []
            chosen += [column <= until] if until else []
        return chosen


def _status(wanted: str | None) -> sa.ColumnElement[bool]:
    alive = User.deleted_at.is_(None)
    if wanted is None:
        return alive
    locked = sa.func.coalesce(User.locked_until > clock.now(), sa.false())
    match wanted:
        case "active":
            return sa.and_(alive, User.active.is_(True), ~locked)
        case "inactive":
            return sa.and_(alive, User.active.is_(False))
        case "locked":
            return sa.and_(alive, User.active.is_(True), locked)
        case "deleted":
            return User.deleted_at.is_not(None)
    raise Invalid(f"status {text.shortened(wanted)} is none of {', '.join(STATUSES)}")


def _holds(role: str) -> sa.ColumnElement[bool]:
    # By the role's id, not its name: the planner knows how many hold it.
    held = sa.select(Grant.user_id).where(Grant.role_id == get_role(role).id, Grant.is_live())
    return User.id.in_(held)


def count(chosen: Filter) -> int:
    """How many accounts the filter means."""
    return db.session.scalar(sa.select(sa.func.count(User.id)).where(*chosen.criteria())) or 0


def count_active(chosen: Filter) -> int:
    """How many of them may sign in today."""
    active = (User.active.is_(True), User.deleted_at.is_(None))
    counted = sa.select(sa.func.count(User.id)).where(*active, *chosen.criteria())
    return db.session.scalar(counted) or 0


def users(
    chosen: Filter,
    *,
    sort: str = "id",
    descending: bool = False,
    after: int | None = None,
    limit: int | None = 50,
) -> Iterator[Record]:
    """The accounts that the filter means, streamed; None as the limit is all of them.

    :param after: the id of the last account of the page before.
    :raises Invalid: the sort is unknown.
    :raises NotFound: there is no account ``after``.
    """
    if sort not in SORTS:
        raise Invalid(f"sort {text.shortened(sort)} is none of {', '.join(SORTS)}")
    column = SORTS[sort]
    if column is User.email and chosen.status == "deleted":
        column = User.id  # They have no address to sort by.
    criteria = chosen.criteria()
    left = limit
    position = None if after is None else _position(column, after)
    while left is None or left > 0:
        size = CHUNK if left is None else min(CHUNK, left)
        page = _page(column, descending, criteria, position, size)
        yield from _records(page)
        if len(page) < size:
            return
        position = (page[-1].key, page[-1].id)
        left = None if left is None else left - size


def _position(column: Any, after: int) -> tuple[Any, int]:
    row = db.session.execute(sa.select(column, User.id).where(User.id == after)).one_or_none()
    if row is None or row[0] is None:
        raise NotFound(f"no user {after} to list after")
    return (row[0], row[1])


# Made once: putting a query together takes as long as asking it.
_SHOWN = {
    column.key: sa.select(
        column.label("key"),
        User.id,
        User.email,
        User.username,
        User.active,
        User.locked_until,
        User.deleted_at,
        User.tf_primary_method,
        User.created_at,
        User.idle_since,
        User.login_count,
    )
    for column in SORTS.values()
}


def _page(
    column: Any,
    descending: bool,
    criteria: list[sa.ColumnElement[bool]],
    position: tuple[Any, int] | None,
    size: int,
) -> Sequence[Any]:
    # The address is unique, and so needs no id to tell two accounts apart.
    keys = (column,) if column is User.id or column is User.email else (column, User.id)
    query = _SHOWN[column.key].where(*criteria)
    if position is not None:
        place = position[1:] if column is User.id else position[: len(keys)]
        here, there = sa.tuple_(*keys), sa.tuple_(*place)
        query = query.where(here < there if descending else here > there)
    elif column is User.email:
        query = query.where(User.email > "")  # The index then begins behind the erased ones.
    order = [key.desc() if descending else key for key in keys]
    return db.session.execute(query.order_by(*order).limit(size)).all()


def _records(page: Sequence[Any]) -> Iterator[Record]:
    names = grants.role_names_of([row.id for row in page])
    return (user_record(row, names.get(row.id, [])) for row in page)
