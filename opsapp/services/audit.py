"""The audit: who did what, read from the chain of events."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import text
from ..actors import Actor
from ..errors import NotFound
from ..extensions import db
from ..models import AuditEvent, PersonalValue, Role, User
from .lookup import find_user, unknown_user

CHUNK = 2000
ERASED = "[erased]"

Record = dict[str, Any]


# --- reading -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events are meant; all conditions must hold."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    """A login name, sudo name, host or ``user:ID``, whole."""
    action: str | None = None
    """``user:role:grant``, or its beginning: ``user:role``, ``user``."""
    subject: str | None = None
    """An account (id, e-mail, username), ``user:12``, ``role:NAME``, ``role:3``, ``database``."""
    correlation: str | None = None

    def criteria(self) -> list[sa.ColumnElement[bool]]:
        """The conditions for a query.

        :raises NotFound: the subject is an account or role that never was.
        """
        chosen: list[sa.ColumnElement[bool]] = []
        if self.since:
            chosen.append(AuditEvent.at >= self.since)
        if self.until:
            chosen.append(AuditEvent.at <= self.until)
        if self.actor:
            part = json.dumps(self.actor)
            chosen.append(as_stored(AuditEvent.actor).contains(part, autoescape=True))
        if self.action:
            begins = AuditEvent.action.startswith(self.action + ":", autoescape=True)
            chosen.append((AuditEvent.action == self.action) | begins)
        if self.subject:
            chosen.append(_about(self.subject))
        if self.correlation:
            chosen.append(AuditEvent.correlation == self.correlation)
        return chosen


def as_stored(column: Any) -> Any:
    """A JSON column as the text that is stored and hashed."""
    return sa.type_coerce(column, sa.Text)


def _about(subject: str) -> sa.ColumnElement[bool]:
    kind, _, name = subject.partition(":")
    if kind == "role" and name:
        return AuditEvent.subject.in_(_roles_called(name))
    if subject in ("users", "database", "audit"):
        return AuditEvent.subject == subject
    reference = name if kind == "user" and name else subject
    user = find_user(reference)
    if user is None:
        raise unknown_user(reference)
    return (AuditEvent.subject == user.reference) | _in_a_batch(user.id)


def _roles_called(name: str) -> list[str]:
    """Every role that has or had this name, or the one with this id."""
    if name.isdigit():
        return [f"role:{name}"]
    ids = db.session.scalars(sa.select(Role.id).where(Role.name == name)).all()
    if not ids:
        raise NotFound(f"no role {text.shortened(name)}", hint="flask roles list")
    return [f"role:{id}" for id in ids]


def _in_a_batch(user_id: int) -> sa.ColumnElement[bool]:
    """The condition that a batch's event names this account among its ids."""
    ids = as_stored(AuditEvent.after)
    if db.engine.dialect.name == "sqlite":
        each = sa.func.json_each(ids, "$.ids").table_valued("value")
    else:
        listed = sa.cast(sa.cast(ids, sa.JSON).op("->")("ids"), sa.JSON)
        each = sa.func.json_array_elements_text(listed).table_valued(
            sa.column("value", sa.Text), name="listed"
        )
        user_id = str(user_id)  # type: ignore[assignment]  # the server lists them as text
    named = sa.select(sa.literal(1)).select_from(each).where(each.c.value == user_id)
    return sa.and_(AuditEvent.subject == "users", named.exists())


def events(
    chosen: Filter | None = None,
    *,
    limit: int | None = 50,
    before: int | None = None,
) -> Iterator[Record]:
    """The newest ``limit`` events that are meant, the oldest of them first.

    :param limit: None streams all of them.
    :param before: only events with a smaller number: the page before.
    """
    criteria = chosen.criteria() if chosen else []
    if before is not None:
        criteria.append(AuditEvent.seq < before)
    if limit is not None:
        newest = sa.select(AuditEvent.seq).where(*criteria).order_by(AuditEvent.seq.desc())
        criteria = [AuditEvent.seq.in_(newest.limit(limit))]
    return _streamed(sa.select(AuditEvent).where(*criteria).order_by(AuditEvent.seq))


def since(seq: int, chosen: Filter) -> Iterator[Record]:
    """The events that are meant and came after number ``seq``; reads what is committed now."""
    db.session.rollback()
    newer = (AuditEvent.seq > seq, *chosen.criteria())
    return _streamed(sa.select(AuditEvent).where(*newer).order_by(AuditEvent.seq))


def _streamed(query: sa.Select[AuditEvent]) -> Iterator[Record]:
    with db.session.scalars(query, execution_options={"yield_per": CHUNK}) as rows:
        for part in rows.partitions():
            names = _Names.of(part)
            yield from (_record(event, names) for event in part)


