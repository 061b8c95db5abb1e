"""The time: aware UTC, from one place."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta

UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_DURATION = re.compile(r"(?:[0-9]{1,9}[smhdw])+")


def now() -> datetime:
    """Return the present moment, timezone-aware, in UTC."""
    return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Return ``2026-12-31T23:59:59Z``, with microseconds only where there are some."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def moment(value: str, *, end: bool = False) -> datetime:
    """Return the time that ``2026-12-31`` or ``2026-12-31T18:00Z`` says; without a zone, UTC.

    Files have such times only: a weekday would mean another day when a file is read again.

    :param end: a date alone is the end of that day, and not its start.
    :raises ValueError: it says none.
    """
    moment = datetime.fromisoformat(value)
    if len(value) <= 10 and end:
        moment = datetime.combine(moment.date(), time(23, 59, 59))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)


def duration(value: str) -> timedelta | None:
    """Return the time that ``90d`` or ``1h30m`` says; None if it says none."""
    if not _DURATION.fullmatch(value):
        return None
    parts = re.findall(r"([0-9]+)([smhdw])", value)
    try:
        return sum((int(count) * UNITS[unit] for count, unit in parts), timedelta())
    except OverflowError:
        return None  # It is longer than any time that there is.


def shown(seconds: float) -> str:
    """Return seconds in words: ``0.4 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 60:
        return (
            f"{seconds:.0f} s" if seconds >= 10 or seconds == int(seconds) else f"{seconds:.1f} s"
        )
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
