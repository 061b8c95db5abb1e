"""The frame of every command, ours and an application's.

deferred         commands that are imported when they run
delegation       commands of an application that is not built on opsapp
base             OpsGroup and OpsCommand; loading the application
decorators       @answers, @changes and @works, which make a command of a function
options          parameter types and options that several commands share
filters          the options that select accounts or events
passwords        the sources of a password
confirm          the question before a destructive change
outcome          answers, plans and changes, written
output           the five formats
display          answers at a terminal: tables or lines, empty lists
tables           the layout of tables
cells            values as people read them
pager            the pager of a terminal
messages         remarks on stderr
progress         the progress of long work
errors           error reporting: one line on stderr and an exit code
process_signals  signals that end a command
error_log        the log of unexpected errors
streams          standard streams that are closed, full or not UTF-8
help             the layout of help; help_colours has its colours
completion       names from the database for the shell's completion

The reasons are in docs/decisions/cli.md.
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
