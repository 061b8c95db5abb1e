"""The hash chain of the audit log: the hash of an event covers that of the event before it.

``hash = HMAC-SHA256(key, "opsapp-audit-v1" NUL previous NUL body)``, where the
body is the canonical JSON array of the event's columns. The key lives outside
the database, so an attacker who can write the tables cannot write a chain that
verifies. Cutting the tail leaves a valid, shorter chain: only a checkpoint kept
elsewhere shows that.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass
from datetime import datetime

from .. import text
from ..clock import rfc3339
from ..errors import Invalid

GENESIS = "0" * 64
"""The predecessor that the first event names."""

Columns = tuple[int, datetime, str, str, str, str, str | None, str | None, str | None, str]
"""seq, at, actor, door, action, subject, reason, before, after, correlation: as stored."""


CHECKPOINT = "opsapp-audit/1"
_SEQ = re.compile("[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of the chain at a moment; kept elsewhere, it shows a cut or an older copy."""

    chain: str
    seq: int
    hash: str
    at: str

    def line(self, key: bytes) -> str:
        """Return the signed line to keep."""
        return f"{self._body()} {signature(key, self._body())}"

    def _body(self) -> str:
        return f"{CHECKPOINT} {self.chain} {self.seq} {self.hash} {self.at}"

    @classmethod
    def parse(cls, line: str, key: bytes) -> Checkpoint:
        """Return the checkpoint of a line.

        :raises Invalid: it is not one, or its signature is not of this key.
        """
        words = line.split() if line.isascii() else []
        if len(words) != 6 or words[0] != CHECKPOINT or not _SEQ.fullmatch(words[2]):
            raise Invalid(f"not a checkpoint line: {text.truncate(line.strip())}")
        checkpoint = cls(words[1], int(words[2]), words[3], words[4])
        if not hmac.compare_digest(signature(key, checkpoint._body()), words[5]):
            raise Invalid(f"checkpoint {checkpoint.seq}: the signature is not of this audit key")
        return checkpoint


def link(key: bytes, previous: str, columns: Columns) -> str:
    """Return the hash of an event, 64 hexadecimal digits.

    :param columns: JSON columns are given as the text that is stored.
    """
    seq, at, *rest = columns
    body = json.dumps([seq, rfc3339(at), *rest], separators=(",", ":"))
    return _mac(key, "opsapp-audit-v1", previous, body)


def personal_token(key: bytes, salt: str, value: str) -> str:
    """Return the token by which events name a personal value, 32 hexadecimal digits."""
    return _mac(key, "opsapp-personal-v1", salt, value)[:32]


def key_id(key: bytes) -> str:
    """Return the id that a database keeps of its key, to detect another: 16 hexadecimal digits."""
    return _mac(key, "opsapp-key-v1", "", "")[:16]


def fingerprint(key: bytes, value: str) -> str:
    """Return a keyed fingerprint of an erased address, 64 hexadecimal digits."""
    return _mac(key, "opsapp-erased-v1", value, "")


def secret(key: bytes, value: str) -> str:
    """Return a keyed fingerprint of a stored secret, 32 hexadecimal digits."""
    return _mac(key, "opsapp-secret-v1", value, "")[:32]


def signature(key: bytes, line: str) -> str:
    """Return the signature of a checkpoint line, 64 hexadecimal digits."""
    return _mac(key, "opsapp-checkpoint-v1", line, "")


def transcript_link(key: bytes, previous: str, line: str) -> str:
    """Return the link of a transcript's line to the one before it, 64 hexadecimal digits."""
    return _mac(key, "opsapp-transcript-v1", previous, line)


def statement(key: bytes, sql: str) -> str:
    """Return a keyed fingerprint of an SQL statement, which may name a person, 64 digits."""
    return _mac(key, "opsapp-statement-v1", sql, "")


def _mac(key: bytes, purpose: str, first: str, second: str) -> str:
    message = f"{purpose}\0{first}\0{second}".encode(errors="surrogatepass")
    return hmac.digest(key, message, "sha256").hex()
