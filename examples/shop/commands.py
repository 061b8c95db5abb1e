"""`flask shop`: products and orders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opsapp.cli import USER, OpsGroup, answers, changes
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.unit import Unit

PRODUCT_SHOWN = ("name", "cents", "stock")
ORDER_SHOWN = ("id", "user_id", "product", "quantity", "cents")


@click.group("shop", cls=OpsGroup)
def cli() -> None:
    """Stock products and place orders."""


@cli.command("products")
@answers(*PRODUCT_SHOWN)
def products_cmd() -> list[Record]:
    """List all products.

    \b
    Example:
      flask shop products
    """
    from . import products

    return products.listing()


@cli.command("stock")
@click.argument("product")
@click.argument("pieces", type=int)
@click.option("--cents", type=int, required=True, help="The price of a piece.")
@changes(*PRODUCT_SHOWN, key="name")
def stock_cmd(product: str, pieces: int, cents: int, unit: Unit) -> Record:
    """Set the stock and the price of a product.

    \b
    Example:
      flask shop stock tea 20 --cents 450
    """
    from . import products

    return products.stock(product, pieces, cents=cents, unit=unit)


@cli.command("order")
@click.argument("user", type=USER)
@click.argument("product")
@click.option("--quantity", type=int, default=1, show_default=True, help="How many pieces.")
@changes(*ORDER_SHOWN)
def order_cmd(user: str, product: str, quantity: int, unit: Unit) -> Record:
    """Place an order for an account.

    \b
    Example:
      flask shop order ada@example.com tea --quantity 2
    """
    from . import orders

    return orders.place(user, product, quantity, unit=unit)


@cli.command("orders")
@click.option("--user", type=USER, help="Orders of this account only.")
@answers(*ORDER_SHOWN, "placed_at")
def orders_cmd(user: str | None) -> list[Record]:
    """List orders, the newest first.

    \b
    Example:
      flask shop orders --user ada@example.com
    """
    from . import orders

    return orders.listing(user)
