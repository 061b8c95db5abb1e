"""Filters of events, by their actor, action, subject and time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import text
from ..accounts.lookup import find_user, unknown_user
from ..accounts.transfer.batches import IMPORT
from ..actors import readings
from ..errors import NotFound
from ..extensions import db, this_app
from ..models import AuditEvent, PendingEvent, Role
from ..state import attachment_of, is_built_on
from .stored import as_text, parse_column

ERASED = "[erased]"
"""In the place of a personal value that was erased."""
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
    *("database:copy:create", "database:copy:fail", "database:backup:restore"),
    *("console:session:open", "console:session:close", "console:session:lose"),
    *("console:changes:commit", "console:query:run"),
    *("audit:intent:fail", "audit:intent:settle"),
)
"""The actions of our events, as docs/audit.md has them; an application adds its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which events are meant; all conditions must hold."""

    since: datetime | None = None
    until: datetime | None = None
    actor: str | None = None
    """An account (id, e-mail, username or ``user:ID``), a login name, sudo name or host, or an
    actor as lists show it: ``root (sudo ada)@db1``."""
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
            if of is AuditEvent and (self.reason or self.actor):
                conditions.append(_not_before(self.since))
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


def _not_before(moment: datetime) -> Any:
    """Return the condition that bounds a search without an index of its own.

    Without it a page is read back to the first event. Events are not in the order of their
    times, so the earliest number is looked up; the sum keeps the database from finding it by
    reading the events in order.
    """
    first = sa.select(sa.func.min(AuditEvent.seq + 0)).where(AuditEvent.at >= moment)
    return AuditEvent.seq >= first.scalar_subquery()


def _because(part: str, of: type[Any]) -> Any:
    """Return the condition that a reason holds this text; changes that wait have none."""
    part = text.validate(part, "reason", longest=500)
    return of.reason.icontains(part, autoescape=True) if of is AuditEvent else sa.false()


def _by(name: str, of: type[Any]) -> Any:
    """Return the condition that an account, or a user of the operating system, is the actor."""
    reference = _reference(name.removeprefix("user:"))
    if reference is not None:
        return sa.or_(_is_named(name, of), _is_named(reference, of))
    for condition in (_is_named, _is_shown_as):
        if any(_is_there(model, condition(name, model)) for model in (AuditEvent, PendingEvent)):
            return condition(name, of)
    raise _unknown_actor(name)


def _unknown_actor(name: str) -> NotFound:
    # It reads all the events.
    actors = _distinct(as_text(AuditEvent.actor))
    names = {n for value in actors for n in (parse_column(value) or {}).values()}
    is_address = "@" in name and is_built_on(this_app())
    near = unknown_user(name).hint if is_address else text.did_you_mean(name, map(str, names))
    hint = near or "flask audit list --fields actor"
    return NotFound(f"no event is by {text.truncate(name)}", hint=hint)


def _is_named(name: str, of: type[Any]) -> Any:
    return as_text(of.actor).contains(json.dumps(name), autoescape=True)


def _is_shown_as(label: str, of: type[Any]) -> Any:
    """Return the condition that an actor's label is this one."""
    return sa.or_(sa.false(), *(_has(fields, of) for fields in readings(label)))


def _has(fields: dict[str, str], of: type[Any]) -> Any:
    name = fields["name"].removesuffix(f" {ERASED}")
    names = {name, _reference(name.removeprefix("user:")) or name}
    rest = {key: value for key, value in fields.items() if key != "name"}
    return sa.and_(
        sa.or_(*(_has_field("name", name, of) for name in sorted(names))),
        *(_has_field(key, value, of) for key, value in rest.items()),
    )


def _has_field(key: str, value: str, of: type[Any]) -> Any:
    return as_text(of.actor).contains(f'"{key}":{json.dumps(value)}', autoescape=True)


def _reference(name: str) -> str | None:
    """Return the subject of the account of this id, address or name; None if there is none."""
    attached = attachment_of(this_app())
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
            f"no event is a {text.truncate(action)}",
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
        return of.subject.in_(_role_references(name))
    if subject in WHOLES or (kind in _OF_COMMANDS and name):
        return of.subject == subject
    reference = name if kind == "user" and name else subject
    attached = attachment_of(this_app())
    if attached is not None:
        is_thing = kind != "user" and bool(name)
        return of.subject == (subject if is_thing else attached.directory.subject(reference))
    user = find_user(reference)
    if user is None and kind != "user" and name.isascii() and name.isdigit():
        return of.subject == subject  # A thing of the application's.
    if user is None:
        raise unknown_user(reference)
    return (of.subject == user.reference) | _in_a_batch(user.id, of)


def _role_references(name: str) -> list[str]:
    """Return every role that has or had this name, or the one with this id."""
    if name.isdigit():
        return [f"role:{name}"]
    ids = db.ours.scalars(sa.select(Role.id).where(Role.name == name)).all()
    if not ids:
        raise NotFound(f"no role {text.truncate(name)}", hint="flask roles list")
    return [f"role:{id}" for id in ids]


def _in_a_batch(user_id: int, of: type[Any]) -> sa.ColumnElement[bool]:
    """Return the condition that a batch's event names this account among its ids."""
    after = as_text(of.after)
    if db.our_engine.dialect.name == "postgresql":
        # As text: of what is no JSON, the server would make an error of the whole list.
        has_id: Any = after.regexp_match(rf'"ids":\[([0-9]+,)*{int(user_id)}[],]')
    else:
        readable = sa.case((sa.func.json_valid(after) == 1, after), else_="{}")
        each = sa.func.json_each(readable, "$.ids").table_valued("value")
        has_id = sa.select(sa.literal(1)).select_from(each).where(each.c.value == user_id).exists()
    return sa.and_(sa.or_(of.subject == "users", of.action == IMPORT), has_id)
