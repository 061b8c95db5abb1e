"""The console as a person has it, played from cells: each play is a process of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tests.support import Cli
from tests.support.forks import forked

MAKE = 'print(create_user("carl", "carl@example.com").username)'
"""A program that makes an account."""
ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT max(i) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
}
"""A statement that ends when it is cancelled, by the kind of database."""


def last_session(cli: Cli) -> dict[str, object]:
    """The newest session with its transcript."""
    id = cli("audit", "sessions", "--limit", "1", "--format", "json").json[0]["id"]
    session: dict[str, object] = cli("audit", "session", id, "--format", "json").json
    return session


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
    """Open a console of the application of ``FLASK_APP``, run the cells, and close it."""
    from flask.cli import ScriptInfo

    import opsapp
    from opsapp.actors import at_terminal
    from opsapp.commands.shell import interactive
    from opsapp.commands.shell.display import sql
    from opsapp.console.lifecycle import open_console
    from opsapp.console.modes import Mode
    from opsapp.extensions import this_app
    from opsapp.state import attachment_of

    names: dict[str, Any] = {"sql": (sql, "the rows of a statement")}
    with opsapp.without_web():
        path = os.environ.get("FLASK_APP", "opsapp")
        app = ScriptInfo(app_import_path=path, set_debug_flag=False).load_app()
    attached = attachment_of(app)
    engines = nullcontext() if attached is None else attached.as_command()
    with app.app_context(), engines, open_console(
        this_app(), at_terminal(), Mode(mode), reason=None, by="terminal", idle_seconds=0,
        more=names,
    ) as console:  # fmt: skip
        shell = interactive._shell(console, "opsapp", "test", history=history)
        shell.keep_running = True
        for cell in cells:
            if shell.keep_running:
                shell.run_cell(cell, store_history=True)
