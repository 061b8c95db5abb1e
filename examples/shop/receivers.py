"""Who listens to ``order_placed``: the confirmation, the stock, a metric."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, current_app, render_template

from opsapp import mail, signals
from opsapp.extensions import db
from opsapp.mail import Message
from opsapp.profiling import metrics

from .models import Order
from .signals import order_placed

log = logging.getLogger(__name__)

LOW = 3
"""So few pieces are a reason to order more."""

placed = metrics.counter("shop_orders", "Orders that were placed.", ["product"])


def connect(app: Flask) -> None:
    """Have this application's orders confirmed, watched and counted."""
    signals.before_commit(order_placed).connect(confirm, app)
    for receiver in (watch_stock, count):
        order_placed.connect(receiver, app)


def confirm(app: Flask, *, order_id: int, **_extra: Any) -> None:
    """Write the buyer a confirmation, in the transaction of the order."""
    order = db.session.get_one(Order, order_id)
    if order.user.email:
        name = current_app.config["APP_NAME"]
        body = render_template("shop/order_placed.txt", order=order, app_name=name)
        subject = f"{name}: Your order {order.id}"
        mail.put(Message("order_placed", order.user.email, subject, body, order.user_id))


def watch_stock(app: Flask, *, order_id: int, **_extra: Any) -> None:
    """Say that a product comes to its end; the order itself has taken the stock."""
    product = db.session.get_one(Order, order_id).product
    if product.stock < LOW:
        log.warning("%d left of %s", product.stock, product.name)


def count(app: Flask, *, order_id: int, **_extra: Any) -> None:
    """Count it for Prometheus."""
    placed.labels(db.session.get_one(Order, order_id).product.name).inc()
