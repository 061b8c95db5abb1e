"""The shop's command in ``flask --help``; its code is imported when it is called."""

from __future__ import annotations

from opsapp.entrypoints import LazyCommand

shop = LazyCommand("shop", f"{__package__}.commands", "Stock products, place orders.")
