"""Events of the audit, with actors and names as they are today."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import text
from ..accounts.lookup import find_user, unknown_user
from ..accounts.transfer.writing import IMPORT
from ..actors import Actor
from ..errors import NotFound
from ..extensions import db, this_app
from ..models import AuditEvent, PendingEvent, Role, User
from ..models.types import canonical_json
from ..state import attached_to, is_built_on
from ..types import Record
from ..unit import intents, pending
from .stored import as_text, is_token, moment, pages, parsed, personal_values, tokens

ERASED = "[erased]"
_OF_COMMANDS = ("session", "import")
"""The subjects that are no thing, but the work of a command."""
WHOLES = ("users", "jobs", "database", "audit")
"""The subjects that are not one thing of many."""

ACTIONS = (
    *("user:account:create", "user:account:update", "user:account:delete", IMPORT),
    *("user:account:activate", "user:account:deactivate", "user:account:unlock"),
    *("user:password:set", "user:password:rehash", "user:reset:send", "user:data:export"),
    *("user:access:reset", "user:email:confirm"),
    *("user:factor:set", "user:factor:remove", "user:codes:set", "user:codes:use"),
    *("user:token:create", "user:token:revoke", "user:sessions:end", "user:logins:prune"),
    *("user:role:grant", "user:role:revoke", "user:role:expire"),
    *("role:definition:create", "role:definition:update", "role:definition:delete"),
    *("review:access:start", "review:access:finish", "user:review:decide"),
    *("role:permissions:update", "job:history:prune", "audit:chain:rebase"),
    *("database:schema:upgrade", "database:schema:downgrade", "database:schema:stamp"),
    *("database:schema:notice", "database:backup:create", "database:backup:fail"),
    *("database:copy:create", "database:backup:restore"),
    *("console:session:open", "console:session:close", "console:session:lose"),
    *("console:changes:commit", "console:query:run"),
    *("audit:intent:fail", "audit:intent:settle"),
)
"""The actions of our events, as docs/audit.md has them; an application adds its own."""

# --- reading -----------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events are meant; all conditions must hold."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    """An account (id, e-mail, username or ``user:ID``), or a login name, sudo name or host."""
    action: str | None = None
    """``user:role:grant``, or its beginning: ``user:role``, ``user``."""
    subject: str | None = None
    """An account (id, e-mail, username), ``user:12``, ``role:NAME``, ``role:3``, ``session:ID``,
    a thing of the application's (``order:12``), or one of :data:`WHOLES`."""
    correlation: str | None = None
    reason: str | None = None
    """Part of the reason, in small or capital letters."""

    def criteria(self, of: type[Any] = AuditEvent) -> list[sa.ColumnElement[bool]]:
        """Return the conditions for a query.

        :param of: the model: events, or those that wait.
        :raises NotFound: the subject is an account or role that never was, or no event has
            this actor or action.
        """
        conditions: list[Any] = []
        if self.since:
            conditions.append(of.at >= self.since)
        if self.until:
            conditions.append(of.at <= self.until)
        if self.actor:
            conditions.append(_by(self.actor, of))
        if self.action:
            conditions.append(_of_kind(self.action, of))
        if self.subject:
            conditions.append(_about(self.subject, of))
        if self.correlation:
            conditions.append(of.correlation == self.correlation)
        if self.reason:
            conditions.append(_because(self.reason, of))
        return conditions


def _because(part: str, of: type[Any]) -> Any:
    """Return the condition that a reason holds this text; changes that wait have none."""
    part = text.checked(part, "reason", longest=500)
    return of.reason.icontains(part, autoescape=True) if of is AuditEvent else sa.false()


def _by(name: str, of: type[Any]) -> Any:
    """Return the condition that an account, or a user of the operating system, is the actor."""
    reference = _reference(name.removeprefix("user:"))
    if reference is not None:
        return sa.or_(_is_named(name, of), _is_named(reference, of))
    if not any(_is_there(model, _is_named(name, model)) for model in (AuditEvent, PendingEvent)):
        # Only for the error: it reads all the events.
        actors = _distinct(as_text(AuditEvent.actor))
        names = {n for stored in actors for n in (parsed(stored) or {}).values()}
        is_address = "@" in name and is_built_on(this_app())
        near = unknown_user(name).hint if is_address else text.did_you_mean(name, map(str, names))
        hint = near or "flask audit list --fields actor"
        raise NotFound(f"no event is by {text.shortened(name)}", hint=hint)
    return _is_named(name, of)


def _is_named(name: str, of: type[Any]) -> Any:
    return as_text(of.actor).contains(json.dumps(name), autoescape=True)


def _reference(name: str) -> str | None:
    """Return the subject of the account of this id, address or name; None if there is none."""
    attached = attached_to(this_app())
    if attached is None:
        user = find_user(name)
        return None if user is None else user.reference
    try:
        return str(attached.directory.subject(name))
    except NotFound:
        return None


