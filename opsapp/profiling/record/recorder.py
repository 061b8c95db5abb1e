"""The recorder: what every request and command costs, at some tens of microseconds each.

It stands at two doors: around the WSGI application, and where statements leave for
the database. What it finds is added up in memory (:mod:`.aggregates`) and written by a
thread of its own (:mod:`.writer`), so that no request ever waits for it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from ...config import DEVELOPMENT
from ...unit.work import bookkeeping
from . import handover, passes, prof_files, profilers
from .aggregates import Aggregates
from .callers import Callers, Place, mark_door
from .recording import MOST_STATEMENTS, Recording, current
from .writer import Writer

if TYPE_CHECKING:
    import sqlalchemy as sa
    from flask import Flask

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NOWHERE = "(no such page)"
"""The endpoint of a request that no rule of the application fits."""
DEEPEST = 40
"""Frames that are kept of where a request failed."""

PATIENCE = 0.25
"""Seconds that a command waits for whoever is writing to the database."""
hurried = partial(bookkeeping, bind=None, patience=PATIENCE)
"""A transaction on the connection that the command has open already."""

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Recorder:
    """Records what an application does."""

    def __init__(self, app: Flask) -> None:
        self._app = weakref.ref(app)
        self.folder = prof_files.folder_of(app)
        self.callers = Callers(_packages(app))
        self.aggregates = Aggregates()
        self.writer: Writer | None = None
        self.is_open = app.config["OPSAPP_ENV"] == DEVELOPMENT
        """Whether anybody may have a request profiled."""
        self.last: Recording | None = None
        """What ended last in a process that measures."""
        self._stretch: profilers.Stretch | None = None
        _recorders.add(self)

    def listen(self, engine: sa.Engine) -> None:
        """Notice the statements of this engine."""
        # The dialect's own methods, and no events: these cost as much as all the rest.
        dialect: Any = engine.dialect
        for name in ("do_execute", "do_executemany"):
            setattr(dialect, name, _sender(getattr(dialect, name), self.callers))

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Record apart from the traffic: only the profiles on request are written later."""
        aggregates, writer = self.aggregates, self.writer
        self.aggregates, self.writer = Aggregates(), None
        try:
            yield
        finally:
            profiles = self.aggregates.profiles()
            self.aggregates, self.writer = aggregates, writer
            with aggregates.lock:
                aggregates.traces.update(profiles)

    # --- requests ------------------------------------------------------------

    def around(self, application: Application) -> Application:
        """``application``, recorded."""

        def recorded(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            recording = Recording("endpoint")
            outer = current.get()
            current.set(recording)
            self.aggregates.running[id(recording)] = recording

            def start(status: str, headers: Any, *error: Any) -> Any:
                recording.status = int(status[:3])
                recording.headers = headers
                # Flask takes the request out of here before the body is sent.
                recording.name = getattr(environ.get("werkzeug.request"), "endpoint", None) or ""
                return start_response(status, headers, *error)

            try:
                # Most requests do not ask; that costs them one look into a dictionary.
                mode = environ.get("HTTP_X_PROFILE")
                if mode is not None and self._may_profile(environ, mode):
                    body = self.look(recording, mode, lambda: application(environ, start))
                else:
                    body = application(environ, start)
            except BaseException:
                self.answered(recording, environ, outer)
                raise
            if isinstance(body, environ.get("wsgi.file_wrapper") or ()):
                # The server sends the file by itself, if it gets it as it is.
                self.answered(recording, environ, outer)
                sent: Iterable[bytes] = body
                return sent
            return _Body(body, self, recording, environ, outer)

        mark_door(recorded.__code__)
        return recorded

    def _may_profile(self, environ: Environ, mode: str) -> bool:
        """Whether this may be profiled, as far as that is known before the request is read."""
        if mode not in profilers.MODES:
            return False
        if self.is_open:
            return True
        app = self._app()
        return app is not None and passes.is_valid(app, environ.get("HTTP_X_PROFILE_TOKEN", ""))

    def look(self, recording: Recording, mode: str, call: Callable[[], Any]) -> Any:
        """Run ``call`` under a profiler, once for a recording."""
        if recording.is_looked_at or mode not in profilers.MODES:
            return call()
        recording.is_looked_at = True
        return profilers.run(recording, mode, self.folder, call)

    def answered(self, recording: Recording, environ: Environ, outer: Recording | None) -> None:
        """Count a request, and see that it will be written."""
        recording.seconds = perf_counter() - recording.started
        if current.get() is recording:
            current.set(outer)
        self.aggregates.running.pop(id(recording), None)
        method = environ.get("REQUEST_METHOD", "")
        # A method that is none is the client's invention, and stays with it.
        method = method if method in METHODS else "OTHER"
        recording.name = f"{method} {recording.name or NOWHERE}"
        self.aggregates.add(recording, time())
        writer = self.writer
        if writer is None:
            self.last = recording
        elif not writer.is_running:
            writer.start()

    def note_error(self, _sender: Any, exception: BaseException, **_extra: Any) -> None:
        """Keep where a request failed."""
        if (recording := current.get()) is not None:
            recording.error = self.described(exception)

    def described(self, exception: BaseException) -> dict[str, object]:
        """Where it failed; never what the error says, which may be data."""
        return {
            "type": type(exception).__qualname__,
            "stack": list(self._stack(exception)),
        }

    def _stack(self, exception: BaseException) -> Iterator[str]:
        trace, left = exception.__traceback__, DEEPEST
        while trace is not None and left:
            code = trace.tb_frame.f_code
            yield (self.callers.place(code) or Place(code)).line(trace.tb_lasti)
            trace, left = trace.tb_next, left - 1

    # --- commands ------------------------------------------------------------

    def begin(self, words: str) -> Recording:
        """Record from now on, in this thread, as a command of these words."""
        recording = Recording("command", words)
        current.set(recording)
        mode = os.environ.get(handover.MODE, "")
        if mode in profilers.MODES:
            self._stretch = profilers.Stretch(mode, self.folder)
        return recording

    def end(self, recording: Recording, exit_code: int) -> None:
        """Count the command, and write it if that is done at once: nobody waits for a lock."""
        current.set(None)
        if self._stretch is not None:
            self._stretch.end(recording)
        handover.tell_parent(recording)
        recording.status = exit_code
        recording.seconds = perf_counter() - recording.started
        self.aggregates.add(recording, time())
        if self.writer is not None:
            self.writer.flush(hurried)


def _sender(execute: Callable[..., None], callers: Callers) -> Callable[..., None]:
    """What sends a statement as ``execute`` does, and notes its time.

    This runs for each statement of each request: everything it needs is at hand.
    """
    get_recording, nearest, clock = current.get, callers.nearest, perf_counter

    def send(cursor: Any, statement: str, values: Any, context: Any = None) -> None:
        recording = get_recording()
        if recording is None or statement == "BEGIN":
            # SQLite's begin is a statement, and no query.
            execute(cursor, statement, values, context)
            return
        started = clock()
        try:
            execute(cursor, statement, values, context)
        finally:
            seconds = clock() - started
            sent = recording.sent
            if len(sent) >= MOST_STATEMENTS:
                recording.queries = (recording.queries or MOST_STATEMENTS) + 1
            else:
                sent.append((nearest(statement), started, seconds))

    return send


class _Body:
    """The answer's body, that tells when it is closed, once."""

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
        """Count the request as failed: its status has been sent, and its answer has no end."""
        if self._recorder is not None:
            self._recording.status = None
            self._recording.error = self._recorder.described(error)

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
                recorder.answered(self._recording, self._environ, self._outer)


def _packages(app: Flask) -> frozenset[str]:
    """The packages whose code is the application's, wherever they are installed."""
    return frozenset({"opsapp", "commands", app.import_name.partition(".")[0]})


# --- processes that fork ---------------------------------------------------------

_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _begin_anew() -> None:
    """In a forked process: what the parent counted is the parent's, and its threads are gone."""
    for recorder in _recorders:
        recorder.aggregates = Aggregates()
        if recorder.writer is not None:
            recorder.writer = recorder.writer.anew(recorder.aggregates)


os.register_at_fork(after_in_child=_begin_anew)
