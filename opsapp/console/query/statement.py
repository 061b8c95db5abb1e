"""One read-only statement: checked, put on record, run within its time, streamed."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from concurrent.futures import TimeoutError as Late
from contextlib import closing, contextmanager, nullcontext, suppress
from time import monotonic
from typing import Any, TypeVar

import sqlalchemy as sa

from ... import text
from ...engine.conditions import translate_error
from ...errors import Invalid, OpsError, Refused, TimedOut
from ...extensions import db
from ...profiling.record import callers
from ...redaction import HIDDEN, mask
from ...types import Record
from ...values import distinct, exact, plain, readable
from .. import readonly, secret_columns
from ..listeners import listen
from . import parameters, schema

callers.mark_sender(__file__)

Answer = TypeVar("Answer")

PAGE = 500
READS = frozenset({"select", "with", "values", "table", "explain", "show"})
WRITES = re.compile(
    "alter|analyze|attach|begin|call|cluster|comment|commit|copy|create|deallocate|declare|delete|"
    "detach|discard|do|drop|end|execute|fetch|grant|import|insert|listen|load|lock|merge|move|"
    "notify|pragma|prepare|reassign|refresh|reindex|release|replace|reset|revoke|rollback|"
    "savepoint|security|set|start|truncate|unlisten|update|vacuum"
)
"""Words that are refused, and not misspelt; a word in neither set is not run either."""
_STREAMED = frozenset({"select", "with", "values", "table"})
_SPACE = re.compile(r"(?:\s|\(|--[^\n]*(?:\n|$)|/\*.*?\*/)*", re.DOTALL)
_WORD = re.compile(r"[A-Za-z]+")

# --- the statement -----------------------------------------------------------


def check_statement(statement: str) -> str:
    """Return the statement if its first word is one that reads; the database decides in the end.

    :raises Invalid: there is none.
    :raises Refused: it is one that writes.
    """
    statement = statement.strip().rstrip(";").rstrip()
    if not statement:
        raise Invalid("there is no statement", hint='flask query "SELECT …"')
    if "\0" in statement:
        raise Invalid("the statement has a null character")
    word = first_word(statement)
    if word in READS:
        return statement
    hint = f"one of {', '.join(sorted(READS)).upper()}"
    if WRITES.fullmatch(word):
        raise Refused(f"{word.upper()} is not a read-only statement; nothing was run", hint=hint)
    # It is not repeated: --file may name a file that the user may not read.
    raise Invalid("the statement is not a query; nothing was run", hint=hint)


def first_word(statement: str) -> str:
    """Return the first word of a statement in small letters, after comments."""
    start = _SPACE.match(statement)
    word = _WORD.match(statement, start.end() if start else 0)
    return word[0].lower() if word else ""


SINGLE = "opsapp_single"
"""The execution option of a statement that may not be several."""


def refuse_further(engine: sa.Engine) -> None:
    """Refuse several statements where one was asked for; psycopg would run them all."""
    if engine.dialect.driver == "psycopg":
        listen(engine, "do_execute", _execute_alone)


def _execute_alone(cursor: Any, statement: str, values: Any, context: Any) -> bool:
    """Send a statement that may not be several so that the server runs no part of them."""
    if context is None or not context.execution_options.get(SINGLE):
        return False
    # Behind a pooler nothing is prepared; a pipeline has the same protocol.
    connection, threshold = cursor.connection, cursor.connection.prepare_threshold
    try:
        with nullcontext() if threshold is not None else connection.pipeline():
            connection.prepare_threshold = threshold and 0
            context.dialect.do_execute(cursor, statement, values, context)  # The recorder's, too.
    except context.dialect.loaded_dbapi.ProgrammingError as error:
        if any(words in str(error) for words in _SEVERAL):
            raise Invalid("several statements in one call", hint="send each by itself") from error
        raise
    finally:
        connection.prepare_threshold = threshold
    return True


# --- running it --------------------------------------------------------------


def rows(
    statement: str,
    params: Mapping[str, Any],
    *,
    limit: int | None,
    seconds: float,
    say_names: Callable[[Sequence[str]], None] = lambda _names: None,
    say_more: Callable[[], None] = lambda: None,
) -> Iterator[Record]:
    """Yield the rows of one statement that reads.

    :param limit: at most so many; None streams all of them.
    :param seconds: how long it may take, the reading of its answer included.
    :param say_names: called with the names of the columns, before the first row.
    :param say_more: called at the end if there were more than ``limit``.
    :raises Invalid: it is no statement that the database understands.
    :raises Refused: it would have written.
    :raises TimedOut: it took too long.
    """
    remainder = limit
    with _run_statement(statement, params, seconds) as (names, secret, next_page):
        say_names(names)
        # One more than is shown tells whether there are more.
        while page := next_page(PAGE if remainder is None else min(PAGE, remainder + 1)):
            for row in page[:remainder]:
                # A missing secret shows the same, since SQLite was kept from reading it.
                yield {
                    name: HIDDEN if secret(i, value) else exact(mask(name, plain(value)))
                    for i, (name, value) in enumerate(zip(names, row, strict=True))
                }
            if remainder is not None:
                if len(page) > remainder:
                    say_more()
                    return
                remainder -= len(page)


Pages = tuple[list[str], Callable[[int, Any], bool], Callable[[int], Sequence[Sequence[Any]]]]


@contextmanager
def _run_statement(statement: str, params: Mapping[str, Any], seconds: float) -> Iterator[Pages]:
    """Run a statement: names of the columns, a test for secrets, and a function for a page."""
    is_sqlite = db.engine.dialect.name == "sqlite"
    with _translate_errors():
        readonly.refuse_other_database(db.engine)
        connection = readonly.connect(db.engine)
    stop = connection.interrupt if is_sqlite else connection.cancel
    watched = _Watch(monotonic() + seconds, seconds, stop)
    try:
        prepare = _prepare_sqlite if is_sqlite else _prepare_server
        with (
            _translate_errors(statement),
            closing(prepare(connection, statement, seconds)) as cursor,
            closing(watched),
        ):
            arguments = (statement, params) if is_sqlite else _for_psycopg(statement, params)
            # Prepared, it can be one statement only; the server's cursor sees to that itself.
            how = {} if is_sqlite or first_word(statement) in _STREAMED else {"prepare": True}
            watched.call(lambda: cursor.execute(*arguments, **how))
            if cursor.description is None:
                raise Refused("the statement returns no rows")
            names = distinct([column[0] for column in cursor.description])
            secret = _secrets(cursor, statement, names)
            yield names, secret, lambda size: watched.call(lambda: cursor.fetchmany(size))
    finally:
        with suppress(Exception):  # The error before this one counts.
            connection.close()


class _Watch:
    """A thread for the driver's work, so that the time limit and Ctrl-C are noticed."""

    def __init__(self, deadline: float, seconds: float, stop: Callable[[], None]) -> None:
        self.deadline = deadline
        self.seconds = seconds
        self.stop = stop
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="query")
        self.running: Future[Any] | None = None

    def call(self, work: Callable[[], Answer]) -> Answer:
        """Return the result of ``work``, if it comes in time."""
        self.running = self.worker.submit(work)
        try:
            answer: Answer = self.running.result(timeout=max(0.0, self.deadline - monotonic()))
        except Late as error:
            if self.running.done():
                raise
            raise TimedOut(
                f"the statement took longer than {text.pluralize(self.seconds, 'second')}",
                hint="--timeout 5m gives it more",
            ) from error
        return answer

    def close(self) -> None:
        """Stop the statement that is still running, and wait for its end."""
        while self.running is not None and not self.running.done():
            self.stop()
            # Said too early it is not heard: a statement that has not begun cannot be stopped.
            wait([self.running], timeout=0.1)
        self.worker.shutdown()


