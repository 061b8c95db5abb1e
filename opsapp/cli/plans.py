"""Plans: the changes that a dry run would write, with the names of their subjects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ..audit.events import present_names
from ..files.drafts import writing
from ..types import Record
from ..unit.ledger import Recorded, Values, in_batches

CHUNK = 500


def rows_of(changes: Sequence[Recorded]) -> Iterator[Record]:
    """Yield a row for each event; many accounts that change alike are one, without their ids."""
    for row in _named(in_batches(changes)):
        after = row["after"] or {}
        if "digest" not in after:
            yield row
            continue
        rest = {key: value for key, value in after.items() if key not in _IDS}
        yield {**row, "name": f"{after['count']} users", "after": rest}


_IDS = ("ids", "digest")


def write(file: str, changes: Sequence[Recorded]) -> None:
    """Write each change as a JSON line, which replaces the file.

    :raises OpsError: it cannot be written.
    """
    with writing(file) as draft, draft.path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, default=str) + "\n" for row in _named(changes))


def _named(changes: Sequence[Recorded]) -> Iterator[Record]:
    """Yield the changes with their subjects' present names, or those that they would get."""
    for start in range(0, len(changes), CHUNK):
        chunk = changes[start : start + CHUNK]
        names = present_names({change.subject for change in chunk})
        for change in chunk:
            new = (change.after or {}).get("email") or (change.after or {}).get("name")
            name = names.get(change.subject) or new or change.subject
            record = change.record()
            yield {
                "action": record["action"],
                "subject": record["subject"],
                "name": name,
                "before": record["before"],
                "after": _without_fingerprint(record["after"]),
            }


def _without_fingerprint(side: Values | None) -> Record | None:
    """Return the values without the fingerprint of a secret that is not going to be stored."""
    if side is None:
        return None
    return {key: value for key, value in side.items() if key != "fingerprint"}
