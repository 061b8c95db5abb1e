"""Profiles for who holds ``profile:run``: known only once the request has said who sends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, request, session
from flask_login import current_user

from ..accounts import authority
from ..actors import Powers
from ..extensions import this_app
from ..profiling import recorder_of
from ..profiling.record.recording import current

ASKED = "HTTP_X_PROFILE"
"""The header, as WSGI has it: most requests do not have it, and that must cost nothing."""
PERMISSION = "profile:run"


def init_app(app: Flask) -> None:
    """Let the pages be profiled by whoever is signed in and may; the API asks by itself."""
    dispatch = app.dispatch_request

    def looked_at() -> Any:
        # A stranger has no session, and is not worth a question to the database.
        if ASKED not in request.environ or not session.get("key"):
            return dispatch()
        if not current_user.is_authenticated:
            return dispatch()
        return look(dispatch, Powers(current_user.id, None))

    app.dispatch_request = looked_at  # type: ignore[method-assign]


def look(view: Callable[[], Any], powers: Powers) -> Any:
    """Call the view, under a profiler if that is asked for by somebody who may."""
    asked = request.environ.get(ASKED)
    if asked is None:
        return view()
    recorder, recording = recorder_of(this_app()), current.get()
    if recorder is None or recording is None or PERMISSION not in authority.held_by(powers):
        return view()
    return recorder.profile(recording, asked, view)
