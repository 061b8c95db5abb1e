"""Sessions of the console on record: opened, closed, lost, and read again."""

from __future__ import annotations

from dataclasses import dataclass, field
from socket import gethostname

import sqlalchemy as sa

from .. import text
from ..actors import Actor
from ..audit import events
from ..engine.conditions import translate_error
from ..errors import InDoubt, Invalid, NotFound, NotReady, OpsError, Refused
from ..extensions import db
from ..models import AuditEvent
from ..types import Record
from ..unit import chain, ledger
from ..unit.work import Unit
from . import readonly, transcript
from .modes import Mode
from .transcript import Transcript

OPEN, CLOSE, LOST = "console:session:open", "console:session:close", "console:session:lose"
QUERY = "console:query:run"


@dataclass(slots=True)
class Session:
    """A live session: its actor, mode, reason and transcript."""

    id: str
    actor: Actor
    mode: Mode
    reason: str | None
    transcript: Transcript
    dry_run: bool = False
    """True if the units that it makes roll back; ``%dryrun`` sets it."""
    units: list[Unit] = field(default_factory=list)
    """The units that :meth:`unit` has made; ``%dryrun`` removes its own."""

    @property
    def reference(self) -> str:
        """The name of this session in the audit."""
        return f"session:{self.id}"

    def unit(self, *, adopt: bool = False) -> Unit:
        """Return a unit of work of this session; the audit holds it under the session's id.

        :param adopt: take over the unsaved changes of the database session.
        :raises Refused: the session is read-only; the database would refuse it too.
        """
        if self.mode is Mode.READ_ONLY:
            raise Refused("this session is read-only", hint=readonly.other_modes())
        unit = Unit(
            actor=self.actor,
            door="shell",
            reason=self.reason,
            dry_run=self.dry_run,
            correlation=self.id,
            adopt=adopt,
        )
        self.units.append(unit)
        return unit


def open_session(
    actor: Actor, mode: Mode, reason: str | None, *, by: str, wall: str, audit_hook: bool = True
) -> Session:
    """Open a session: its event is in the audit and its transcript on the disk.

    Sessions of this host that were killed are recorded first. Without tables of ours, on an
    attached application, one that does not write is kept in its transcript only.

    :param by: ``terminal``, ``code``, ``file``, ``stdin`` or ``kernel``.
    :param wall: the description of what keeps it from writing.
    :param audit_hook: whether the audit hook watches it; the event says if not.
    :raises NotReady: the audit or the transcript cannot be written.
    """
    if ledger.is_kept():
        record_lost(actor)
    unit = Unit(actor=actor, door="shell", reason=reason)
    session = Session(
        unit.correlation, actor, mode, unit.reason, Transcript(unit.correlation, ledger.audit_key())
    )
    if mode is not Mode.WRITE and not ledger.is_kept():
        return session
    try:
        with unit:
            after = {"mode": mode.value, "by": by, "wall": wall}
            if not audit_hook:
                after["audit_hook"] = "off"
            unit.record(OPEN, session.reference, after=after)
    except BaseException:
        session.transcript.discard()
        raise
    return session


def close_session(session: Session, *, outcome: str) -> None:
    """End a session: the audit gets the digest of its transcript.

    :param outcome: the reason in a word: ``exit``, ``idle``, ``error``, a signal's name.
    :raises NotReady: the audit cannot be written. The next session records the end.
    """
    session.transcript.write("end", outcome)
    if ledger.is_kept():
        try:
            _record_end(session, outcome)
        except Exception as error:
            why = error if isinstance(error, OpsError) else translate_error(error)
            if why is None or isinstance(why, InDoubt):
                raise
            # Not 75: the inputs have run, and their changes stay.
            raise NotReady(
                f"the end of the session is not recorded: {why.message}",
                hint="the next flask shell records it",
            ) from error
    session.transcript.seal()


def _record_end(session: Session, outcome: str) -> None:
    unit = Unit(actor=session.actor, door="shell", correlation=session.id)
    with unit:
        after = {
            "ended": outcome,
            "inputs": session.transcript.inputs,
            "digest": session.transcript.digest(),
        }
        unit.record(CLOSE, session.reference, after=after)


def record_lost(actor: Actor) -> None:
    """Record the sessions of this host that were killed."""
    for path in transcript.list_abandoned_files():
        file = transcript.read(path, ledger.audit_key())
        subject = f"session:{path.stem}"
        # The first end counts: it knows the transcript before its permissions changed.
        if file is not None and not _ends([subject]):
            unit = Unit(actor=actor, door="shell", correlation=path.stem)
            with unit:
                after = {"inputs": file.inputs, "digest": file.digest}
                unit.record(LOST, subject, after=after)


def record_query(statement: str, parameters: list[str], *, unit: Unit) -> None:
    """Put a statement on record before it runs, without its values.

    An attached application without tables of ours has no record yet.
    """
    if len(statement) > 1_000_000:
        raise Invalid("the statement has more than a million characters")
    if not ledger.is_kept():
        return
    with unit:
        transcript.keep_statement(unit.correlation, statement)
        after = {"statement": _fingerprint(statement), "parameters": parameters}
        unit.record(QUERY, f"session:{unit.correlation}", after=after)


