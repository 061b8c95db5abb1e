"""The time: aware UTC, from one place; and times as people write and read them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta

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


def format_duration(seconds: float) -> str:
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


FORMS = "2026-12-31, 2026-12-31T18:00Z, 18:00, friday, 'monday 9:00', yesterday or 2h"
"""An example of each form of a time."""
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_LAST_SECOND = time(23, 59, 59)
_WEEK = 7


def parse_time(value: str, now: datetime, *, ahead: bool = False, end: bool = False) -> datetime:
    """Return the time that ``value`` means, in UTC. A time without a zone is UTC.

    :param ahead: a length, time of day or weekday is the next one after ``now``; else it is
        the last one before.
    :param end: a day without a time of day is its last second; else its first.
    :raises ValueError: it is of none of the :data:`FORMS`.
    :raises OverflowError: it is beyond the calendar.
    """
    words = value.lower().split()
    if words == ["now"]:
        return now
    if (length := _length(words, ahead)) is not None:
        return now + length
    if len(value) > len("2026-12-31"):
        with suppress(ValueError):
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if not 1 <= len(words) <= 2:
        raise ValueError(value)
    has_time = ":" in words[-1]
    at = _time_of_day(words.pop()) if has_time else None
    return _on(" ".join(words), at, now, ahead=ahead, end=end)


def _length(words: list[str], ahead: bool) -> timedelta | None:
    match words:
        case [length]:
            sign = 1 if ahead else -1
        case ["in", length]:
            sign = 1
        case [length, "ago"]:
            sign = -1
        case _:
            return None
    span = duration(length)
    return sign * span if span else None


def _time_of_day(text: str) -> time:
    hour, colon, rest = text.partition(":")
    at = time.fromisoformat(f"{hour:0>2}{colon}{rest.upper()}")
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _on(day: str, at: time | None, now: datetime, *, ahead: bool, end: bool) -> datetime:
    """Return the time on a day; an empty ``day`` is today or the day beside it."""
    zone = at.tzinfo if at else UTC
    today = now.astimezone(zone).date()
    on, step = (today, 1) if not day else _date(day, today)
    first = datetime.combine(on, at or time(tzinfo=UTC))
    moment = datetime.combine(on, at or (_LAST_SECOND if end else time()), tzinfo=zone)
    if ahead and moment <= now:
        moment += timedelta(days=step)
    elif not ahead and first > now:
        moment -= timedelta(days=step)
    return moment.astimezone(UTC)


def _date(day: str, today: date) -> tuple[date, int]:
    """Return the next day of this name, and the days after which its name comes again."""
    if day in _DAYS:
        return today + timedelta(days=_DAYS[day]), 0
    for number, weekday in enumerate(_WEEKDAYS):
        if len(day) > 2 and weekday.startswith(day):
            return today + timedelta(days=(number - today.weekday()) % _WEEK), _WEEK
    return date.fromisoformat(day), 0


# --- reading -----------------------------------------------------------------

_STEPS = ((60, "s"), (60, "min"), (24, "h"))
_MANY_DAYS = 365


def relative(moment: datetime, now: datetime) -> str:
    """Return the distance of ``moment`` from ``now``: ``3d ago``, ``in 5 h``, ``just now``."""
    seconds = (moment - now).total_seconds()
    if abs(seconds) < 1:
        return "just now"
    amount = _round(abs(seconds))
    return f"in {amount}" if seconds > 0 else f"{amount} ago"


def _round(amount: float) -> str:
    for size, unit in _STEPS:
        if round(amount) < size:
            return f"{round(amount)} {unit}"
        amount /= size
    days = round(amount)
    return f"{days} d" if days < _MANY_DAYS else f"{amount / _MANY_DAYS:.1f} y"


def brief(moment: datetime, now: datetime) -> str:
    """Return a time in UTC, as short as its distance allows.

    ``08:12Z`` is today, ``Fri 18:00Z`` within six days, ``2026-12-31 18:00Z`` any other.
    """
    moment = moment.astimezone(UTC)
    days = abs((moment.date() - now.astimezone(UTC).date()).days)
    form = "%H:%M" if days == 0 else "%a %H:%M" if days < _WEEK else "%Y-%m-%d %H:%M"
    return f"{moment:{form}}Z"
