"""Grants: roles of an application given and taken through its own relation, flag or word."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from .. import clock, signals
from ..actors import Actor
from ..errors import Conflict, Invalid
from ..extensions import db
from ..models import AuditEvent, RoleEnd
from ..types import Record
from ..unit.work import Unit
from . import ends, subjects
from .directory import Directory
from .identity import Identity, plain_key
from .roles import Relation, Rule, Word, rule_of
from .subjects import changing, this_identity

GRANT, REVOKE, EXPIRE = "user:role:grant", "user:role:revoke", "user:role:expire"
SWEEP = "it ends when flask ops roles expire runs, not by itself"


def grant(
    role: str,
    users: Iterable[str],
    *,
    until: datetime | None = None,
    replace_end: bool = False,
    unit: Unit,
) -> list[Record]:
    """Give a role to accounts.

    :param until: when a sweep takes it away; None is for ever.
    :param replace_end: change the end of a role that an account holds already.
    :raises Invalid: ``until`` has passed.
    :raises Conflict: the roles cannot be written, or an account holds the role until
        another time.
    :raises Refused: the last administrator's role would get an end.
    """
    if until is not None and until <= clock.now():
        raise Invalid(f"until {clock.rfc3339(until)} has passed already")
    with changing(unit) as identity:
        rule, name = _writable(identity, unit, role)
        if until is not None:
            rule.check_takeable(name)
        named = subjects.accounts(identity, unit.session, users)
        if not replace_end:
            for user in named:
                _refuse_another_end(identity, rule, name, user, until, unit)
        return [_give(identity, rule, name, user, until, unit) for user in named]


def _refuse_another_end(
    identity: Identity, rule: Rule, name: str, user: Any, until: datetime | None, unit: Unit
) -> None:
    if name not in rule.of(user):
        return
    label = _label(identity, rule, name)
    end = ends.find(unit.session, identity.subject(user), label)
    present = end.valid_until if end else None
    if present != until and (present is None or present > clock.now()):
        until_then = f"until {clock.rfc3339(present)}" if present else "for ever"
        who = _answer(identity, user, label, until, changed=False)["user"]
        raise Conflict(
            f"{who} holds {label} {until_then}",
            hint="--replace-end changes the end; or leave this user out",
        )


def give(identity: Identity, role: str, user: Any, unit: Unit) -> Record:
    """Give a role for ever to an account, inside of a unit that is entered."""
    rule, name = _writable(identity, unit, role)
    return _give(identity, rule, name, user, None, unit)


def is_held(identity: Identity, role: str, user: Any, unit: Unit) -> bool:
    """Return whether an account holds a role for ever."""
    rule, name = rule_of(identity.roles, unit.session, role)
    end = ends.find(unit.session, identity.subject(user), _label(identity, rule, name))
    return name in rule.of(user) and end is None


def _writable(identity: Identity, unit: Unit, role: str) -> tuple[Rule, str]:
    if not identity.roles:
        identity.need("roles")
    rule, name = rule_of(identity.roles, unit.session, role)
    if rule.read_only:
        raise Conflict(f"the role {role} cannot be changed: {rule.read_only}")
    return rule, name


def _give(
    identity: Identity, rule: Rule, name: str, user: Any, until: datetime | None, unit: Unit
) -> Record:
    subject, label = identity.subject(user), _label(identity, rule, name)
    is_held = name in rule.of(user)
    end = ends.find(unit.session, subject, label)
    present = end.valid_until if end else None
    if is_held and present == until:
        return _answer(identity, user, label, until, changed=False)
    if not is_held:
        _replace(identity, rule, user, unit)
        rule.give(unit.session, user, name)
        unit.session.flush()
    before = {"role": label, "valid_until": _shown(present)} if is_held else None
    ends.write(unit, subject, label, until)
    after = {"role": label, "valid_until": _shown(until)}
    subjects.record(unit, identity, user, GRANT, before=before, after=after)
    unit.announce(signals.role_granted, user_id=_id(identity, user), role=label, grant_id=None)
    return _answer(identity, user, label, until, changed=True)


def _replace(identity: Identity, rule: Rule, user: Any, unit: Unit) -> None:
    """Record the end of the role whose place another takes: a word has one at a time."""
    if isinstance(rule, Word) or (isinstance(rule, Relation) and rule.is_single):
        for name in rule.of(user):
            _record_taken(identity, rule, name, user, REVOKE, unit)


def _label(identity: Identity, rule: Rule, name: str) -> str:
    """Return the name of a role, with its rule's where there are several."""
    return name if len(identity.roles) == 1 else f"{rule.attribute.name}:{name}"


def _shown(moment: datetime | None) -> str | None:
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
        "ends": SWEEP if until else None,
    }


def revoke(role: str, users: Iterable[str], *, unit: Unit) -> list[Record]:
    """Take a role away from accounts; one that does not hold it stays as it is.

    :raises Conflict: the role cannot be written.
    :raises Refused: no administrator would be left.
    """
    with changing(unit) as identity:
        rule, name = _writable(identity, unit, role)
        named = subjects.accounts(identity, unit.session, users)
        return [_take(identity, rule, name, user, REVOKE, unit) for user in named]


