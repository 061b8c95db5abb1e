"""Verification of the audit log's chain: by itself, and against a checkpoint kept elsewhere."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from .. import text
from ..clock import rfc3339
from ..errors import Invalid
from ..extensions import db, this_app
from ..models import AuditEvent, AuditHead, PersonalValue
from ..state import is_built_on
from ..types import Record
from ..unit import chain, intents
from ..unit.chain import Checkpoint
from ..unit.ledger import Head, audit_key, refuse_other_key, refuse_other_pepper
from ..unit.pending import DELETE
from ..unit.work import Unit
from ..values.damage import Damaged
from .checkpoints import the_head
from .events import actor_label
from .state import State
from .stored import moment, pages, parse_column, personal_values, tokens

REBASE = "audit:chain:rebase"
MOST_DIFFERENCES = 100

Break = tuple[int | None, str, str]
"""The first bad event where one can be named, the kind of break, and what it says."""


@dataclass(slots=True)
class _Walk:
    """The state of reading the chain from its start."""

    key: bytes
    checkpointed: frozenset[int]
    seq: int = 0
    hash: str = chain.GENESIS
    broken: Break | None = None
    hashes: dict[int, str] = field(default_factory=lambda: {0: chain.GENESIS})
    """The hashes of the events that checkpoints speak of."""
    began: Record = field(default_factory=dict)
    """The first event's description of the whole chain."""
    names: int = 0
    """How many of the personal values beside the chain its events name."""

    def over(self, page: Iterable[Any]) -> list[Any]:
        """Follow the chain over a page of events; those before a break."""
        rows = []
        for row in page:
            self.broken = self._break(row)
            if self.broken:
                break
            self.seq, self.hash = row.seq, row.hash
            if self.seq == 1:
                self.began = parse_column(row.after) or {}
            if self.seq in self.checkpointed:
                self.hashes[self.seq] = self.hash
            rows.append(row)
        return rows

    def _break(self, row: Any) -> Break | None:
        seq, at, *rest, previous, digest = row
        if seq != self.seq + 1:
            return (self.seq + 1, "missing", f"event {self.seq + 1} is not there")
        if previous != self.hash:
            return (seq, "replaced", f"event {seq} does not follow on event {seq - 1}")
        try:
            expected = chain.link(self.key, previous, (seq, moment(at), *rest))
        except (ValueError, TypeError, OverflowError):
            expected = "no event of ours"
        # The words that stand in for a damaged value might be those that were written.
        if expected != digest or any(isinstance(value, Damaged) for value in row):
            return (seq, "edited", f"event {seq} is not what was written")
        return None


def verify(checkpoints: Iterable[Checkpoint] = (), *, state: bool = False) -> Record:
    """Read the whole chain and say whether it holds, or where it first breaks and how.

    ``ok`` is the answer. ``break`` is None or one of: ``edited``, ``missing``,
    ``replaced``, ``cut`` (the tail is gone), ``extended`` (events without the
    head), ``head`` (there is not one head, or it is not the one of this chain),
    ``personal`` (a name beside the chain was exchanged, taken away or added); and
    against a checkpoint ``cut``, ``rewritten`` (another history) or
    ``another-chain``. ``gaps`` are the restores that an operator declared.

    :param state: also compare the tables with what the events say they must be; ``break`` is
        then ``state`` where they differ, and ``differences`` has the first ones.
    :raises NotReady: the audit key or the salt is another one than the chain was begun with.
    """
    checkpoints = sorted(checkpoints, key=lambda checkpoint: checkpoint.seq)
    if db.our_engine.dialect.name == "postgresql" and not db.ours().in_transaction():
        # The head and the events are read one after the other, and others write meanwhile.
        db.ours.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    heads = db.ours.scalars(sa.select(AuditHead)).all()
    walk = _Walk(audit_key(), frozenset(checkpoint.seq for checkpoint in checkpoints))
    with closing(State()) as facts:
        misnomer = _walk_all(walk, facts if state else None)
        return _report(walk, misnomer, checkpoints, heads, facts if state else None)


