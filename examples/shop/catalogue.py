"""What ``flask`` lists of the shop; it imports nothing else until it is called."""

from __future__ import annotations

from opsapp.entrypoints import Lazy

shop = Lazy("shop", f"{__package__}.commands", "Stock products, place orders.")
