"""IPython's debugger: it reads and writes no file, and waiting for its user is no time."""

from __future__ import annotations

from contextvars import copy_context
from typing import Any

from IPython.terminal.debugger import TerminalPdb

from opsapp.profiling.record.recording import waiting


class Debugger(TerminalPdb):
    """The debugger of ``%debug``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        # A .pdbrc is code, and may be another user's: pdb reads that of the current folder.
        super().__init__(*args, **{**options, "readrc": False})

    def cmdloop(self, intro: str | None = None) -> None:
        """Ask and run until the user leaves."""
        self._session = copy_context()  # IPython asks in another thread.
        super().cmdloop(intro)

    def _prompt(self) -> str:
        return self._session.run(self._ask)

    def _ask(self) -> str:
        with waiting():
            return str(super()._prompt())
