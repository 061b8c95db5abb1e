"""The console beside plain IPython and the driver: ``python -m bench.shell [--postgresql]``.

Each console is started at a terminal of its own with 500 models, in turns, and is ready
when it asks. The target: not later than 1.3 times plain IPython plus what the application
needs to start without any console. A million rows take at most 1.2 times the driver's own
fetchall(). An input takes at most 2 ms more than in plain IPython, with 10,000 objects.
"""

from __future__ import annotations

import argparse
import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

from .installation import postgresql_server, workspace
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


ROWS = """
import time
from statistics import median
S = ("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000)"
     " SELECT x, x * 2 AS y, 'name ' || x AS name FROM n")
def measure(call):
    started = time.perf_counter(); rows = call(); seconds = time.perf_counter() - started
    assert len(rows) == 1000000
    return seconds
def fetchall():
    with db.engine.connect() as connection:
        cursor = connection.connection.cursor()
        return cursor.execute(S).fetchall()
pairs = [(measure(fetchall), measure(lambda: sql(S))) for _ in range(5)]
print(median(theirs for theirs, _ in pairs), median(ours for _, ours in pairs))
"""
"""A million rows into a variable, by the driver and by ``sql()``."""

INPUT = """
import time
from statistics import median
import opsapp
from IPython.core.interactiveshell import InteractiveShell
from opsapp.actors import at_terminal
from opsapp.commands.shell import interactive
from opsapp.console.lifecycle import open_console
from opsapp.console.modes import Mode
from opsapp.extensions import db, this_app
from opsapp.models import MailMessage
def measure(shell):
    costs = []
    for _ in range(300):
        started = time.perf_counter(); shell.run_cell("x = 1", store_history=False)
        costs.append(time.perf_counter() - started)
    return median(costs)
with opsapp.without_web():
    app = opsapp.create_app()
with app.app_context(), open_console(this_app(), at_terminal(), Mode("write"), reason=None,
                              by="terminal", idle_seconds=0, more={}) as console:
    if not db.session.scalar(db.select(db.func.count()).select_from(MailMessage)):
        db.session.rollback()  # The server ends a transaction that is idle for long.
        row = {"kind": "x", "recipient": "a@b.c", "subject": "s", "body": "b"}
        db.session.execute(db.insert(MailMessage), [row] * 10000)
        db.session.commit()
    loaded = MailMessage.query.all()
    assert len(loaded) == 10000
    plain = InteractiveShell.instance(); theirs = measure(plain); InteractiveShell.clear_instance()
    ours = measure(interactive._shell(console, "opsapp", "bench", history=False))
    print(theirs, ours)
"""
"""An input with 10,000 objects loaded, in plain IPython and in the console."""


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
    parser = argparse.ArgumentParser(prog="bench.shell", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="starts of each program")
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, not SQLite")
    options = parser.parse_args()
    compile_everything()
    with workspace() as here, ExitStack() as stack:
        url = {}
        if options.postgresql:
            server = stack.enter_context(postgresql_server(here))
            url = {"OPSAPP_DATABASE_URL": server.format("postgres")}
        (here / "things.py").write_text(APPLICATION)
        env = environ(
            OPSAPP_INSTANCE=str(here / "instance"),
            FLASK_APP="things",
            TERM="xterm",
            PROMPT_TOOLKIT_NO_CPR="1",
            IPYTHONDIR=str(here / "ipython"),
            PYTHONPATH=str(here),
            **url,
        )
        once(Program(argv=[FLASK, "db", "init"], env=env, cwd=here))
        ipython = Console(
            [sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit"], b"In ["
        )
        shell = Console([FLASK, "shell"], b"(development:")
        alone = Program(argv=[sys.executable, "-c", ALONE], env=env, cwd=here)
        return _compare(ipython, shell, alone, env, here, options.rounds)


def _compare(
    ipython: Console,
    shell: Console,
    alone: Program,
    env: Mapping[str, str],
    here: Path,
    rounds: int,
) -> int:
    ready(ipython, env, here), ready(shell, env, here), once(alone)  # to warm up
    plain, readied, app = [], [], []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        plain.append(ready(ipython, env, here)[0])
        app.append(once(alone).wall)
        readied.append(ready(shell, env, here)[0])
    limit = LIMIT * median(plain) + median(app)
    took = median(readied)
    rows = [
        Row("plain IPython asks after", f"{median(plain):.2f} s"),
        Row(f"the application with {MODELS} models alone", f"{median(app):.2f} s"),
        Row("flask shell with it asks after", f"{took:.2f} s", f"≤ {limit:.2f} s", took <= limit),
    ]
    return show("The console", [*rows, _rows(env, here), _input(env, here)])


def _rows(env: Mapping[str, str], here: Path) -> Row:
    of_driver, of_sql = _figures([FLASK, "shell", "-c", ROWS], env, here)
    ratio = f"{of_sql / of_driver:.2f} × fetchall()"
    return Row("sql() with a million rows", ratio, "≤ 1.20 ×", of_sql <= 1.2 * of_driver)


def _input(env: Mapping[str, str], here: Path) -> Row:
    own = {**env, "FLASK_APP": "opsapp"}
    bare, recorded = _figures([sys.executable, "-c", INPUT], own, here)
    more = (recorded - bare) * 1000
    return Row("an input with 10,000 objects", f"{more:.2f} ms more", "≤ 2.00 ms", more <= 2)


def _figures(argv: Sequence[str], env: Mapping[str, str], here: Path) -> tuple[float, float]:
    """Return the two numbers in the last line that a program prints."""
    process = subprocess.run(argv, env=dict(env), cwd=here, check=True, stdout=subprocess.PIPE)
    first, second = process.stdout.decode().splitlines()[-1].split()
    return float(first), float(second)


if __name__ == "__main__":
    sys.exit(main())
