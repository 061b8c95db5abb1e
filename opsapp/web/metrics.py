"""``/metrics``, for accounts with ``profile:read``; off unless ``OPSAPP_METRICS`` is on."""

from __future__ import annotations

import logging

from flask import Blueprint, Flask, Response

from ..errors import NotReady
from ..extensions import this_app
from ..profiling import metrics
from .api.access import needs

log = logging.getLogger(__name__)
blueprint = Blueprint("metrics", __name__)


def init_app(app: Flask) -> None:
    """Serve ``/metrics`` if it is on; without a folder for the numbers, warn."""
    if not app.config["OPSAPP_METRICS"]:
        return
    try:
        metrics.keep(app)
    except NotReady as error:
        log.warning("%s; /metrics is not served", error.message)
        return
    app.register_blueprint(blueprint)


@blueprint.get("/metrics")
@needs("profile:read")
def show() -> Response:
    """Return the numbers of every process of this host."""
    from prometheus_client import CONTENT_TYPE_LATEST

    metrics.begin()
    return Response(metrics.text(this_app()), content_type=CONTENT_TYPE_LATEST)
