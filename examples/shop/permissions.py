"""The shop's permissions, beside opsapp's own."""

from __future__ import annotations

from opsapp.accounts import permissions

MANAGE = "shop:manage"


def declare() -> None:
    """Declare them, for help and completion."""
    permissions.declare(MANAGE, "Change products, and order for other accounts.")
