"""The start of the console: with 500 models, beside plain IPython and the application's start.

Each is started at a terminal of its own, in turns, and is ready when it asks. The
target: not later than 1.3 times plain IPython plus what the application needs to
start without any console.
"""

from __future__ import annotations

import os
import pty
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from .measure import FLASK, Program, Row, compile_everything, environ, once, say, show

ROUNDS = 9
MODELS = 500
LIMIT = 1.3

APPLICATION = f"""
import sqlalchemy as sa
from sqlalchemy import orm as so

from opsapp import create_app as create_core
from opsapp.extensions import Model

for number in range({MODELS}):
    type(f"Thing{{number}}", (Model,), {{
        "__tablename__": f"thing_{{number}}",
        "__doc__": f"The thing number {{number}}.",
        "__annotations__": {{"id": so.Mapped[int], "name": so.Mapped[str]}},
        "id": so.mapped_column(primary_key=True),
        "name": so.mapped_column(sa.String(80)),
    }})


def create_app():
    return create_core()
"""

ALONE = """
import opsapp
with opsapp.without_web():
    import things
    app = things.create_app()
with app.app_context():
    from opsapp.extensions import db
    db.session.execute(db.text("SELECT 1"))
"""
"""The application without a console: loaded, and connected to its database."""


@dataclass(frozen=True, slots=True)
class Console:
    """A console to start: its command line, what it asks with, and how it is told to end."""

    argv: Sequence[str]
    asks: bytes


def ready(console: Console, env: Mapping[str, str], cwd: Path) -> tuple[float, float]:
    """Seconds until it asks, and of CPU for its whole life."""
    started = perf_counter()
    child, terminal = pty.fork()
    if not child:
        os.chdir(cwd)
        os.execvpe(console.argv[0], list(console.argv), dict(env))
    output = b""
    while console.asks not in output:
        output += os.read(terminal, 65536)
    seconds = perf_counter() - started
    os.write(terminal, b"\x04")
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:  # The terminal is gone with its last process.
        pass
    _, _status, usage = os.wait4(child, 0)
    os.close(terminal)
    return seconds, usage.ru_utime + usage.ru_stime


def main() -> int:
    """Measure in turns, and print the table."""
    compile_everything()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "things.py").write_text(APPLICATION)
        env = environ(
            OPSAPP_INSTANCE=str(here / "instance"),
            FLASK_APP="things",
            TERM="xterm",
            PROMPT_TOOLKIT_NO_CPR="1",
            IPYTHONDIR=str(here / "ipython"),
            PYTHONPATH=str(here),
        )
        once(Program(argv=[FLASK, "db", "init"], env=env, cwd=here))
        ipython = Console(
            [sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit"], b"In ["
        )
        shell = Console([FLASK, "shell"], b"opsapp(")
        alone = Program(argv=[sys.executable, "-c", ALONE], env=env, cwd=here)
        return _compare(ipython, shell, alone, env, here)


def _compare(
    ipython: Console, shell: Console, alone: Program, env: Mapping[str, str], here: Path
) -> int:
    ready(ipython, env, here), ready(shell, env, here), once(alone)  # to warm up
    plain, ours, app = [], [], []
    for number in range(ROUNDS):
        say(f"round {number + 1} of {ROUNDS}")
        plain.append(ready(ipython, env, here)[0])
        app.append(once(alone).wall)
        ours.append(ready(shell, env, here)[0])
    limit = LIMIT * median(plain) + median(app)
    took = median(ours)
    rows = [
        Row("plain IPython asks after", f"{median(plain):.2f} s"),
        Row(f"the application with {MODELS} models alone", f"{median(app):.2f} s"),
        Row("flask shell with it asks after", f"{took:.2f} s", f"≤ {limit:.2f} s", took <= limit),
    ]
    return show("The console's start", rows)


if __name__ == "__main__":
    sys.exit(main())
