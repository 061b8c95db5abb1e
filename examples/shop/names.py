"""The shop's names in ``flask shell``."""

from __future__ import annotations

from typing import Any

from . import orders, products
from .products import find_product


def names() -> dict[str, Any]:
    """Return the names. Services get the session's unit; the text of a pair describes it."""
    return {
        "orders": orders,
        "products": products,
        "P": (find_product, 'a product: P("tea")'),
    }
