"""Settlement: the outcome of intended changes whose process died before it could record one.

The rows of the application are compared with the fingerprints that the intents have. Rows
that another change has reached since are for the operator to judge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from ..errors import NotFound
from ..models import AuditEvent, PersonalValue
from ..types import Record
from ..unit import intents, ledger
from ..unit.ledger import SIDES, Recorded
from ..unit.work import Unit

DONE, FAILED, UNKNOWN = "done", "failed", "unknown"
EITHER = "either"


def settle(seq: int | None = None, *, outcome: str | None = None, unit: Unit) -> list[Record]:
    """Close intents whose outcome is unknown; return one row for each of them.

    An intent that was done gets its event, by the actor who intended it, and the rows of ours
    that follow from it.

    :param seq: only the change with this intent; None is every one.
    :param outcome: ``done`` or ``failed``, as the operator knows; None compares the rows.
    :raises NotFound: there is no such intent, or it has an end.
    """
    with unit:
        groups = list(_unfinished_intents(unit, seq))
        if seq is not None and not groups:
            raise NotFound(
                f"event {seq} is not an open intent",
                hint="flask ops audit list --action intent",
            )
        return [row for group in groups for row in _settle_group(group, outcome, unit)]


def settle_certain(unit: Unit) -> None:
    """Close what comparing decides, in a unit before this one: a sweep needs the ends of roles."""
    if not unit.dry_run and intents.unfinished_numbers(unit.ours):
        settle(unit=Unit(actor=unit.actor, door=unit.door))


def _unfinished_intents(unit: Unit, seq: int | None) -> Iterator[list[AuditEvent]]:
    """Yield the intents without an end, those of one change together."""
    seqs = intents.unfinished_numbers(unit.ours)
    query = sa.select(AuditEvent).where(AuditEvent.seq.in_(seqs)).order_by(AuditEvent.seq)
    for _id, group in groupby(unit.ours.scalars(query), key=lambda event: event.correlation):
        rows = list(group)
        if seq is None or seq in [row.seq for row in rows]:
            yield rows


def _settle_group(group: Sequence[AuditEvent], outcome: str | None, unit: Unit) -> Iterable[Record]:
    by = "operator" if outcome else "comparison"
    outcome = outcome or _compare(group, unit)
    seqs = [intent.seq for intent in group]
    if outcome != UNKNOWN:
        _END[outcome](group, unit)
        after = {"intents": seqs, "outcome": outcome, "by": by}
        unit.record(intents.SETTLE, "audit", before={"outcome": UNKNOWN}, after=after)
    return [
        {
            "changed": outcome != UNKNOWN,
            "intent": intent.seq,
            "at": intent.at,
            "action": intent.action.removeprefix(intents.PREFIX),
            "subject": intent.subject,
            "outcome": outcome,
        }
        for intent in group
    ]


def _compare(group: Sequence[AuditEvent], unit: Unit) -> str:
    """Return the outcome that the application's rows tell."""
    accounts, states = intents.accounts(), set()
    for intent in group:
        before, after = ((getattr(intent, side) or {}).get(intents.ROW) for side in SIDES)
        if accounts is None or before is after is None:
            continue  # It is no account's; those of the same change tell.
        now = accounts.mark(unit.session, _change(intent, unit))
        # An end of a role alone changes no row of the application.
        state = EITHER if before == after else DONE if now == after else FAILED
        states.add(state if now in (before, after) else UNKNOWN)
    if states == {EITHER}:
        return DONE
    states.discard(EITHER)
    return states.pop() if len(states) == 1 else UNKNOWN


def _do(group: Sequence[AuditEvent], unit: Unit) -> None:
    accounts = intents.accounts()
    for intent in group:
        columns = {**unit.columns, **{name: getattr(intent, name) for name in _OF_THE_ACTOR}}
        change = _change(intent, unit)
        for row in ledger.rows(unit.ours.connection(), [change], columns):
            unit.chain(row)
        if accounts is not None:
            accounts.follow(unit.ours, {**columns, **change.record()})


def _fail(group: Sequence[AuditEvent], unit: Unit) -> None:
    after = {"intents": [intent.seq for intent in group], "because": "settled"}
    columns = {**unit.columns, "correlation": group[0].correlation}
    change = Recorded(intents.FAIL, "audit", None, after)
    for row in ledger.rows(unit.ours.connection(), [change], columns):
        unit.chain(row)


_END: dict[str, Callable[[Sequence[AuditEvent], Unit], None]] = {DONE: _do, FAILED: _fail}
_OF_THE_ACTOR = ("actor", "door", "reason", "correlation")


def _change(intent: AuditEvent, unit: Unit) -> Recorded:
    """Return the change that was intended, with its personal values readable."""
    before, after = (_readable_side(getattr(intent, side), unit) for side in SIDES)
    action = intent.action.removeprefix(intents.PREFIX)
    return Recorded(action, intent.subject, before, after)


def _readable_side(side: Record | None, unit: Unit) -> Record | None:
    values = intents.without_mark(side)
    if values is None:
        return None
    return {
        name: _value(value["personal"], unit)
        if isinstance(value, dict) and value.keys() == {"personal"}
        else value
        for name, value in values.items()
    }


def _value(token: str, unit: Unit) -> Any:
    """Return the value behind a token; None once it is erased."""
    return unit.ours.scalar(sa.select(PersonalValue.value).where(PersonalValue.token == token))