def _prepare_sqlite(connection: Any, _statement: str, _seconds: float) -> Any:
    connection.set_progress_handler(None, 0)  # The watch stops it, from another thread.
    connection.set_authorizer(_authorize)
    connection.text_factory = readable
    return connection.cursor()


_READING = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)


def _authorize(
    action: int, about: str | None, detail: str | None, _database: str | None, _by: str | None
) -> int:
    """Answer SQLite while it prepares a statement; a secret column reads as NULL."""
    if action == sqlite3.SQLITE_READ and detail and secret_columns.is_secret(detail, about or ""):
        return sqlite3.SQLITE_IGNORE
    if action == sqlite3.SQLITE_FUNCTION and detail and detail.lower() == "load_extension":
        return sqlite3.SQLITE_DENY
    return sqlite3.SQLITE_OK if action in _READING else sqlite3.SQLITE_DENY


def _prepare_server(connection: Any, statement: str, seconds: float) -> Any:
    from .loaders import load_exactly

    connection.read_only = True
    load_exactly(connection)
    # The watch counts the time; the server's own limits must not come before it.
    for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
        connection.execute(f"SET {limit} = {min(int(seconds * 1000) + 5000, 2**31 - 1)}")
    if first_word(statement) not in _STREAMED:
        return connection.cursor()
    # A cursor of the server takes one statement, and none that writes.
    cursor = connection.cursor("opsapp_query")
    cursor.itersize = PAGE
    return cursor


