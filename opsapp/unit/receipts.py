"""Receipts: files that say what a change did, and where the audit log has it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from .. import clock
from ..errors import Conflict
from ..files.drafts import Draft, translate_os_errors
from ..types import Record
from .ledger import Head
from .work import Unit


class Receipt:
    """A new file of JSON, which is there if and only if its change is committed.

    To the record of the change it adds ``at``, ``events`` (the numbers of the audit events) and
    ``checkpoint`` (the chain's end), a line that ``flask audit verify --checkpoint`` accepts.
    Enter it around the unit.

    :param file: the name that the user gave; None writes nothing.
    :raises Conflict: the file exists.
    """

    def __init__(self, file: str | None) -> None:
        self._file = file or ""
        self._refuse_present()
        self._draft = None if file is None else Draft(file)

    def _refuse_present(self) -> None:
        if self._file and Path(self._file).exists():
            raise Conflict(f"{self._file} exists already", hint="name a new file")

    def __enter__(self) -> Receipt:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._draft is not None:
            self._draft.discard()

    def write(self, record: Record, unit: Unit) -> None:
        """Write the record when the events of the unit are written.

        Leaving the unit raises an OpsError if the file cannot be written, and a Conflict if
        another process has made it meanwhile.
        """
        draft = self._draft
        if draft is not None:
            unit.attest(lambda head: self._fill(draft, record, unit, head))
            unit.settle(lambda committed: self._settle(draft, committed))

    def _fill(self, draft: Draft, record: Record, unit: Unit, head: Head) -> None:
        self._refuse_present()
        contents = {
            **record,
            "at": clock.rfc3339(clock.now()),
            "events": list(unit.events),
            "checkpoint": head.checkpoint(),
        }
        words = json.dumps(contents, indent=2, default=_plain) + "\n"
        with translate_os_errors(self._file):
            draft.path.write_text(words)  # JSON of ours is ASCII.
            draft.write_to_disk()

    def _settle(self, draft: Draft, committed: bool) -> None:
        with translate_os_errors(self._file):
            draft.settle(placed=committed)


def authorship(unit: Unit) -> Record:
    """Return by whom and why a change is made, for receipts that may name people."""
    return {
        "actor": unit.actor.label(),
        "reason": unit.reason,
        "correlation": unit.correlation,
    }


def _plain(value: object) -> str:
    return clock.rfc3339(value) if isinstance(value, datetime) else str(value)
