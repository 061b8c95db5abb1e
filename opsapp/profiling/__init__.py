"""Profiling: timings that are always recorded, and profiles on request.

- :mod:`.record`: measures requests and commands while they run
- :mod:`.reports`: stores, compacts, sums up and compares what was recorded
- :mod:`.views`: a report or trace as lines of a terminal, or as a page
- :mod:`.paths`: source files, as reports name them
- :mod:`.ddsketch`: the sketch that percentiles come from
- :mod:`.measure`: measures a request or command now, many times
- :mod:`.metrics`: the application's own metrics, for Prometheus
- :mod:`.decorator`: ``@profile_endpoint``, which logs the duration of a view

The reasons are in docs/decisions/profiling.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..lazy import exports

if TYPE_CHECKING:
    from flask import Flask

    from . import metrics as metrics
    from .decorator import profile_endpoint as profile_endpoint
    from .record.recorder import Count, Recorder

__all__ = ["metrics", "profile_endpoint"]

__getattr__ = exports(__name__, decorator=["profile_endpoint"], metrics=[])

EXTENSION = "opsapp-profiling"
COUNT = "opsapp-profiling-count"
HEADER = "HTTP_X_PROFILE"
"""The name in WSGI of the header that asks for a profile; requests without it pay nothing."""


def init_app(app: Flask) -> None:
    """Record the requests and commands of an application, unless ``OPSAPP_PROFILING`` is off."""
    from .. import settings

    if settings.of(app, "OPSAPP_PROFILING"):
        install(app)


def install(app: Flask) -> Recorder:
    """Record the requests and commands of an application from now on."""
    recorder = listen(app)
    app.wsgi_app = recorder.around(app.wsgi_app)  # type: ignore[method-assign, assignment]
    return recorder


def listen(app: Flask) -> Recorder:
    """Record the commands of an application, and the requests that go through its recorder."""
    from flask import got_request_exception

    from ..engine.connections import BOOKKEEPING
    from ..extensions import db
    from .record.recorder import Recorder
    from .record.writer import Writer

    recorder = Recorder(app)
    recorder.writer = Writer(app, recorder.aggregates)
    recorder.count = app.extensions.get(COUNT)
    with app.app_context():
        for bind in (None, BOOKKEEPING):
            recorder.listen(db.engines[bind])
    got_request_exception.connect(recorder.note_error, app)
    app.extensions[EXTENSION] = recorder
    return recorder


def count_requests(app: Flask, count: Count) -> None:
    """Let the recorder of an application, once it is there, call ``count`` for each request."""
    app.extensions[COUNT] = count


def on_request(app: Flask, mode: str, view: Callable[[], Any]) -> Any:
    """Call the view of the present request, under a profiler if the application is recorded.

    :param mode: the value of ``X-Profile``, from a client that may have its requests profiled.
    """
    from .record.recording import current

    recorder, recording = recorder_of(app), current.get()
    if recorder is None or recording is None:
        return view()
    return recorder.profile(recording, mode, view)


def recorder_of(app: Flask) -> Recorder | None:
    """Return the recorder of an application; None if it is off."""
    return app.extensions.get(EXTENSION)
