"""Unit of work: gate, change, invariants, audit event, commit. See docs/decisions/core.md.

- ``work``: the unit, and ``bookkeeping`` for what the audit does not hold
- ``separate_audit``: a unit whose audit is in another database
- ``intents``: the events of such a unit before its change is made
- ``receipts``: files that say what a change did
- ``ledger``: takes the gate, appends to the audit
- ``chain``: links the events
- ``pending``: changes by an application's own code, which wait for a unit to chain them
- ``guard``: refuses writes from outside of a unit
- ``invariants``: keeps an administrator
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from .guard import guard_table as guard_table
    from .work import Unit as Unit

__all__ = ["Unit", "guard_table"]

__getattr__ = exports(__name__, guard=["guard_table"], work=["Unit"])
