"""The shop's pages, and two endpoints to profile."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_security import auth_required

from opsapp.profiling import profile_endpoint
from opsapp.web import needs, signed_in_user, unit_of_self

from . import orders, products
from .permissions import MANAGE

blueprint = Blueprint("shop", __name__)


@blueprint.get("/heavy-computation")
@profile_endpoint
def heavy_computation() -> str:
    """Use the processor for a while."""
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
    """Show the user's own orders, and the products."""
    rows = orders.listing(str(signed_in_user().id))
    return render_template("shop/orders.html", orders=rows, products=products.listing())


@blueprint.post("/orders")
@auth_required("session")
def place_order() -> Any:
    """Order a piece for the user."""
    user = signed_in_user()
    order = orders.place(str(user.id), request.form["product"], unit=unit_of_self(user))
    flash(f"Order {order['id']} is placed.", "success")
    return redirect(url_for("shop.show_orders"))


@blueprint.get("/api/shop/products")
@needs(MANAGE)
def list_products() -> dict[str, Any]:
    """List the products, for a program with a token."""
    return {"products": products.listing()}
