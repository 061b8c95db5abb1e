"""What goes wrong: one message on stderr and an exit code, whatever it was.

Nothing here imports Flask's or SQLAlchemy's weight before a command runs, so
that help and completion stay quick.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from .. import extras, text
from ..errors import NotReady, OpsError, OutputFailed, Refused, brief
from . import streams
from .help import as_typed

if TYPE_CHECKING:
    from ..unit.work import Unit

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(SystemExit):
    """A signal asked to stop: raised like an error, so that everything is undone and let go."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name
        self.is_said = False


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


@contextmanager
def reported() -> Iterator[None]:
    """Turn whatever goes wrong inside into one message on stderr and an exit code."""
    previous = _handle_signals()
    streams.prepare()
    try:
        with _flushed():
            yield
    except Stopped as stopped:
        if not stopped.is_said:
            stopped.is_said = True  # Frames stand inside each other: a command in its group.
            start = "\n" if sys.stderr.isatty() else ""
            _say(f"{start}Stopped by {stopped.name}: {state_of_work()}.")
        raise
    except click.exceptions.Exit:
        raise
    except click.Abort:
        # Nobody answered, or the answer was no: a script must not take that for done.
        _fail(Refused("the question was not answered; nothing was changed"))
    except streams.Unwritten as error:
        streams.leave_stdout()
        _fail(OutputFailed(error.message))
    except OpsError as error:
        _fail(error)
    except click.ClickException as error:
        if not _wants_json():
            _show(error)
        _fail(_from_click(error))
    except BrokenPipeError:
        streams.leave_stdout()
        if (unit := current_unit()) is not None and unit.committed:
            _say(f"Nobody read the answer, but {state_of_work()}.")
            if hint := what_was_lost():
                _say(f"  → {text.safe(hint)}")
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        _fail(_of_system(error))
    except Exception as error:  # noqa: BLE001  (the last resort: it is logged with an id)
        _fail(_explained(error) or _unexpected(error))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _flushed() -> Iterator[None]:
    """Write what stdout keeps back before the command has ended well: it may not be writable."""
    try:
        yield
    except click.exceptions.Exit:
        sys.stdout.flush()
        raise
    sys.stdout.flush()


IGNORED_ON_PURPOSE = frozenset(
    {
        *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT),  # nohup; what a script has started with &
        *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU),  # The terminal is the shell's affair.
        *(signal.SIGPIPE, signal.SIGXFSZ),  # Python, which gives them back to what it starts.
    }
)


def begin_with_known_signals() -> None:
    """Hear what a caller has ignored or blocked for itself, which we and our jobs inherit.

    A process that ignores SIGCHLD never learns how a program has ended; one that blocks
    SIGTERM cannot be stopped.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in signal.valid_signals() - IGNORED_ON_PURPOSE:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _handle_signals() -> dict[signal.Signals, Any]:
    """Let the signals to stop raise :class:`Stopped`; returns what they did before."""
    begin_with_known_signals()
    # SIGHUP is ignored under nohup, and stays so.
    heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, _stop) for number in heeded}


def state_of_work() -> str:
    """Whether the running command has changed anything, in words."""
    unit = current_unit()
    if unit is None or not unit.committed:
        return "nothing was changed"
    return f"the change is made, audit event {unit.seq}"


def what_was_lost() -> str | None:
    """What to do about an answer that is shown only once; the command tells before it answers."""
    ctx = click.get_current_context(silent=True)
    return None if ctx is None else ctx.meta.get("opsapp.lost")


def current_unit() -> Unit | None:
    """The unit of the running command, if it is one that changes something."""
    ctx = click.get_current_context(silent=True)
    return None if ctx is None else ctx.find_root().meta.get("opsapp.unit")


_words: ContextVar[Sequence[str]] = ContextVar("words", default=())


def remember_words(args: Sequence[str]) -> None:
    """Keep the words of the command line, which click consumes as it parses them."""
    _words.set(tuple(args))


def _wants_json() -> bool:
    """Whether errors are to be JSON. The option may not have been parsed yet."""
    args = _words.get()
    chosen = os.environ.get("OPSAPP_FORMAT", "")
    for word, following in zip(args, [*args[1:], ""], strict=False):
        if word == "--":
            break  # What follows is another program's.
        if word == "--format":
            chosen = following
        elif word.startswith("--format="):
            chosen = word.removeprefix("--format=")
    return chosen in ("json", "jsonl")


def _from_click(error: click.ClickException) -> OpsError:
    from ..errors import Invalid

    kind = Invalid if error.exit_code == 2 else OpsError
    return kind(error.format_message())


def _of_system(error: OSError) -> OpsError:
    """What an operating system's error means that nothing has explained."""
    if error.filename is not None:
        return OpsError(f"{error.filename}: {error.strerror}")
    if error.errno is None:  # A library raised it, for a reason of its own.
        return OpsError(text.first_line(error))
    if isinstance(error, FileNotFoundError):
        return NotReady("the current folder was removed", hint="cd into another one")
    # What is left is the terminal or its pipe.
    streams.leave_stdout()
    return OutputFailed(f"the answer could not be written ({error.strerror})")


