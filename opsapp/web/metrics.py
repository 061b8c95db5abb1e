"""``/metrics``, for accounts with ``profile:read``; off unless ``OPSAPP_METRICS`` is on.

Names, labels and buckets of the requests are those of prometheus-flask-exporter with
``group_by="endpoint"``, so that its dashboards and alerts fit.
"""

from __future__ import annotations

import logging

from flask import Blueprint, Flask, Response

from .. import profiling, settings
from ..errors import NotReady
from ..extensions import this_app
from ..jobs.metrics import Runs
from ..profiling import metrics
from .api.access import needs

log = logging.getLogger(__name__)
blueprint = Blueprint("metrics", __name__)

durations = metrics.histogram(
    "flask_http_request_duration_seconds",
    "Flask HTTP request duration in seconds",
    ("method", "endpoint", "status"),
)
total = metrics.counter(
    "flask_http_request_total", "Total number of HTTP requests", ("method", "status")
)
exceptions = metrics.counter(
    "flask_http_request_exceptions_total",
    "Total number of HTTP requests which resulted in an exception",
    ("method", "status"),
)


def init_app(app: Flask) -> None:
    """Serve ``/metrics`` if it is on; without a folder for the numbers, warn."""
    if not settings.of(app, "OPSAPP_METRICS"):
        return
    try:
        metrics.keep(app)
    except NotReady as error:
        log.warning("%s; /metrics is not served", error.message)
        return
    app.register_blueprint(blueprint)
    profiling.count_requests(app, count)


def count(method: str, endpoint: str, status: int | None, seconds: float, failed: bool) -> None:
    """Count a request.

    :param status: None without a whole answer, which counts as 500.
    :param failed: whether an exception of its view ended it.
    """
    if endpoint == f"{blueprint.name}.{show.__name__}":
        return  # The exporter leaves its own page out, too.
    code = str(status or 500)
    durations.labels(method, endpoint, code).observe(seconds)
    total.labels(method, code).inc()
    if failed:
        exceptions.labels(method, code).inc()


@blueprint.get("/metrics")
@needs("profile:read")
def show() -> Response:
    """Return the numbers of every process of this host."""
    from prometheus_client import CONTENT_TYPE_LATEST

    metrics.begin()
    return Response(metrics.text(this_app(), Runs()), content_type=CONTENT_TYPE_LATEST)
