"""Measurements: a request inside this process, or a command in a process of its own."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import Context
from dataclasses import dataclass, field
from datetime import timedelta
from time import perf_counter, thread_time, time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from werkzeug.datastructures import Headers

from .. import clock, settings, state, text
from ..errors import OpsError, TimedOut
from ..types import Record
from .record.handover import MODE, TO_PARENT
from .record.recording import Recording, has_failed

if TYPE_CHECKING:
    from flask import Flask
    from werkzeug.wrappers import Response

    from .record.recorder import Recorder


log = logging.getLogger(__name__)

Sent = tuple["Recording", float]
"""A request's recording, and the seconds of CPU."""
WARM_UP = 3
"""Uncounted requests at first, so that caches are full as on a server."""
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
AGAIN_SECONDS = 1.0
"""Seconds until the next interruption: code may swallow one, in a destructor for example."""


@dataclass(frozen=True, slots=True)
class Content:
    """The body and the headers of a request."""

    body: bytes = b""
    headers: Headers = field(default_factory=Headers)


@dataclass(slots=True)
class Measured:
    """The figures of each repetition, in their order. Times are in seconds."""

    kind: str
    """``endpoint`` or ``command``."""
    samples: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    queries: list[int] = field(default_factory=list)
    query_seconds: list[float] = field(default_factory=list)
    outcomes: list[int | None] = field(default_factory=list)
    """HTTP statuses or exit codes; None for an answer that broke off."""
    peak: int = 0
    """The largest memory of a process, in bytes."""

    @property
    def errors(self) -> int:
        """Return the number of failed repetitions."""
        return sum(has_failed(self.kind, outcome) for outcome in self.outcomes)

    def add(self, recording: Recording, cpu: float) -> None:
        """Add a request and its CPU time in seconds."""
        self.samples.append(recording.seconds)
        self.cpu.append(cpu)
        self.queries.append(recording.queries or len(recording.sent))
        self.query_seconds.append(sum(seconds for _key, _at, seconds in recording.sent))
        self.outcomes.append(recording.status)

    def detail(self, subject: str) -> Record:
        """Return the figures to save."""
        row = {
            "count": len(self.samples),
            "errors": self.errors,
            "queries": sum(self.queries),
            "samples": [round(seconds, 7) for seconds in self.samples],
            "cpu": [round(seconds, 7) for seconds in self.cpu],
        }
        return {"rows": {subject: row}}

    def record(self) -> Record:
        """Return the figures to show: exact percentiles, SQL of each, and the count of outcomes."""
        from .reports import baselines

        count = len(self.samples)
        return {
            "count": count,
            **baselines.figures(self.samples),
            "cpu_ms": round(sum(self.cpu) / count * 1000, 3),
            "queries": round(sum(self.queries) / count, 2),
            "query_ms": round(sum(self.query_seconds) / count * 1000, 3),
            "outcomes": dict(sorted(Counter(map(_outcome, self.outcomes)).items())),
            **({"peak_mib": round(self.peak / 1024**2, 1)} if self.peak else {}),
        }


def _outcome(outcome: int | None) -> str:
    return "broken off" if outcome is None else str(outcome)


# --- a request ---------------------------------------------------------------


def request(
    app: Flask,
    method: str,
    path: str,
    *,
    user: Any,
    repeat: int,
    cold: bool,
    timeout: timedelta,
    mode: str | None = None,
    content: Content = Content(),
) -> Measured:
    """Send a request to the application in this process repeatedly, one at a time.

    Neither the reports nor the rate limits count it. The answer is read to its end piece by
    piece, and discarded.

    :param user: the account that sends it, as if signed in with a browser.
    :param cold: count the first requests too.
    :param timeout: the limit of each request.
    :param mode: profile one more request, by ``1`` or ``sample``, and keep it as a trace.
    :raises TimedOut: a request took longer.
    """
    recorder = _around(app)
    client = app.test_client(use_cookies="Cookie" not in content.headers)
    measured = Measured("endpoint")

    def send_apart(call: Callable[..., Sent], **headers: str) -> Sent:
        # In the command's context it would have the command's session, and leave it open.
        return Context().run(call, **headers)

    def send(**further: str) -> Sent:
        headers = Headers(content.headers)
        headers.update(further)
        before = thread_time()
        with (
            within(timeout.total_seconds(), f"{method} {text.truncate(path)}"),
            client.open(
                path,
                method=method,
                headers=headers,
                data=content.body,
                base_url=settings.of(app, "OPSAPP_URL") or None,
            ) as response,
        ):
            _read_to_its_end(response)
        recording = recorder.last
        if recording is None:
            raise OpsError("the application answered without calling its WSGI application")
        return recording, thread_time() - before

    with recorder.apart(), _send_as(app, user):
        for _ in range(0 if cold else WARM_UP):
            send_apart(send)
        for _ in range(repeat):
            measured.add(*send_apart(send))
        if mode is not None:
            recorder.is_open = True
            send_apart(send, **{"X-Profile": mode})
            recorder.is_open = False
    return measured


