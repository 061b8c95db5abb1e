"""Ops: the console on an application that has its own users and its own database.

============  ===============================================================
extension     ``Ops(app, db)``, what an application writes
attached      the state of an application that it is attached to
sessions      its session and its engines
engines       engines of ours in place of an application's, while a command runs
autogenerate  keeps an application's own migrations from dropping our tables
============  ===============================================================

Decisions: docs/decisions/ops.md
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from .attached import Attached as Attached
    from .extension import Ops as Ops

__all__ = ["Attached", "Ops"]

__getattr__ = exports(__name__, attached=["Attached"], extension=["Ops"])
