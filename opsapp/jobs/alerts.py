"""Alerts: mail and pings when a job fails, recovers or crashes.

Every start and end pings every URL, as healthchecks expects it. Mail is sent at the first
failure (or the Nth), again whenever the failures in a row have doubled, and at the recovery.
No alert makes a job fail, or holds it longer than the seconds of this module.
"""

from __future__ import annotations

import logging
import threading
import time
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from .. import clock, settings
from ..addresses import is_url
from ..extensions import db
from ..models import JobRun
from . import history, schedule
from .runs import FAILED, STATUSES, End
from .schedule import Options

if TYPE_CHECKING:
    from flask import Flask

PING_SECONDS = 5
LINES = 30
"""Lines of output in a mail."""
LONGEST_ROW = 1000
"""Runs to read for the failures in a row."""

log = logging.getLogger(__name__)


def error_of_addresses(app: Flask) -> str | None:
    """Return why the mail server does not take mail for an address of alerts, or None.

    :raises NotReady: the schedule or a setting is wrong.
    """
    from ..mail import smtputf8

    jobs = schedule.load()
    places = {f"notify of the job {name}": job.options.notify for name, job in jobs.items()}
    if not jobs or None in places.values():
        places = {"OPSAPP_JOBS_NOTIFY": settings.of(app, "OPSAPP_JOBS_NOTIFY"), **places}
    for place, targets in places.items():
        for target in targets or ():
            if not is_url(target) and (why := smtputf8.refuse_undeliverable(app, email=target)):
                return f"{place} has an address that is not in ASCII: {why}"
    return None


class Alerts:
    """The alerts of one run."""

    def __init__(self, job: str, options: Options, correlation: str) -> None:
        """
        :raises NotReady: a setting of the alerts is wrong.
        """
        targets = settings.get("OPSAPP_JOBS_NOTIFY") if options.notify is None else options.notify
        self._job = job
        self._run = correlation
        self._urls = [target for target in targets if is_url(target)]
        self._addresses = [target for target in targets if not is_url(target)]
        self._after = options.notify_after or settings.get("OPSAPP_JOBS_NOTIFY_AFTER")
        self._to_do: list[Callable[[], None]] = []
        self._pinging: list[threading.Thread] = []

    def note_start(self, run_id: int, *, crashed: int) -> None:
        """Ping the start while the command runs; queue an alert of earlier crashes."""
        self._pinging = self._ping("start", "")
        if crashed and self._addresses:
            self._to_do.append(partial(self._tell_crash, run_id))

    def note_end(self, run_id: int | None, end: End) -> None:
        """Queue the alerts of the end for :meth:`send`."""
        text = end.reason or STATUSES[end.status]
        self._to_do.append(partial(self._ping_end, str(end.exit_code or 0), text))
        if run_id is not None and self._addresses:
            self._to_do.append(partial(self._tell_end, run_id))

    def send(self) -> None:
        """Send the queued alerts, now that the lock is free."""
        for act in self._to_do:
            try:
                act()
            except Exception:
                # The job has ended, and a failed alert does not change its outcome.
                log.exception("an alert of the job %s failed", self._job)

    # --- pings ---

    def _ping_end(self, exit_code: str, text: str) -> None:
        _await(self._pinging)  # The end must not arrive before the start.
        _await(self._ping(exit_code, text))

    def _ping(self, event: str, text: str) -> list[threading.Thread]:
        urls = [ping_url(url, self._job, event, self._run) for url in self._urls]
        # Threads, because a name lookup has no time-out.
        pinging = [threading.Thread(target=_ping, args=(url, text), daemon=True) for url in urls]
        for thread in pinging:
            thread.start()
        return pinging

    # --- mail ---

    def _tell_crash(self, run_id: int) -> None:
        db.ours.rollback()
        before = [run for run in self._recent_runs() if run.id < run_id]
        failures = history.failures(before)
        if failures and self._is_time(failures):
            self._mail("job-crashed", f"{self._job} crashed", before[0], failures)

    def _tell_end(self, run_id: int) -> None:
        db.ours.rollback()
        runs = [run for run in self._recent_runs() if run.id <= run_id]
        run, before = runs[0], history.failures(runs[1:])
        if run.status in FAILED and self._is_time(history.failures(runs)):
            subject = f"{self._job} {run.status} (exit {run.exit_code})"
            self._mail("job-failed", subject, run, before + 1)
        elif run.status == "succeeded" and before >= self._after:
            self._mail("job-recovered", f"{self._job} has recovered", run, before)

    def _recent_runs(self) -> list[JobRun]:
        return history.recent_runs(self._job, limit=LONGEST_ROW)

    def _is_time(self, failures: int) -> bool:
        """Return whether so many failures in a row are reported: N, 2 N, 4 N, …"""
        times, rest = divmod(failures, self._after)
        return times > 0 and rest == 0 and times & (times - 1) == 0

    def _mail(self, kind: str, subject: str, run: JobRun, failures: int) -> None:
        from ..mail import outbox

        body = _body(run, failures)
        name = settings.get("OPSAPP_NAME")
        outbox.keep(
            outbox.Message(kind, address, f"{name}: {subject}"[:255], body)
            for address in self._addresses
        )


def _body(run: JobRun, failures: int) -> str:
    lines = [f"{row['stream']}: {row['line']}" for row in history.output(run.id)][-LINES:]
    facts = {
        "Job": run.name,
        "Status": f"{run.status}, {run.reason}" if run.reason else run.status,
        "Exit code": run.exit_code,
        "Host": run.host,
        "Started": clock.rfc3339(run.started_at),
        "Took": "–" if run.seconds is None else clock.format_duration(run.seconds),
        "Failures in a row": failures,
        "Details": f"flask jobs show {run.id}",
    }
    head = "\n".join(f"{name}: {value}" for name, value in facts.items())
    return head + ("\n\n" + "\n".join(lines) if lines else "") + "\n"


def _await(pinging: list[threading.Thread]) -> None:
    deadline = time.monotonic() + PING_SECONDS
    for thread in pinging:
        thread.join(max(0.0, deadline - time.monotonic()))


def _ping(target: str, text: str) -> None:
    from http.client import HTTPException
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class NoRedirects(HTTPRedirectHandler):
        """Redirects are errors: urllib would send a GET to whatever host they name."""

        def redirect_request(self, *_args: object) -> None:
            return None

    url, header = without_credentials(target)
    request = Request(url, text.encode(), header)  # noqa: S310  (checked where the setting is read)
    try:
        with build_opener(NoRedirects).open(request, timeout=PING_SECONDS) as answer:
            answer.read(1)
    except (OSError, ValueError, HTTPException) as error:
        # The URL is a secret; its host identifies it.
        log.warning("the ping to %s failed: %s", url.split("/")[2], _why(error))


def _why(error: Exception) -> str:
    """Return the cause in a few words; the error's own message may repeat the URL."""
    if code := getattr(error, "code", None):
        return f"HTTP {code}"
    cause = getattr(error, "reason", error)
    return getattr(cause, "strerror", None) or type(cause).__name__


# --- URLs ----------------------------------------------------------------------


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
