"""Is it alive, and may it get traffic: for load balancers and orchestrators."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask

from ..database import status
from ..errors import OpsError

blueprint = Blueprint("health", __name__)


def init_app(app: Flask) -> None:
    """Add ``/healthz`` and ``/readyz``."""
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
def healthz() -> Any:
    """The process answers; it asks nothing of the database."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> Any:
    """503 while the database is away, or not at this code's revision."""
    try:
        status.check_ready()
    except OpsError as error:
        # The reason, without the names of hosts that it may have in it.
        return {"status": "not ready", "because": error.code}, 503
    return {"status": "ready"}
