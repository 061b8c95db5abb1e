"""What the shop asks for beside opsapp's own permissions."""

from __future__ import annotations

from opsapp import permissions

MANAGE = "shop:manage"


def declare() -> None:
    """Add them to the vocabulary, for help and completion."""
    permissions.declare(MANAGE, "Change products, and order for other accounts.")
