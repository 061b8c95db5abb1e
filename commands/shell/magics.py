"""The console's magics, beside those for SQL."""

from __future__ import annotations

import cProfile
import pstats
import sys
from typing import Any

from IPython.core.magic import Magics, cell_magic, line_magic, magics_class

from opsapp import text
from opsapp.cli.messages import say
from opsapp.cli.tables import draw_table
from opsapp.console.query_log import Query, Report
from opsapp.engine.fingerprint import brief
from opsapp.errors import Invalid
from opsapp.profiling.record.prof_files import top
from opsapp.settings.config import DEVELOPMENT, environment
from opsapp.unit.ledger import in_batches

from . import display
from .banner import catalogue, paint
from .prompts import highlight_sql


@magics_class
class ConsoleMagics(Magics):
    """%names, %queries, %%profile, %echo, %dryrun, %who_am_i."""

    shell: Any

    @property
    def _console(self) -> Any:
        return self.shell.console

    @line_magic
    def names(self, line: str) -> None:
        """List every name of the console. %names WORD lists those with this word."""
        lines = paint(catalogue(self._console, line.strip())).strip("\n")
        display.page([f"{lines or 'No names.'}\n"])

    @line_magic
    def queries(self, line: str) -> None:
        """Show the statements of the last input with their times, and repeated ones.

        -v shows the values of their parameters too, in development.
        """
        if line.strip() not in ("", "-v"):
            raise Invalid(f"no such option: {text.truncate(line.strip())}", hint="%queries has -v")
        report = self._console.queries.last
        for query in report.queries[: display.ROWS]:
            statement = highlight_sql(brief(" ".join(query.statement.split())))
            print(f"{query.milliseconds:8.1f} ms  {statement}")  # noqa: T201
            if line.strip() == "-v":
                print(f"{'':13}{self._values(query)}")  # noqa: T201
        if report.count > display.ROWS:
            print(f"({display.ROWS} of {report.count} statements)")  # noqa: T201
        print(_sum_up(report))  # noqa: T201
        for hint in report.hints():
            print(f"Hint: {text.safe(hint)}")  # noqa: T201
        self._console.queries.current = report  # So that %queries again shows the same.

    def _values(self, query: Query) -> str:
        if environment() != DEVELOPMENT:
            return "(values are shown in development only)"
        pairs = (f"{name}={value!r}" for name, value in query.values().items())
        return text.safe(", ".join(pairs)) or "(no values)"

    @cell_magic
    def profile(self, line: str, cell: str) -> None:
        """Profile a cell: %%profile [rows]."""
        profiler = cProfile.Profile()
        code = compile(self.shell.transform_cell(cell), "<profile>", "exec")
        try:
            profiler.runcall(exec, code, self.shell.user_global_ns, self.shell.user_ns)
        finally:
            rows = int(line) if line.strip().isdigit() else 15
            report = self._console.queries.current
            stats: Any = pstats.Stats(profiler)  # typeshed leaves its table out.
            print(draw_table(top(stats.stats, rows, "total")).rstrip())  # noqa: T201
            print(f"{_sum_up(report)} in the database")  # noqa: T201

    @line_magic
    def echo(self, line: str) -> None:
        """Print every statement as it is sent: %echo on, %echo off."""
        if line.strip() not in ("on", "off"):
            say("%echo takes on or off")
            return
        self._console.queries.echo = _echo if line.strip() == "on" else None

    @line_magic
    def dryrun(self, line: str) -> None:
        """Show the changes that services would make: %dryrun users.delete("bob")."""
        if not line.strip():
            raise Invalid("%dryrun needs a call", hint='%dryrun users.delete("bob")')
        session = self._console.session
        count = len(session.units)
        session.dry_run = True
        try:
            self.shell.ev(line)
        finally:
            session.dry_run = False
        units = session.units[count:]
        del session.units[count:]
        plan = [change.record() for unit in units for change in in_batches(unit.recorded)]
        print(display.table(plan) if plan else "Nothing would change.")  # noqa: T201
        say("Dry run: nothing was written.")

    @line_magic
    def who_am_i(self, line: str) -> None:
        """Show your name, the mode and the session."""
        console = self._console
        facts = {
            "actor": console.session.actor.label(),
            "mode": console.session.mode.value,
            "wall": console.wall,
            "session": console.session.id,
            "reason": console.session.reason,
            "inputs": console.session.transcript.inputs,
            "transcript": str(console.session.transcript.path),
        }
        print(draw_table(facts).rstrip())  # noqa: T201


def _echo(statement: str) -> None:
    sys.stderr.write(highlight_sql(" ".join(statement.split())) + "\n")


def _sum_up(report: Report) -> str:
    return f"{text.pluralize(report.count, 'statement')}, {report.milliseconds:.1f} ms"
