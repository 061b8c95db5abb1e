"""Does the audit's chain hold? By itself, and against a checkpoint kept elsewhere."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from .. import chain, clock, text
from ..actors import Actor
from ..errors import Invalid
from ..extensions import db
from ..ledger import audit_key
from ..models import AuditEvent, AuditHead, PersonalValue
from ..unit import Unit
from .audit import CHUNK, pages

FORMAT = "opsapp-audit/1"
REBASE = "audit:chain:rebase"

Record = dict[str, Any]
Break = tuple[int | None, str, str]
"""The first bad event where one can be named, the kind of break, and what it says."""


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
            raise Invalid(f"not a checkpoint line: {text.shortened(line.strip())}")
        found = cls(words[1], int(words[2]), words[3], words[4])
        if not hmac.compare_digest(chain.signature(key, found._body()), words[5]):
            raise Invalid(f"checkpoint {found.seq}: the signature is not of this audit key")
        return found


def checkpoint() -> str:
    """The line that says what the chain is now, signed with the audit key."""
    head = _head()
    key = audit_key()
    return Checkpoint(head.chain, head.seq, head.hash, clock.rfc3339(clock.now())).line(key)


def checkpoints(lines: Iterable[str]) -> list[Checkpoint]:
    """The checkpoints of a file's lines; empty ones are passed over.

    :raises Invalid: a line is not a checkpoint of this key, or there is none.
    """
    key = audit_key()
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
    walk = _Walk(audit_key())
    wanted = {one.seq for one in kept}
    hashes = {0: chain.GENESIS}
    with closing(pages([])) as chunks:
        for row in (row for chunk in chunks for row in chunk):
            if not walk.step(row):
                break
            if walk.seq in wanted:
                hashes[walk.seq] = walk.hash
    gaps = _declared_gaps()
    broken = (
        walk.broken
        or _head_break(walk, head)
        or _kept_break(kept, hashes, head, gaps)
        or _personal()
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
    with closing(pages([AuditEvent.seq == seq])) as chunks:
        *columns, previous, stored = next(chunks)[0]
    found = chain.link(audit_key(), previous, tuple(columns))
    return hmac.compare_digest(found, stored)


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
    key = audit_key()
    stored = sa.select(PersonalValue.token, PersonalValue.salt, PersonalValue.value)
    with db.session.execute(stored, execution_options={"yield_per": CHUNK}) as rows:
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
