"""Where alerts go: addresses that get mail, and URLs that are pinged."""

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
    """The addresses and URLs of ``value``, which spaces or commas divide.

    :raises ValueError: one is neither an address nor an http(s) URL; it is not repeated, since
        such a URL is a secret.
    """
    words = tuple(word for word in re.split(r"[\s,]+", value) if word)
    for number, word in enumerate(words, start=1):
        if not (is_url(word) or _ADDRESS.fullmatch(word)) or text.safe(word) != word:
            raise ValueError(f"entry {number} is neither an address nor an http(s) URL")
    return words


def configured(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """The targets of ``OPSAPP_JOBS_NOTIFY``.

    :raises NotReady: they are not of that form.
    """
    try:
        return parsed(environ.get("OPSAPP_JOBS_NOTIFY") or "")
    except ValueError as error:
        raise NotReady(f"OPSAPP_JOBS_NOTIFY: {error}") from error


def configured_after(environ: Mapping[str, str] = os.environ) -> int:
    """After how many failures in a row somebody is told: ``OPSAPP_JOBS_NOTIFY_AFTER``.

    :raises NotReady: it is not a whole number from 1 to 1000.
    """
    given = environ.get("OPSAPP_JOBS_NOTIFY_AFTER") or "1"
    if not (given.isascii() and given.isdigit() and 1 <= int(given[:5]) <= 1000):
        raise NotReady(f"OPSAPP_JOBS_NOTIFY_AFTER {given!r} is not a number from 1 to 1000")
    return int(given)


def is_url(target: str) -> bool:
    """Whether it is pinged; else it is mailed."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def ping_url(target: str, job: str, event: str, run: str) -> str:
    """The URL that tells of ``event``, in the manner of healthchecks.

    ``{job}`` in it becomes the job's name, so that one setting serves many checks.

    :param event: ``start``, or an exit code.
    :param run: the run's id, by which start and end find each other.
    """
    parts = urlsplit(target.replace("{job}", quote(job, safe="")))
    query = f"{parts.query}&rid={run}" if parts.query else f"rid={run}"
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{event}", query=query))


def without_credentials(url: str) -> tuple[str, dict[str, str]]:
    """The URL without the name and the password in it, and the header that has them."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    header = {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), header
