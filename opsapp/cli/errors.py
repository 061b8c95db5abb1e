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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

import click

from .. import extras, text
from ..errors import NotReady, OpsError, OutputFailed, Refused, brief
from ..types import Record
from . import streams
from .help import rewrite_commands
from .messages import is_for_programs, print_error, take_remarks, wanted_format, wrap
from .process_signals import Stopped, handle_signals

if TYPE_CHECKING:
    from ..unit.work import Unit


@contextmanager
def report_errors() -> Iterator[None]:
    """Report every error inside as one message on stderr and an exit code."""
    handlers = handle_signals()
    streams.prepare()
    try:
        with _flush_at_end():
            yield
    except Stopped as stopped:
        if not stopped.is_reported:
            stopped.is_reported = True  # The group of the command reports as well.
            _print("stopped", stopped.number, f"Stopped by {stopped.name}: {state_of_work()}.")
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
        if not is_for_programs(wanted_format()):
            _show(error)
        exit_with(_from_click(error))
    except BrokenPipeError:
        streams.leave_stdout()
        _report_unread()
        raise SystemExit(_UNREAD) from None
    except OSError as error:
        exit_with(_from_system(error))
    except Exception as error:  # noqa: BLE001  (the last resort: it is logged with an id)
        condition = _translate(error)
        exit_with(condition or _unexpected_error(error), is_expected=condition is not None)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _report_unread() -> None:
    """Say that the reader of stdout left before it heard of a change that is committed."""
    if (unit := current_unit()) is not None and unit.seq is not None:
        message = f"The answer was not read, but {state_of_work()}."
        _print("not-read", _UNREAD, message, loss_hint())


@contextmanager
def _flush_at_end() -> Iterator[None]:
    """Flush stdout before the command ends with success: it may not be writable."""
    try:
        yield
    except click.exceptions.Exit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


_UNREAD = 128 + signal.SIGPIPE
_NO_ERRORS = ("stopped", "not-read")
"""The codes of an end that the user or another program chose."""


def state_of_work() -> str:
    """Return in words whether the running command has changed anything."""
    unit = current_unit()
    if unit is None or unit.seq is None:
        return "nothing was changed"
    return f"the change is made, audit event {unit.seq}"


def loss_hint() -> str | None:
    """Return the hint for an answer that is printed only once, if the command has set one."""
    ctx = click.get_current_context(silent=True)
    return None if ctx is None else ctx.meta.get("opsapp.lost")


def current_unit() -> Unit | None:
    """Return the unit of work of the running command, if it changes something."""
    ctx = click.get_current_context(silent=True)
    return None if ctx is None else ctx.find_root().meta.get("opsapp.unit")


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
    return OutputFailed(f"the output could not be written ({error.strerror})")


def _show(error: click.ClickException) -> NoReturn:
    """Print an error as click does, with its message escaped and shortened as ours are."""
    if type(error).__name__ != "NoArgsIsHelpError":  # Click has it since 8.2.
        error.message = brief(text.safe(error.message))  # type: ignore[misc]
    with suppress(OSError):  # A closed stderr must not hide the exit code.
        buffer = io.StringIO()
        error.show(file=buffer)
        print_error(wrap(buffer.getvalue().rstrip("\n").replace("Error:", _error(), 1)))
    raise SystemExit(error.exit_code)


def _error() -> str:
    return streams.style_text("Error:", "red", sys.stderr)


def exit_with(error: OpsError, *, is_expected: bool = True) -> NoReturn:
    ctx = click.get_current_context(silent=True)
    if error.hint and ctx is not None:
        error.hint = rewrite_commands(error.hint, ctx)
    _add_state_of_work(error)
    _print(error.code, error.exit_code, error.message, error.hint)
    if error.__cause__ is not None and _shows_traceback(is_expected):
        import traceback

        print_error("".join(traceback.format_exception(error.__cause__)))
    raise SystemExit(error.exit_code)


def _print(code: str, exit_code: int, message: str, hint: str | None = None) -> None:
    """Print how the command ended: a line or two, or one JSON object with the remarks."""
    if not is_for_programs(wanted_format()):
        start = "" if code in _NO_ERRORS else f"{_error()} "
        if code == "stopped" and sys.stderr.isatty():
            start = "\n"  # After the ^C of the terminal.
        print_error(wrap(f"{start}{text.safe(message)}"))
        if hint:
            print_error(_advice(text.safe(hint)))
        return
    record: Record = {"code": code, "message": message, "hint": hint, "exit_code": exit_code}
    ctx = click.get_current_context(silent=True)
    if ctx is not None and (remarks := take_remarks(ctx.find_root())):
        record["remarks"] = remarks
    print_error(json.dumps(record))


def _advice(hint: str) -> str:
    """Return a hint in lines that fit; a command stays one line, as a terminal copies it."""
    line = f"  → {hint}"
    return line if hint.startswith(_PROGRAMS) else wrap(line, indent=" " * 4)


_PROGRAMS = ("flask ", "opsapp ")


def _add_state_of_work(error: OpsError) -> None:
    """Add to an error after the commit that the change is made."""
    unit = current_unit()
    if unit is not None and unit.seq is not None and state_of_work() not in error.message:
        error.message += f"; but {state_of_work()}"


def _shows_traceback(is_expected: bool) -> bool:
    """Return whether stderr gets the traceback of the error behind a message.

    Applications have ``FLASK_DEBUG=1`` in their ``.flaskenv`` for ``flask run``. That is no
    reason to hide the line that says what to do; programs read one object.
    """
    if is_for_programs(wanted_format()):
        return False
    ctx = click.get_current_context(silent=True)
    if ctx is not None and _is_typed(ctx.find_root(), "debug"):
        return True
    is_set = os.environ.get("FLASK_DEBUG", "").lower() in ("1", "true", "yes", "on")
    return is_set and not is_expected


def _is_typed(ctx: click.Context, option: str) -> bool:
    return ctx.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE


def _translate(error: Exception) -> OpsError | None:
    if (extra := extras.missing(error)) is not None:
        extra.__cause__ = error
        return extra
    if "sqlalchemy" not in sys.modules:
        return None
    from ..engine.conditions import translate_error

    condition = translate_error(error)
    if condition is not None:
        condition.__cause__ = error
    return condition


def _unexpected_error(error: Exception) -> OpsError:
    from .error_log import write

    number, file = write(error)
    hint = f"{file} has the details" if file else "flask --debug … shows the details"
    condition = OpsError(f"something unexpected happened (error {number})", hint=hint)
    condition.__cause__ = error
    return condition


def code_of(error: BaseException) -> int:
    """Return the exit code of a command that ends with this error."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, BrokenPipeError):
        return _UNREAD
    if isinstance(error, click.Abort):
        return Refused.exit_code
    if isinstance(error, OSError):
        return _from_system(error).exit_code
    if isinstance(error, Exception):
        error = _translate(error) or error
    return int(getattr(error, "exit_code", 1))
