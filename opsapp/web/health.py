"""Is it alive, and may it get traffic: for load balancers and orchestrators."""

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
    """The process answers; it asks nothing of the database."""
    return {"status": "ok"}


@blueprint.get("/readyz")
def readyz() -> Any:
    """503 while the database is away, or not at this code's revision."""
    try:
        status.check_ready()
    except OpsError as error:
        # The code only: other messages may have the names of hosts.
        because = error.message if isinstance(error, WrongSecret) else error.code
        return {"status": "not ready", "because": because}, 503
    return {"status": "ready"}
