"""The recorder: measures each request and command, at some tens of microseconds each.

It wraps the WSGI application, and the methods that send statements to the database. A
recording is added up in memory (:mod:`.aggregates`) and written by another thread
(:mod:`.writer`), so that no request waits for it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from ... import settings, text
from ...errors import NotReady
from ...settings.config import DEVELOPMENT
from ...unit.work import bookkeeping
from . import handover, prof_files, profilers, tokens
from .aggregates import Aggregates
from .callers import Callers, Place, mark_door
from .recording import MOST_STATEMENTS, Recording, current
from .writer import Writer

if TYPE_CHECKING:
    import sqlalchemy as sa
    from flask import Flask

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NOWHERE = "(no such page)"
"""The endpoint of a request that matches no rule of the application."""
DEEPEST = 40
"""The most frames of the place where a request failed."""

PATIENCE = 0.25
"""Seconds that a command waits for another writer to the database."""
hurried = partial(bookkeeping, bind=None, patience=PATIENCE)
"""A transaction on the connection that the command has open."""

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
Count = Callable[[str, str, int | None, float, bool], None]
"""Takes method, endpoint, status, seconds, and whether an exception ended the request."""


class Recorder:
    """The recorder of one application."""

    def __init__(self, app: Flask) -> None:
        self._app = weakref.ref(app)
        self.folder = prof_files.folder_of(app)
        self.callers = Callers(_packages(app))
        self.aggregates = Aggregates()
        self.writer: Writer | None = None
        self.is_open = settings.of(app, "OPSAPP_ENV") == DEVELOPMENT
        """True if each client may have its requests profiled."""
        self.last: Recording | None = None
        """The recording that ended last, in a process that measures."""
        self.count: Count | None = None
        """Counts each request for Prometheus; see :func:`opsapp.web.metrics.count`."""
        self.is_around = False
        """True if requests go through it."""
        self._stretch: profilers.Stretch | None = None
        _recorders.add(self)

    def listen(self, engine: sa.Engine) -> None:
        """Record the statements of this engine.

        See docs/decisions/profiling.md#statements-are-noticed-in-the-dialect.
        """
        dialect: Any = engine.dialect
        for name in ("do_execute", "do_executemany", "do_execute_no_params"):
            setattr(dialect, name, _sender(getattr(dialect, name), self.callers))

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Record apart from the traffic: only the profiles on request are written later."""
        aggregates, writer, count = self.aggregates, self.writer, self.count
        self.aggregates, self.writer, self.count = Aggregates(), None, None
        try:
            yield
        finally:
            profiles = self.aggregates.profiles()
            self.aggregates, self.writer, self.count = aggregates, writer, count
            with aggregates.lock:
                aggregates.traces.update(profiles)

    # --- requests ------------------------------------------------------------

    def around(self, application: Application) -> Application:
        """Return ``application``, recorded."""
        self.is_around = True

        def record_request(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            recording = Recording("endpoint")
            recording.environ = environ
            outer = current.get()
            current.set(recording)
            self.aggregates.running[id(recording)] = recording

            def start(status: str, headers: Any, *error: Any) -> Any:
                recording.status = int(status[:3])
                recording.headers = headers
                # Flask takes the request out of here before the body is sent.
                recording.name = _endpoint(environ)
                if recording.has_profiler:
                    headers = [*headers, *_profile_headers(recording)]
                return start_response(status, headers, *error)

            try:
                mode = environ.get("HTTP_X_PROFILE")
                if mode is not None and self._may_profile(environ, mode):
                    body = self.profile(recording, mode, lambda: application(environ, start))
                else:
                    body = application(environ, start)
            except BaseException:
                self.finish_request(recording, environ, outer)
                raise
            if isinstance(body, environ.get("wsgi.file_wrapper") or ()):
                # The server sends the file itself if the body is not wrapped.
                self.finish_request(recording, environ, outer)
                chunks: Iterable[bytes] = body
                return chunks
            return _Body(body, self, recording, environ, outer)

        mark_door(record_request.__code__)
        return record_request

    def _may_profile(self, environ: Environ, mode: str) -> bool:
        """Tell whether the mode is known, and the client may profile without signing in."""
        if mode not in profilers.MODES:
            return False
        if self.is_open:
            return True
        app = self._app()
        return app is not None and tokens.is_valid(app, environ.get("HTTP_X_PROFILE_TOKEN", ""))

    def profile(self, recording: Recording, mode: str, call: Callable[[], Any]) -> Any:
        """Run ``call`` under a profiler, once for a recording."""
        if recording.is_profiled or mode not in profilers.MODES:
            return call()
        recording.is_profiled = True
        return profilers.run(recording, mode, self.folder, call)

    def finish_request(
        self, recording: Recording, environ: Environ, outer: Recording | None
    ) -> None:
        """Count a request, and start the writer."""
        recording.seconds = perf_counter() - recording.started
        recording.environ = {}
        if current.get() is recording:
            current.set(outer)
        self.aggregates.running.pop(id(recording), None)
        method = environ.get("REQUEST_METHOD", "")
        # A client may invent methods; these are no names of ours.
        method = method if method in METHODS else "OTHER"
        endpoint = recording.name or NOWHERE
        recording.name = f"{method} {endpoint}"
        self.aggregates.add(recording, time())
        if self.count is not None:
            failed = recording.error is not None
            self.count(method, endpoint, recording.status, recording.seconds, failed)
        writer = self.writer
        if writer is None:
            self.last = recording
        elif not writer.is_running:
            writer.start()

    def note_error(self, _sender: Any, exception: BaseException, **_extra: Any) -> None:
        """Note the place where a request failed."""
        if (recording := current.get()) is not None:
            recording.error = self.describe(exception)
            # In debug mode the error goes on to the server, and no answer begins.
            recording.name = recording.name or _endpoint(recording.environ)

    def describe(self, exception: BaseException) -> dict[str, object]:
        """Return the place of the failure, without the message, which may be data."""
        return {
            "type": type(exception).__qualname__,
            "stack": list(self._stack(exception)),
        }

    def _stack(self, exception: BaseException) -> Iterator[str]:
        trace, depth = exception.__traceback__, DEEPEST
        while trace is not None and depth:
            code = trace.tb_frame.f_code
            yield (self.callers.place(code) or Place(code)).line(trace.tb_lasti)
            trace, depth = trace.tb_next, depth - 1

    # --- commands ------------------------------------------------------------

    def begin(self, words: str) -> Recording:
        """Record this thread from now on, as the command of these words."""
        recording = Recording("command", words)
        current.set(recording)
        mode = os.environ.get(handover.MODE, "")
        if mode in profilers.MODES:
            self._stretch = profilers.Stretch(mode, self.folder)
        return recording

    def end(self, recording: Recording, exit_code: int) -> None:
        """Count the command, and write it unless another writer holds the lock."""
        if self._stretch is not None:
            self._stretch.end(recording)
        current.set(None)
        handover.tell_parent(recording)
        recording.status = exit_code
        recording.seconds = perf_counter() - recording.started
        self.aggregates.add(recording, time())
        # The command has waited for a database that is away; it must not wait a second time.
        if self.writer is not None and exit_code != NotReady.exit_code:
            self.writer.flush(hurried)


def _sender(execute: Callable[..., None], callers: Callers) -> Callable[..., None]:
    """Return a function that sends a statement as ``execute`` does, and records its time.

    It runs for each statement of each request, so it uses local names only.
    """
    get_recording, nearest, clock = current.get, callers.nearest, perf_counter

    def send(cursor: Any, statement: str, *rest: Any) -> None:
        recording = get_recording()
        if recording is None or statement == "BEGIN":
            # SQLite begins a transaction by a statement.
            execute(cursor, statement, *rest)
            return
        start = clock()
        try:
            execute(cursor, statement, *rest)
        finally:
            seconds = clock() - start
            statements = recording.sent
            if len(statements) >= MOST_STATEMENTS:
                recording.queries = (recording.queries or MOST_STATEMENTS) + 1
            else:
                statements.append((nearest(statement), start, seconds))

    return send


def _endpoint(environ: Mapping[str, Any]) -> str:
    """Return the endpoint of a request that Flask has at hand, or nothing."""
    return getattr(environ.get("werkzeug.request"), "endpoint", None) or ""


def _profile_headers(recording: Recording) -> Iterator[tuple[str, str]]:
    """Yield the headers of a profiled answer: its times up to here, and the name of its trace."""
    total = (perf_counter() - recording.started) * 1000
    database = sum(seconds for _key, _at, seconds in recording.sent) * 1000
    statements = text.pluralize(recording.queries or len(recording.sent), "statement")
    yield "Server-Timing", f'total;dur={total:.1f}, db;dur={database:.1f};desc="{statements}"'
    if recording.number is not None:
        yield "X-Profile-Trace", recording.number


class _Body:
    """The body of an answer, which ends its recording when it is closed."""

    __slots__ = ("_body", "_environ", "_outer", "_recorder", "_recording")

    def __init__(
        self,
        body: Iterable[bytes],
        recorder: Recorder,
        recording: Recording,
        environ: Environ,
        outer: Recording | None,
    ) -> None:
        self._body = body
        self._recorder: Recorder | None = recorder
        self._recording, self._environ, self._outer = recording, environ, outer

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception as error:
            self._broke_off(error)
            raise

    def _broke_off(self, error: Exception) -> None:
        """Count the request as failed, although its status was sent."""
        if self._recorder is not None:
            self._recording.status = None
            self._recording.error = self._recorder.describe(error)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        except Exception as error:
            self._broke_off(error)
            raise
        finally:
            recorder, self._recorder = self._recorder, None
            if recorder is not None:
                recorder.finish_request(self._recording, self._environ, self._outer)


def _packages(app: Flask) -> frozenset[str]:
    """Return the packages whose code is the application's."""
    return frozenset({"opsapp", "commands", app.import_name.partition(".")[0]})


# --- processes that fork ---------------------------------------------------------

_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _begin_anew() -> None:
    """Start empty in a forked process: the counts are the parent's, and its threads are gone."""
    for recorder in _recorders:
        recorder.aggregates = Aggregates()
        if recorder.writer is not None:
            recorder.writer = recorder.writer.anew(recorder.aggregates)


os.register_at_fork(after_in_child=_begin_anew)
