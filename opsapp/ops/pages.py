"""Pages under an address of the application: health, metrics and profiles, for the users it admits.

==========================  ===================================================
``PREFIX/healthz``          ``{"status": "ok"}``, without the database
``PREFIX/metrics``          the metrics for Prometheus; 404 unless ``OPSAPP_METRICS`` is on
``PREFIX/profile``          the report of the last ``?hours=24``
``PREFIX/profile/ID``       the flame graph of a trace
==========================  ===================================================

The same question lets requests of the application be profiled by ``X-Profile``.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask import Blueprint, abort, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from .. import clock, extras, profiling, settings, state, text
from ..engine.conditions import translate_error
from ..errors import NotReady, OpsError
from ..extensions import this_app
from ..types import Record

if TYPE_CHECKING:
    from flask import Flask, Response

log = logging.getLogger(__name__)

Allow = Callable[[], object]
"""Returns True if the present request may see the pages; it may also ``abort()``."""

LONGEST = 24 * 90
"""Hours of a report."""


def serve(app: Flask, url_prefix: str, allow: Allow) -> None:
    """Serve the pages, and profile requests that ask for it, where ``allow()`` is True."""

    def check() -> None:
        if allow() is not True:
            abort(403)

    pages = Blueprint("opsapp", __name__)
    pages.before_request(check)
    pages.after_request(_guard)
    pages.register_error_handler(OpsError, _explain)
    pages.register_error_handler(ModuleNotFoundError, _explain_missing)
    pages.register_error_handler(SQLAlchemyError, _explain_database)
    for rule, view in (
        ("/healthz", healthz),
        ("/metrics", show_metrics),
        ("/profile", show_report),
        ("/profile/<int:trace>", show_flame),
    ):
        pages.add_url_rule(rule, view_func=view)
    app.register_blueprint(pages, url_prefix=url_prefix)
    app.before_request(_Keeping(app))
    _profile_on_request(app, allow)


def _guard(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "DENY"
    return response


def _explain(error: OpsError) -> tuple[Record, int]:
    record = error.record()
    if error.hint:
        record["hint"] = re.sub(r"^flask (?!ops )", "flask ops ", error.hint)
    return record, error.http_status


def _explain_missing(error: ModuleNotFoundError) -> tuple[Record, int]:
    missing = extras.missing(error)
    if missing is None:
        raise error
    return _explain(missing)


def _explain_database(error: SQLAlchemyError) -> tuple[Record, int]:
    condition = translate_error(error)
    if condition is None:
        raise error
    return _explain(condition)


def _profile_on_request(app: Flask, allow: Allow) -> None:
    dispatch = app.dispatch_request

    def is_allowed() -> bool:
        try:
            return allow() is True
        except HTTPException:
            return False  # The request itself is the application's to refuse.

    def dispatch_request() -> Any:
        mode = request.environ.get(profiling.HEADER)
        if mode is None or not is_allowed():
            return dispatch()
        return profiling.on_request(app, mode, dispatch)

    app.dispatch_request = dispatch_request  # type: ignore[method-assign]


# --- pages -------------------------------------------------------------------


def healthz() -> Any:
    """Answer without the database: the process is alive."""
    return {"status": "ok"}


def show_metrics() -> Any:
    """Return the metrics of every process of this host."""
    if not settings.get("OPSAPP_METRICS"):
        abort(404)
    from prometheus_client import CONTENT_TYPE_LATEST

    from ..profiling import metrics

    metrics.begin()
    return metrics.text(this_app()), {"Content-Type": CONTENT_TYPE_LATEST}


def show_report() -> Any:
    """Return the report of the last hours, 24 by default."""
    from ..profiling.views import html

    _check_tables()
    hours = min(max(request.args.get("hours", 24, type=int), 1), LONGEST)
    return html.report(clock.now() - timedelta(hours=hours), is_served=True)


def show_flame(trace: int) -> Any:
    """Return the flame graph of a trace."""
    from ..profiling.views import html

    _check_tables()
    return html.flame(trace)


def _check_tables() -> None:
    attached = state.attachment_of(this_app())
    if not attached.look_again():  # `flask ops drop` may have run meanwhile.
        raise NotReady("opsapp's tables are not there", hint="flask ops init")


# --- metrics -----------------------------------------------------------------


class _Keeping:
    """Keeps the metrics of a process for ``PREFIX/metrics``, from its first request on."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._pid = 0

    def __call__(self) -> None:
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._keep()

    def _keep(self) -> None:
        try:
            if not settings.get("OPSAPP_METRICS") or state.attachment_of(self._app).is_in_tests:
                return
            from ..profiling import metrics

            metrics.keep(self._app)
        except Exception as error:  # noqa: BLE001  (it is a request of the application)
            log.warning("the metrics of this process are not kept: %s", text.first_line(error))
