"""Products: the services that commands, pages and the shell share."""

from __future__ import annotations

import sqlalchemy as sa

from opsapp import text
from opsapp.accounts import authority
from opsapp.errors import Invalid, NotFound
from opsapp.extensions import db
from opsapp.types import Record
from opsapp.unit import Unit

from .models import Product
from .permissions import MANAGE

MOST = 1_000_000
"""The most pieces or cents, far below the limit of the columns."""


def record(product: Product) -> Record:
    """Return the public form of a product."""
    return {
        "id": product.id,
        "name": product.name,
        "cents": product.cents,
        "stock": product.stock,
    }


def listing() -> list[Record]:
    """Return every product, by name."""
    query = sa.select(Product).order_by(Product.name)
    return [record(product) for product in db.session.scalars(query)]


def get_product(name: str) -> Product:
    """Return the product of this name.

    :raises NotFound: there is none; suggests the nearest name.
    """
    product = find_product(name)
    if product is None:
        near = text.did_you_mean(name, list(db.session.scalars(sa.select(Product.name))))
        raise NotFound(f"no product {text.truncate(name)}", hint=near or "flask shop products")
    return product


def find_product(name: str) -> Product | None:
    """Return the product of this name, or None."""
    return db.session.scalar(sa.select(Product).where(Product.name == name))


def stock(name: str, pieces: int, *, cents: int, unit: Unit) -> Record:
    """Set the stock and the price of a product; a new product is added.

    :raises Invalid: the name, the number or the price is not allowed.
    """
    name = text.validate(name, "product", longest=64)
    after = {"name": name, "cents": _validate(cents, "price"), "stock": _validate(pieces, "stock")}
    with unit:
        authority.require(MANAGE, unit)
        product = find_product(name)
        before = None if product is None else record(product)
        if product is None:
            product = Product(**after)
            unit.session.add(product)
        product.cents, product.stock = cents, pieces
        unit.session.flush()
        if record(product) != before:
            unit.record(
                "shop:product:stock", f"product:{product.id}", before=before, after=record(product)
            )
        return record(product)


def _validate(number: int, field: str) -> int:
    if not 0 <= number <= MOST:
        raise Invalid(f"{field} {number} is not between 0 and {MOST}")
    return number
