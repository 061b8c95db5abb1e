"""Grants: roles of an application given and taken through its own relation, flag or word."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import clock, signals, text
from ..actors import Actor
from ..audit.events import Naming, naming
from ..errors import Conflict, Invalid, NotFound
from ..extensions import db, this_app
from ..models import AuditEvent, RoleEnd
from ..state import attachment_of
from ..types import Record
from ..unit.work import Unit
from . import role_ends, subjects
from .directory import Directory
from .identity import Identity, plain_key
from .roles import Relation, Rule, Word, rule_of
from .subjects import changing, this_identity

GRANT, REVOKE, EXPIRE = "user:role:grant", "user:role:revoke", "user:role:expire"
NOT_HELD, LOST, KEPT = "not held", "account not found", "cannot be taken"
"""States of a role whose end has passed; by the last two the end stays."""


def grant(
    role: str,
    users: Iterable[str],
    *,
    until: datetime | None = None,
    replace_end: bool = False,
    unit: Unit,
) -> list[Record]:
    """Give a role to accounts.

    :param until: when a sweep takes it away; None is forever.
    :param replace_end: change the end of a role that an account holds already.
    :raises Invalid: ``until`` has passed.
    :raises Conflict: the roles cannot be written, or an account holds the role until
        another time.
    :raises Refused: the last administrator's role would get an end.
    """
    if until is not None and until <= clock.now():
        raise Invalid(f"until {clock.rfc3339(until)} is in the past")
    with changing(unit) as identity:
        rule, name = _find_writable_rule(identity, unit, role)
        if until is not None:
            rule.check_takeable(name)
        accounts = subjects.accounts(identity, unit.session, users)
        if not replace_end:
            for user in accounts:
                _refuse_another_end(identity, rule, name, user, until, unit)
        return [_give(identity, rule, name, user, until, unit) for user in accounts]


def _refuse_another_end(
    identity: Identity, rule: Rule, name: str, user: Any, until: datetime | None, unit: Unit
) -> None:
    if name not in rule.of(user):
        return
    label = label_of(identity, rule, name)
    end = role_ends.find(unit.session, identity.subject(user), label)
    present = end.valid_until if end else None
    if present != until and (present is None or present > clock.now()):
        until_then = f"until {clock.rfc3339(present)}" if present else "forever"
        who = _answer(identity, user, label, until, changed=False)["user"]
        raise Conflict(
            f"{who} holds {label} {until_then}",
            hint="add --replace-end to change the end, or omit this user",
        )


def give(identity: Identity, role: str, user: Any, unit: Unit) -> Record:
    """Give a role forever to an account, inside of a unit that is entered."""
    rule, name = _find_writable_rule(identity, unit, role)
    return _give(identity, rule, name, user, None, unit)


def is_held(identity: Identity, role: str, user: Any, unit: Unit) -> bool:
    """Return whether an account holds a role forever."""
    rule, name = rule_of(identity.roles, unit.session, role)
    end = role_ends.find(unit.session, identity.subject(user), label_of(identity, rule, name))
    return name in rule.of(user) and end is None


def _find_writable_rule(identity: Identity, unit: Unit, role: str) -> tuple[Rule, str]:
    if not identity.roles:
        identity.need("roles")
    rule, name = rule_of(identity.roles, unit.session, role)
    if rule.read_only:
        raise Conflict(f"the role {role} cannot be changed: {rule.read_only}")
    return rule, name


def _give(
    identity: Identity, rule: Rule, name: str, user: Any, until: datetime | None, unit: Unit
) -> Record:
    subject, label = identity.subject(user), label_of(identity, rule, name)
    is_held = name in rule.of(user)
    end = role_ends.find(unit.session, subject, label)
    present = end.valid_until if end else None
    if is_held and present == until:
        return _answer(identity, user, label, until, changed=False)
    if not is_held:
        _replace(identity, rule, user, unit)
        rule.give(unit.session, user, name)
        unit.session.flush()
    before = {"role": label, "valid_until": _format_moment(present)} if is_held else None
    role_ends.write(unit, subject, label, until)
    after = {"role": label, "valid_until": _format_moment(until)}
    subjects.record(unit, identity, user, GRANT, before=before, after=after)
    unit.announce(signals.role_granted, user_id=_id(identity, user), role=label, grant_id=None)
    return _answer(identity, user, label, until, changed=True)


def _replace(identity: Identity, rule: Rule, user: Any, unit: Unit) -> None:
    """Record the end of the role whose place another takes: a word has one at a time."""
    if isinstance(rule, Word) or (isinstance(rule, Relation) and rule.is_single):
        for name in rule.of(user):
            _record_taken(identity, rule, name, user, REVOKE, unit)


def label_of(identity: Identity, rule: Rule, name: str) -> str:
    """Return the name of a role, with its rule's where there are several."""
    return name if len(identity.roles) == 1 else f"{rule.attribute.name}:{name}"