def _report(
    walk: _Walk,
    misnomer: Break | None,
    checkpoints: list[Checkpoint],
    heads: Sequence[AuditHead],
    state: State | None,
) -> Record:
    if walk.broken and walk.seq == 0:
        for head in heads:
            refuse_other_key(head.key_id)
    gaps = _declared_gaps(walk.seq)
    first_break = walk.broken or _heads_break(walk, heads)
    if first_break is None:
        first_break = (
            _tail_break(checkpoints, walk.hashes, heads[0], gaps) or misnomer or _stray_break(walk)
        )
    differences, holds = None, "the chain holds"
    if state is not None and first_break is None and not is_built_on(this_app()):
        holds = "the chain holds; the accounts are the application's own, and are not compared"
    elif state is not None and first_break is None:
        differences, first_break = _compare_tables(state)
        holds = "the chain holds, and the tables match it"
    if first_break is None and (unfinished := intents.unfinished_numbers(db.ours())):
        numbers = text.join_some([*map(str, unfinished)], MOST_DIFFERENCES)
        holds += f"; intended without an end: {numbers}"
    seq, kind, message = first_break or (None, None, holds)
    return {
        "ok": first_break is None,
        "events": walk.seq,
        "head": walk.hash,
        "first_bad_seq": seq,
        "break": kind,
        "says": message,
        "checkpoints": len(checkpoints),
        "gaps": gaps,
        "differences": differences,
    }


def _compare_tables(state: State) -> tuple[list[str], Break | None]:
    """Return the first differences of the tables from the events, and the break that they are."""
    differences: list[str] = []
    count = 0
    for count, difference in enumerate(state.differences(), start=1):
        if count <= MOST_DIFFERENCES:
            differences.append(difference)
    if not count:
        return differences, None
    more = f", and {count - 1} more" if count > 1 else ""
    return differences, (None, "state", differences[0] + more)


_Event = namedtuple(
    "_Event",
    "seq at actor door action subject reason before after correlation previous hash",
)
"""An event of a file, as :func:`.stored.pages` has those of the database."""


def follow(events: Iterable[Record], head: Head, file: str) -> str:
    """Follow the chain of a file to its head; return the time of its last event.

    :param events: by column, in order, as stored.
    :raises Invalid: the chain is broken, or the head is not its end.
    """
    walk, last = _Walk(audit_key(), frozenset()), ""
    for event in events:
        row = _Event(**{**{name: event[name] for name in _Event._fields}, "seq": int(event["seq"])})
        if not walk.over([row]):
            break
        last = rfc3339(moment(row.at))
    message = walk.broken[2] if walk.broken else None
    if message is None and (walk.seq, walk.hash) != (head.seq, head.hash):
        message = _counts_differ(head, walk)
    if message is not None:
        raise Invalid(f"the audit log of {file} does not hold: {message}")
    return last


def _walk_all(walk: _Walk, state: State | None) -> Break | None:
    """Walk the whole chain; what is wrong with the names beside it, if anything is."""
    misnomer: Break | None = None
    try:
        with closing(pages()) as chunks:
            for page in chunks:
                rows = walk.over(page)
                names = personal_values({token for row in rows for token in tokens(row)})
                misnomer = misnomer or _names_break(rows, walk, names)
                if state is not None:
                    state.follow(rows, names)
                if walk.broken:
                    break
    except (exc.DataError, ValueError, OverflowError):
        # The driver cannot even read a value of the page: find the event that has it.
        _walk_singly(walk)
    return misnomer


def _walk_singly(walk: _Walk) -> None:
    while not walk.broken:
        db.ours.rollback()
        try:
            with closing(pages([AuditEvent.seq == walk.seq + 1])) as chunks:
                page = next(chunks, None)
            if page is None:
                walk.broken = (walk.seq + 1, "missing", f"event {walk.seq + 1} is not there")
            else:
                walk.over(page)
        except (exc.DataError, ValueError, OverflowError):
            walk.broken = (walk.seq + 1, "edited", f"event {walk.seq + 1} cannot be read")


