"""The outcome of a command as it is written: an answer, a plan, or a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from . import output, tables
from .messages import say

if TYPE_CHECKING:
    from ..unit.work import Unit

PLAN = ("action", "subject", "name", "before", "after")
"""The fields of a dry run's rows."""
MOST_EFFECTS = 100
"""The lines on stderr; the rest is counted."""
ALREADY_SO = "Already so: nothing was changed."


def write(
    answer: Any,
    format: str,
    fields: str | None,
    columns: tuple[str, ...],
    all_fields: Sequence[str] = (),
) -> None:
    """Write an answer, with times in full.

    :param all_fields: all fields of a row, for lists that may be empty; none if rows differ.
    """
    columns = () if fields else columns
    if isinstance(answer, int | str):
        output.write_scalar(answer, format)
    elif isinstance(answer, Mapping):
        output.write_record(next(output.select([answer], fields)), format, columns)
    else:
        header = output.field_names(fields) if fields else all_fields
        output.write_list(output.select(answer, fields, all_fields), format, columns, header)


def write_plan(unit: Unit, format: str, fields: str | None, file: str | None) -> None:
    """Write the audit events that the change would have, with the names of their subjects.

    :param file: gets each change as a JSON line; many like ones are one row of the answer.
    """
    from . import plans

    if file is not None:
        plans.write(file, unit.recorded)
    rows = list(output.select(plans.rows_of(unit.recorded), fields, PLAN))
    if format == "json":
        record = {"changed": unit.changed, "dry_run": True, "plan": rows, "effects": unit.effects}
        output.write_record(record, format, ())
    elif not click.get_current_context().meta.get("opsapp.plan") and _is_printed(rows, format):
        columns = ("action", "name", "before", "after")
        header = output.field_names(fields) if fields else PLAN
        output.write_list(rows, format, () if fields else columns, header)
    if format != "json":
        for effect in unit.effects[:MOST_EFFECTS]:
            say(f"It {effect}.", in_json=False)
        if (rest := len(unit.effects) - MOST_EFFECTS) > 0:
            say(f"Effects that are not listed: {rest:,}; --format json has all.", in_json=False)
    end = "Dry run: nothing was written." if rows else "Dry run: nothing would change."
    say(end, in_json=False)


def write_change(
    result: Any, unit: Any, format: str, fields: str | None, columns: tuple[str, ...]
) -> None:
    """Write the record or rows of a change, and remark on its audit event."""
    outcome = {"changed": _has_changed(result, unit), "audit_seq": unit.seq}
    if result is None:
        pass  # The answer is on stdout already.
    elif isinstance(result, Mapping):
        columns = ("changed", *columns) if columns else ()
        write({**outcome, **result}, format, fields, columns)
    elif format == "json":
        rows = list(output.select(result, fields))
        output.write_record({**outcome, "results": rows}, format, ())
    elif _is_printed(result, format):
        write(result, format, fields, columns)
    if unit.seq is not None:
        intended = f"; intended as {unit.intent}, beside the change" if unit.intent else ""
        say(f"Done, audit event {unit.seq}{intended}.", in_json=False)
    elif not outcome["changed"]:
        unchanged = click.get_current_context().meta.get("opsapp.unchanged", ALREADY_SO)
        say(unchanged, in_json=False)


def _is_printed(rows: Any, format: str) -> bool:
    """Return False for no rows at a terminal, where the remark below says that there are none."""
    return bool(rows) or format != "table" or not tables.is_terminal()


def _has_changed(result: Any, unit: Any) -> bool:
    """Return ``changed`` of the record, or else of the unit: a migration commits by itself."""
    changed = result.get("changed") if isinstance(result, Mapping) else None
    return bool(unit.changed if changed is None else changed)


def keys(result: Any, key: str, unit: Any) -> list[str]:
    """Return the keys of what was changed."""
    if isinstance(result, Mapping):
        return [str(result[key])] if _has_changed(result, unit) else []
    return [str(row[key]) for row in result or () if row["changed"]]


def say_if_unchanged(remark: str) -> None:
    """Print ``remark`` in place of :data:`ALREADY_SO`, if the command changes nothing."""
    click.get_current_context().meta["opsapp.unchanged"] = remark
