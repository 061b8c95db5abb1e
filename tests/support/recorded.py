"""An application whose views are recorded, and who asks for them."""

from __future__ import annotations

import time
from collections.abc import Iterator

import sqlalchemy as sa
from flask import Flask, Response, stream_with_context

from opsapp.extensions import db
from opsapp.models import User
from opsapp.profiling.record.recorder import Recorder
from tests.support.web import Site

SECRET = "hunter2"


def add_views(app: Flask) -> None:
    """The views that these tests ask for."""

    @app.get("/five/<int:number>")
    def five(number: int) -> str:
        for _ in range(5):
            db.session.execute(sa.text("SELECT :n + 1"), {"n": number}).all()
        return "five"

    @app.route("/secret", methods=["GET", "POST"])
    def secret() -> str:
        db.session.execute(sa.text(f"SELECT '{SECRET}'")).all()
        return "told"

    @app.get("/bad")
    def bad() -> str:
        raise ZeroDivisionError(SECRET)

    @app.get("/busy")
    def busy() -> str:
        ended = time.perf_counter() + 0.02
        while time.perf_counter() < ended:
            _spin()
        return "busy"

    @app.get("/people")
    def people() -> str:
        return ",".join(str(len(user.roles)) for user in db.session.scalars(sa.select(User)))

    @app.get("/stream")
    def stream() -> Response:
        def parts() -> Iterator[str]:
            for number in range(3):
                db.session.execute(sa.text("SELECT 1")).all()
                yield str(number)

        return Response(stream_with_context(parts()))

    @app.get("/breaks")
    def breaks() -> Response:
        def parts() -> Iterator[str]:
            yield "half"
            raise ZeroDivisionError(SECRET)

        return Response(stream_with_context(parts()))


def _spin() -> int:
    return sum(range(100))


def ask(site: Site, path: str, **options: object) -> int:
    """Send a request and read the answer to its end; its status."""
    method = str(options.pop("method", "GET"))
    with site.app.test_client().open(path, method=method, **options) as response:  # type: ignore[arg-type]
        response.get_data()
        return response.status_code


def flush(recorder: Recorder) -> None:
    """Write what was recorded."""
    assert recorder.writer is not None
    assert recorder.writer.flush()
