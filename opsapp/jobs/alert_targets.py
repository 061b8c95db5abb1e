"""Targets of alerts: addresses for mail, and URLs for pings."""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Mapping
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from .. import text
from ..errors import NotReady

_ADDRESS = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")


def parsed(value: str) -> tuple[str, ...]:
    """Return the addresses and URLs of ``value``, which spaces or commas divide.

    :raises ValueError: an entry is neither an address nor an http(s) URL. It is not repeated,
        since such a URL is a secret.
    """
    words = tuple(word for word in re.split(r"[\s,]+", value) if word)
    for number, word in enumerate(words, start=1):
        if not (is_url(word) or _ADDRESS.fullmatch(word)) or text.safe(word) != word:
            raise ValueError(f"entry {number} is neither an address nor an http(s) URL")
    return words


def configured(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the targets of ``OPSAPP_JOBS_NOTIFY``.

    :raises NotReady: they are not of that form.
    """
    try:
        return parsed(environ.get("OPSAPP_JOBS_NOTIFY") or "")
    except ValueError as error:
        raise NotReady(f"OPSAPP_JOBS_NOTIFY: {error}") from error


def configured_after(environ: Mapping[str, str] = os.environ) -> int:
    """Return the failures in a row before an alert: ``OPSAPP_JOBS_NOTIFY_AFTER``.

    :raises NotReady: it is not a whole number from 1 to 1000.
    """
    value = environ.get("OPSAPP_JOBS_NOTIFY_AFTER") or "1"
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:5]) <= 1000):
        raise NotReady(f"OPSAPP_JOBS_NOTIFY_AFTER {value!r} is not a number from 1 to 1000")
    return int(value)


def is_url(target: str) -> bool:
    """Return whether the target is a URL to ping; otherwise it is an address."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def ping_url(target: str, job: str, event: str, run: str) -> str:
    """Return the URL that reports ``event``, as healthchecks expects it.

    ``{job}`` in it becomes the job's name, so one setting serves many checks.

    :param event: ``start``, or an exit code.
    :param run: the run's id, which start and end share.
    """
    parts = urlsplit(target.replace("{job}", quote(job, safe="")))
    query = f"{parts.query}&rid={run}" if parts.query else f"rid={run}"
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{event}", query=query))


def without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """Return the URL without its name and password, and the header that has them."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    header = {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), header
