"""The console's own magics."""

from __future__ import annotations

import cProfile
import pstats
import sys
from typing import Any

import sqlalchemy as sa
from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class

from opsapp import text
from opsapp.cli.messages import say
from opsapp.cli.tables import drawn
from opsapp.console.query import parameters
from opsapp.console.query_log import Report
from opsapp.errors import NotFound
from opsapp.extensions import db
from opsapp.types import Record
from opsapp.unit.ledger import in_batches
from opsapp.values import distinct

from . import display
from .banner import catalogue, painted

LONGEST = 160
"""Characters of a statement in ``%queries``."""


@magics_class
class ConsoleMagics(Magics):
    """%names, %sql, %explain, %queries, %%profile, %echo, %dryrun, %who_am_i."""

    shell: Any

    @property
    def _console(self) -> Any:
        return self.shell.console

    @line_magic
    def names(self, line: str) -> None:
        """List every name of the console. %names WORD lists those with this word."""
        lines = catalogue(self._console)
        word = line.strip().lower()
        print(painted(styled for styled in lines if word in styled.line.lower()).strip("\n"))  # noqa: T201

    @line_cell_magic
    def sql(self, line: str, cell: str | None = None) -> display.Rows | int | None:
        """Run an SQL statement: %sql SELECT …; :name takes a variable of the console."""
        statement = (cell if cell is not None else line).strip().rstrip(";")
        if not statement:
            say("%sql needs a statement: %sql SELECT id, email FROM ops_users")
            return None
        names = parameters.names(statement, self.shell.user_ns)
        return display.sql(statement, **{name: self._variable(name) for name in names})

    def _variable(self, name: str) -> Any:
        if name not in self.shell.user_ns:
            raise NotFound(f"no variable {name} for :{name}")
        return self.shell.user_ns[name]

    @line_magic
    def explain(self, line: str) -> display.Rows | None:
        """Show the plan of a SELECT: %explain SELECT …, or %explain sa.select(User)."""
        if not line.strip():
            say("%explain needs a statement: %explain SELECT …, or %explain sa.select(User)")
            return None
        how = "EXPLAIN QUERY PLAN " if db.engine.dialect.name == "sqlite" else "EXPLAIN "
        result = db.session.execute(sa.text(how + self._statement(line)))
        names = distinct(list(result.keys()))
        return display.Rows(dict(zip(names, row, strict=True)) for row in result)

    def _statement(self, line: str) -> str:
        if text.canonical(line.split()[0]) in ("select", "with", "values", "table"):
            return line.replace(":", "\\:")
        statement = self.shell.ev(line)
        statement = getattr(statement, "statement", statement)
        compiled = statement.compile(db.engine, compile_kwargs={"literal_binds": True})
        return str(compiled).replace(":", "\\:")

    @line_magic
    def queries(self, line: str) -> None:
        """Show the statements of the last input with their times, and repeated ones."""
        report = self._console.queries.last
        rows = [
            {"ms": round(query.milliseconds, 1), "statement": " ".join(query.statement.split())}
            for query in report.queries
        ]
        print(display.table(rows, total=report.count, longest=LONGEST))  # noqa: T201
        print(_summed(report))  # noqa: T201
        for hint in report.hints():
            print(f"Hint: {text.safe(hint)}")  # noqa: T201

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
            print(drawn(_hottest(profiler, rows)).rstrip())  # noqa: T201
            print(f"{_summed(report)} in the database")  # noqa: T201

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
        print(drawn(facts).rstrip())  # noqa: T201


def _echo(statement: str) -> None:
    sys.stderr.write(text.safe(" ".join(statement.split())) + "\n")


def _summed(report: Report) -> str:
    noun = "statement" if report.count == 1 else "statements"
    return f"{report.count} {noun}, {report.milliseconds:.1f} ms"


def _hottest(profiler: cProfile.Profile, count: int) -> list[Record]:
    stats: Any = pstats.Stats(profiler)
    ordered = sorted(stats.stats.items(), key=lambda item: -item[1][3])
    return [
        {
            "calls": calls,
            "own ms": round(own * 1000, 1),
            "total ms": round(total * 1000, 1),
            "where": f"{name} ({'/'.join(file.split('/')[-2:])}:{line})",
        }
        for (file, line, name), (calls, _primitive, own, total, _callers) in ordered[:count]
    ]