def _of_kind(action: str, of: type[Any]) -> Any:
    """Return the condition for an action or the beginning of one."""
    if not any(f"{name}:".startswith(f"{action}:") for name in ACTIONS) and not any(
        _is_there(model, _begins(action, model)) for model in (AuditEvent, PendingEvent)
    ):
        names = {*ACTIONS, *map(str, _distinct(AuditEvent.action))}
        parts = {":".join(name.split(":")[:n]) for name in names for n in (1, 2, 3)}
        raise NotFound(
            f"no event is a {text.shortened(action)}",
            hint=text.did_you_mean(action, sorted(parts)) or "flask audit list --fields action",
        )
    return _begins(action, of)


def _begins(action: str, of: type[Any]) -> Any:
    if action.count(":") == 2:  # A whole action: the index gives a page of it in constant time.
        return of.action == action
    return (of.action == action) | of.action.startswith(action + ":", autoescape=True)


def _is_there(model: type[Any], condition: Any) -> bool:
    return (
        db.ours.scalar(sa.select(sa.literal(1)).select_from(model).where(condition).limit(1))
        is not None
    )


def _distinct(column: Any) -> Sequence[Any]:
    return db.ours.scalars(sa.select(column).distinct()).all()


def _about(subject: str, of: type[Any]) -> Any:
    kind, _, name = subject.partition(":")
    if kind == "role" and name and is_built_on(this_app()):
        return of.subject.in_(_roles_called(name))
    if subject in WHOLES or (kind in _OF_COMMANDS and name):
        return of.subject == subject
    reference = name if kind == "user" and name else subject
    attached = attached_to(this_app())
    if attached is not None:
        is_thing = kind != "user" and bool(name)
        return of.subject == (subject if is_thing else attached.directory.subject(reference))
    user = find_user(reference)
    if user is None and kind != "user" and name.isascii() and name.isdigit():
        return of.subject == subject  # A thing of the application's.
    if user is None:
        raise unknown_user(reference)
    return (of.subject == user.reference) | _in_a_batch(user.id, of)


def _roles_called(name: str) -> list[str]:
    """Return every role that has or had this name, or the one with this id."""
    if name.isdigit():
        return [f"role:{name}"]
    ids = db.ours.scalars(sa.select(Role.id).where(Role.name == name)).all()
    if not ids:
        raise NotFound(f"no role {text.shortened(name)}", hint="flask roles list")
    return [f"role:{id}" for id in ids]