def _show(error: click.ClickException) -> NoReturn:
    """Show an error as click does, its message as harmless and short as any of ours."""
    if type(error).__name__ != "NoArgsIsHelpError":  # Click has it since 8.2.
        error.message = brief(text.safe(error.message))  # type: ignore[misc]
    with suppress(OSError):  # A closed stderr must not hide the exit code.
        error.show(file=sys.stderr)
    raise SystemExit(error.exit_code)


def _fail(error: OpsError) -> NoReturn:
    ctx = click.get_current_context(silent=True)
    if error.hint and ctx is not None:
        error.hint = as_typed(error.hint, ctx.find_root().info_name)
    _say_what_was_done(error)
    if _wants_json():
        _say(json.dumps(error.record()))
    else:
        _say(f"Error: {text.safe(error.message)}")
        if error.hint:
            _say(f"  → {text.safe(error.hint)}")
    if _debugging() and error.__cause__ is not None:
        import traceback

        _say("".join(traceback.format_exception(error.__cause__)))
    raise SystemExit(error.exit_code)


def _say_what_was_done(error: OpsError) -> None:
    """Add to what went wrong after the commit that the change is made."""
    unit = current_unit()
    if unit is not None and unit.committed and state_of_work() not in error.message:
        error.message += f"; but {state_of_work()}"


def _say(message: str) -> None:
    # A closed stderr must not hide the exit code.
    with suppress(OSError, ValueError):
        sys.stderr.write(message + "\n")
        sys.stderr.flush()


def say(message: str) -> None:
    """Talk to the person: progress and remarks, on stderr."""
    _say(brief(text.safe(message)))


def _debugging() -> bool:
    return os.environ.get("FLASK_DEBUG", "").lower() in ("1", "true", "yes", "on")


def _explained(error: Exception) -> OpsError | None:
    if (extra := extras.missing(error)) is not None:
        extra.__cause__ = error
        return extra
    if "sqlalchemy" not in sys.modules:
        return None
    from ..engine.conditions import explained

    found = explained(error)
    if found is not None:
        found.__cause__ = error
    return found


def _unexpected(error: Exception) -> OpsError:
    from .error_log import write

    reported_as = OpsError("something unexpected happened")
    reported_as.__cause__ = error
    number, file = write(error)
    reported_as.message = f"something unexpected happened (error {number})"
    reported_as.hint = f"{file} has the details" if file else "flask --debug … shows the details"
    return reported_as


def code_of(error: BaseException) -> int:
    """The exit code that this error will lead to."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    if isinstance(error, click.Abort):
        return Refused.exit_code
    if isinstance(error, OSError):
        return _of_system(error).exit_code
    if isinstance(error, Exception):
        error = _explained(error) or error
    return int(getattr(error, "exit_code", 1))
