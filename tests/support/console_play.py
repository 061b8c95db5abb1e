"""The console as a person has it, played from cells: each play is a process of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.forks import forked


def play(
    environ: Mapping[str, str],
    folder: Path,
    mode: str,
    cells: Sequence[str],
    *,
    history: bool = False,
) -> str:
    """Run the cells in ``folder`` until one of them ends the console; what it printed."""
    _code, stdout, stderr = forked(
        run_cells, mode, list(cells), history, environ=environ, folder=folder
    )
    return stdout + stderr


def run_cells(mode: str, cells: list[str], history: bool) -> None:
    """Open a console, run the cells, and close it."""
    import opsapp
    from opsapp.actors import at_terminal
    from opsapp.commands.shell import interactive
    from opsapp.commands.shell.display import sql
    from opsapp.console.lifecycle import alive
    from opsapp.console.modes import Mode
    from opsapp.extensions import this_app

    names: dict[str, Any] = {"sql": (sql, "the rows of a statement")}
    with opsapp.without_web():
        app = opsapp.create_app()
    with app.app_context(), alive(
        this_app(), at_terminal(), Mode(mode), reason=None, by="terminal", idle_seconds=0,
        more=names,
    ) as console:  # fmt: skip
        shell = interactive._shell(console, "opsapp", "test", history=history)
        shell.keep_running = True
        for cell in cells:
            if shell.keep_running:
                shell.run_cell(cell, store_history=True)
