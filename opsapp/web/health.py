"""Health checks for load balancers and orchestrators."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask

from ..database import status
from ..errors import OpsError
from ..unit.ledger import WrongSecret

blueprint = Blueprint("health", __name__)


def init_app(app: Flask) -> None:
    """Add ``/healthz`` and ``/readyz``."""
    app.register_blueprint(blueprint)


@blueprint.get("/healthz")
def healthz() -> Any:
    """Answer without the database: the process is alive."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> Any:
    """Answer 503 while the database is away, or not at this code's revision."""
    try:
        status.check_ready()
    except OpsError as error:
        # The condition only: other messages may name hosts.
        because = error.message if isinstance(error, WrongSecret) else error.code
        return {"status": "not ready", "because": because}, 503
    return {"status": "ready"}
