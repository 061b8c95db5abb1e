"""The audit log as it is written: the gate, the events of the chain, the names beside them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from secrets import token_hex
from typing import Any, Protocol

import sqlalchemy as sa
from flask import current_app
from sqlalchemy import orm as so
from sqlalchemy.exc import DBAPIError

from .. import clock, migrations, settings, state, text
from ..engine.conditions import translate_error
from ..errors import Busy, NotReady, OpsError, Refused, TimedOut
from ..extensions import this_app
from ..models import AuditEvent, AuditHead, PersonalValue
from ..models.types import canonical_json
from ..settings import config
from ..state import CORE
from ..types import Fields
from . import chain

PERSONAL = frozenset({"email", "username"})
"""The keys of an event's before and after whose values are personal data."""

EVENT_EACH = 100
"""Up to so many accounts, the same change to each is an event each; above, one a batch."""
BATCH = 500


@dataclass(frozen=True, slots=True)
class Recorded:
    """One change: what the audit will say of it, its personal values still readable.

    :raises ValueError: a value of :data:`PERSONAL` is of a subject that is no account,
        whose deletion would have to erase it.
    """

    action: str
    subject: str
    before: Fields | None
    after: Fields | None

    def __post_init__(self) -> None:
        if self.subject.startswith("user:"):
            return
        for name in sorted(PERSONAL):
            if any(side and side.get(name) for side in (self.before, self.after)):
                raise ValueError(
                    f"{self.action} of {self.subject}: {name} is kept for accounts (user:ID) only;"
                    " name the account by its id"
                )

    def record(self) -> dict[str, Any]:
        """Return the change as a dry run shows it."""
        return {
            "action": self.action,
            "subject": self.subject,
            "before": self.before,
            "after": self.after,
        }


def in_batches(changes: Sequence[Recorded]) -> list[Recorded]:
    """Return the changes, where many accounts in a row changed alike as one for each batch of them.

    A batch's ``after`` has their ``ids``, the ``count`` and a SHA-256 ``digest``
    of the ids, comma separated.
    """
    keys: dict[tuple[str, int, int], str] = {}

    def key(change: Recorded) -> str:
        # Those of one command have the same objects, and writing them down costs most.
        sides = (change.action, id(change.before), id(change.after))
        if sides not in keys:
            keys[sides] = canonical_json([change.action, change.before, change.after])
        return keys[sides]

    # Only neighbours are merged: the order of different changes is part of what happened.
    return [merged for _key, run in groupby(changes, key=key) for merged in _merge(list(run))]


def _merge(group: list[Recorded]) -> list[Recorded]:
    first = group[0]
    # Ids that are no numbers, as an application's own accounts may have, are not merged.
    if len(group) <= EVENT_EACH or not first.subject.removeprefix("user:").isdecimal():
        return group
    ids = [int(change.subject.removeprefix("user:")) for change in group]
    batches = [ids[start : start + BATCH] for start in range(0, len(ids), BATCH)]
    return [
        Recorded(
            first.action,
            "users",
            first.before,
            {
                **(first.after or {}),
                "ids": batch,
                "count": len(batch),
                "digest": hashlib.sha256(",".join(map(str, batch)).encode()).hexdigest(),
            },
        )
        for batch in batches
    ]


# --- the gate ----------------------------------------------------------------


class WrongSecret(NotReady):
    """A secret is not the one of this database; the message names its setting."""


NO_PEPPER = "none"
"""In the place of the pepper's fingerprint, where no password is of our making."""


def audit_key() -> bytes:
    """Return the key of the chain, from the app's configuration."""
    return str(settings.get("OPSAPP_AUDIT_KEY")).encode()


def fingerprint(secret: str | None) -> str | None:
    """Return a keyed fingerprint of what an event must not hold, 32 hexadecimal digits.

    The event of a password or another secret has it, so a value that was exchanged by SQL is
    noticed: docs/decisions/audit.md#events-of-secrets-have-a-fingerprint.
    """
    return chain.secret(audit_key(), secret) if secret else None


