"""Orders: the services that commands, pages and the shell share."""

from __future__ import annotations

import sqlalchemy as sa

from opsapp.accounts import authority, get_user
from opsapp.errors import Conflict, Invalid
from opsapp.extensions import db
from opsapp.types import Record
from opsapp.unit import Unit

from .models import Order
from .permissions import MANAGE
from .products import MOST, get_product
from .signals import order_placed


def record(order: Order) -> Record:
    """Return the public form of an order."""
    return {
        "id": order.id,
        "user_id": order.user_id,
        "product": order.product.name,
        "quantity": order.quantity,
        "cents": order.cents,
        "placed_at": order.placed_at,
    }


def listing(user: str | None = None) -> list[Record]:
    """Return every order, or those of an account, the newest first."""
    query = sa.select(Order).order_by(Order.id.desc())
    if user is not None:
        query = query.where(Order.user_id == get_user(user).id)
    return [record(order) for order in db.session.scalars(query)]


def place(user: str, product: str, quantity: int = 1, *, unit: Unit) -> Record:
    """Order a product for an account, and take it from the stock in the same transaction.

    :raises Conflict: the stock is too small.
    """
    if not 1 <= quantity <= MOST:
        raise Invalid(f"quantity {quantity} is not between 1 and {MOST}")
    with unit:
        buyer = get_user(user)
        if unit.powers is None or unit.powers.user_id != buyer.id:
            authority.require(MANAGE, unit)
        item = get_product(product)
        if item.stock < quantity:
            raise Conflict(f"there are {item.stock} of {item.name}, not {quantity}")
        item.stock -= quantity
        order = Order(user=buyer, product=item, quantity=quantity, cents=quantity * item.cents)
        unit.session.add(order)
        unit.session.flush()
        unit.record(
            "shop:order:place",
            f"order:{order.id}",
            after={"user_id": buyer.id, "product_id": item.id, "quantity": quantity},
        )
        unit.announce(order_placed, order_id=order.id)
        return record(order)
