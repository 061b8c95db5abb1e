"""Checkpoints: signed lines that say where the chain was, to keep elsewhere."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import exc

from .. import clock
from ..errors import Invalid, NotReady
from ..extensions import db
from ..models import AuditHead
from ..unit.chain import Checkpoint
from ..unit.ledger import audit_key, refuse_other_key


def checkpoint() -> str:
    """Return the line that says what the chain is now, signed with the audit key.

    :raises WrongSecret: the chain was begun with another key.
    """
    refuse_other_key(the_head().key_id)
    return present().line(audit_key())


def present() -> Checkpoint:
    """Return what the chain is now.

    :raises NotReady: there is not one head.
    """
    head = the_head()
    return Checkpoint(head.chain, head.seq, head.hash, clock.rfc3339(clock.now()))


def find_present() -> Checkpoint | None:
    """Return what the chain is now, or None if the database is damaged or gone."""
    try:
        return present()
    except (NotReady, exc.DBAPIError):
        return None
    finally:
        db.ours.remove()


def checkpoints(lines: Iterable[str]) -> list[Checkpoint]:
    """Return the checkpoints of a file's lines; empty ones are passed over.

    :raises Invalid: a line is not a checkpoint of this key, or there is none.
    """
    key = audit_key()
    points = [Checkpoint.parse(line, key) for line in lines if line.strip()]
    if not points:
        raise Invalid("the checkpoint file holds no checkpoint")
    return points


def the_head() -> AuditHead:
    """Return the end of the chain.

    :raises NotReady: there is not one.
    """
    heads = db.ours.scalars(sa.select(AuditHead)).all()
    if len(heads) != 1:
        raise NotReady(
            f"the audit log has {len(heads)} heads and not one", hint="flask audit verify"
        )
    return heads[0]