def _in_a_batch(user_id: int, of: type[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that a batch's event names this account among its ids."""
    after = as_text(of.after)
    if db.our_engine.dialect.name == "postgresql":
        # As text: of what is no JSON, the server would make an error of the whole list.
        named: Any = after.regexp_match(rf'"ids":\[([0-9]+,)*{int(user_id)}[],]')
    else:
        readable = sa.case((sa.func.json_valid(after) == 1, after), else_="{}")
        each = sa.func.json_each(readable, "$.ids").table_valued("value")
        named = sa.select(sa.literal(1)).select_from(each).where(each.c.value == user_id).exists()
    return sa.and_(sa.or_(of.subject == "users", of.action == IMPORT), named)


def events(
    filter: Filter | None = None,
    *,
    limit: int | None = 50,
    before: int | None = None,
) -> Iterator[Record]:
    """Return the newest ``limit`` events of the filter, the oldest of them first.

    :param limit: None streams all of them.
    :param before: only events with a smaller number: the page before.
    """
    criteria = filter.criteria() if filter else []
    if before is not None:
        criteria.append(AuditEvent.seq < before)
    if limit is not None:
        newest = sa.select(AuditEvent.seq).where(*criteria).order_by(AuditEvent.seq.desc())
        criteria = [AuditEvent.seq.in_(newest.limit(limit))]
    return told(criteria)


def since(seq: int, filter: Filter) -> Iterator[Record]:
    """Yield the events of the filter after number ``seq``, as committed now."""
    db.ours.rollback()
    return told([AuditEvent.seq > seq, *filter.criteria()])


def waiting(filter: Filter | None = None, *, limit: int | None = 50) -> list[Record]:
    """Return the newest changes that wait to be chained, the oldest of them first.

    They have no number yet.
    """
    criteria = filter.criteria(PendingEvent) if filter else []
    query = sa.select(PendingEvent).where(PendingEvent.action != pending.KEY, *criteria)
    rows = db.ours.scalars(query.order_by(PendingEvent.id.desc()).limit(limit)).all()
    subjects = present_names({row.subject for row in rows})
    return [_waiting(row, subjects) for row in reversed(rows)]


def _waiting(row: PendingEvent, subjects: dict[str, str]) -> Record:
    return {
        "seq": None,
        "at": row.at,
        "actor": actor_label(canonical_json(row.actor)),
        "door": row.door,
        "action": row.action,
        "subject": row.subject,
        "subject_name": subjects.get(row.subject, row.subject),
        "reason": None,
        "before": pending.unmarked(row.before),
        "after": pending.unmarked(row.after),
        "correlation": row.correlation,
    }


def unfinished() -> list[int]:
    """Return the numbers of the intents whose outcome is unknown."""
    return [] if intents.accounts() is None else intents.unfinished(db.ours())


def get(seq: int) -> Record:
    """Return one event with all its fields.

    :raises NotFound: there is no event of this number.
    """
    for page in pages([AuditEvent.seq == seq]):
        names = _Names.of(page)
        return {
            **_record(page[0], names),
            "actor_detail": parsed(page[0].actor),
            "previous": page[0].previous,
            "hash": page[0].hash,
            **_outcome(page[0]),
        }
    raise NotFound(f"no audit event {seq}", hint="flask audit list")


def _outcome(row: Any) -> Record:
    """Return the outcome of an intent; nothing for another event."""
    if not row.action.startswith(intents.PREFIX):
        return {}
    if row.seq in intents.unfinished(db.ours(), correlation=row.correlation):
        return {"outcome": f"unknown: compare and close it by {intents.HINT} {row.seq}"}
    # Other changes of the same shell session may have failed.
    failures = pages([AuditEvent.action == intents.FAIL, AuditEvent.correlation == row.correlation])
    with closing(failures) as chunks:
        failed = [
            seq
            for page in chunks
            for end in page
            for seq in (parsed(end.after) or {}).get("intents", ())
        ]
    return {"outcome": "failed" if row.seq in failed else "done"}


def export(filter: Filter | None = None) -> Iterator[Record]:
    """Yield every event as it is hashed, with the personal values it names beside it.

    ``actor``, ``before`` and ``after`` are the stored JSON text, so that an auditor
    with the key can verify the chain from the export alone.
    """
    for page in pages(filter.criteria() if filter else ()):
        names = _Names.of(page)
        for row in page:
            stored = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy documents this name)
            personal = {token: names.values.get(token, ERASED) for token in sorted(tokens(row))}
            yield {**stored, "at": _time(row.at), "personal": personal}


# --- telling -----------------------------------------------------------------


def told(criteria: list[sa.ColumnElement[bool]]) -> Iterator[Record]:
    """Yield the events that meet these conditions, the oldest of them first."""
    for page in pages(criteria):
        names = _Names.of(page)
        yield from (_record(row, names) for row in page)


def _record(row: Any, names: _Names) -> Record:
    return {
        "seq": row.seq,
        "at": _time(row.at),
        "actor": actor_label(row.actor, names.subjects),
        "door": row.door,
        "action": row.action,
        "subject": row.subject,
        "subject_name": names.subjects.get(row.subject, row.subject),
        "reason": row.reason,
        "before": names.resolve(parsed(row.before)),
        "after": names.resolve(_readable(row)),
        "correlation": row.correlation,
    }


def _readable(row: Any) -> dict[str, Any] | None:
    """Return the values after an event, without fingerprints: :func:`export` has those."""
    after = parsed(row.after)
    if row.action != IMPORT or after is None:
        return after
    return {name: value for name, value in after.items() if name not in _FINGERPRINTS}


_FINGERPRINTS = frozenset({"emails", "usernames", "passwords"})


def _time(at: Any) -> Any:
    try:
        return moment(at)
    except (ValueError, TypeError):
        return at  # It was not written by us: verify tells.


def actor_label(stored: Any, names: Mapping[str, str] | None = None) -> str:
    """Return one line for an event's actor as stored.

    :param names: the present names of accounts by reference, such as ``user:12``.
    """
    actor = parsed(stored) or {}
    fields = {name: str(value) for name, value in actor.items() if name in Actor.__slots__}
    if fields.get("kind") == "user":
        fields["name"] = (names or {}).get(fields.get("name", ""), fields.get("name", ""))
    return Actor(**fields).label() if {"kind", "name"} <= fields.keys() else str(stored)


@dataclass(frozen=True, slots=True)
class _Names:
    """The personal values and present names that a page of events refers to."""

    values: dict[str, str]
    subjects: dict[str, str]
    """The accounts and roles, and among the accounts the actors, by reference."""

    @classmethod
    def of(cls, page: Sequence[Any]) -> _Names:
        named = {token for row in page for token in tokens(row)}
        values = {token: value.value for token, value in personal_values(named).items()}
        actors = {(parsed(row.actor) or {}).get("name") for row in page}
        return cls(values, present_names({row.subject for row in page} | actors))

    def resolve(self, side: dict[str, Any] | None) -> dict[str, Any] | None:
        if side is None:
            return None
        return {
            key: self.values.get(value["personal"], ERASED) if is_token(value) else value
            for key, value in side.items()
        }


def present_names(subjects: set[Any]) -> dict[str, str]:
    """Return the present names of the subjects; an erased account has none."""
    attached = attached_to(this_app())
    if attached is not None:
        return dict(attached.directory.names(subjects))
    names: dict[str, str] = {}
    if users := _ids(subjects, "user:"):
        rows = db.ours.execute(sa.select(User.id, User.email).where(User.id.in_(users)))
        names |= {f"user:{id}": email or f"user:{id} {ERASED}" for id, email in rows}
    if roles := _ids(subjects, "role:"):
        named = db.ours.execute(sa.select(Role.id, Role.name).where(Role.id.in_(roles)))
        names |= {f"role:{id}": name for id, name in named}
    return names


def _ids(subjects: set[Any], kind: str) -> list[int]:
    parts = [str(subject).removeprefix(kind) for subject in subjects]
    return [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 10]
