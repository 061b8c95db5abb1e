"""Health checks for load balancers, orchestrators and monitoring."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Flask, request

from ..database import status
from ..doctor import maintenance
from ..errors import OpsError
from ..extensions import this_app
from ..jobs import health
from ..unit.ledger import WrongSecret

STRICT_SECONDS = 30.0
"""The time for which an answer to ``?strict`` is kept: any stranger can ask."""
_STRICT = "opsapp-strict"

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
    """Answer 503 while the database is away, or not at this code's revision.

    With ``?strict`` also while something that production needs does not run. It is for
    monitoring: a load balancer would take a server away that works.
    """
    try:
        status.check_ready()
        missing = _missing() if "strict" in request.args else []
    except OpsError as error:
        # The condition only: other messages may name hosts.
        because = error.message if isinstance(error, WrongSecret) else error.code
        return {"status": "not ready", "because": because}, 503
    if missing:
        return {"status": "not ready", "because": "operation", "missing": missing}, 503
    return {"status": "ready"}


def _missing() -> list[str]:
    """Return the names of the checks that fail, as ``flask doctor`` has them."""
    app = this_app()
    at, names = app.extensions.get(_STRICT, (float("-inf"), []))
    if time.monotonic() - at > STRICT_SECONDS:
        names = list(_failing_checks())
        app.extensions[_STRICT] = (time.monotonic(), names)
    return list(names)


def _failing_checks() -> Iterator[str]:
    # This host may not be the one that makes backups, so it may have no pg_dump.
    yield from (check for check, *_says in maintenance.findings() if check != maintenance.PG_DUMP)
    if any(row["state"] != "ok" for row in health.check()):
        yield "jobs"
