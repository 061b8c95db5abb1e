"""Recordings of an application's requests, for `flask ops profile`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from .. import text

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 60.0
"""Seconds after which a database without our tables is looked at again."""
PATIENCE = 1.0
"""Seconds that a request waits for the look: a database that hangs is nothing to it."""

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
        if self._recorded is None and monotonic() >= self._look_at and not self._app.testing:
            with self._lock:
                self._look_in_time()
        return (self._recorded or self._plain)(environ, start_response)

    def _look_in_time(self) -> None:
        if self._recorded is not None or monotonic() < self._look_at:
            return  # Another request has looked meanwhile.
        self._look_at = monotonic() + LOOK_AGAIN_SECONDS
        thread = Thread(target=self._look, name="opsapp-look", daemon=True)
        thread.start()
        thread.join(PATIENCE)

    def _look(self) -> None:
        """Begin to record, if there is a place to write to. It never raises."""
        try:
            self._begin()
        except Exception as error:  # noqa: BLE001  (the application must not notice)
            # Log only the first: the database may be away for long, or a setting wrong.
            level = logging.DEBUG if self._is_told else logging.WARNING
            log.log(level, "requests are not recorded: %s", text.first_line(error))
            self._is_told = True

    def _begin(self) -> None:
        from .. import profiling, settings

        app = self._app
        with app.app_context():
            if settings.get("OPSAPP_PROFILING") and self._is_recordable():
                recorder = profiling.recorder_of(app) or profiling.listen(app)
                is_around = recorder.is_around  # A command that measures has put it there.
                self._recorded = self._plain if is_around else recorder.around(self._plain)