def _fingerprint(statement: str) -> str:
    return chain.statement(ledger.audit_key(), statement)


# --- reading -----------------------------------------------------------------


def listing(limit: int | None = 50) -> list[Record]:
    """Return the newest sessions and queries, the oldest of them first."""
    starts = sa.select(AuditEvent.seq).where(AuditEvent.action.in_([OPEN, QUERY]))
    newest = AuditEvent.seq.in_(starts.order_by(AuditEvent.seq.desc()).limit(limit))
    ends = _ends(sa.select(AuditEvent.subject).where(newest))
    return [_record(event, ends.get(event["subject"])) for event in events.list_events([newest])]


def _ends(subjects: list[str] | sa.Select[str]) -> dict[str, Record]:
    """Return the events with which these sessions ended, by their subjects."""
    criteria = AuditEvent.action.in_([CLOSE, LOST]), AuditEvent.subject.in_(subjects)
    return {event["subject"]: event for event in events.list_events([*criteria])}


def _id(start: Record) -> str:
    return str(start["subject"].removeprefix("session:"))


def _record(start: Record, end: Record | None) -> Record:
    after, last = start["after"] or {}, (end or {}).get("after") or {}
    return {
        "id": _id(start),
        "opened_at": start["at"],
        "actor": start["actor"],
        "by": after.get("by", "query"),
        "mode": after.get("mode", Mode.READ_ONLY.value),
        "state": _state(start, end),
        "inputs": last.get("inputs", 1 if start["action"] == QUERY else None),
        "ended": last.get("ended"),
        "ended_at": end and end["at"],
        "reason": start["reason"],
    }


def _state(start: Record, end: Record | None) -> str:
    if start["action"] == QUERY:
        return "closed"
    if end is not None:
        return "closed" if end["action"] == CLOSE else "lost"
    id = _id(start)
    return "open" if transcript.is_alive(id) or not transcript.path_of(id).exists() else "lost"


def get(id: str) -> Record:
    """Return a session with its transcript, and a verdict on the transcript.

    :param id: the id, or its beginning if that is unique.
    :raises NotFound: there is no such session.
    """
    start = _get_opening_event(id)
    end = _ends([start["subject"]]).get(start["subject"])
    record = {**_record(start, end), "wall": (start["after"] or {}).get("wall")}
    if start["action"] == QUERY:
        return {**record, **_statement_of(start)}
    lines = transcript.read(transcript.path_of(record["id"]), ledger.audit_key())
    digest = ((end or {}).get("after") or {}).get("digest")
    if lines is None:
        return {**record, **_absent_transcript(start)}
    return {**record, "transcript": _verdict(lines, digest), "lines": _align(lines.lines)}


def _align(lines: list[Record]) -> list[Record]:
    """Return the lines with the same fields each, as the rows of a table."""
    names = dict.fromkeys(["n", "at", "kind", "text", *(name for line in lines for name in line)])
    return [{name: line.get(name) for name in names} for line in lines]


def _absent_transcript(start: Record) -> Record:
    if _was_here(start):
        return {"transcript": "missing: it was written on this host, and is gone", "lines": []}
    host = start["actor_detail"].get("host")
    return {"transcript": f"not on this host; look on {host}", "lines": []}


def _was_here(start: Record) -> bool:
    """Return whether the session began on this host."""
    return bool(start["actor_detail"].get("host") == gethostname())


def _get_opening_event(id: str) -> Record:
    if not id or not all(character in "0123456789abcdef-" for character in id):
        raise NotFound(f"no session {text.truncate(id)}", hint="flask audit sessions")
    begins = AuditEvent.subject.startswith(f"session:{id}", autoescape=True)
    seqs = db.ours.scalars(
        sa.select(AuditEvent.seq).where(begins, AuditEvent.action.in_([OPEN, QUERY])).limit(2)
    ).all()
    if not seqs:
        raise NotFound(f"no session {text.truncate(id)}", hint="flask audit sessions")
    if len(seqs) > 1:
        raise Invalid(f"several sessions begin with {id}", hint="flask audit sessions")
    return events.get(seqs[0])


def _verdict(file: transcript.Contents, digest: str | None) -> str:
    if file.broken_at is not None:
        return f"edited: line {file.broken_at} does not follow from the one before"
    if digest is None:
        return "whole so far; its end is not in the audit log yet"
    return "whole" if digest == file.digest else "edited: its digest is not the audit log's"


def _statement_of(start: Record) -> Record:
    statement = transcript.find_statement(_id(start))
    if statement is None:
        return _absent_transcript(start)
    is_whole = _fingerprint(statement) == (start["after"] or {}).get("statement")
    verdict = "whole" if is_whole else "edited: its hash is not the audit log's"
    line = {"n": 1, "at": start["at"], "kind": "input", "text": statement}
    return {"transcript": verdict, "lines": [line]}