@dataclass(slots=True)
class Head:
    """The end of the chain: where the next event is tied on."""

    environment: str
    chain: str
    key_id: str
    pepper_id: str
    seq: int
    hash: str

    def checkpoint(self) -> str:
        """Return the signed line that says what the chain is now."""
        at = clock.rfc3339(clock.now())
        return chain.Checkpoint(self.chain, self.seq, self.hash, at).line(audit_key())


def read_head(connection: sa.Connection | so.Session, *, lock: bool = False) -> Head | None:
    """Return the end of the chain, or None where it has none.

    :raises NotReady: there are several, which only tampering makes.
    """
    columns = sa.select(*(getattr(AuditHead, field.name) for field in fields(Head)))
    rows = connection.execute(columns.with_for_update() if lock else columns).all()
    if len(rows) > 1:
        raise NotReady("the audit log has several heads", hint="flask audit verify")
    return Head(*rows[0]) if rows else None


def is_kept() -> bool:
    """Return whether there is an audit: not on an attached application before its tables."""
    attached = state.attachment_of(current_app)
    return attached is None or attached.has_tables


def take_gate(session: so.Session, *, lock: bool = True) -> Head:
    """Lock the audit's head row and return it: from here on this transaction is alone.

    :param lock: False only looks, for what is never going to be committed.
    :raises NotReady: the database was not initialised, its schema is not this code's,
        or a secret is not the one that it was begun with.
    :raises Refused: the database is stamped with another environment's name.
    """
    head = read_head(session, lock=lock)
    if head is None:
        raise NotReady("the audit log has no head: it was removed", hint="flask audit verify")
    refuse_revisions(migrations.present(session))
    refuse_other_owner(head)
    return head


def refuse_revisions(present: Collection[str]) -> None:
    """Refuse a schema that is not the one this code was written for.

    :param present: the revisions of the database: ours, and the application's.
    :raises NotReady: one of them is not this code's.
    """
    if migrations.our_branch(CORE).at(present) is None:
        raise no_revision()
    for branch in migrations.branches(this_app()):
        if branch.head not in present:
            raise other_revision(branch.at(present), branch)


def other_revision(present: str | None, of: migrations.Branch) -> NotReady:
    """Return the error for a database whose schema is not the one this code was written for.

    :param of: whose tables are meant.
    """
    return NotReady(
        f"the tables of {of.label} are at revision {present or 'none'},"
        f" and this code is at {of.head}",
        hint=_way_to(of, present),
    )


def no_revision() -> NotReady:
    """Return the error for a database with our tables, whose revisions were removed."""
    return NotReady("the database has opsapp's tables and no revision", hint="flask db stamp heads")


def _way_to(of: migrations.Branch, present: str | None) -> str:
    if of.number(present) > of.number(of.head):
        return "deploy the code that the database fits"
    if present and of.number(present) and present not in of.revisions:
        return "bring the file of that migration back; flask db stamp --purge, if it was renumbered"
    return "flask db init"


def refuse_other_owner(head: Head) -> None:
    """Refuse to write into another environment's database, or with another secret.

    :raises WrongSecret: the key or the pepper is not the one of this database.
    :raises Refused: the stamp is another environment's.
    """
    environment = config.environment()
    if head.environment != environment:
        raise Refused(
            f"this database is stamped {text.safe(head.environment)},"
            f" and OPSAPP_ENV is {text.safe(environment)}",
            hint="flask doctor",
        )
    refuse_other_key(head.key_id)
    refuse_other_pepper(head.pepper_id)


def refuse_other_pepper(pepper: str) -> None:
    """Refuse accounts whose passwords were hashed with another ``SECURITY_PASSWORD_SALT``.

    :raises WrongSecret: it is another one.
    """
    if pepper not in (pepper_id(), NO_PEPPER):
        raise WrongSecret(
            "SECURITY_PASSWORD_SALT does not match the one this database was created with",
            hint="flask doctor --settings",
        )


def pepper_id() -> str:
    """Return the fingerprint of ``SECURITY_PASSWORD_SALT``, where the accounts are ours."""
    if not state.is_built_on(current_app):
        return NO_PEPPER
    return chain.key_id(str(settings.get("SECURITY_PASSWORD_SALT")).encode())


