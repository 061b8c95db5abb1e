"""Checkpoints: signed lines that say where the chain was, to keep elsewhere."""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import exc

from .. import clock, text
from ..errors import Invalid, NotReady
from ..extensions import db
from ..models import AuditHead
from ..unit import chain
from ..unit.ledger import audit_key

FORMAT = "opsapp-audit/1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of the chain at a moment; kept elsewhere, it shows a cut or an older copy."""

    chain: str
    seq: int
    hash: str
    at: str

    def line(self, key: bytes) -> str:
        """Return the signed line to keep."""
        return f"{self._body()} {chain.signature(key, self._body())}"

    def _body(self) -> str:
        return f"{FORMAT} {self.chain} {self.seq} {self.hash} {self.at}"

    @classmethod
    def parse(cls, line: str, key: bytes) -> Checkpoint:
        """Return the checkpoint of a line.

        :raises Invalid: it is not one, or its signature is not of this key.
        """
        words = line.split()
        if len(words) != 6 or words[0] != FORMAT or not words[2].isdigit():
            raise Invalid(f"not a checkpoint line: {text.shortened(line.strip())}")
        checkpoint = cls(words[1], int(words[2]), words[3], words[4])
        if not hmac.compare_digest(chain.signature(key, checkpoint._body()), words[5]):
            raise Invalid(f"checkpoint {checkpoint.seq}: the signature is not of this audit key")
        return checkpoint


def checkpoint() -> str:
    """Return the line that says what the chain is now, signed with the audit key."""
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
        raise NotReady(f"the audit has {len(heads)} heads and not one", hint="flask audit verify")
    return heads[0]