def _format_moment(moment: datetime | None) -> str | None:
    return clock.rfc3339(moment) if moment else None


def _id(identity: Identity, user: Any) -> int | str:
    return plain_key(identity.key.of(user))


def _answer(
    identity: Identity, user: Any, role: str, until: datetime | None, *, changed: bool
) -> Record:
    account = identity.record(user)
    return {
        "changed": changed,
        "user_id": account["id"],
        "user": account["email"] or account["username"] or account["id"],
        "role": role,
        "state": "held",
        "valid_until": until,
    }


def revoke(role: str, users: Iterable[str], *, unit: Unit) -> list[Record]:
    """Take a role away from accounts; one that does not hold it stays as it is.

    :param users: also subjects of ends whose account is not found; these ends go.
    :raises Conflict: the role cannot be written.
    :raises Refused: no administrator would be left.
    """
    with changing(unit) as identity:
        session, names = unit.session, list(text.each(users))
        orphans = {
            name: end for name in names if (end := _find_lost_end(identity, unit, name, role))
        }
        references = [name for name in names if name not in orphans]
        accounts = subjects.accounts(identity, session, references)
        rows = [_drop(end, REVOKE, LOST, unit) for end in orphans.values()]
        if rows and not accounts:
            return rows
        try:
            rule, name = _find_writable_rule(identity, unit, role)
        except NotFound:
            keys = [identity.subject(user) for user in accounts]
            ends = [end for name in keys if (end := role_ends.find(session, name, role))]
            if not ends:
                raise
            return [*rows, *(_drop(end, REVOKE, NOT_HELD, unit) for end in ends)]
        return [*rows, *(_take(identity, rule, name, user, REVOKE, unit) for user in accounts)]


def _find_lost_end(identity: Identity, unit: Unit, name: str, role: str) -> RoleEnd | None:
    """Return the end of a role, by its subject, if the account is not found."""
    end = role_ends.find(unit.session, name, role) if name.startswith("user:") else None
    is_lost = end is not None and role_ends.account(identity, unit.session, name) is None
    return end if is_lost else None


def _take(identity: Identity, rule: Rule, name: str, user: Any, action: str, unit: Unit) -> Record:
    label = label_of(identity, rule, name)
    if name not in rule.of(user):
        # The application's code took the role away before its end.
        end = role_ends.find(unit.session, identity.subject(user), label)
        if end is not None:
            _drop(end, action, NOT_HELD, unit)
        return {**_answer(identity, user, label, None, changed=end is not None), "state": NOT_HELD}
    rule.check_takeable(name)
    rule.take(unit.session, user, name)
    unit.session.flush()
    _record_taken(identity, rule, name, user, action, unit)
    state = {REVOKE: "revoked", EXPIRE: "expired"}[action]
    return {**_answer(identity, user, label, None, changed=True), "state": state}


def _drop(end: RoleEnd, action: str, state: str, unit: Unit) -> Record:
    """Remove the end of a role that is not held."""
    before = {"role": end.role, "valid_until": _format_moment(end.valid_until), "held": False}
    role_ends.write(unit, end.subject, end.role, None)
    unit.record(action, end.subject, before=before)
    return _row_of(end, state, changed=True)


def _row_of(end: RoleEnd, state: str, *, changed: bool) -> Record:
    return {
        "changed": changed, "user_id": None, "user": end.subject, "role": end.role,
        "state": state, "valid_until": end.valid_until,
    }  # fmt: skip


def _record_taken(
    identity: Identity, rule: Rule, name: str, user: Any, action: str, unit: Unit
) -> None:
    subject, label = identity.subject(user), label_of(identity, rule, name)
    end = role_ends.find(unit.session, subject, label)
    before = {"role": label, "valid_until": _format_moment(end.valid_until if end else None)}
    role_ends.write(unit, subject, label, None)
    subjects.record(unit, identity, user, action, before=before)
    unit.announce(signals.role_revoked, user_id=_id(identity, user), role=label, grant_id=None)


