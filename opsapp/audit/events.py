"""Events of the audit log, with actors and names as they are today."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ..accounts.transfer.batches import IMPORT
from ..actors import Actor
from ..engine.connections import wait_for_reader
from ..errors import NotFound
from ..extensions import db, this_app
from ..models import AuditEvent, PendingEvent, Role, User
from ..models.types import canonical_json
from ..state import attachment_of
from ..types import Record
from ..unit import intents, pending
from .filters import ERASED as ERASED
from .filters import Filter as Filter
from .stored import is_token, moment, pages, parse_column, personal_values, tokens

# --- reading -----------------------------------------------------------------


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
    return list_events(criteria)


def since(seq: int, filter: Filter) -> Iterator[Record]:
    """Yield the events of the filter after number ``seq``, as committed now."""
    db.ours.rollback()
    return list_events([AuditEvent.seq > seq, *filter.criteria()])


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
        "before": pending.unmark(row.before),
        "after": pending.unmark(row.after),
        "correlation": row.correlation,
    }


def unfinished_intents() -> list[int]:
    """Return the numbers of the intents whose outcome is unknown."""
    return [] if intents.accounts() is None else intents.unfinished_numbers(db.ours())


def get(seq: int) -> Record:
    """Return one event with all its fields.

    :raises NotFound: there is no event of this number.
    """
    for page in pages([AuditEvent.seq == seq]):
        names = _Names.of(page)
        return {
            **_record(page[0], names),
            "actor_detail": parse_column(page[0].actor),
            "previous": page[0].previous,
            "hash": page[0].hash,
            **_outcome(page[0]),
        }
    raise NotFound(f"no audit event {seq}", hint="flask audit list")


def _outcome(row: Any) -> Record:
    """Return the outcome of an intent; nothing for another event."""
    if not row.action.startswith(intents.PREFIX):
        return {}
    if row.seq in intents.unfinished_numbers(db.ours(), correlation=row.correlation):
        return {"outcome": f"unknown: compare and close it by {intents.HINT} {row.seq}"}
    # Other changes of the same shell session may have failed.
    failures = pages([AuditEvent.action == intents.FAIL, AuditEvent.correlation == row.correlation])
    with closing(failures) as chunks:
        failed = [
            seq
            for page in chunks
            for end in page
            for seq in (parse_column(end.after) or {}).get("intents", ())
        ]
    return {"outcome": "failed" if row.seq in failed else "done"}


def export(filter: Filter | None = None) -> Iterator[Record]:
    """Yield every event as it is hashed, with the personal values it names beside it.

    ``actor``, ``before`` and ``after`` are the stored JSON text, so that an auditor
    with the key can verify the chain from the export alone.
    """
    wait_for_reader(db.ours.connection())
    for page in pages(filter.criteria() if filter else ()):
        names = _Names.of(page)
        for row in page:
            values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy documents this name)
            personal = {token: names.values.get(token, ERASED) for token in sorted(tokens(row))}
            yield {**values, "at": _time(row.at), "personal": personal}


# --- telling -----------------------------------------------------------------


def list_events(criteria: list[sa.ColumnElement[bool]]) -> Iterator[Record]:
    """Yield the events that meet these conditions, the oldest of them first."""
    for page in pages(criteria):
        names = _Names.of(page)
        yield from (_record(row, names) for row in page)


def _record(row: Any, names: _Names) -> Record:
    return {
        "seq": row.seq,
        "at": _time(row.at),
        "actor": actor_label(row.actor, lambda name: names.name(name, row.seq)),
        "door": row.door,
        "action": row.action,
        "subject": row.subject,
        "subject_name": names.name(row.subject, row.seq),
        "reason": row.reason,
        "before": names.resolve(parse_column(row.before)),
        "after": names.resolve(_readable(row)),
        "correlation": row.correlation,
    }


def _readable(row: Any) -> dict[str, Any] | None:
    """Return the values after an event, without fingerprints: :func:`export` has those."""
    after = parse_column(row.after)
    if row.action != IMPORT or after is None:
        return after
    return {name: value for name, value in after.items() if name not in _FINGERPRINTS}


_FINGERPRINTS = frozenset({"emails", "usernames", "passwords"})


def _time(at: Any) -> Any:
    try:
        return moment(at)
    except (ValueError, TypeError):
        return at  # It was not written by us: verify tells.


def actor_label(source: Any, name: Callable[[str], str] | None = None) -> str:
    """Return one line for an event's actor as stored.

    :param name: returns the name of an account by its reference, such as ``user:12``.
    """
    actor = parse_column(source) or {}
    fields = {name: str(value) for name, value in actor.items() if name in Actor.__slots__}
    if fields.get("kind") == "user" and name is not None:
        fields["name"] = name(fields.get("name", ""))
    return Actor(**fields).label() if {"kind", "name"} <= fields.keys() else str(source)


Naming = Callable[[str, int], str]
"""Names the subject of the event of a number."""


@dataclass(frozen=True, slots=True)
class _Names:
    """The personal values and present names that a page of events refers to."""

    values: dict[str, str]
    name: Naming
    """Names the accounts and roles, and among the accounts the actors."""

    @classmethod
    def of(cls, page: Sequence[Any]) -> _Names:
        subject_tokens = {token for row in page for token in tokens(row)}
        values = {token: value.value for token, value in personal_values(subject_tokens).items()}
        actors = {(parse_column(row.actor) or {}).get("name") for row in page}
        return cls(values, naming({row.subject for row in page} | actors))

    def resolve(self, side: dict[str, Any] | None) -> dict[str, Any] | None:
        if side is None:
            return None
        return {
            key: self.values.get(value["personal"], ERASED) if is_token(value) else value
            for key, value in side.items()
        }


def naming(subjects: set[Any]) -> Naming:
    """Return what names a subject of an event: as it is called now, or by itself.

    By itself if the account is erased, also if another account has its key now.
    """
    names, attached = present_names(subjects), attachment_of(this_app())
    begins = {} if attached is None or not names else attached.directory.begins(names)

    def name(subject: str, seq: int) -> str:
        is_earlier = seq < begins.get(subject, 0)
        return subject if is_earlier else names.get(subject, subject)

    return name


def present_names(subjects: set[Any]) -> dict[str, str]:
    """Return the present names of the subjects; an erased account has none."""
    attached = attachment_of(this_app())
    if attached is not None:
        return dict(attached.directory.names(subjects))
    names: dict[str, str] = {}
    if users := _ids(subjects, "user:"):
        rows = db.ours.execute(_USERS, {"ids": users})
        names |= {f"user:{id}": email or f"user:{id} {ERASED}" for id, email in rows}
    if roles := _ids(subjects, "role:"):
        role_names = db.ours.execute(_ROLES, {"ids": roles})
        names |= {f"role:{id}": name for id, name in role_names}
    return names


# Built once, for every page.
_USERS = sa.select(User.id, User.email).where(User.id.in_(sa.bindparam("ids", expanding=True)))
_ROLES = sa.select(Role.id, Role.name).where(Role.id.in_(sa.bindparam("ids", expanding=True)))


def _ids(subjects: set[Any], kind: str) -> list[int]:
    parts = [str(subject).removeprefix(kind) for subject in subjects]
    return [int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 10]
