"""The values of `jobs.toml`, and their readers.

A reader returns the typed value, or raises ``ValueError`` with the form that it should have.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class OnBusy:
    """The reaction to an active run of the same job: ``fail``, ``skip`` or ``wait``."""

    word: str
    wait: timedelta | None = None
    """The longest wait; None is forever."""


FAIL, SKIP = OnBusy("fail"), OnBusy("skip")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or text.safe(value) != value:
        raise ValueError(f"{text.truncate(repr(value))} is not a line of text")
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
    length = clock.duration(value) if isinstance(value, str) else None
    if not length:
        raise ValueError(f"{text.truncate(repr(value))} is not a duration such as 90s or 1h30m")
    return length


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
        raise ValueError(f"{expression} is not one of {', '.join(MACROS)}")
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
        raise ValueError(f"{name} is not a time zone such as Europe/Berlin") from error
    return name


def _environment(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise ValueError("a table of strings")
    if any(not name or "=" in name or "\0" in name + value[name] for name in value):
        raise ValueError("a name has no = in it")
    return value


def _targets(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("a list of addresses and URLs")  # noqa: TRY004
    return targets(" ".join(map(_text, value)))


def on_busy(value: Any) -> OnBusy:
    """Read ``fail``, ``skip``, ``wait`` or ``wait=10m``.

    :raises ValueError: it is not one of them.
    """
    word, sign, length = _text(value).partition("=")
    if word not in ("fail", "skip", "wait") or (sign and word != "wait"):
        raise ValueError(f"{text.truncate(value)} is not one of fail, skip, wait, wait=DURATION")
    return OnBusy(word, _duration(length) if sign else None)


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
    "on-busy": on_busy,
    "retries": _count,
    "retry-delay": _duration,
    "min-duration": _duration,
    "quiet": _flag,
    "env": _environment,
    "notify": _targets,
    "notify-after": _count,
}
