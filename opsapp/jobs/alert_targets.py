"""URLs of alerts: what is pinged at the start and the end of a run."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote, unquote, urlsplit, urlunsplit


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
