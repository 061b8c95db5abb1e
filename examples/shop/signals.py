"""What the shop announces, always after the commit."""

from __future__ import annotations

from blinker import Namespace

order_placed = Namespace().signal("order-placed", doc="Somebody ordered something. ``order_id``.")
