"""The shop's pages, and two addresses that are worth profiling."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_login import current_user
from flask_security import auth_required

from opsapp.models import User
from opsapp.profiling import profile_endpoint
from opsapp.web import needs, unit_of_self

from . import orders, products
from .permissions import MANAGE

blueprint = Blueprint("shop", __name__)


@blueprint.get("/heavy-computation")
@profile_endpoint
def heavy_computation() -> str:
    """Work for a while."""
    result = sum(i * i for i in range(100000))
    return f"Result: {result}"


@blueprint.get("/api/data")
@profile_endpoint
def get_data() -> dict[str, str]:
    """Answer at once."""
    return {"data": "response"}


@blueprint.get("/orders")
@auth_required("session")
def show_orders() -> str:
    """One's own orders, and what there is to order."""
    placed = orders.listing(str(_me().id))
    return render_template("shop/orders.html", orders=placed, products=products.listing())


@blueprint.post("/orders")
@auth_required("session")
def place_order() -> Any:
    """Order one piece for oneself."""
    me = _me()
    placed = orders.place(str(me.id), request.form["product"], unit=unit_of_self(me))
    flash(f"Order {placed['id']} is placed.", "success")
    return redirect(url_for("shop.show_orders"))


@blueprint.get("/api/shop/products")
@needs(MANAGE)
def list_products() -> dict[str, Any]:
    """Every product, for a program with a token."""
    return {"products": products.listing()}


def _me() -> User:
    user: User = current_user._get_current_object()  # noqa: SLF001  (Flask documents this name)
    return user
