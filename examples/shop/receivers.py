"""Receivers: a confirmation, a check of the stock, a metric, and the data of a user."""

from __future__ import annotations

import logging
from typing import Any

import sqlalchemy as sa
from flask import Flask, current_app, render_template

from opsapp import mail, signals
from opsapp.extensions import db
from opsapp.mail import Message
from opsapp.profiling import metrics

from .models import Order
from .signals import order_placed

log = logging.getLogger(__name__)

LOW = 3
"""A stock below this is a reason to reorder."""

placed = metrics.counter("shop_orders", "Orders that were placed.", ["product"])


def connect(app: Flask) -> None:
    """Connect the receivers to this application."""
    signals.before_commit(order_placed).connect(confirm, app)
    for receiver in (watch_stock, count):
        order_placed.connect(receiver, app)
    signals.personal_data.connect(orders, app)


def confirm(app: Flask, *, order_id: int, **_extra: Any) -> None:
    """Put a confirmation into the outbox, in the transaction of the order."""
    order = db.session.get_one(Order, order_id)
    if order.user.email:
        name = current_app.config["APP_NAME"]
        body = render_template("shop/order_placed.txt", order=order, app_name=name)
        subject = f"{name}: Your order {order.id}"
        mail.put(Message("order_placed", order.user.email, subject, body, order.user.reference))


def watch_stock(app: Flask, *, order_id: int, **_extra: Any) -> None:
    """Warn when the stock is low, after the order has taken from it."""
    product = db.session.get_one(Order, order_id).product
    if product.stock < LOW:
        log.warning("%d left of %s", product.stock, product.name)


def count(app: Flask, *, order_id: int, **_extra: Any) -> None:
    """Count the order for Prometheus."""
    placed.labels(db.session.get_one(Order, order_id).product.name).inc()


def orders(app: Flask, *, user_id: int, **_extra: Any) -> dict[str, Any]:
    """Return the orders of a user, for `flask users personal-data`."""
    query = sa.select(Order).where(Order.user_id == user_id).order_by(Order.id)
    rows = [
        {"id": order.id, "product": order.product.name, "placed_at": order.placed_at}
        for order in db.session.scalars(query)
    ]
    return {"orders": rows}