def begin_pepper(session: so.Session) -> None:
    """Write the fingerprint of the pepper, once accounts join a chain that began without."""
    begins = sa.update(AuditHead).where(AuditHead.pepper_id == NO_PEPPER)
    session.execute(begins.values(pepper_id=pepper_id()))


def refuse_other_key(key_id: str) -> None:
    """Refuse an audit key that is not the one the chain was begun with.

    :raises WrongSecret: it is another one.
    """
    if key_id != chain.key_id(audit_key()):
        raise WrongSecret(
            "OPSAPP_AUDIT_KEY does not match the key of this database's audit log",
            hint="flask doctor --settings",
        )


# --- the events --------------------------------------------------------------


class Executes(Protocol):
    """A connection, or a script that takes down what one would be told."""

    def execute(self, statement: Any, rows: Any = ..., /) -> object:
        """Run the statement, once for each row."""


def append(connection: Executes, head: Head, rows: list[dict[str, Any]]) -> None:
    """Write ``rows`` as the next events of the chain and move ``head`` to its new end.

    The caller holds the gate. Rows have every column but seq, previous and hash.
    """
    key = audit_key()
    for row in rows:
        head.seq += 1
        row["seq"], row["previous"] = head.seq, head.hash
        columns = (
            row["seq"],
            row["at"],
            canonical_json(row["actor"]),
            row["door"],
            row["action"],
            row["subject"],
            row["reason"],
            *(None if row[side] is None else canonical_json(row[side]) for side in SIDES),
            row["correlation"],
        )
        head.hash = row["hash"] = chain.link(key, head.hash, columns)
    connection.execute(sa.insert(AuditEvent), rows)
    connection.execute(sa.update(AuditHead).values(seq=head.seq, hash=head.hash))


def rows(
    connection: sa.Connection, changes: Iterable[Recorded], columns: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Return the events of changes for :func:`append`, and write the names beside them.

    :param columns: the columns that all of them have.
    """
    events = []
    for change in changes:
        sides, beside = without_names(change)
        add_names(connection, beside)
        events.append({**columns, "action": change.action, "subject": change.subject, **sides})
    return events


def unwritable(error: DBAPIError) -> OpsError:
    """Return the error of an audit that cannot be written; some conditions stay as they are."""
    condition = translate_error(error)
    if isinstance(condition, Busy | TimedOut | Refused):
        return condition
    return NotReady(
        "the audit log cannot be written, so nothing was changed:"
        f" {text.first_line(error.orig or error)}",
        hint="flask doctor",
    )


SIDES = ("before", "after")


def without_names(change: Recorded) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the two sides of a change as the chain keeps them, and the rows that stand beside it.

    Every personal value becomes a token; its row says what the token stands for.
    """
    beside: list[dict[str, Any]] = []
    sides: dict[str, Any] = {}
    for side in SIDES:
        values: Fields | None = getattr(change, side)
        sides[side] = values and {
            name: token(change.subject, value, beside) if name in PERSONAL and value else value
            for name, value in values.items()
        }
    return sides, beside


def token(subject: str, value: str, beside: list[dict[str, Any]]) -> dict[str, str]:
    """Return the token of a personal value, and add the row that it stands for to ``beside``."""
    salt = token_hex(16)
    token = chain.personal_token(audit_key(), salt, value)
    beside.append({"token": token, "subject": subject, "salt": salt, "value": value})
    return {"personal": token}


def add_key(connection: sa.Connection, row: Fields) -> None:
    """Write what an opaque subject stands for, unless it is there: a subject has one key."""
    if not has_name(connection, row["token"]):
        connection.execute(sa.insert(PersonalValue), row)


def has_name(connection: sa.Connection, token: str) -> bool:
    """Return whether the value that a token stands for is kept."""
    present = sa.select(PersonalValue.token).where(PersonalValue.token == token)
    return connection.execute(present).first() is not None


def add_names(connection: sa.Connection, beside: list[dict[str, Any]]) -> None:
    """Write the rows that the tokens of the events stand for."""
    if beside:
        connection.execute(sa.insert(PersonalValue), beside)
