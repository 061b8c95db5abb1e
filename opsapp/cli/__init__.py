"""The frame of every command: its group, its errors, its output and its options.

``base`` is the group and the loading of the application, ``decorators`` what a command is made
of, ``output`` and ``tables`` how its answer is printed, ``errors`` how it fails, ``options`` and
``passwords`` what it is given, ``confirm`` the question before a destructive change.
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from .base import OpsCommand as OpsCommand
    from .base import OpsGroup as OpsGroup
    from .confirm import approve as approve
    from .decorators import answers as answers
    from .decorators import changes as changes
    from .decorators import findings as findings
    from .options import DURATION as DURATION
    from .options import ROLE as ROLE
    from .options import USER as USER

__all__ = [
    "DURATION",
    "ROLE",
    "USER",
    "OpsCommand",
    "OpsGroup",
    "answers",
    "approve",
    "changes",
    "findings",
]

__getattr__ = exports(
    __name__,
    base=["OpsCommand", "OpsGroup"],
    confirm=["approve"],
    decorators=["answers", "changes", "findings"],
    options=["DURATION", "ROLE", "USER"],
)
