"""Error reporting: one line on stderr and an exit code.

This module imports neither Flask nor SQLAlchemy before a command runs, so that
help and completion stay quick.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn

import click

from .. import extras, text
from ..errors import NotReady, OpsError, OutputFailed, Refused, brief
from . import streams
from .help import as_typed
from .messages import print_error
from .stopping import Stopped, handle_signals

if TYPE_CHECKING:
    from ..unit.work import Unit


@contextmanager
def reported() -> Iterator[None]:
    """Report every error inside as one message on stderr and an exit code."""
    handlers = handle_signals()
    streams.prepare()
    try:
        with _flushed():
            yield
    except Stopped as stopped:
        if not stopped.is_reported:
            stopped.is_reported = True  # The group of the command reports as well.
            start = "\n" if sys.stderr.isatty() else ""
            print_error(f"{start}Stopped by {stopped.name}: {state_of_work()}.")
        raise
    except click.exceptions.Exit:
        raise
    except click.Abort:
        # Ctrl-D or an end of stdin: a script must not take it for success.
        exit_with(Refused("the question was not answered; nothing was changed"))
    except streams.Unwritten as error:
        streams.leave_stdout()
        exit_with(OutputFailed(error.message))
    except OpsError as error:
        exit_with(error)
    except click.ClickException as error:
        if not _wants_json():
            _show(error)
        exit_with(_from_click(error))
    except BrokenPipeError:
        streams.leave_stdout()
        if (unit := current_unit()) is not None and unit.committed:
            print_error(f"The answer was not read, but {state_of_work()}.")
            if hint := hint_if_lost():
                print_error(f"  → {text.safe(hint)}")
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        exit_with(_from_system(error))
    except Exception as error:  # noqa: BLE001  (the last resort: it is logged with an id)
        exit_with(_explained(error) or _unexpected(error))
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def _flushed() -> Iterator[None]:
    """Flush stdout before the command ends with success: it may not be writable."""
    try:
        yield
    except click.exceptions.Exit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


def state_of_work() -> str:
    """Return in words whether the running command has changed anything."""
    unit = current_unit()
    if unit is None or not unit.committed:
        return "nothing was changed"
    return f"the change is made, audit event {unit.seq}"


def hint_if_lost() -> str | None:
    """Return the hint for an answer that is printed only once, if the command has set one."""
    ctx = click.get_current_context(silent=True)
    return None if ctx is None else ctx.meta.get("opsapp.lost")


def current_unit() -> Unit | None:
    """Return the unit of work of the running command, if it changes something."""
    ctx = click.get_current_context(silent=True)
    return None if ctx is None else ctx.find_root().meta.get("opsapp.unit")


_words: ContextVar[Sequence[str]] = ContextVar("words", default=())


def remember_words(args: Sequence[str]) -> None:
    """Remember the arguments of the command line, which click consumes as it parses them."""
    _words.set(tuple(args))


def _wants_json() -> bool:
    """Return true if errors are printed as JSON. The option may not have been parsed yet."""
    args = _words.get()
    format = ""
    for word, following in zip(args, [*args[1:], ""], strict=False):
        if word == "--":
            break  # The rest belongs to another program.
        if word == "--format":
            format = following
        elif word.startswith("--format="):
            format = word.removeprefix("--format=")
    from ..settings import get

    with suppress(OpsError):  # The command reports that the setting is wrong.
        format = format or get("OPSAPP_FORMAT")
    return format in ("json", "jsonl")


def _from_click(error: click.ClickException) -> OpsError:
    from ..errors import Invalid

    kind = Invalid if error.exit_code == 2 else OpsError
    return kind(error.format_message())


def _from_system(error: OSError) -> OpsError:
    """Return the condition behind an operating system's error."""
    if error.filename is not None:
        return OpsError(f"{error.filename}: {error.strerror}")
    if error.errno is None:  # A library raised it.
        return OpsError(text.first_line(error))
    if isinstance(error, FileNotFoundError):
        return NotReady("the current folder was removed", hint="cd into another one")
    # The rest is the terminal or its pipe.
    streams.leave_stdout()
    return OutputFailed(f"the answer could not be written ({error.strerror})")


def _show(error: click.ClickException) -> NoReturn:
    """Print an error as click does, with its message escaped and shortened as ours are."""
    if type(error).__name__ != "NoArgsIsHelpError":  # Click has it since 8.2.
        error.message = brief(text.safe(error.message))  # type: ignore[misc]
    with suppress(OSError):  # A closed stderr must not hide the exit code.
        shown = io.StringIO()
        error.show(file=shown)
        print_error(shown.getvalue().rstrip("\n").replace("Error:", _error(), 1))
    raise SystemExit(error.exit_code)


def _error() -> str:
    return streams.if_coloured("Error:", "red", sys.stderr)


def exit_with(error: OpsError) -> NoReturn:
    ctx = click.get_current_context(silent=True)
    if error.hint and ctx is not None:
        error.hint = as_typed(error.hint, ctx)
    _add_state_of_work(error)
    if _wants_json():
        print_error(json.dumps(error.record()))
    else:
        print_error(f"{_error()} {text.safe(error.message)}")
        if error.hint:
            print_error(f"  → {text.safe(error.hint)}")
    if _debugging() and error.__cause__ is not None:
        import traceback

        print_error("".join(traceback.format_exception(error.__cause__)))
    raise SystemExit(error.exit_code)


def _add_state_of_work(error: OpsError) -> None:
    """Add to an error after the commit that the change is made."""
    unit = current_unit()
    if unit is not None and unit.committed and state_of_work() not in error.message:
        error.message += f"; but {state_of_work()}"


def _debugging() -> bool:
    return os.environ.get("FLASK_DEBUG", "").lower() in ("1", "true", "yes", "on")


def _explained(error: Exception) -> OpsError | None:
    if (extra := extras.missing(error)) is not None:
        extra.__cause__ = error
        return extra
    if "sqlalchemy" not in sys.modules:
        return None
    from ..engine.conditions import explained

    condition = explained(error)
    if condition is not None:
        condition.__cause__ = error
    return condition


def _unexpected(error: Exception) -> OpsError:
    from .error_log import write

    number, file = write(error)
    hint = f"{file} has the details" if file else "flask --debug … shows the details"
    condition = OpsError(f"something unexpected happened (error {number})", hint=hint)
    condition.__cause__ = error
    return condition


def code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with this error."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    if isinstance(error, click.Abort):
        return Refused.exit_code
    if isinstance(error, OSError):
        return _from_system(error).exit_code
    if isinstance(error, Exception):
        error = _explained(error) or error
    return int(getattr(error, "exit_code", 1))
