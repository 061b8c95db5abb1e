"""The audit: read it, verify its chain, and tie it to a checkpoint kept elsewhere."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app

from .. import chain, clock, text
from ..actors import Actor
from ..errors import Invalid, NotFound
from ..extensions import db
from ..models import AuditEvent, AuditHead, PersonalValue, Role, User
from ..unit import Unit, audit_key
from .lookup import find_user, unknown_user

CHUNK = 2000
ERASED = "[erased]"
FORMAT = "opsapp-audit/1"
REBASE = "audit:chain:rebase"

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
            chosen.append(_raw(AuditEvent.actor).contains(part, autoescape=True))
        if self.action:
            begins = AuditEvent.action.startswith(self.action + ":", autoescape=True)
            chosen.append((AuditEvent.action == self.action) | begins)
        if self.subject:
            chosen.append(_about(self.subject))
        if self.correlation:
            chosen.append(AuditEvent.correlation == self.correlation)
        return chosen


def _raw(column: Any) -> Any:
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
    ids = _raw(AuditEvent.after)
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


def _streamed(query: sa.Select[tuple[AuditEvent]]) -> Iterator[Record]:
    rows = db.session.scalars(query, execution_options={"yield_per": CHUNK})
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
        tokens = {t for event in page for side in (event.before, event.after) for t in _tokens(side)}
        stored = sa.select(PersonalValue.token, PersonalValue.value)
        values = db.session.execute(stored.where(PersonalValue.token.in_(tokens))).all()
        return cls(dict(map(tuple, values)), _present_names({event.subject for event in page}))

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
    for page in _pages(criteria):
        tokens = [t for row in page for side in (row.before, row.after) for t in _tokens_in(side)]
        stored = sa.select(PersonalValue.token, PersonalValue.value)
        values = dict(
            map(tuple, db.session.execute(stored.where(PersonalValue.token.in_(tokens))))
        )
        for row in page:
            named = [*_tokens_in(row.before), *_tokens_in(row.after)]
            yield {**row._mapping, "personal": {t: values.get(t, ERASED) for t in named}}


def _tokens_in(stored: str | None) -> list[str]:
    return _tokens(json.loads(stored)) if stored and '"personal":' in stored else []


def _pages(criteria: list[sa.ColumnElement[bool]]) -> Iterator[Any]:
    """The chain as stored, in order, a chunk at a time: flat memory however long it is."""
    columns = (
        AuditEvent.seq,
        AuditEvent.at,
        _raw(AuditEvent.actor).label("actor"),
        AuditEvent.door,
        AuditEvent.action,
        AuditEvent.subject,
        AuditEvent.reason,
        _raw(AuditEvent.before).label("before"),
        _raw(AuditEvent.after).label("after"),
        AuditEvent.correlation,
        AuditEvent.previous,
        AuditEvent.hash,
    )
    query = sa.select(*columns).where(*criteria).order_by(AuditEvent.seq)
    result = db.session.execute(query, execution_options={"yield_per": CHUNK})
    yield from result.partitions()


# --- verifying ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the chain was at a moment; kept elsewhere, it shows a cut or an older copy."""

    chain: str
    seq: int
    hash: str
    at: str

    def line(self, key: bytes) -> str:
        """The signed line to keep."""
        return f"{self._body()} {chain.signature(key, self._body())}"

    def _body(self) -> str:
        return f"{FORMAT} {self.chain} {self.seq} {self.hash} {self.at}"

    @classmethod
    def parse(cls, line: str, key: bytes) -> Checkpoint:
        """The checkpoint of a line.

        :raises Invalid: it is not one, or its signature is not of this key.
        """
        words = line.split()
        if len(words) != 6 or words[0] != FORMAT or not words[2].isdigit():
            raise Invalid(f"not a checkpoint line: {text.shortened(line)}")
        found = cls(words[1], int(words[2]), words[3], words[4])
        if not hmac.compare_digest(chain.signature(key, found._body()), words[5]):
            raise Invalid(f"checkpoint {found.seq}: the signature is not of this audit key")
        return found


def checkpoint() -> str:
    """The line that says what the chain is now, signed with the audit key."""
    head = _head()
    key = audit_key(current_app)
    return Checkpoint(head.chain, head.seq, head.hash, clock.rfc3339(clock.now())).line(key)


def checkpoints(lines: Iterable[str]) -> list[Checkpoint]:
    """The checkpoints of a file's lines; empty ones are passed over.

    :raises Invalid: a line is not a checkpoint of this key, or there is none.
    """
    key = audit_key(current_app)
    found = [Checkpoint.parse(line, key) for line in lines if line.strip()]
    if not found:
        raise Invalid("the checkpoint file holds no checkpoint")
    return found


def _head() -> AuditHead:
    return db.session.scalars(sa.select(AuditHead)).one()


@dataclass(slots=True)
class _Walk:
    """The state of reading the chain from its start."""

    key: bytes
    seq: int = 0
    hash: str = chain.GENESIS
    broken: tuple[int, str, str] | None = None

    def step(self, row: Any) -> bool:
        """Follow the chain over one event; False where it breaks."""
        *columns, previous, stored = row
        seq = columns[0]
        if seq != self.seq + 1:
            self.broken = (self.seq + 1, "missing", f"event {self.seq + 1} is not there")
        elif previous != self.hash:
            self.broken = (seq, "replaced", f"event {seq} does not follow on event {seq - 1}")
        elif chain.link(self.key, previous, tuple(columns)) != stored:
            self.broken = (seq, "edited", f"event {seq} is not what was written")
        else:
            self.seq, self.hash = seq, stored
            return True
        return False


