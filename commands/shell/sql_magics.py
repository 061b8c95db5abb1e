"""The console's magics for SQL: %sql, %explain, %tables, %schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from typing import Any

from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class

from opsapp.cli import output
from opsapp.cli.messages import say
from opsapp.cli.tables import drawn
from opsapp.console import plans
from opsapp.console.query import parameters, schema
from opsapp.errors import Invalid, NotFound
from opsapp.extensions import db
from opsapp.files.drafts import explained
from opsapp.files.targets import target
from opsapp.text import safe

from . import display

_OPTION = re.compile(r"\s*(?:(-x)|(--all|-a)|-o\s+(\S+))(?=\s|$)")
FORMATS = ("csv", "json", "jsonl")
"""The endings of the files that ``%sql -o`` writes."""


@magics_class
class SqlMagics(Magics):
    """%sql, %explain, %tables, %schema."""

    shell: Any

    @line_cell_magic
    def sql(self, line: str, cell: str | None = None) -> display.Rows | int | None:
        """Run an SQL statement: %sql SELECT …; :name takes a variable of the console.

        -x prints each row as lines, --all every row and column, both by a pager if they
        are long. -o FILE.csv (.json, .jsonl) writes all rows to a file.
        """
        show, file, words = _options(f"{line}\n{cell}" if cell is not None else line)
        statement = words.strip().rstrip(";")
        if not statement:
            say("%sql needs a statement: %sql SELECT id, email FROM ops_users")
            return None
        answer = display.sql(statement, **self._values(statement))
        if isinstance(answer, int) or not (show or file):
            return answer
        if file:
            _write(answer, file)
        if show:
            display.page(show(answer) if answer else ["No rows.\n"])
        return None

    def _values(self, statement: str) -> dict[str, Any]:
        names = parameters.names(statement, self.shell.user_ns)
        return {name: self._variable(name) for name in names}

    def _variable(self, name: str) -> Any:
        if name not in self.shell.user_ns:
            raise NotFound(f"no variable {name} for :{name}")
        return self.shell.user_ns[name]

    @line_cell_magic
    def explain(self, line: str, cell: str | None = None) -> None:
        """Show the plan of a statement: %explain SELECT …, or %explain sa.select(User).

        %explain analyze SELECT … runs it, shows its times, and undoes it; :name takes a
        variable of the console.
        """
        words = (f"{line}\n{cell}" if cell is not None else line).strip().rstrip(";")
        analyze, words = _without_analyze(words)
        if not words:
            say("%explain needs a statement: %explain SELECT …, or %explain sa.select(User)")
            return
        steps = plans.plan(*self._statement(words), analyze=analyze)
        display.page(f"{safe(step)}\n" for step in steps)

    def _statement(self, words: str) -> tuple[str, Mapping[str, Any]]:
        called = re.match(r"(\w+)\(", words)
        is_python = called is not None and called[1] in self.shell.user_ns
        if plans.is_statement(words) and not is_python:
            return words, self._values(words)
        statement = self.shell.ev(words)
        statement = getattr(statement, "statement", statement)
        return str(statement.compile(db.engine, compile_kwargs={"literal_binds": True})), {}

    @line_magic
    def tables(self, line: str) -> None:
        """List the tables and views with the number of their columns."""
        word = line.strip().lower()
        rows = [row for row in schema.tables() if word in row["name"].lower()]
        display.page([drawn(rows) if rows else "No tables.\n"])

    @line_magic
    def schema(self, line: str) -> None:
        """List the columns of a table: %schema ops_users."""
        if not line.strip():
            raise Invalid("%schema needs a table", hint="%tables lists them")
        display.page([drawn(schema.columns(line.strip()))])


Show = Callable[[display.Rows], Iterator[str]]


def _options(words: str) -> tuple[Show | None, str | None, str]:
    """Return how the rows are printed, the file to write, and the statement."""
    show: Show | None = None
    file = None
    while option := _OPTION.match(words):
        show = display.vertical if option[1] else display.whole if option[2] else show
        file = option[3] or file
        words = words[option.end() :]
    if unknown := re.match(r"[ \t]*(--?[a-z]\S*)", words):  # SQL reads --al as a comment.
        raise Invalid(f"no such option: {unknown[1]}", hint="%sql has -x, --all and -o FILE")
    return show, file, words


def _without_analyze(words: str) -> tuple[bool, str]:
    first, _, rest = words.partition(" ")
    return (True, rest.strip()) if first.lower() == "analyze" else (False, words)


def _write(rows: display.Rows, file: str) -> None:
    """Write all rows to a file, in the format of its ending.

    :raises Invalid: it has another ending.
    """
    ending = file.rpartition(".")[2]
    if ending not in FORMATS:
        raise Invalid(f"{file} ends in none of .{', .'.join(FORMATS)}")
    path = target(file)
    with (
        explained(file),
        path.open("w", encoding="utf-8", newline="") as stream,
        redirect_stdout(stream),
    ):
        output.write_list(rows, ending, (), rows.names)
    say(f"{len(rows)} rows are in {file}.")