def _names_break(
    rows: list[Any], walk: _Walk, present: Mapping[str, PersonalValue]
) -> Break | None:
    """Return the break of a personal value: exchanged, moved to another account or removed."""
    rows_by_token = {token: row for row in rows for token in tokens(row)}
    if not rows_by_token:
        return None
    walk.names += len(present)
    erased = _erasures(row.subject for token, row in rows_by_token.items() if token not in present)
    for token, row in rows_by_token.items():
        value = present.get(token)
        if value is None and row.subject not in erased:
            return (row.seq, "personal", f"a name of event {row.seq} was taken away")
        if value is not None and (
            row.subject != value.subject
            or chain.personal_token(walk.key, value.salt, value.value) != token
        ):
            return (row.seq, "personal", f"a name of event {row.seq} is not what was written")
    return None


def _stray_break(walk: _Walk) -> Break | None:
    """Return the break of a personal value without an event, searched if the count is wrong."""
    keys = 0
    for row in db.ours.scalars(sa.select(PersonalValue).where(_is_key())):
        if chain.personal_token(walk.key, row.salt, row.value) != row.token:
            return (None, "personal", f"the key of {row.subject} is not what was written")
        keys += 1
    count = sa.select(sa.func.count()).select_from(PersonalValue)
    if db.ours.scalar(count) == walk.names + keys:
        return None
    values = sa.select(PersonalValue.token, PersonalValue.subject).where(~_is_key())
    for token, subject in db.ours.execute(values.order_by(PersonalValue.token)):
        with closing(pages([AuditEvent.subject == subject])) as chunks:
            if not any(token in tokens(row) for page in chunks for row in page):
                return (None, "personal", f"no event gives a name that is kept of {subject}")
    return None


def _is_key() -> sa.ColumnElement[bool]:
    """Return the condition that a personal value is the key of an account, its own subject."""
    return PersonalValue.subject == sa.literal("user:~", sa.String) + PersonalValue.token


def _erasures(subjects: Iterable[str]) -> set[str]:
    """Return those of the subjects that are deleted accounts, by the chain."""
    deleted = [AuditEvent.action == DELETE, AuditEvent.subject.in_({*subjects, "users"})]
    with closing(pages(deleted)) as chunks:
        return {subject for page in chunks for row in page for subject in _subjects(row)}


def _subjects(row: Any) -> Iterable[str]:
    if row.subject != "users":
        return [row.subject]
    return [f"user:{id}" for id in (parse_column(row.after) or {}).get("ids", ())]


def is_genuine(seq: int, hash: str) -> bool:
    """Return whether the event of this number is as it was written, and has this hash."""
    if seq == 0:
        return hash == chain.GENESIS
    with closing(pages([AuditEvent.seq == seq])) as chunks:
        row = next(chunks)[0]
    walk = _Walk(audit_key(), frozenset(), seq=seq - 1, hash=row.previous)
    return row.hash == hash and bool(walk.over([row]))


def _counts_differ(head: Head | AuditHead, walk: _Walk) -> str:
    return f"the head says {text.pluralize(head.seq, 'event')}, there are {walk.seq:,}"


def _heads_break(walk: _Walk, heads: Sequence[AuditHead]) -> Break | None:
    if len(heads) != 1:
        return (None, "head", f"the audit log has {len(heads)} heads and not one")
    return _head_break(walk, heads[0])


