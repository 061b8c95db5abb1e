"""``/metrics``, for whoever holds ``profile:read``; off unless ``OPSAPP_METRICS`` is on."""

from __future__ import annotations

from flask import Blueprint, Flask, Response

from ..extensions import this_app
from ..profiling import metrics
from .api.access import needs

blueprint = Blueprint("metrics", __name__)


def init_app(app: Flask) -> None:
    """Serve the numbers, if that is wanted.

    :raises NotReady: their folder cannot be used.
    """
    if app.config["OPSAPP_METRICS"]:
        metrics.keep(app)
        app.register_blueprint(blueprint)


@blueprint.get("/metrics")
@needs("profile:read")
def show() -> Response:
    """Every number of every process of this host."""
    from prometheus_client import CONTENT_TYPE_LATEST

    metrics.begin()
    return Response(metrics.text(this_app()), content_type=CONTENT_TYPE_LATEST)
