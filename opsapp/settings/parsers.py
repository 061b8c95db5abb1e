"""Parsers of settings: each returns the value of a text, or raises ValueError with the reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import Invalid
from ..text import truncate, validate

FORMATS = ("table", "plain", "json", "jsonl", "csv")


def origin(value: str) -> str:
    """Return scheme, host in ASCII and port of a URL that has nothing else."""
    message = f"{value!r} is not of the form https://ops.example.com"
    try:
        parts = urlsplit(value.rstrip("/"))
        host = (parts.hostname or "").encode("idna").decode()
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError as error:
        raise ValueError(message) from error
    more = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not host or host.startswith(".") or more:
        raise ValueError(message)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def integer(value: str, *, low: int = 0, high: int = 99_999) -> int:
    """Return a number of decimal digits."""
    is_number = value.isascii() and value.isdigit() and len(value) < 6
    if is_number and low <= int(value) <= high:
        return int(value)
    kind = f"number from {low} to {high}" if low else "whole number"
    raise ValueError(f"{value!r} is not a {kind}")


def amount(value: str, *, unit: str, limit: int) -> float:
    """Return a number from 0 to below ``limit``."""
    try:
        number = float(value)
    except ValueError:
        number = -1
    if not 0 <= number < limit:
        raise ValueError(f"{value!r} is not a number of {unit}")
    return number


def switch(value: str) -> bool:
    """Return True for ``on`` and its synonyms, False for ``off`` and its."""
    if value.lower() in ("on", "1", "true", "yes"):
        return True
    if value.lower() in ("off", "0", "false", "no"):
        return False
    raise ValueError(f"{value!r} is neither on nor off")


def choice(*choices: str) -> Callable[[str], str]:
    """Return the parser of a text that is one of ``choices``."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"{value!r} is not one of {', '.join(choices)}")
        return value

    return read


def output_format(value: str) -> str:
    """Return one of :data:`FORMATS`.

    :raises Invalid: it is none; the setting stands in for an option, and fails as one does.
    """
    if value not in FORMATS:
        raise Invalid(f"OPSAPP_FORMAT {truncate(value)} is not one of {', '.join(FORMATS)}")
    return value


def name(value: str) -> str:
    """Return a name that pages, mail and terminals can show."""
    try:
        validate(value, field="it", longest=80)
    except Invalid as error:
        raise ValueError(f"{truncate(value)}: {error.message}") from error
    return value


def mail_host(value: str) -> str:
    """Return a host name without a port."""
    if value.count(":") == 1:
        raise ValueError(f"{value!r} is not a host name; MAIL_PORT has the port")
    return value


def file(value: str) -> Path:
    """Return an absolute path."""
    return Path(value).resolve()
