"""Programs: ``-c CODE``, a file or a pipe, on record like any input."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from sqlalchemy.exc import DBAPIError, ProgrammingError

from opsapp.cli.messages import say
from opsapp.cli.process_signals import STOPPING, Stopped
from opsapp.cli.streams import Unwritten
from opsapp.console import interrupts, readonly, tracebacks
from opsapp.console.lifecycle import Console
from opsapp.console.modes import Mode
from opsapp.console.transactions import Remains
from opsapp.engine.conditions import translate_error
from opsapp.errors import DONE, Busy, NotReady, OpsError, Refused, TimedOut

FAILED = 1


class Cancelled(Stopped, KeyboardInterrupt):
    """A signal asked to stop; psycopg cancels its statement for a KeyboardInterrupt only."""


_INTERRUPTED = (Cancelled, DBAPIError)
"""An interrupted statement; SQLite's driver replaces the error of the handler by its own."""


def run(console: Console, code: str, name: str, args: Sequence[str]) -> int:
    """Run a program with the console's names; return its exit code.

    :param name: its name in tracebacks and ``sys.argv``: ``-c``, ``-`` or a path.
    :raises SystemExit: the program exits with another code than 0, or a signal stops it.
    :raises NotReady: it cannot be put on record, so it was not run.
    :raises OpsError: the program ended with this condition.
    """
    console.before(code, name=name, args=list(args))
    try:
        with _signals():
            _execute(console, code, name, args)
    except SystemExit as error:
        if error.code:
            raise
    except (OpsError, BrokenPipeError, Unwritten):
        raise  # The frame of the command reports it.
    except Exception as error:
        if (condition := _condition(console, error)) is not None:
            raise condition from error
        console.advise(error)
        _say_traceback(error)
        console.ended = "error"
        return FAILED
    finally:
        console.writes.abandoned.add_open()
        remains = console.after()
    return _exit_code(console, remains)


def _exit_code(console: Console, remains: Remains) -> int:
    """Return the exit code of a program that has ended well, except for a missing commit."""
    if not remains:
        return DONE
    if remains.abandoned:
        say(remains.abandoned_line(may_commit=console.may_commit))
    if uncommitted := remains.describe_changes():
        say(f"Not committed: {uncommitted}. End the program with {console.session.mode.way_out}.")
    # In a sandbox nothing is kept anyway.
    return DONE if console.session.mode is Mode.SANDBOX else FAILED


def _condition(console: Console, error: Exception) -> OpsError | None:
    """Return the condition of a database that is busy, away, full or read-only.

    None is for a mistake of the program, such as an unknown table.
    """
    if not isinstance(error, DBAPIError):
        return None
    if not console.may_commit and readonly.is_refused_write(error):
        return Refused("this session is read-only", hint=readonly.other_modes())
    condition = translate_error(error)
    is_condition = error.connection_invalidated or isinstance(condition, Busy | NotReady | TimedOut)
    return condition if is_condition and not _is_mistake(error) else None


def _is_mistake(error: DBAPIError) -> bool:
    """Return whether the statement is wrong, and not the state of the database."""
    name: str = getattr(error.orig, "sqlite_errorname", "")
    return isinstance(error, ProgrammingError) or name == "SQLITE_ERROR"


@contextmanager
def _signals() -> Iterator[None]:
    """Let a signal to stop cancel the statement that runs, and end the program."""
    numbers: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        numbers.append(number)
        raise Cancelled(number)

    heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in heeded}
    try:
        yield
    except _INTERRUPTED as error:
        if numbers and interrupts.is_interruption(error):
            raise Stopped(numbers[-1]) from None  # Click would abort at a KeyboardInterrupt.
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _execute(console: Console, code: str, name: str, args: Sequence[str]) -> None:
    module = ModuleType("__main__")
    module.__dict__.update(console.names.namespace())
    is_file = name not in ("-c", "-")
    if is_file:
        module.__file__ = name
    before = sys.argv, sys.modules["__main__"], list(sys.path)
    sys.argv, sys.modules["__main__"] = [name, *args], module
    if is_file:
        sys.path.insert(0, str(Path(name).resolve().parent))  # As Python does.
    try:
        console.execute(code, name if is_file else f"<{name}>", module.__dict__)
        sys.stdout.flush()
    finally:
        sys.argv, sys.modules["__main__"], sys.path[:] = before


def _say_traceback(error: Exception) -> None:
    for line in tracebacks.of_application(error).split("\n"):
        say(line)
