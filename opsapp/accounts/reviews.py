"""Access reviews: each grant of a moment is kept or refused, and the refused ones end together.

docs/decisions/accounts.md#a-review-is-a-list-of-grants
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock, text
from ..errors import Conflict, Invalid, NotFound
from ..extensions import db
from ..models import AccessReview, Grant, ReviewItem, Role, User
from ..models.types import UTCDateTime
from ..types import Record
from ..unit.work import Unit
from . import authority, bulk
from .grant_rows import list_open, take
from .grants import check_end
from .lookup import actor_name, get_role, get_users, status

KEEP, REVOKE = "keep", "revoke"
DECISIONS = (KEEP, REVOKE)

# --- reading -------------------------------------------------------------------


def get(id: int) -> AccessReview:
    """Return a review.

    :raises NotFound: there is none of this id.
    """
    review = db.session.get(AccessReview, id)
    if review is None:
        raise NotFound(f"no review {id}", hint="flask roles review list")
    return review


def listing() -> list[Record]:
    """Return the reviews, the newest first."""
    newest = sa.select(AccessReview).order_by(AccessReview.id.desc())
    return [record(review) for review in db.session.scalars(newest)]


def overdue() -> Sequence[AccessReview]:
    """Return the open reviews that are past their end."""
    late = (AccessReview.finished_at.is_(None), AccessReview.due_at <= clock.now())
    return db.session.scalars(sa.select(AccessReview).where(*late)).all()


def record(review: AccessReview) -> Record:
    """Return the public form of a review; its state is open, overdue or finished."""
    state = "overdue" if review.due_at <= clock.now() else "open"
    counts = sa.select(ReviewItem.decision, sa.func.count()).group_by(ReviewItem.decision)
    rows = db.session.execute(counts.where(ReviewItem.review_id == review.id)).all()
    decided: dict[str | None, int] = {row[0]: row[1] for row in rows}
    return {
        "id": review.id,
        "state": "finished" if review.finished_at else state,
        "roles": review.roles,
        "grants": sum(decided.values()),
        "undecided": decided.get(None, 0),
        "keep": decided.get(KEEP, 0),
        "revoke": decided.get(REVOKE, 0),
        "started_at": review.started_at,
        "started_by": actor_name(review.started_by),
        "due_at": review.due_at,
        "finished_at": review.finished_at,
        "finished_by": actor_name(review.finished_by),
        "reason": review.reason,
    }


def items(id: int, *, undecided: bool = False) -> list[Record]:
    """Return what a review asks about: who holds what, since when, by whom, and the decision.

    The status and the second factor of the accounts are those of now.

    :param undecided: only what is not decided yet.
    :raises NotFound: there is no such review.
    """
    query = (
        sa.select(ReviewItem, Grant, User, Role.name)
        .options(so.undefer(User.locked_until))
        .join(Grant, Grant.id == ReviewItem.grant_id)
        .join(User, User.id == Grant.user_id)
        .join(Role, Role.id == Grant.role_id)
        .where(ReviewItem.review_id == get(id).id)
        .order_by(Role.name, User.email, ReviewItem.id)
    )
    if undecided:
        query = query.where(ReviewItem.decision.is_(None))
    return [_item(*row) for row in db.session.execute(query)]


def _item(item: ReviewItem, grant: Grant, user: User, role: str) -> Record:
    is_over = grant.valid_until is not None and grant.valid_until <= clock.now()
    return {
        "user_id": grant.user_id,
        "user": user.email or user.reference,
        "status": status(user),
        "two_factor": user.tf_primary_method is not None,
        "role": role,
        "granted_at": grant.granted_at,
        "granted_by": actor_name(grant.granted_by),
        "reason": grant.reason,
        "valid_until": grant.valid_until,
        "last_login_at": item.last_login_at,
        "last_seen_at": item.last_seen_at,
        "decision": item.decision,
        "decided_at": item.decided_at,
        "decided_by": actor_name(item.decided_by),
        "decision_reason": item.decision_reason,
        "state": grant.ended_how or ("expired" if is_over else "live"),
        "ended_at": grant.ended_at,
    }


# --- a review's life -----------------------------------------------------------


def start(roles: Iterable[str] = (), *, due: datetime, unit: Unit) -> Record:
    """Start a review of the live grants of these roles, or of all.

    An open review of the same roles is returned as it is.

    :raises Invalid: ``due`` has passed, or no account holds one of these roles.
    """
    check_end(due)
    with unit:
        authority.require("roles:grant", unit)
        ids = {role.name: role.id for role in map(get_role, text.each(roles))}
        names = sorted(ids)
        same = (AccessReview.finished_at.is_(None), AccessReview.roles == names)
        review = db.session.scalar(sa.select(AccessReview).where(*same).limit(1))
        if review is None:
            review = AccessReview(
                roles=names,
                started_at=clock.now(),
                started_by=unit.actor.label(),
                reason=unit.reason,
                due_at=due,
            )
            unit.session.add(review)
            unit.session.flush()
            _fill(review, list(ids.values()), unit)
        return record(review)


def _fill(review: AccessReview, role_ids: Sequence[int], unit: Unit) -> None:
    last_seen = sa.case((User.is_seen(), User.idle_since))
    moments = (User.last_login_at, sa.type_coerce(last_seen, UTCDateTime))
    live = (
        sa.select(sa.literal(review.id), Grant.id, *moments)
        .join(User, User.id == Grant.user_id)
        .where(Grant.is_live(), User.deleted_at.is_(None))
        .order_by(Grant.id)
    )
    if role_ids:
        live = live.where(Grant.role_id.in_(role_ids))
    columns = ["review_id", "grant_id", "last_login_at", "last_seen_at"]
    insert = sa.insert(ReviewItem).from_select(columns, live)
    result: Any = unit.session.execute(insert, execution_options={"preserve_rowcount": True})
    if not result.rowcount:
        raise Invalid("no account holds a role that is to be reviewed", hint="flask roles list")
    after = {
        "roles": review.roles,
        "grants": result.rowcount,
        "due_at": clock.rfc3339(review.due_at),
    }
    unit.record("review:access:start", review.reference, after=after)


def decide(
    id: int,
    decision: str,
    users: Iterable[str] = (),
    *,
    role: str | None = None,
    undecided: bool = False,
    unit: Unit,
) -> list[Record]:
    """Keep or refuse grants of an open review; a later decision replaces an earlier one.

    :param decision: one of :data:`DECISIONS`; the reason is the unit's.
    :param role: only grants of this role.
    :param undecided: all that is not decided yet, instead of named accounts.
    :raises Conflict: the review is finished.
    :raises NotFound: the review does not ask about an account.
    """
    if decision not in DECISIONS:
        raise Invalid(f"decision {text.truncate(decision)} is not one of {', '.join(DECISIONS)}")
    with unit:
        authority.require("roles:grant", unit)
        review = get(id)
        if review.finished_at is not None:
            raise Conflict(f"review {id} is finished", hint="flask roles review start")
        rows = _of_role(review, role)
        rows = [row for row in rows if row.decision is None] if undecided else _of(rows, users, id)
        changed = [row for row in rows if row.decision != decision]
        _decide(review, decision, changed, unit)
        ids = {row.id for row in changed}
        return [
            {"changed": row.id in ids, "user_id": row.user_id, "user": row.email, "role": row.role,
             "decision": decision}
            for row in rows
        ]  # fmt: skip


def _of_role(review: AccessReview, role: str | None) -> Sequence[Any]:
    query = (
        sa.select(
            ReviewItem.id, ReviewItem.decision, Grant.user_id, Grant.role_id, User.email,
            Role.name.label("role"),
        )
        .join(Grant, Grant.id == ReviewItem.grant_id)
        .join(User, User.id == Grant.user_id)
        .join(Role, Role.id == Grant.role_id)
        .where(ReviewItem.review_id == review.id)
        .order_by(Role.name, ReviewItem.id)
    )  # fmt: skip
    if role is not None:
        query = query.where(Grant.role_id == get_role(role).id)
    return db.session.execute(query).all()


def _of(rows: Sequence[Any], users: Iterable[str], id: int) -> Sequence[Any]:
    accounts = get_users(text.each(users))
    subjects = {row.user_id for row in rows}
    for user in accounts:
        if user.id not in subjects:
            message = f"review {id} does not ask about {user.email}"
            raise NotFound(message, hint=f"flask roles review show {id}")
    ids = {user.id for user in accounts}
    return [row for row in rows if row.user_id in ids]


def _decide(review: AccessReview, decision: str, rows: Sequence[Any], unit: Unit) -> None:
    values = {
        "decision": decision,
        "decided_at": clock.now(),
        "decided_by": unit.actor.label(),
        "decision_reason": unit.reason,
    }
    bulk.update(ReviewItem, [row.id for row in rows], unit, **values)
    for row in rows:
        about = {"review": review.id, "role": row.role}
        before, after = {**about, "decision": row.decision}, {**about, "decision": decision}
        bulk.record("user:review:decide", [row.user_id], unit, before=before, after=after)


def finish(id: int, *, revoke_undecided: bool = False, unit: Unit) -> Record:
    """Finish a review: what was refused is revoked, in one unit of work.

    An account loses the role also if its grant was replaced by one with another end.

    :param revoke_undecided: revoke what was not decided, too; else it stays.
    :raises Refused: no administrator would be left.
    """
    with unit:
        authority.require("roles:grant", unit)
        review = get(id)
        if review.finished_at is None:
            rows = _open_grants(review, revoke_undecided)
            authority.may_change_all({row.user_id for row in rows}, unit)
            take(rows, unit=unit)
            review.finished_at, review.finished_by = clock.now(), unit.actor.label()
            counts = {name: record(review)[name] for name in (*DECISIONS, "undecided")}
            after = {**counts, "revoked": len(rows), "revoke_undecided": revoke_undecided}
            unit.record("review:access:finish", review.reference, after=after)
        return record(review)


def to_revoke(id: int, *, revoke_undecided: bool = False) -> int:
    """Return how many grants :func:`finish` would revoke."""
    return len(_open_grants(get(id), revoke_undecided))


def _open_grants(review: AccessReview, revoke_undecided: bool) -> Sequence[Any]:
    original = Grant.__table__.alias("held")
    is_refused = ReviewItem.decision == REVOKE
    if revoke_undecided:
        is_refused = is_refused | ReviewItem.decision.is_(None)
    same = (original.c.user_id == Grant.user_id, original.c.role_id == Grant.role_id)
    items = sa.select(ReviewItem.id).join(original, original.c.id == ReviewItem.grant_id)
    return list_open(items.where(ReviewItem.review_id == review.id, is_refused, *same).exists())