def _head_break(walk: _Walk, head: AuditHead) -> Break | None:
    if head.seq > walk.seq:
        return (walk.seq + 1, "cut", _counts_differ(head, walk))
    if head.seq < walk.seq:
        return (head.seq + 1, "extended", _counts_differ(head, walk))
    if head.hash != walk.hash:
        return (head.seq, "replaced", "the head's hash is not that of the last event")
    stamp = {"id": 1, "key_id": chain.key_id(walk.key), **walk.began}
    for name in ("id", "key_id", "chain", "environment"):
        if getattr(head, name) != stamp.get(name, getattr(head, name)):
            return (None, "head", f"the head's {name} is not what the chain was begun with")
    refuse_other_pepper(head.pepper_id)
    return None


def _tail_break(
    checkpoints: list[Checkpoint], hashes: dict[int, str], head: AuditHead, gaps: list[Record]
) -> Break | None:
    for checkpoint in checkpoints:
        if checkpoint.chain != head.chain:
            return (None, "another-chain", f"checkpoint {checkpoint.seq} is of another database")
        if hashes.get(checkpoint.seq) == checkpoint.hash or _is_declared(checkpoint, gaps):
            continue
        if checkpoint.seq > head.seq:
            return (
                head.seq + 1,
                "cut",
                f"the checkpoint of {checkpoint.at} has {text.pluralize(checkpoint.seq, 'event')},"
                f" there are {head.seq:,}: the tail was cut or an older copy restored",
            )
        message = f"event {checkpoint.seq} is not the one of the checkpoint"
        return (checkpoint.seq, "rewritten", message)
    return None


def _is_declared(checkpoint: Checkpoint, gaps: list[Record]) -> bool:
    return any(gap["restored_seq"] < checkpoint.seq <= gap["lost_seq"] for gap in gaps)


def _declared_gaps(verified: int) -> list[Record]:
    """Return the restores that were declared, by events up to the last one that was verified."""
    criteria = [AuditEvent.action == REBASE, AuditEvent.seq <= verified]
    with closing(pages(criteria)) as chunks:
        return [_gap(row) for page in chunks for row in page]


def _gap(row: Any) -> Record:
    after = parse_column(row.after) or {}
    return {
        "restored_seq": after["restored_seq"],
        "lost_seq": after["lost_seq"],
        "declared_by": actor_label(row.actor),
        "declared_at": moment(row.at),
        "reason": row.reason,
        "seq": row.seq,
    }


def rebase(checkpoints: Iterable[Checkpoint], *, unit: Unit) -> Record:
    """Declare that the database was restored from an older copy.

    Writes an event that names what was lost, by the newest checkpoint kept
    elsewhere; from then on :func:`verify` reports a gap with its author. A
    checkpoint that the chain still meets, or a gap declared before, changes nothing.

    :raises Invalid: the checkpoint is of another database.
    """
    with unit:
        head = the_head()
        checkpoints = sorted(checkpoints, key=lambda checkpoint: checkpoint.seq)
        if any(checkpoint.chain != head.chain for checkpoint in checkpoints):
            raise Invalid("a checkpoint is of another database")
        gaps = _declared_gaps(head.seq)
        missing = [
            checkpoint
            for checkpoint in checkpoints
            if not _is_met(checkpoint) and not _is_declared(checkpoint, gaps)
        ]
        if not missing:
            return {"lost_seq": None, "restored_seq": None}
        after = {
            "lost_seq": missing[-1].seq,
            "lost_hash": missing[-1].hash,
            # Nothing is known of what happened after the last checkpoint that is met.
            "restored_seq": min(head.seq, missing[0].seq - 1),
        }
        unit.record(REBASE, "audit", after=after)
        return {"lost_seq": after["lost_seq"], "restored_seq": after["restored_seq"]}


def _is_met(checkpoint: Checkpoint) -> bool:
    if checkpoint.seq == 0:
        return checkpoint.hash == chain.GENESIS
    return hash_of(checkpoint.seq) == checkpoint.hash


def hash_of(seq: int) -> str | None:
    """Return the hash of an event; None if there is none of this number."""
    return db.ours.scalar(sa.select(AuditEvent.hash).where(AuditEvent.seq == seq))
