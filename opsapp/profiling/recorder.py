"""The recorder: what every request and command costs, at a few microseconds each.

It stands at two doors: around the WSGI application, and where statements leave for
the database. What it finds is added up in memory (:mod:`.tallies`) and written by a
thread of its own (:mod:`.writer`), so that no request ever waits for it.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from sys import _getframe
from time import perf_counter, time
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from ..config import DEVELOPMENT
from ..unit import bookkeeping
from . import deep, files, measuring, passes
from .callers import Callers
from .recording import Recording, current
from .tallies import Tallies

if TYPE_CHECKING:
    import sqlalchemy as sa
    from flask import Flask

    from .writer import Writer

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NOWHERE = "(no such page)"
"""The endpoint of a request that no rule of the application fits."""
LONGEST_STATEMENT = 10_000
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
        self.folder = files.Folder(Path(app.instance_path) / "profiles")
        self.callers = Callers(_packages(app))
        self.tallies = Tallies()
        self.running: dict[int, Recording] = {}
        """By their ids, what has begun and not ended; the sampler looks through it."""
        self.writer: Writer | None = None
        self.is_open = app.config["OPSAPP_ENV"] == DEVELOPMENT
        """Whether anybody may have a request profiled."""
        self.last: Recording | None = None
        """What ended last in a process that measures."""
        self._stretch: deep.Stretch | None = None
        _recorders.add(self)

    def listen(self, engine: sa.Engine) -> None:
        """Notice the statements of this engine."""
        event.listen(engine, "before_cursor_execute", self._sending)
        event.listen(engine, "after_cursor_execute", self._sent)
        event.listen(engine, "handle_error", self._failed)

    @staticmethod
    def _sending(
        _connection: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool
    ) -> None:
        if context is not None and current.get() is not None:
            context.opsapp_started = perf_counter()

    def _sent(
        self,
        _connection: Any,
        _cursor: Any,
        statement: str,
        _values: Any,
        context: Any,
        _many: bool,
    ) -> None:
        recording = current.get()
        if recording is None or context is None or statement == "BEGIN":
            return  # SQLite's begin is a statement, and no query.
        started = getattr(context, "opsapp_started", None)
        if started is not None:
            self._note(recording, statement, started)

    def _failed(self, context: sa.ExceptionContext) -> None:
        recording = current.get()
        started = getattr(context.execution_context, "opsapp_started", None)
        if recording is not None and started is not None and context.statement:
            self._note(recording, context.statement, started)

    def _note(self, recording: Recording, statement: str, started: float) -> None:
        seconds = perf_counter() - started
        place, line = self.callers.nearest(_getframe(2))
        if len(statement) > LONGEST_STATEMENT:
            statement = statement[:LONGEST_STATEMENT]
        recording.note(statement, place, line, started, seconds)

    def ended(self, recording: Recording) -> None:
        """Count a recording, and see that it will be written."""
        recording.seconds = perf_counter() - recording.started
        self.running.pop(id(recording), None)
        self.tallies.add(recording, time())
        if self.writer is not None:
            self.writer.start()
        else:
            self.last = recording

    # --- requests ------------------------------------------------------------

    def around(self, application: Application) -> Application:
        """``application``, recorded."""

        def recorded(environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
            recording = Recording("endpoint")
            outer = current.get()
            current.set(recording)
            self.running[id(recording)] = recording

            def start(status: str, headers: Any, *error: Any) -> Any:
                recording.status = int(status[:3])
                recording.headers = headers
                # Flask takes the request out of here before the body is sent.
                recording.name = getattr(environ.get("werkzeug.request"), "endpoint", None) or ""
                return start_response(status, headers, *error)

            try:
                # Most requests do not ask; that costs them one look into a dictionary.
                asked = environ.get("HTTP_X_PROFILE")
                if asked is not None and self._may_profile(environ, asked):
                    body = self.look(recording, asked, lambda: application(environ, start))
                else:
                    body = application(environ, start)
            except BaseException:
                self._answered(recording, environ, outer)
                raise
            if isinstance(body, environ.get("wsgi.file_wrapper") or ()):
                # The server sends the file by itself, if it gets it as it is.
                self._answered(recording, environ, outer)
                sent: Iterable[bytes] = body
                return sent
            return _Body(body, lambda: self._answered(recording, environ, outer))

        return recorded

    def _may_profile(self, environ: Environ, asked: str) -> bool:
        """Whether this may be profiled, as far as that is known before the request is read."""
        if asked not in deep.MODES:
            return False
        if self.is_open:
            return True
        app = self._app()
        return app is not None and passes.is_valid(app, environ.get("HTTP_X_PROFILE_TOKEN", ""))

    def look(self, recording: Recording, mode: str, call: Callable[[], Any]) -> Any:
        """Run ``call`` under a profiler, once for a recording."""
        if recording.is_looked_at or mode not in deep.MODES:
            return call()
        recording.is_looked_at = True
        return deep.run(recording, mode, self.folder, call)

    def _answered(self, recording: Recording, environ: Environ, outer: Recording | None) -> None:
        if current.get() is recording:
            current.set(outer)
        method = environ.get("REQUEST_METHOD", "")
        # A method that is none is the client's invention, and stays with it.
        method = method if method in METHODS else "OTHER"
        recording.name = f"{method} {recording.name or NOWHERE}"
        self.ended(recording)

    def note_error(self, _sender: Any, exception: BaseException, **_extra: Any) -> None:
        """Keep where a request failed; never what the error says, which may be data."""
        if (recording := current.get()) is not None:
            recording.error = {
                "type": type(exception).__qualname__,
                "stack": list(self._stack(exception)),
            }

    def _stack(self, exception: BaseException) -> Iterator[str]:
        from .callers import line, shown

        trace, left = exception.__traceback__, DEEPEST
        while trace is not None and left:
            code = trace.tb_frame.f_code
            place = self.callers.place(code) or f"{shown(code.co_filename)} in {code.co_qualname}"
            yield line(place, trace.tb_lineno)
            trace, left = trace.tb_next, left - 1

    # --- commands ------------------------------------------------------------

    def begin(self, words: str) -> Recording:
        """Record from now on, in this thread, as a command of these words."""
        recording = Recording("command", words)
        current.set(recording)
        mode = os.environ.get(measuring.MODE, "")
        if mode in deep.MODES:
            self._stretch = deep.Stretch(mode, self.folder)
        return recording

    def end(self, recording: Recording, exit_code: int) -> None:
        """Count the command, and write it if that is done at once: nobody waits for a lock."""
        current.set(None)
        if self._stretch is not None:
            self._stretch.end(recording)
        measuring.tell_parent(recording)
        recording.status = exit_code
        recording.seconds = perf_counter() - recording.started
        self.tallies.add(recording, time())
        if self.writer is not None:
            self.writer.flush(hurried)


class _Body:
    """The answer's body, that tells when it is closed, once."""

    __slots__ = ("_body", "_ended")

    def __init__(self, body: Iterable[bytes], ended: Callable[[], None]) -> None:
        self._body = body
        self._ended: Callable[[], None] | None = ended

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        try:
            close = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            self._end()

    def __del__(self) -> None:
        self._end()  # A server that forgot to close it must not fill the memory.

    def _end(self) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()


def _packages(app: Flask) -> frozenset[str]:
    """The packages whose code is the application's, wherever they are installed."""
    return frozenset({"opsapp", "commands", app.import_name.partition(".")[0]})


# --- processes that fork ---------------------------------------------------------

_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _begin_anew() -> None:
    """In a forked process: what the parent counted is the parent's, and its threads are gone."""
    for recorder in _recorders:
        recorder.tallies = Tallies()
        recorder.running.clear()
        if recorder.writer is not None:
            recorder.writer = recorder.writer.anew()


os.register_at_fork(after_in_child=_begin_anew)
