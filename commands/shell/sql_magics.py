"""The console's magics for SQL: %sql, %explain, %tables, %schema."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any

import sqlalchemy as sa
from IPython.core.inputtransformer2 import TransformerManager
from IPython.core.magic import Magics, line_cell_magic, line_magic, magics_class, no_var_expand

from opsapp import text
from opsapp.cli import output
from opsapp.cli.messages import say
from opsapp.cli.tables import draw_table
from opsapp.console import plans
from opsapp.console.query import parameters, schema
from opsapp.errors import Invalid, NotFound
from opsapp.files.drafts import translate_os_errors
from opsapp.files.targets import target
from opsapp.text import safe, truncate

from . import display

_OPTION = re.compile(r"\s*(?:(-x)|(--all|-a)|-o\s+(\S+))(?=\s|$)")
FORMATS = ("csv", "json", "jsonl")
"""The endings of the files that ``%sql -o`` writes."""


@magics_class
class SqlMagics(Magics):
    """%sql, %explain, %tables, %schema."""

    shell: Any

    @no_var_expand
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
        if isinstance(answer, int) and file:
            say(f"{file} is not written: the statement returns no rows.")
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

    @no_var_expand
    @line_cell_magic
    def explain(self, line: str, cell: str | None = None) -> None:
        """Show the plan of a statement: %explain SELECT …, or %explain sa.select(User).

        %explain analyze SELECT … runs it, shows its times, and undoes it. The options of
        PostgreSQL work there: (analyze, buffers). :name takes a variable of the console.
        """
        words = (f"{line}\n{cell}" if cell is not None else line).strip().rstrip(";")
        options, statement = plans.split_options(words)
        if not statement:
            say("%explain needs a statement: %explain SELECT …, or %explain sa.select(User)")
            return
        steps = plans.plan(self._statement(statement), options)
        display.page(f"{safe(step)}\n" for step in steps)

    def _statement(self, words: str) -> sa.Executable:
        """Return the statement: Python if it begins with a name of the console, else SQL."""
        name = re.match(r"\w*", words)
        if not name or name[0] not in self.shell.user_ns or not _is_python(words, "eval"):
            return plans.of_text(words, self._values(words))
        value = self.shell.ev(words)
        statement = getattr(value, "statement", value)
        if not isinstance(statement, sa.Executable):
            kind = type(value).__name__
            raise Invalid(f"{truncate(words)} is not a statement but of type {kind}")
        return statement

    @no_var_expand
    @line_magic
    def tables(self, line: str) -> None:
        """List the tables and views with the number of their columns."""
        word = line.strip().lower()
        rows = [row for row in schema.tables() if word in row["name"].lower()]
        display.page([draw_table(rows) if rows else "No tables.\n"])

    @no_var_expand
    @line_magic
    def schema(self, line: str) -> None:
        """List the columns of a table: %schema ops_users."""
        table = line.strip().rstrip(";").strip('"`')
        if not table:
            raise Invalid("%schema needs a table", hint="%tables lists them")
        display.page([draw_table(schema.columns(table, look="%tables lists them"))])


_MAGIC = re.compile(r"^((?:\w+\s*=\s*)?)%(sql|explain)\b(.*)", re.MULTILINE | re.DOTALL)


def take_whole(lines: list[str]) -> list[str]:
    """Let %sql and %explain take the lines after theirs too, where these are no Python."""
    cell = "".join(lines)
    match = None if cell.startswith("%%") or len(lines) == 1 else _MAGIC.search(cell)
    if match is None or _is_python(cell, "exec"):
        return lines
    words = match[3].strip()
    call = f"{match[1]}get_ipython().run_line_magic({match[2]!r}, {words!r})\n"
    return [*cell[: match.start()].splitlines(keepends=True), call]


def _is_python(code: str, mode: str) -> bool:
    """Return whether an expression, or a cell with magics (``exec``), can be read."""
    try:
        if mode == "exec":
            code = TransformerManager().transform_cell(code)
        compile(code, "<input>", mode, ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return True


Show = Callable[[display.Rows], Iterator[str]]


def _options(words: str) -> tuple[Show | None, str | None, str]:
    """Return how the rows are printed, the file to write, and the statement."""
    show: Show | None = None
    file = None
    while option := _OPTION.match(words):
        show = (
            display.format_vertically if option[1] else display.format_whole if option[2] else show
        )
        file = option[3] or file
        words = words[option.end() :]
    if unknown := re.match(r"[ \t]*(--?[a-z]\S*)", words):  # SQL reads --al as a comment.
        problem = "-o needs a file" if unknown[1] == "-o" else f"no such option: {unknown[1]}"
        raise Invalid(problem, hint="%sql has -x, --all and -o FILE")
    if file and _ending(file) not in FORMATS:
        raise Invalid(f"{file} ends in none of .{', .'.join(FORMATS)}")
    return show, file, words


def _ending(file: str) -> str:
    return file.rpartition(".")[2]


def _write(rows: display.Rows, file: str) -> None:
    """Write all rows to a file, in the format of its ending."""
    path = target(file)
    with (
        translate_os_errors(file),
        path.open("w", encoding="utf-8", newline="") as stream,
        redirect_stdout(stream),
    ):
        output.write_list(rows, _ending(file), (), rows.names)
    say(f"{file} has {text.pluralize(len(rows), 'row')}.")
