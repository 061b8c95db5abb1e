"""The application for a real server, as only a test wants it."""

from __future__ import annotations

import os
import threading
from contextlib import suppress

import sqlalchemy as sa
from flask import Flask

import opsapp
from opsapp.extensions import db
from opsapp.profiling import metrics


def create_app() -> Flask:
    """Without rate limits: a test sends more than a person would."""
    return opsapp.create_app({"RATELIMIT_ENABLED": False})


def create_halting_app() -> Flask:
    """Before it commits a change it tells the pipe ``HALTED`` its process, and goes no further.

    It goes on as ever while no process has the pipe open.
    """

    @sa.event.listens_for(db.session, "before_commit")
    def halt(_session: object) -> None:
        with suppress(OSError):
            pipe = os.open(os.environ["HALTED"], os.O_WRONLY | os.O_NONBLOCK)
            os.write(pipe, str(os.getpid()).encode())
            threading.Event().wait()

    return opsapp.create_app()


def create_counting_app() -> Flask:
    """It counts orders, as a shop does."""
    orders = metrics.counter("shop_orders", "Orders that were placed.", ["country"])
    queue = metrics.gauge("shop_queue", "Orders that wait.")
    took = metrics.histogram("shop_took", "Seconds.", buckets=[0.1, 1])
    metrics.counter("shop_quiet", "What never happens.")
    app = create_app()
    app.log_exception = lambda _about: None  # type: ignore[method-assign]  (it is meant to fail)

    @app.get("/order")
    def order() -> str:
        orders.labels("de").inc()
        queue.set(3)
        took.observe(0.05)
        return str(os.getpid())

    @app.get("/refused")
    def refused() -> str:
        raise ZeroDivisionError

    return app
