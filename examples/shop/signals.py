"""The shop's signals, sent after the commit."""

from __future__ import annotations

from blinker import Namespace

order_placed = Namespace().signal("order-placed", doc="An order was placed. ``order_id``.")
