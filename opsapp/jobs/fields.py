"""The values that `jobs.toml` may hold: each is read, or refused in words.

A reader returns what the value means, and raises ``ValueError``, which says what it should be.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from .. import clock, text
from ..addresses import targets

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
ON_BUSY = ("fail", "skip", "wait")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or text.safe(value) != value:
        raise ValueError(f"{text.shortened(repr(value))} is not a line of text")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")  # noqa: TRY004  (the file's fault, not the caller's)
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1000:
        raise ValueError("a whole number from 0 to 1000")
    return value


def _duration(value: Any) -> timedelta:
    found = clock.duration(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(f"{text.shortened(repr(value))} is not a duration such as 90s or 1h30m")
    return found


def _command(value: Any) -> tuple[str, ...]:
    words = shlex.split(value) if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(w, str) for w in words):
        raise ValueError("a line, or a list of words")
    if not words[0] or any("\0" in word for word in words):
        raise ValueError("it names no program")
    return tuple(words)


def _schedule(value: Any) -> str:
    expression = _text(value)
    if expression.startswith("@") and expression not in MACROS:
        raise ValueError(f"{expression} is none of {', '.join(MACROS)}")
    fields = MACROS.get(expression, expression)
    if len(fields.split()) != 5:
        raise ValueError("five fields: minute, hour, day of month, month, day of week")
    try:
        next(CronSim(fields, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise ValueError(f"{expression}: {str(error).lower()}") from error
    except StopIteration:
        raise ValueError(f"{expression} never comes") from None
    return expression


def _timezone(value: Any) -> str:
    name = _text(value)
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name} is no time zone such as Europe/Berlin") from error
    return name


def _environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in value.values()):
        raise ValueError("a table of texts")
    if any(not name or "=" in name or "\0" in name + value[name] for name in value):
        raise ValueError("a name has no = in it")
    return value


def _targets(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("a list of addresses and URLs")  # noqa: TRY004
    return targets(" ".join(map(_text, value)))


def busy(value: Any) -> tuple[str, timedelta | None]:
    """What ``fail``, ``skip``, ``wait`` or ``wait=10m`` says: the word, and how long.

    :raises ValueError: it is none of them.
    """
    word, given, length = _text(value).partition("=")
    if word not in ON_BUSY or (given and word != "wait"):
        raise ValueError(f"{text.shortened(value)} is none of fail, skip, wait, wait=DURATION")
    return word, _duration(length) if given else None


def _busy(value: Any) -> str:
    busy(value)
    return str(value)


OF_JOB: dict[str, Callable[[Any], Any]] = {
    "command": _command,
    "schedule": _schedule,
    "timezone": _timezone,
    "description": _text,
    "enabled": _flag,
    "max-age": _duration,
}
OF_OPTIONS: dict[str, Callable[[Any], Any]] = {
    "timeout": _duration,
    "kill-after": _duration,
    "on-busy": _busy,
    "retries": _count,
    "retry-delay": _duration,
    "min-duration": _duration,
    "quiet": _flag,
    "env": _environment,
    "notify": _targets,
    "notify-after": _count,
}