def _secrets(cursor: Any, statement: str, names: Sequence[str]) -> Callable[[int, Any], bool]:
    """Return a test of whether a value of a column, by its number, shows a secret."""
    secrets, derived = secret_columns.of_result(statement, names)
    if (result := getattr(cursor, "pgresult", None)) is not None:
        secrets |= secret_columns.by_origin(cursor.connection, result)
    return lambda i, value: i in secrets or (i in derived and secret_columns.may_show(value))


def _for_psycopg(statement: str, params: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the statement with psycopg's own form of parameters."""
    if not params:
        return statement, None  # Then psycopg leaves every % and : alone.
    if missing := set(parameters.names(statement, params)) - set(params):
        raise Invalid(f"no --param for :{text.safe(min(missing))}")
    compiled = sa.text(parameters.escape_colons(statement, params)).compile(
        dialect=db.engine.dialect
    )
    return compiled.string, dict(params)


# --- errors ------------------------------------------------------------------

_READ_ONLY = ("25006", "42501")  # read-only transaction, no privilege

_NO_CURSOR = re.compile(r"DECLARE .*CURSOR|SELECT \.\.\. INTO")
"""The server's message for a statement that writes, and so has no cursor."""
_SEVERAL = ("one statement at a time", "multiple commands")  # SQLite, PostgreSQL
_NO_VALUE = ("binding parameter", 'near ":"')
_NEAR_CHANGE = re.compile(r'near "(?:insert|update|delete|merge)"', re.IGNORECASE)
"""A change that is not the first word of the statement: in a WITH, after EXPLAIN."""


@contextmanager
def _translate_errors(statement: str = "") -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if any(words in str(error) for words in _SEVERAL):
            raise _error_of_several(statement) from error
        if isinstance(error, OverflowError | UnicodeEncodeError):
            raise _rejection(f"a value cannot be sent to it ({text.first_line(error)})") from error
        if isinstance(error, sqlite3.Error):
            raise _of_sqlite(error) from error
        if hasattr(error, "sqlstate"):
            raise _of_server(error) from error
        raise


def _error_of_several(statement: str) -> OpsError:
    """Return the error of several statements: invalid, unless one of them would write."""
    for word in map(first_word, statement.split(";")):
        if WRITES.fullmatch(word):
            return _refusal(f"the second statement is {word.upper()}")
    return Invalid("only one statement is allowed; nothing was run")


def _of_sqlite(error: sqlite3.Error) -> OpsError:
    name, message = getattr(error, "sqlite_errorname", ""), text.safe(error)
    if name.startswith(("SQLITE_READONLY", "SQLITE_AUTH")) or "not authorized" in message:
        return _refusal(message)
    if _NEAR_CHANGE.search(message):
        return _refusal(message)
    if name == "SQLITE_INTERRUPT":
        return TimedOut("the statement was stopped")
    # The first statement of a connection has the code SQLITE_SCHEMA, not SQLITE_ERROR.
    is_mistake = name == "SQLITE_ERROR" or message.startswith("no such ")
    if is_mistake or isinstance(error, sqlite3.ProgrammingError):
        return _rejection(message)
    condition = translate_error(sa.exc.DBAPIError("", None, error))
    return condition or OpsError(f"the database says: {message}")


def _of_server(error: Any) -> OpsError:
    from psycopg import DataError, ProgrammingError

    state, message = error.sqlstate or "", text.first_line(error)
    if _NEAR_CHANGE.search(message):
        return _refusal(message)  # DECLARE CURSOR knows no such statement.
    if state in _READ_ONLY or state[:2] == "25" or _NO_CURSOR.search(message):
        return _refusal(message)
    # psycopg says the latter two before it sends anything.
    is_of_arguments = isinstance(error, (ProgrammingError, DataError))
    if state[:2] in ("0A", "42", "22", "26") or is_of_arguments:
        return _rejection(message)
    condition = translate_error(sa.exc.DBAPIError("", None, error))
    return condition or OpsError(f"the database says: {message}")


def _refusal(message: str) -> Refused:
    return Refused(f"the statement is not read-only ({message}); nothing was written")


def _rejection(message: str) -> Invalid:
    hint = "--param NAME=VALUE gives :NAME its value"
    if not any(words in message for words in _NO_VALUE):
        hint = schema.LOOK
    return Invalid(f"the database rejected the statement: {message}", hint=hint)
