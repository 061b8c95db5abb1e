"""Plans: the changes that a dry run would write, with the names of their subjects."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence

from ..accounts.transfer.batches import ACCOUNTS
from ..audit.events import present_names
from ..files.drafts import writing
from ..text import pluralize
from ..types import Fields, Record
from ..unit.ledger import EVENT_EACH, Recorded, in_batches

CHUNK = 500


def rows_of(changes: Sequence[Recorded]) -> Iterator[Record]:
    """Yield a row for each event; many accounts that change alike are one, without their ids."""
    for row in _with_names(in_batches(changes)):
        after = row["after"] or {}
        if "digest" in after:
            row = {**row, "name": pluralize(after["count"], "user"), "after": _without(after, _IDS)}
        elif len(after.get(ACCOUNTS, ())) > EVENT_EACH:
            row = {**row, "after": _count_holders(after)}
        yield row


_IDS = ("ids", "digest")


def _count_holders(batch: Fields) -> Record:
    """Return a batch of an import with the number of each role's new holders, without names."""
    gifts = [{**gift, "holders": len(gift["holders"])} for gift in batch.get("roles", ())]
    return {**_without(batch, (ACCOUNTS,)), **({"roles": gifts} if gifts else {})}


def _without(side: Fields, names: Collection[str]) -> Record:
    return {key: value for key, value in side.items() if key not in names}


def write(file: str, changes: Sequence[Recorded]) -> None:
    """Write each change as a JSON line, which replaces the file.

    :raises OpsError: it cannot be written.
    """
    with writing(file) as draft, draft.path.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row, default=str) + "\n" for row in _with_names(changes))


def _with_names(changes: Sequence[Recorded]) -> Iterator[Record]:
    """Yield the changes with their subjects' present names, or those that they would get."""
    new_names = _new_names(changes)
    for start in range(0, len(changes), CHUNK):
        chunk = changes[start : start + CHUNK]
        names = present_names({change.subject for change in chunk})
        for change in chunk:
            name = names.get(change.subject) or new_names.get(change.subject) or change.subject
            record = change.record()
            yield {
                "action": record["action"],
                "subject": record["subject"],
                "name": name,
                "before": record["before"],
                # That of a secret that is not going to be stored.
                "after": record["after"] and _without(record["after"], ("fingerprint",)),
            }


def _new_names(changes: Sequence[Recorded]) -> dict[str, str]:
    """Return the names that the changes give to new subjects, which later changes refer to."""
    names: dict[str, str] = {}
    for change in changes:
        after = change.after or {}
        if name := after.get("email") or after.get("name"):
            names.setdefault(change.subject, name)
    return names
