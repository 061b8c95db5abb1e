"""The unit of work: gate, change, invariants, audit event, commit.

``work`` is the unit, ``ledger`` appends to the audit, ``chain`` links its events, ``guard`` refuses
writes from outside of a unit, ``invariants`` keeps an administrator.
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from .guard import guarded as guarded
    from .work import Unit as Unit

__all__ = ["Unit", "guarded"]

__getattr__ = exports(__name__, guard=["guarded"], work=["Unit"])
