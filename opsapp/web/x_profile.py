"""Profiles on request, by the header ``X-Profile``, for accounts with ``profile:run``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, request, session
from flask_login import current_user

from ..accounts import authority
from ..actors import Powers
from ..extensions import this_app
from ..profiling import HEADER, on_request
from ..profiling.record import callers

callers.mark_recorder(__file__)

PERMISSION = "profile:run"


def init_app(app: Flask) -> None:
    """Profile requests of signed-in users; the API calls :func:`profile` itself."""
    dispatch = app.dispatch_request

    def dispatch_request() -> Any:
        # Without a session there is no account to look up.
        if HEADER not in request.environ or not session.get("key"):
            return dispatch()
        if not current_user.is_authenticated:
            return dispatch()
        return profile(dispatch, Powers(current_user.id, None))

    app.dispatch_request = dispatch_request  # type: ignore[method-assign]


def profile(view: Callable[[], Any], powers: Powers) -> Any:
    """Call the view, under a profiler if the header is set and the account may."""
    mode = request.environ.get(HEADER)
    if mode is None or PERMISSION not in authority.permissions_now(powers):
        return view()
    return on_request(this_app(), mode, view)
