"""Values as people read them in a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .. import clock
from ..text import pluralize, safe
from ..values import Array, Document
from ..values.damage import Damaged

FEW = 20
"""Items of a list that a table shows; other formats have all."""
EMPTY = "–"


def human(value: Any) -> str:
    """Return ``value`` as people read it in a table, with a time in full."""
    match value:
        case None:
            return EMPTY
        case Damaged():
            return safe(value)
        case bool():
            return "yes" if value else "no"
        case datetime():
            return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        case Array() | Document():
            return safe(json.dumps(value))
        case list() | tuple() if len(value) > FEW:
            return f"{', '.join(human(item) for item in value[:FEW])}, … ({len(value)})"
        case list() | tuple():
            return ", ".join(human(item) for item in value) or EMPTY
        case Mapping():
            return ", ".join(f"{safe(key)}={human(item)}" for key, item in value.items()) or EMPTY
    return safe(value)


def on_terminal(name: str, value: Any, now: datetime, *, full: bool = False) -> str:
    """Return the value of a field as :func:`human` does, with its distance for a time.

    :param full: a time is in full too, and a number of bytes exact too.
    """
    if type(value) is str:
        return safe(value)
    if isinstance(value, datetime) and not isinstance(value, Damaged):
        distance = clock.relative(value.astimezone(UTC), now)  # An application's may be naive.
        return f"{human(value)} ({distance})" if full else distance
    if isinstance(value, int) and (name == "bytes" or name.endswith("_bytes")):
        size = _size(value)
        return f"{size} ({pluralize(value, 'byte')})" if full else size
    return human(value)


def _size(size: int) -> str:
    """Return a number of bytes as ``2.5 MiB``, and a small one as ``0.5 KiB``."""
    return f"{size / 2**20:,.1f} MiB" if size >= 2**20 else f"{size / 2**10:,.1f} KiB"


_STYLES = {
    **dict.fromkeys(("active", "live", "ok", "succeeded", "sent"), "green"),
    **dict.fromkeys(("skipped", "inactive", "locked", "warn", "expired", "waiting"), "yellow"),
    **dict.fromkeys(("deleted", "revoked", "fail", "failed", "timed-out", "terminated"), "red"),
    **dict.fromkeys(("crashed", "gave up"), "red"),
}
"""Colours of states. They add no meaning, since pipes have none."""
_STATES = ("state", "status", "outcome")
"""Fields that hold a state; the same word may be a name in another one."""
_NEGATIVE = ("allowed", "ok", "ready", "writable")
"""Fields whose "no" is bad news."""


def style_of(name: str, cell: str) -> str:
    """Return the colour of a cell of this field, or ``dim``, or nothing."""
    if cell == "no" and name in _NEGATIVE:
        return "red"
    if cell == EMPTY:
        return "dim"
    return _STYLES.get(cell, "") if name in _STATES else ""
