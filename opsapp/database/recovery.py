"""Recovery: a copy examined, put in the place of the database, and the gap declared.

docs/decisions/database.md#a-restore-is-one-transaction
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import exc

from .. import text
from ..audit import checkpoints, verification
from ..audit.verification import hash_of
from ..errors import OpsError
from ..extensions import db
from ..models import AuditEvent
from ..types import Record
from ..unit.chain import Checkpoint
from ..unit.ledger import audit_key
from ..unit.work import Unit
from . import restoring, setup, status
from .restoring import Copy

RESTORE = "database:backup:restore"


@dataclass(frozen=True, slots=True)
class Plan:
    """The effects of a restore."""

    copy: Copy
    present: Checkpoint | None
    """The chain as it is now; None if the database is damaged, empty or gone."""
    until: str
    """The time of the copy's last event."""
    shared: int
    """The last event that the copy and the database have both."""

    @property
    def lost_count(self) -> int | None:
        """The number of events that are not in the copy; None if it is not known."""
        return self.present.seq - self.shared if self.present else None

    @property
    def is_of_another(self) -> bool:
        """True if the database has another chain than the copy, such as a new one."""
        return self.present is not None and self.present.chain != self.copy.head.chain

    def effects(self) -> Iterator[str]:
        """Yield each effect in words that go on from "It": ``loses 2 events``."""
        head, at = self.copy.head.seq, " ".join(sorted(self.copy.revisions))
        yield f"restores {text.pluralize(head, 'event')} until {self.until}, at the revision {at}"
        if self.present is None:
            yield "replaces a database without an audit log that can be read"
        elif self.is_of_another:
            yield f"replaces another database, of {text.pluralize(self.present.seq, 'event')}"
        elif self.lost_count:
            first, last = self.shared + 1, self.present.seq
            which = f"{first:,}" if first == last else f"{first:,} to {last:,}"
            yield f"loses {text.pluralize(self.lost_count, 'event')}, {which}"
        if later := restoring.later_tables(self.copy):
            yield f"drops the tables that were made after the copy: {text.join_some(later)}"
        if at != status.head_revision():
            yield f"migrates it to {status.head_revision()}"

    def record(self, unit: Unit) -> None:
        """Record the event of the restore."""
        before = {"events": self.present.seq if self.present else None}
        after = {"file": self.copy.file, "events": self.copy.head.seq, "lost": self.lost_count}
        unit.record(RESTORE, "database", before=before, after=after)


def plan(file: str) -> Plan:
    """Examine a copy: whole, ours, not newer than this code, of these secrets, its chain unbroken.

    :raises Invalid: it is no copy of this kind of database, or damaged, or its audit was edited.
    :raises WrongSecret: a secret is not the one that the copy was made under.
    :raises Refused: it is of another environment.
    :raises NotReady: this code does not know its revision.
    """
    copy = restoring.examine(file)
    until = verification.follow(copy.events(), copy.head, file)
    present = checkpoints.find_present()
    return Plan(copy, present, until, _last_shared_seq(copy, present) if present else 0)


def _last_shared_seq(copy: Copy, present: Checkpoint) -> int:
    """Return the number of the last event that the copy and the database have both.

    After a restore the numbers go on with other events, so a copy from before it may have
    more events and still lack the newest.
    """
    try:
        is_beginning = hash_of(copy.head.seq) == copy.head.hash
        return copy.head.seq if is_beginning else _compare_events(copy)
    except exc.DBAPIError:  # Damaged: the numbers are all that is known.
        return min(copy.head.seq, present.seq)
    finally:
        db.ours.remove()


def _compare_events(copy: Copy) -> int:
    query = sa.select(AuditEvent.seq, AuditEvent.hash).order_by(AuditEvent.seq)
    last = 0
    with db.ours.execute(query, execution_options={"yield_per": 1000}) as present:
        for event, row in zip(copy.events(), present, strict=False):
            if (int(event["seq"]), event["hash"]) != (row.seq, row.hash):
                break
            last = row.seq
    return last


def restore(plan: Plan, *, unit: Unit) -> Record:
    """Put the copy in the place of the database, migrate it, and declare what is lost.

    :raises Busy: another process uses the database, or holds its gate.
    :raises OpsError: it failed; says whether the copy is in place.
    """
    if unit.dry_run:
        plan.record(unit)
        for effect in plan.effects():
            unit.note(effect)
        return {}
    restoring.replace(plan.copy)
    try:
        ready = setup.init(unit=unit)
        with unit:
            # The events of another database are no gap in the chain of the copy.
            if plan.present is not None and not plan.is_of_another:
                verification.rebase([plan.present], unit=unit)
            plan.record(unit)
    except OpsError as error:
        error.message = f"the copy is in place, and is not ready: {error.message}"
        if plan.present is not None:
            line = plan.present.line(audit_key())
            error.hint = f"flask db init; then flask audit rebase with the checkpoint {line}"
        raise
    copy = plan.copy
    return {
        "file": copy.file,
        "events": copy.head.seq,
        "lost": plan.lost_count,
        "until": plan.until,
        "revision": ready["revision"],
        "changed": True,
    }
