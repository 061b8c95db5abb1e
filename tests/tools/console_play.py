"""The console as a person has it, played from cells: each play is a process of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from processes import PATIENCE

_server = multiprocessing.get_context("forkserver")
# What takes a second to import is imported once; every play is forked from there.
_server.set_forkserver_preload(["commands.console.interactive", "commands.console.display"])


def play(
    environ: Mapping[str, str],
    folder: Path,
    mode: str,
    cells: Sequence[str],
    *,
    history: bool = False,
) -> str:
    """Run the cells in ``folder`` until one of them ends the console; what it printed."""
    printed = folder / "printed"
    process = _server.Process(
        target=_play, args=(dict(environ), str(folder), str(printed), mode, list(cells), history)
    )
    process.start()
    process.join(PATIENCE)
    try:
        assert process.exitcode is not None, "it never ended"
    finally:
        process.kill()
    return printed.read_text(errors="replace")


def _play(
    environ: dict[str, str], folder: str, printed: str, mode: str, cells: list[str], history: bool
) -> None:
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(folder)
    output = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    run_cells(mode, cells, history=history)


def run_cells(mode: str, cells: list[str], *, history: bool) -> None:
    """Open a console, run the cells, and close it."""
    import opsapp
    from commands.console import interactive
    from commands.console.display import sql
    from opsapp.actors import at_terminal
    from opsapp.console.life import alive
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