def take_all(identity: Identity, user: Any, unit: Unit) -> list[str]:
    """Take every role away from an account, but those that it must have; return those taken."""
    roles = [
        label_of(identity, rule, name)
        for rule in identity.roles
        for name in rule.of(user)
        if _is_takeable(rule, name) and _take(identity, rule, name, user, REVOKE, unit)["changed"]
    ]
    labels = {label_of(identity, rule, name) for rule in identity.roles for name in rule.of(user)}
    subject = identity.subject(user)
    for label in [row["role"] for row in role_ends.of(unit.session, subject)]:
        if label not in labels and (end := role_ends.find(unit.session, subject, label)):
            _drop(end, REVOKE, NOT_HELD, unit)
    return roles


def _is_takeable(rule: Rule, name: str) -> bool:
    try:
        rule.check_takeable(name)
    except Conflict:
        return False
    return rule.read_only is None


def expire(*, unit: Unit) -> list[Record]:
    """Take away the roles whose end has passed.

    The end of a role that is gone, or not held, goes too. An end stays, and its row says why, if
    the role cannot be taken, or its account is not found: that may hold it by another key.
    """
    with changing(unit) as identity:
        return [_sweep(identity, end, unit) for end in role_ends.passed_ends(unit.session)]


def _sweep(identity: Identity, end: RoleEnd, unit: Unit) -> Record:
    user = role_ends.account(identity, unit.session, end.subject)
    if user is None:
        if role_ends.is_deleted(unit.session, end):
            return _drop(end, EXPIRE, "account deleted", unit)
        return _row_of(end, LOST, changed=False)
    try:
        rule, name = _find_writable_rule(identity, unit, end.role)
        return {
            **_take(identity, rule, name, user, EXPIRE, unit),
            "valid_until": end.valid_until,
        }
    except NotFound:
        return _drop(end, EXPIRE, NOT_HELD, unit)
    except Conflict:
        return _row_of(end, KEPT, changed=False)


# --- reading -----------------------------------------------------------------


def history(user: str | None = None, *, role: str | None = None) -> list[Record]:
    """Return the grants and their ends that the audit has, the newest first.

    :param user: an account, also one that is deleted, or its subject.
    :raises NotFound: there never was such an account, or there is no such role.
    """
    identity, session = this_identity(), db.session()
    query = sa.select(AuditEvent).where(AuditEvent.action.in_((GRANT, REVOKE, EXPIRE)))
    if user is not None:
        subject = Directory(identity).subject(user.removeprefix("user:"))
        query = query.where(AuditEvent.subject == subject)
    has_events = attachment_of(this_app()).has_tables_by_now
    events = db.ours.scalars(query.order_by(AuditEvent.seq.desc())).all() if has_events else []
    actors = {event.actor["name"] for event in events if event.actor["kind"] == "user"}
    name = naming({event.subject for event in events} | actors)
    past = (_past(event, name) for event in events)
    rows = [row for row in past if role is None or is_of(row, role)]
    if role is not None and not rows:
        rule_of(identity.roles, session, role)  # It may be misspelled.
    return rows


def is_of(row: Record, role: str) -> bool:
    """Return whether an event is of a role, by its name with or without that of its rule."""
    return role in (row["role"], row["role"].rpartition(":")[2])


def _past(event: AuditEvent, name: Naming) -> Record:
    side, actor = event.after or event.before or {}, Actor(**event.actor)
    if actor.kind == "user":
        actor = replace(actor, name=name(actor.name, event.seq))
    return {
        "at": event.at,
        "user": name(event.subject, event.seq),
        "role": str(side.get("role")),
        "action": event.action.rpartition(":")[2],
        "valid_until": _moment(side.get("valid_until")),
        "by": actor.label(),
        "reason": event.reason,
        "audit_seq": event.seq,
    }


def _moment(value: Any) -> Any:
    """Return the time that an event has as text, as it is where it says none."""
    try:
        return value and clock.moment(value)
    except (TypeError, ValueError):
        return value


def can(identity: Identity | None, user: Any, role: str) -> bool:
    """Return whether an account may act by a role: it is active, and the role has not ended."""
    if identity is None or not isinstance(user, identity.model):
        return False
    if identity.status(user) == "inactive":
        return False
    session, subject = db.session(), identity.subject(user)
    return any(
        not role_ends.is_over(session, subject, label_of(identity, rule, name))
        for rule in identity.roles
        for name in rule.of(user)
        if role in (name, label_of(identity, rule, name))
    )
