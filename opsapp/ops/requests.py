"""Recordings of an application's requests, for `flask ops profile`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from .. import text

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger(__name__)

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
        self._is_told = False
        self._lock = Lock()

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if self._recorded is None and monotonic() >= self._look_at:
            with self._lock:
                self._look()
        return (self._recorded or self._plain)(environ, start_response)

    def _look(self) -> None:
        """Begin to record, if there is a place to write to. It never raises."""
        if self._recorded is not None or self._app.testing:
            return
        self._look_at = monotonic() + LOOK_AGAIN_SECONDS
        try:
            self._recorded = self._find_recorded()
        except Exception as error:  # noqa: BLE001  (the application must not notice)
            # A setting of ours may be wrong, or the driver of our own pool is not installed.
            level = logging.DEBUG if self._is_told else logging.WARNING
            log.log(level, "requests are not recorded: %s", text.first_line(error))
            self._is_told = True

    def _find_recorded(self) -> Application | None:
        """Return what requests go through from now on; None if there is no place to write to."""
        from .. import profiling, settings

        app = self._app
        with app.app_context():
            if not settings.get("OPSAPP_PROFILING") or not self._is_recordable():
                return None
            recorder = profiling.recorder_of(app) or profiling.listen(app)
            # A command that measures has put it around the application.
            return self._plain if recorder.is_around else recorder.around(self._plain)