def get(seq: int) -> Record:
    """One event with everything it holds.

    :raises NotFound: there is no event of this number.
    """
    event = db.session.get(AuditEvent, seq)
    if event is None:
        raise NotFound(f"no audit event {seq}", hint="flask audit list")
    return {
        **_record(event, _Names.of([event])),
        "actor_detail": event.actor,
        "previous": event.previous,
        "hash": event.hash,
    }


@dataclass(frozen=True, slots=True)
class _Names:
    """The personal values and present names that a page of events refers to."""

    values: dict[str, str]
    subjects: dict[str, str]

    @classmethod
    def of(cls, page: Iterable[AuditEvent]) -> _Names:
        page = list(page)
        tokens = {
            t for event in page for side in (event.before, event.after) for t in _tokens(side)
        }
        return cls(_personal_values(tokens), _present_names({event.subject for event in page}))

    def shown(self, side: dict[str, Any] | None) -> dict[str, Any] | None:
        if side is None:
            return None
        return {
            key: self.values.get(value["personal"], ERASED) if _is_token(value) else value
            for key, value in side.items()
        }


def _is_token(value: Any) -> bool:
    return isinstance(value, dict) and "personal" in value


def _tokens(side: dict[str, Any] | None) -> list[str]:
    return [value["personal"] for value in (side or {}).values() if _is_token(value)]


def _personal_values(tokens: Iterable[str]) -> dict[str, str]:
    """The values behind the tokens that are not erased."""
    stored = sa.select(PersonalValue.token, PersonalValue.value)
    rows = db.session.execute(stored.where(PersonalValue.token.in_(tokens)))
    return {row.token: row.value for row in rows}


def _present_names(subjects: set[str]) -> dict[str, str]:
    """What the subjects are called today; who is erased has no name."""
    users = [int(s.removeprefix("user:")) for s in subjects if s.startswith("user:")]
    roles = [int(s.removeprefix("role:")) for s in subjects if s.startswith("role:")]
    found = db.session.execute(sa.select(User.id, User.email).where(User.id.in_(users)))
    names = {f"user:{id}": email or f"user:{id} {ERASED}" for id, email in found}
    found_roles = db.session.execute(sa.select(Role.id, Role.name).where(Role.id.in_(roles)))
    return names | {f"role:{id}": name for id, name in found_roles}


def _record(event: AuditEvent, names: _Names) -> Record:
    return {
        "seq": event.seq,
        "at": event.at,
        "actor": Actor(**event.actor).label(),
        "door": event.door,
        "action": event.action,
        "subject": event.subject,
        "subject_name": names.subjects.get(event.subject, event.subject),
        "reason": event.reason,
        "before": names.shown(event.before),
        "after": names.shown(event.after),
        "correlation": event.correlation,
    }


def export(chosen: Filter | None = None) -> Iterator[Record]:
    """Every event as it is hashed, with the personal values it names beside it.

    ``actor``, ``before`` and ``after`` are the stored JSON text, so that somebody
    with the key can verify the chain from the export alone.
    """
    criteria = chosen.criteria() if chosen else []
    for page in pages(criteria):
        tokens = [t for row in page for side in (row.before, row.after) for t in _tokens_in(side)]
        values = _personal_values(tokens)
        for row in page:
            named = [*_tokens_in(row.before), *_tokens_in(row.after)]
            stored = row._mapping  # noqa: SLF001  (SQLAlchemy documents this name)
            yield {**stored, "personal": {t: values.get(t, ERASED) for t in named}}


def _tokens_in(stored: str | None) -> list[str]:
    return _tokens(json.loads(stored)) if stored and '"personal":' in stored else []


def pages(criteria: list[sa.ColumnElement[bool]]) -> Generator[Any, None, None]:
    """The chain as stored, in order, a chunk at a time: flat memory however long it is."""
    columns = (
        AuditEvent.seq,
        AuditEvent.at,
        as_stored(AuditEvent.actor).label("actor"),
        AuditEvent.door,
        AuditEvent.action,
        AuditEvent.subject,
        AuditEvent.reason,
        as_stored(AuditEvent.before).label("before"),
        as_stored(AuditEvent.after).label("after"),
        AuditEvent.correlation,
        AuditEvent.previous,
        AuditEvent.hash,
    )
    query = sa.select(*columns).where(*criteria).order_by(AuditEvent.seq)
    with db.session.execute(query, execution_options={"yield_per": CHUNK}) as result:
        yield from result.partitions()
