"""Recordings of an application's requests, for `flask ops profile`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask

LOOK_AGAIN_SECONDS = 60.0
"""Seconds after which a database without our tables is looked at again."""

Application = Callable[[Any, Any], Iterable[bytes]]


class Door:
    """The WSGI application, recorded from the first request on.

    The recorder is imported then, so that the application starts as fast as without it. In
    its tests, and before `flask ops init`, requests go straight through.

    :param is_recordable: tells whether timings have a place to be written to, as of now.
    """

    def __init__(
        self, app: Flask, is_recordable: Callable[[], bool], application: Application
    ) -> None:
        self._app = app
        self._is_recordable = is_recordable
        self._plain = application
        self._recorded: Application | None = None
        self._look_at = 0.0
        self._lock = Lock()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if self._recorded is None and monotonic() >= self._look_at:
            with self._lock:
                self._look()
        return (self._recorded or self._plain)(environ, start_response)

    def _look(self) -> None:
        """Begin to record, if there is a place to write to."""
        from .. import profiling, settings

        app = self._app
        if self._recorded is not None or app.testing:
            return
        self._look_at = monotonic() + LOOK_AGAIN_SECONDS
        with app.app_context():
            if settings.get("OPSAPP_PROFILING") and self._is_recordable():
                recorder = profiling.recorder_of(app) or profiling.listen(app)
                is_around = recorder.is_around  # A command that measures has put it there.
                self._recorded = self._plain if is_around else recorder.around(self._plain)
