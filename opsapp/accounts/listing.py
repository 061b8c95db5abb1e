"""Lists of accounts: filtered, sorted, and paged so that a million accounts stay quick.

Keyset paging: a page starts after the last account of the page before, whose id is the
cursor. The database walks an index from there, so each page costs as much as the first.

docs/decisions/accounts.md#a-page-starts-after-an-id
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import addresses, clock, text
from ..errors import Invalid, NotFound
from ..extensions import db
from ..models import ApiToken, Grant, LoginFailures, User
from ..types import AccountFilter, Record
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
class Filter(AccountFilter):
    """Conditions on accounts, which must all hold; deleted accounts only by ``status``."""

    never_logged_in: bool = False
    without_second_factor: bool = False
    """Accounts that have a password and no second factor."""
    service: bool = False
    """Accounts of programs: a live API token, and no password."""
    created_since: datetime | None = None
    created_until: datetime | None = None
    seen_since: datetime | None = None
    seen_until: datetime | None = None

    def criteria(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions for a query.

        :raises NotFound: a named role does not exist.
        :raises Invalid: the search text has a hostile character.
        """
        criteria = [_status(self.status)]
        criteria += [_holds(role) for role in text.each(self.role or ())]
        if self.without_role:
            criteria.append(~_holds(self.without_role))
        if self.search:
            part = addresses.canonical(text.validate(self.search, "search", longest=LONGEST_SEARCH))
            criteria.append(
                User.email.contains(part, autoescape=True)
                | User.username.contains(part, autoescape=True)
            )
        if self.idle_for is not None:
            criteria.append(User.idle_since <= clock.now() - self.idle_for)
        if self.never_logged_in:
            criteria.append(User.login_count == 0)
        if self.without_second_factor:
            criteria += [User.password.is_not(None), User.tf_primary_method.is_(None)]
        if self.service:
            live = sa.select(ApiToken.id).where(ApiToken.user_id == User.id, ApiToken.is_live())
            criteria += [User.password.is_(None), live.correlate(User).exists()]
        if self.seen_since or self.seen_until:
            criteria.append(User.is_seen())
        bounds = (
            (User.created_at, self.created_since, self.created_until),
            (User.idle_since, self.seen_since, self.seen_until),
        )
        for column, since, until in bounds:
            criteria += [column >= since] if since else []
            criteria += [column <= until] if until else []
        return criteria


def _status(status: str | None) -> sa.ColumnElement[bool]:
    alive = User.deleted_at.is_(None)
    if status is None:
        return alive
    locks = sa.select(LoginFailures.user_id).where(
        LoginFailures.locked_until > clock.now(), LoginFailures.user_id.is_not(None)
    )
    locked = User.id.in_(locks)  # Asked once, and not for each account.
    match status:
        case "active":
            return sa.and_(alive, User.active.is_(True), ~locked)
        case "inactive":
            return sa.and_(alive, User.active.is_(False))
        case "locked":
            return sa.and_(alive, User.active.is_(True), locked)
        case "deleted":
            return User.deleted_at.is_not(None)
    raise Invalid(f"status {text.truncate(status)} is not one of {', '.join(STATUSES)}")


def _holds(role: str) -> sa.ColumnElement[bool]:
    # By the role's id, not its name: the planner knows how many accounts hold it.
    holders = sa.select(Grant.user_id).where(Grant.role_id == get_role(role).id, Grant.is_live())
    return User.id.in_(holders)


def count(accounts: Filter, *criteria: sa.ColumnElement[bool]) -> int:
    """Return the number of accounts that meet the filter and every other criterion."""
    matching = sa.select(sa.func.count(User.id)).where(*accounts.criteria(), *criteria)
    return db.session.scalar(matching) or 0


_STREAMED = {"yield_per": 10_000}


def count_and_digest(accounts: Filter, *criteria: sa.ColumnElement[bool]) -> tuple[int, str]:
    """Return the number of accounts that meet the filter and every other criterion, and a digest.

    Another account among as many has another digest.
    """
    matching = sa.select(User.id).where(*accounts.criteria(), *criteria).order_by(User.id)
    digest, count = hashlib.sha256(), 0
    for id in db.session.scalars(matching, execution_options=_STREAMED):
        digest.update(b"%d," % id)
        count += 1
    return count, digest.hexdigest()


def users(
    accounts: Filter,
    *,
    sort: str = "id",
    descending: bool = False,
    after: int | None = None,
    limit: int | None = 50,
) -> Iterator[Record]:
    """Stream the accounts that meet the filter.

    :param after: the id of the last account of the page before.
    :param limit: the most accounts; None is all.
    :raises Invalid: the sort is unknown.
    :raises NotFound: there is no account ``after``.
    """
    if sort not in SORTS:
        raise Invalid(f"sort {text.truncate(sort)} is not one of {', '.join(SORTS)}")
    column = SORTS[sort]
    if column is User.email and accounts.status == "deleted":
        column = User.id  # They have no address to sort by.
    criteria = accounts.criteria()
    remainder = limit
    position = None if after is None else _position(column, after)
    while remainder is None or remainder > 0:
        size = CHUNK if remainder is None else min(CHUNK, remainder)
        page = _page(column, descending, criteria, position, size)
        yield from _records(page)
        if len(page) < size:
            return
        position = (page[-1].key, page[-1].id)
        remainder = None if remainder is None else remainder - size


def _position(column: Any, after: int) -> tuple[Any, int]:
    row = db.session.execute(sa.select(column, User.id).where(User.id == after)).one_or_none()
    if row is None or row[0] is None:
        raise NotFound(f"no user {after} to list after")
    return (row[0], row[1])


# Built once: building a query takes as long as running it.
_COLUMNS = {
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
    # The address is unique, so it needs no id beside it.
    keys = (column,) if column is User.id or column is User.email else (column, User.id)
    query = _COLUMNS[column.key].where(*criteria)
    if position is not None:
        place = position[1:] if column is User.id else position[: len(keys)]
        key, last = sa.tuple_(*keys), sa.tuple_(*place)
        query = query.where(key < last if descending else key > last)
    elif column is User.email:
        query = query.where(User.email > "")  # The index then begins behind the erased accounts.
    order = [key.desc() if descending else key for key in keys]
    return db.session.execute(query.order_by(*order).limit(size)).all()


def _records(page: Sequence[Any]) -> Iterator[Record]:
    names = grants.role_names_of([row.id for row in page])
    return (user_record(row, names.get(row.id, [])) for row in page)
