"""Query log: the statements of an input with their times, and hints at repeated ones."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from .. import text
from ..engine.fingerprint import brief, undouble_percents
from ..profiling.record.aggregates import REPEATED
from ..profiling.reports.n_plus_one import advice
from ..redaction import HIDDEN, mask
from ..types import Record
from . import secret_columns
from .listeners import listen

AT_MOST = 1000
"""The number of statements kept of one input; the others are counted."""


@dataclass(slots=True)
class Query:
    """One statement with its time."""

    statement: str
    milliseconds: float
    parameters: Any = ()
    """The driver's: by name or by position, or a list of them for many rows."""
    names: Sequence[str] = ()
    """The names of parameters by position, as far as they are known."""

    def values(self) -> Record:
        """Return the parameters by name, of the first row; secrets are hidden."""
        rows = self.parameters if isinstance(self.parameters, list) else [self.parameters]
        row = rows[0] if rows else ()
        if not isinstance(row, Mapping):
            names = [*self.names, *map(str, range(len(self.names) + 1, len(row) + 1))]
            row = dict(zip(names, row, strict=False))
        is_shown = self._test_of_names()
        return {
            name: mask(_column(name), value) if is_shown(_column(name)) else HIDDEN
            for name, value in row.items()
        }

    def _test_of_names(self) -> Callable[[str], bool]:
        """Return a test of a parameter's name; beside a secret it has to be that of a column."""
        if not secret_columns.mentions(self.statement):
            return lambda _name: True
        is_secret = secret_columns.secrecy_test(self.statement, secret_columns.declared_columns())
        return lambda name: secret_columns.is_column(name) and not is_secret(name)


def _column(parameter: str) -> str:
    """Return the column of a parameter, which SQLAlchemy numbers."""
    return re.sub(r"_\d+$", "", parameter)


@dataclass(slots=True)
class Report:
    """The statements of one input."""

    queries: list[Query] = field(default_factory=list)
    count: int = 0
    milliseconds: float = 0.0
    """The time of all statements, with the way to the database and back."""

    def hints(self) -> list[str]:
        """Return a line for every statement that the input repeated, as ``flask profile`` does."""
        times: dict[str, list[float]] = {}
        for query in self.queries:
            times.setdefault(" ".join(query.statement.split()), []).append(query.milliseconds)
        repeated = [item for item in times.items() if len(item[1]) >= REPEATED]
        repeated.sort(key=lambda item: -len(item[1]))
        return [_hint(*item) for item in repeated]


def _hint(statement: str, times: list[float]) -> str:
    repeated = text.pluralize(len(times), "time")
    return f"{repeated}, {sum(times):.1f} ms: {brief(statement)} → {advice(statement)}"


class Queries:
    """A listener to engines that logs the statements of each input."""

    def __init__(self, engines: Iterable[sa.Engine]) -> None:
        self.current = Report()
        self.last = Report()
        """The statements of the input before the running one."""
        # Not in the info of the connection: one that is being made has none, and may fail.
        self._sent_at: WeakKeyDictionary[sa.Connection, float] = WeakKeyDictionary()
        self.echo: Callable[[str], None] | None = None
        """A function that prints each statement as it is sent; None prints none."""
        for engine in engines:
            listen(engine, "before_cursor_execute", self._before)
            listen(engine, "after_cursor_execute", self._after)
            listen(engine, "handle_error", self._on_error)

    def begin(self) -> None:
        """Begin the log of the next input."""
        self.last, self.current = self.current, Report()

    def _before(self, connection: sa.Connection, *_rest: Any) -> None:
        self._sent_at[connection] = time.perf_counter()

    def _after(self, connection: sa.Connection, _cursor: Any, statement: str, *rest: Any) -> None:
        parameters, context, _many = rest
        compiled = getattr(context, "compiled", None)
        self._keep(connection, statement, parameters, getattr(compiled, "positiontup", None) or ())

    def _on_error(self, context: sa.engine.ExceptionContext) -> None:
        if context.connection is not None and context.statement:
            self._keep(context.connection, context.statement, context.parameters or (), ())

    def _keep(
        self, connection: sa.Connection, statement: str, parameters: Any, names: Sequence[str]
    ) -> None:
        start = self._sent_at.pop(connection, None) or time.perf_counter()
        if statement == "BEGIN":
            return  # SQLite's listener sends it, not the user.
        milliseconds = (time.perf_counter() - start) * 1000
        statement = undouble_percents(statement, connection.dialect.paramstyle)
        self.current.count += 1
        self.current.milliseconds += milliseconds
        if self.current.count <= AT_MOST:
            self.current.queries.append(Query(statement, milliseconds, parameters, names))
        if self.echo is not None:
            self.echo(f"{milliseconds:.1f} ms  {statement}")
