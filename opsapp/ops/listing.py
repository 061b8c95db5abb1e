"""Lists of an application's accounts: filtered, sorted and paged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, text
from ..errors import Invalid
from ..extensions import db
from ..types import AccountFilter, Record
from . import role_ends
from .attributes import Attribute
from .identity import Identity, lower
from .roles import rule_of
from .subjects import this_identity

STATUSES = ("active", "inactive")
SORTS = {"id": "key", "email": "email", "created": "created_at", "seen": "last_seen_at"}
"""The sort orders, and the part of the identity that each needs."""
CHUNK = 500
LONGEST_SEARCH = 320
_QUERIES = frozenset({"dynamic", "write_only"})
"""The ways of loading a relation that cannot be told to load it with its accounts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter(AccountFilter):
    """Conditions on the accounts of an application."""

    def criteria(self, identity: Identity, session: so.Session) -> list[Any]:
        """Return the conditions for a query.

        :raises NotFound: a named role does not exist.
        :raises Conflict: a filter needs a part that the identity does not have.
        :raises Invalid: no account of an application has this status.
        """
        criteria: list[Any] = [
            _holds(identity, session, role) for role in text.each(self.role or ())
        ]
        if self.without_role:
            criteria.append(sa.not_(_holds(identity, session, self.without_role)))
        if self.status:
            criteria.append(_has_status(identity, self.status))
        if self.search:
            criteria.append(_matches(identity, self.search))
        if self.idle_for is not None:
            criteria.append(_is_idle(identity, self.idle_for))
        return criteria


def _holds(identity: Identity, session: so.Session, role: str) -> sa.ColumnElement[bool]:
    rule, name = rule_of(identity.roles, session, role)
    return rule.holds(name)


def _has_status(identity: Identity, status: str) -> sa.ColumnElement[bool]:
    if status not in STATUSES:
        raise Invalid(f"status {text.truncate(status)} is not one of {', '.join(STATUSES)}")
    column: sa.ColumnElement[bool] = identity.need("active").column
    return column.is_(True) if status == "active" else column.is_not(True)


def _matches(identity: Identity, search: str) -> sa.ColumnElement[bool]:
    part = text.canonical(text.validate(search, "search", longest=LONGEST_SEARCH))
    names = [name.column for name in (identity.email, identity.username) if name]
    if not names:
        identity.need("email")
    return sa.or_(*(lower(name).contains(part, autoescape=True) for name in names))


def _is_idle(identity: Identity, length: timedelta) -> sa.ColumnElement[bool]:
    """Return the condition that an account was not seen since, or was never and is that old."""
    last_seen_at = identity.need("last_seen_at")
    is_old, is_unseen = _before(last_seen_at, length), last_seen_at.column.is_(None)
    if identity.created_at is not None:
        is_unseen = sa.and_(is_unseen, _before(identity.created_at, length))
    return sa.or_(is_old, is_unseen)


def _before(part: Attribute, length: timedelta) -> sa.ColumnElement[bool]:
    moment = clock.now() - length
    if not getattr(part.column.type, "timezone", False):
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    condition: sa.ColumnElement[bool] = part.column <= moment
    return condition


def count(accounts: Filter) -> int:
    """Return the number of accounts that meet the filter."""
    identity, session = this_identity(), db.session()
    query = sa.select(sa.func.count()).select_from(identity.model)
    return session.scalar(query.where(*accounts.criteria(identity, session))) or 0


def users(
    accounts: Filter,
    *,
    sort: str = "id",
    descending: bool = False,
    after: str | None = None,
    limit: int | None = 50,
) -> Iterator[Record]:
    """Stream the accounts that meet the filter.

    :param after: the id of the last account of the page before; needs the order of ids.
    :param limit: the most accounts; None is all.
    :raises Conflict: the order needs a part that the identity does not have.
    :raises Invalid: ``after`` in another order, or what is no id.
    """
    identity, session = this_identity(), db.session()
    query = sa.select(identity.model).where(*accounts.criteria(identity, session))
    if after is not None:
        query = query.where(_follows(identity, sort, descending, after))
    query = query.order_by(*_order(identity, sort, descending)).options(*_loading_options(identity))
    for user in _stream(session, query, limit):
        yield identity.record(user)


def _follows(identity: Identity, sort: str, descending: bool, after: str) -> Any:
    key = identity.parse(after)
    if sort != "id" or key is None:
        raise Invalid("--after takes an id, and requires --sort id")
    return identity.key.column < key if descending else identity.key.column > key


def _order(identity: Identity, sort: str, descending: bool) -> list[Any]:
    part = identity.key if sort == "id" else identity.need(SORTS[sort])
    keys = [part.column, identity.key.column]
    return [key.desc() if descending else key for key in keys]


def _loading_options(identity: Identity) -> list[Any]:
    """Return the options that load the roles of all accounts of a page at once."""
    return [
        so.selectinload(rule.attribute.column)
        for rule in identity.relations
        if rule.attribute.column.property.lazy not in _QUERIES
    ]


def _stream(session: so.Session, query: sa.Select[Any], limit: int | None) -> Iterator[Any]:
    start = 0
    while limit is None or start < limit:
        size = CHUNK if limit is None else min(CHUNK, limit - start)
        page = session.scalars(query.limit(size).offset(start)).unique().all()
        yield from page
        if len(page) < size:
            return
        start += size


def detail(reference: str) -> Record:
    """Return all that an operator may know of an account.

    :raises NotFound: there is no such account.
    """
    identity, session = this_identity(), db.session()
    user = identity.get(session, reference)
    has_password = None if identity.password is None else bool(identity.password.of(user))
    return {
        **identity.record(user),
        "has_password": has_password,
        "subject": identity.subject(user),
        "ends": role_ends.of(session, identity.subject(user)),
    }


def roles() -> list[Record]:
    """Return every role with the number of accounts that hold it."""
    identity, session = this_identity(), db.session()
    return [
        {
            "name": name,
            "kind": f"{rule.kind} {rule.attribute.name}",
            "holders": _number(identity, session, rule.holds(name)),
            "read_only": rule.read_only,
        }
        for rule in identity.roles
        for name in rule.names(session)
    ]


def _number(identity: Identity, session: so.Session, condition: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(identity.model).where(condition)
    return session.scalar(query) or 0