def verify(kept: Iterable[Checkpoint] = ()) -> Record:
    """Read the whole chain and say whether it holds, or where it first breaks and how.

    ``ok`` is the answer. ``break`` is None or one of: ``edited``, ``missing``,
    ``replaced``, ``cut`` (the tail is gone), ``extended`` (events without the
    head), ``personal`` (a name beside the chain was exchanged); and against a
    checkpoint ``cut``, ``rewritten`` (another history) or ``another-chain``.
    ``gaps`` are the restores that somebody declared.
    """
    kept = sorted(kept, key=lambda one: one.seq)
    head = _head()
    walk = _Walk(audit_key(current_app))
    wanted = {one.seq for one in kept}
    hashes = {0: chain.GENESIS}
    for page in _pages([]):
        for row in page:
            if not walk.step(row):
                break
            if walk.seq in wanted:
                hashes[walk.seq] = walk.hash
        if walk.broken:
            break
    gaps = _declared_gaps()
    broken = (
        walk.broken or _head_break(walk, head) or _kept_break(kept, hashes, head, gaps) or _personal()
    )
    seq, kind, says = broken or (None, None, "the chain holds")
    return {
        "ok": broken is None,
        "events": walk.seq,
        "head": walk.hash,
        "first_bad_seq": seq,
        "break": kind,
        "says": says,
        "checkpoints": len(kept),
        "gaps": gaps,
    }


def is_genuine(seq: int) -> bool:
    """Whether one event is what was written, by its own hash and the one it names before it."""
    if seq == 0:
        return True
    row = next(_pages([AuditEvent.seq == seq]))[0]
    *columns, previous, stored = row
    return chain.link(audit_key(current_app), previous, tuple(columns)) == stored


Break = tuple[int | None, str, str]


def _head_break(walk: _Walk, head: AuditHead) -> Break | None:
    if head.seq > walk.seq:
        return (walk.seq + 1, "cut", f"the head says {head.seq} events, {walk.seq} are there")
    if head.seq < walk.seq:
        return (head.seq + 1, "extended", f"the head says {head.seq} events, {walk.seq} are there")
    if head.hash != walk.hash:
        return (head.seq, "replaced", "the head's hash is not that of the last event")
    return None


def _kept_break(
    kept: list[Checkpoint], hashes: dict[int, str], head: AuditHead, gaps: list[Record]
) -> Break | None:
    for one in kept:
        if one.chain != head.chain:
            return (None, "another-chain", f"checkpoint {one.seq} is of another database")
        if hashes.get(one.seq) == one.hash or _is_declared(one, gaps):
            continue
        if one.seq > head.seq:
            return (
                head.seq + 1,
                "cut",
                f"the checkpoint of {one.at} has {one.seq} events, {head.seq} are there:"
                " the tail was cut or an older copy restored",
            )
        return (one.seq, "rewritten", f"event {one.seq} is not the one of the checkpoint")
    return None


def _is_declared(one: Checkpoint, gaps: list[Record]) -> bool:
    return any(gap["restored_seq"] < one.seq <= gap["lost_seq"] for gap in gaps)


def _declared_gaps() -> list[Record]:
    declared = sa.select(AuditEvent).where(AuditEvent.action == REBASE).order_by(AuditEvent.seq)
    return [
        {
            "restored_seq": (event.after or {})["restored_seq"],
            "lost_seq": (event.after or {})["lost_seq"],
            "declared_by": Actor(**event.actor).label(),
            "declared_at": event.at,
            "reason": event.reason,
            "seq": event.seq,
        }
        for event in db.session.scalars(declared)
    ]


def _personal() -> Break | None:
    """A personal value whose token is not its own, if there is one."""
    key = audit_key(current_app)
    stored = sa.select(PersonalValue.token, PersonalValue.salt, PersonalValue.value)
    rows = db.session.execute(stored, execution_options={"yield_per": CHUNK})
    for token, salt, value in rows:
        if chain.personal_token(key, salt, value) != token:
            return (None, "personal", f"the personal value {token} is not what was written")
    return None


def rebase(kept: Iterable[Checkpoint], *, unit: Unit) -> Record:
    """Declare that the database was restored from an older copy.

    Writes an event that names what was lost, by the newest checkpoint kept
    elsewhere; from then on :func:`verify` reports a gap with its author. A
    checkpoint that the chain still meets, or a gap declared before, changes nothing.

    :raises Invalid: the checkpoint is of another database.
    """
    with unit:
        head = _head()
        kept = sorted(kept, key=lambda one: one.seq)
        if any(one.chain != head.chain for one in kept):
            raise Invalid("a checkpoint is of another database")
        gaps = _declared_gaps()
        lost = [one for one in kept if not _is_met(one) and not _is_declared(one, gaps)]
        if not lost:
            return {"lost_seq": None, "restored_seq": None}
        after = {
            "lost_seq": lost[-1].seq,
            "lost_hash": lost[-1].hash,
            # Nothing is known of what happened after the last checkpoint that is met.
            "restored_seq": min(head.seq, lost[0].seq - 1),
        }
        unit.record(REBASE, "audit", after=after)
        return {"lost_seq": after["lost_seq"], "restored_seq": after["restored_seq"]}


def _is_met(one: Checkpoint) -> bool:
    if one.seq == 0:
        return one.hash == chain.GENESIS
    hash = db.session.scalar(sa.select(AuditEvent.hash).where(AuditEvent.seq == one.seq))
    return hash == one.hash
