"""Where the time goes: what is recorded always, and what somebody asks to have looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from flask import Flask

    from . import metrics as metrics
    from .decorator import profile_endpoint as profile_endpoint
    from .record.recorder import Recorder

__all__ = ["metrics", "profile_endpoint"]

__getattr__ = exports(__name__, decorator=["profile_endpoint"], metrics=[])

EXTENSION = "opsapp-profiling"


def init_app(app: Flask) -> None:
    """Record what this application does, unless ``OPSAPP_PROFILING`` is off."""
    if app.config["OPSAPP_PROFILING"]:
        install(app)


def install(app: Flask) -> Recorder:
    """Record what this application does from now on."""
    from flask import got_request_exception

    from ..engine.connections import BOOKKEEPING
    from ..extensions import db
    from .record.recorder import Recorder
    from .record.writer import Writer

    recorder = Recorder(app)
    recorder.writer = Writer(app, recorder.aggregates)
    with app.app_context():
        for bind in (None, BOOKKEEPING):
            recorder.listen(db.engines[bind])
    got_request_exception.connect(recorder.note_error, app)
    app.wsgi_app = recorder.around(app.wsgi_app)  # type: ignore[method-assign, assignment]
    app.extensions[EXTENSION] = recorder
    return recorder


def recorder_of(app: Flask) -> Recorder | None:
    """The recorder of this application; None where it is off."""
    return app.extensions.get(EXTENSION)