def _take(identity: Identity, rule: Rule, name: str, user: Any, action: str, unit: Unit) -> Record:
    label = _label(identity, rule, name)
    is_held = name in rule.of(user)
    if is_held:
        rule.check_takeable(name)
        rule.take(unit.session, user, name)
        unit.session.flush()
        _record_taken(identity, rule, name, user, action, unit)
    state = {REVOKE: "revoked", EXPIRE: "expired"}[action] if is_held else "not held"
    return {**_answer(identity, user, label, None, changed=is_held), "state": state}


def _record_taken(
    identity: Identity, rule: Rule, name: str, user: Any, action: str, unit: Unit
) -> None:
    subject, label = identity.subject(user), _label(identity, rule, name)
    end = ends.find(unit.session, subject, label)
    before = {"role": label, "valid_until": _shown(end.valid_until if end else None)}
    ends.write(unit, subject, label, None)
    subjects.record(unit, identity, user, action, before=before)
    unit.announce(signals.role_revoked, user_id=_id(identity, user), role=label, grant_id=None)


def take_all(identity: Identity, user: Any, unit: Unit) -> list[str]:
    """Take every role away from an account, but those that it must have; return those taken."""
    return [
        _label(identity, rule, name)
        for rule in identity.roles
        for name in rule.of(user)
        if _is_takeable(rule, name) and _take(identity, rule, name, user, REVOKE, unit)["changed"]
    ]


def _is_takeable(rule: Rule, name: str) -> bool:
    try:
        rule.check_takeable(name)
    except Conflict:
        return False
    return rule.read_only is None


def expire(*, unit: Unit) -> list[Record]:
    """Take away the roles whose end has passed."""
    with changing(unit) as identity:
        return [_sweep(identity, end, unit) for end in ends.over(unit.session)]


def _sweep(identity: Identity, end: RoleEnd, unit: Unit) -> Record:
    key = identity.key_of(unit.session, end.subject)
    user = None if key is None else unit.session.get(identity.model, key)
    until, subject, label = end.valid_until, end.subject, end.role
    if user is not None:
        rule, name = rule_of(identity.roles, unit.session, label)
        return {**_take(identity, rule, name, user, EXPIRE, unit), "valid_until": until}
    # The account is gone, and its role with it.
    ends.write(unit, subject, label, None)
    before = {"role": label, "valid_until": _shown(until)}
    unit.record(EXPIRE, subject, before=before)
    return {
        "changed": True, "user_id": None, "user": subject, "role": label, "state": "expired",
        "valid_until": until, "ends": None,
    }  # fmt: skip


# --- reading -----------------------------------------------------------------


def history(user: str | None = None, *, role: str | None = None) -> list[Record]:
    """Return the grants and their ends that the audit has, the newest first.

    :raises NotFound: there is no such account.
    """
    identity, session = this_identity(), db.session()
    query = sa.select(AuditEvent).where(AuditEvent.action.in_((GRANT, REVOKE, EXPIRE)))
    if user is not None:
        subject = identity.subject(identity.get(session, user))
        query = query.where(AuditEvent.subject == subject)
    events = db.ours.scalars(query.order_by(AuditEvent.seq.desc()))
    rows = [_past(event) for event in events]
    names = Directory(identity).names({row["user"] for row in rows})
    return [
        {**row, "user": names.get(row["user"], row["user"])}
        for row in rows
        if role is None or role in (row["role"], row["role"].rpartition(":")[2])
    ]


def _past(event: AuditEvent) -> Record:
    side = event.after or event.before or {}
    return {
        "at": event.at,
        "user": event.subject,
        "role": str(side.get("role")),
        "action": event.action.rpartition(":")[2],
        "valid_until": side.get("valid_until"),
        "by": Actor(**event.actor).label(),
        "reason": event.reason,
        "audit_seq": event.seq,
    }


def can(identity: Identity | None, user: Any, role: str, *, ends_are_kept: bool = True) -> bool:
    """Return whether an account may act by a role: it is active, and the role has not ended.

    :param ends_are_kept: False where there is no table of ends yet.
    """
    if identity is None or not isinstance(user, identity.model):
        return False
    if identity.status(user) == "inactive":
        return False
    session, subject = db.session(), identity.subject(user)
    return any(
        not (ends_are_kept and ends.is_over(session, subject, _label(identity, rule, name)))
        for rule in identity.roles
        for name in rule.of(user)
        if role in (name, _label(identity, rule, name))
    )


def explain(reference: str, word: str) -> Record:
    """Return whether an account has a role, or a permission through one, and why.

    :raises NotFound: there is no such account.
    """
    identity, session = this_identity(), db.session()
    user = identity.get(session, reference)
    giving = [
        _label(identity, rule, name)
        for rule in identity.roles
        for name in rule.of(user)
        if word in (name, _label(identity, rule, name)) or word in rule.permissions(user, name)
    ]
    live = [role for role in giving if not ends.is_over(session, identity.subject(user), role)]
    is_inactive = identity.status(user) == "inactive"
    account = identity.record(user)
    return {
        "user": account["email"] or account["username"] or account["id"],
        "permission": word,
        "allowed": bool(live) and not is_inactive,
        "because": _because(giving, live, is_inactive),
    }


def _because(giving: list[str], live: list[str], is_inactive: bool) -> str:
    if not giving:
        return "it holds no such role, and no role that gives it"
    if not live:
        return f"the role {giving[0]} has ended, and flask ops roles expire has not run"
    return f"it holds {live[0]}" + (", but the account is inactive" if is_inactive else "")
