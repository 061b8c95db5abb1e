"""Mail: the outbox, the notices, and the backends that send."""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from .outbox import Message as Message
    from .outbox import keep as keep
    from .outbox import put as put

__all__ = ["Message", "keep", "put"]

__getattr__ = exports(__name__, outbox=["Message", "keep", "put"])
