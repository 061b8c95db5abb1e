"""Modes: the rights of a session over the database."""

from __future__ import annotations

from enum import StrEnum

from ..settings.config import PRODUCTION


class Mode(StrEnum):
    """The mode of a session: its value is in the audit, its :attr:`tag` in the prompt."""

    READ_ONLY = "read-only"
    SANDBOX = "sandbox"
    WRITE = "write"

    @property
    def tag(self) -> str:
        """The short form in the prompt."""
        return {"read-only": "ro", "sandbox": "sandbox", "write": "rw"}[self.value]

    @property
    def way_out(self) -> str:
        """The calls that end uncommitted changes."""
        return "rollback()" if self is Mode.READ_ONLY else "commit() or rollback()"


def default(environment: str) -> Mode:
    """Return the default mode: production is not written by accident."""
    return Mode.READ_ONLY if environment == PRODUCTION else Mode.WRITE