def _around(app: Flask) -> Recorder:
    """Return the recorder of an application, which stands around its requests afterwards."""
    from . import install, recorder_of

    recorder = recorder_of(app) or install(app)
    if not recorder.is_around:
        app.wsgi_app = recorder.around(app.wsgi_app)  # type: ignore[method-assign, assignment]
    return recorder


def _read_to_its_end(response: Response) -> None:
    try:
        for _piece in response.iter_encoded():
            pass
    except Exception as error:  # noqa: BLE001  (the view's error, which the recorder counts)
        log.warning("the answer broke off: %s", type(error).__qualname__)


def _send_as(app: Flask, user: Any) -> AbstractContextManager[None]:
    """Sign this account in for every request of the block. A server never calls this."""
    from flask import g

    from ..extensions import db

    if user is None:
        return state.hook_requests(app, lambda: None, RATELIMIT_ENABLED=False)
    model, [*key] = type(user), sa.inspect(user).identity
    db.session.rollback()  # A read that is open keeps others from writing to SQLite without WAL.

    def sign_in() -> None:
        # As Flask-Login, Flask-WTF and Flask-Security leave it after the user has signed in.
        g._login_user = db.session.get(model, key)  # noqa: SLF001
        if "security" in app.extensions:
            from flask_security.utils import set_request_attr

            set_request_attr("fs_authn_via", "session")
            set_request_attr("fs_paa", time())

    # No page with a token was loaded.
    return state.hook_requests(app, sign_in, RATELIMIT_ENABLED=False, WTF_CSRF_METHODS=frozenset())


# --- a command ---------------------------------------------------------------


def command(
    words: Sequence[str], *, repeat: int, warm_up: int, timeout: timedelta, mode: str | None
) -> Measured:
    """Run ``flask WORDS`` as a process repeatedly, and discard its output.

    :param timeout: the limit of each process, which is killed then.
    :raises TimedOut: a process took longer.
    """
    measured = Measured("command")
    for _ in range(warm_up):
        _run_once(words, Measured("command"), timeout, None)
    for number in range(1, repeat + 1):
        _run_once(words, measured, timeout, mode if number == repeat else None)
    return measured


def _run_once(
    words: Sequence[str], measured: Measured, timeout: timedelta, mode: str | None
) -> None:
    reading, writing = os.pipe()
    environ = {**os.environ, TO_PARENT: str(writing), **({MODE: mode} if mode else {})}
    with os.fdopen(reading, "rb") as pipe:
        start = perf_counter()
        try:
            child = subprocess.Popen(
                [sys.executable, "-P", "-m", "flask", *words],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[writing],
            )
        finally:
            os.close(writing)
        try:
            with within(timeout.total_seconds(), text.truncate(f"flask {' '.join(words)}")):
                report = pipe.read()
                _, status, usage = os.wait4(child.pid, 0)
        except TimedOut:
            child.kill()
            child.wait()
            raise
        measured.samples.append(perf_counter() - start)
        child.returncode = os.waitstatus_to_exitcode(status)
    sql: Record = json.loads(report) if report else {"queries": 0, "query_seconds": 0.0}
    measured.cpu.append(usage.ru_utime + usage.ru_stime)
    measured.queries.append(sql["queries"])
    measured.query_seconds.append(sql["query_seconds"])
    measured.outcomes.append(child.returncode)
    unit = 1 if sys.platform == "darwin" else 1024
    measured.peak = max(measured.peak, usage.ru_maxrss * unit)


# --- the time limit ------------------------------------------------------------


class _Late(BaseException):
    """The end of the time. No Exception, so that a view does not handle it as an error."""


@contextmanager
def within(seconds: float, subject: str) -> Iterator[None]:
    """Interrupt the block after these seconds; for the main thread only.

    :param subject: the name of the measurement, for the message.
    :raises TimedOut: the block did not end in time.
    """
    is_over = False

    def interrupt(*_signal: object) -> None:
        if not is_over:
            raise _Late

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_SECONDS)
    try:
        try:
            yield
        finally:
            is_over = True
    except _Late:
        raise TimedOut(
            f"{subject} did not end within {clock.format_duration(seconds)}",
            hint="--timeout, if it may take longer",
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
