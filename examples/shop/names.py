"""What the shop adds to ``flask shell``."""

from __future__ import annotations

from typing import Any

from . import orders, products
from .products import find_product


def names() -> dict[str, Any]:
    """Modules of verbs come with a unit of the session; a pair's second half is what it is."""
    return {
        "orders": orders,
        "products": products,
        "P": (find_product, 'a product: P("tea")'),
    }
