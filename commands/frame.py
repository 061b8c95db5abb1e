"""The frame around every command: the app, the errors, the signals, the exit code.

Nothing here imports Flask's or SQLAlchemy's weight before a command runs, so
that help and completion stay quick.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import click

from opsapp import text
from opsapp.errors import DONE, NotReady, OpsError, OutputFailed, Refused

from .helptext import OpsContext, as_typed
from .recording import record

if TYPE_CHECKING:
    from flask import Flask

    from opsapp.unit import Unit

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(SystemExit):
    """A signal asked to stop: raised like an error, so that everything is undone and let go."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.name = signal.Signals(number).name
        self.is_said = False


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(number)


MAY_BE_EMPTY = frozenset({"username", "description"})
"""The options whose empty value means something: to remove it."""


class OpsCommand(click.Command):
    """A command whose errors are reported by the contract."""

    context_class = OpsContext

    def invoke(self, ctx: click.Context) -> Any:
        with reported():
            for param in self.params:
                if not getattr(param.type, "takes_anything", False):
                    _refuse_hostile(param, ctx.params.get(param.name or ""))
            return super().invoke(ctx)


def _refuse_hostile(param: click.Parameter, value: object) -> None:
    """Refuse what no name has, and an empty value: a script's variable that was not set.

    :raises Invalid: says which argument, and the character's place.
    """
    for word in value if isinstance(value, tuple) else (value,):
        if isinstance(word, str) and not (word == "" and param.name in MAY_BE_EMPTY):
            name = param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name
            text.checked(word, name, longest=sys.maxsize)


class OpsGroup(click.Group):
    """A group whose commands' errors are reported by the contract."""

    command_class = OpsCommand
    context_class = OpsContext

    def invoke(self, ctx: click.Context) -> Any:
        with reported():
            return super().invoke(ctx)


@contextmanager
def reported() -> Iterator[None]:
    """Turn whatever goes wrong inside into one message on stderr and an exit code."""
    previous = _handle_signals()
    _reopen_streams()
    try:
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
    except click.ClickException as error:
        if not _wants_json():
            raise
        _fail(_from_click(error))
    except OpsError as error:
        _fail(error)
    except BrokenPipeError:
        leave_stdout()
        if (unit := current_unit()) is not None and unit.committed:
            _say(f"Nobody read the answer, but {state_of_work()}.")
        raise SystemExit(128 + signal.SIGPIPE) from None
    except OSError as error:
        # Files of ours explain themselves; what is left is the terminal or its pipe.
        leave_stdout()
        _fail(OutputFailed(f"the answer could not be written ({error.strerror})"))
    except Exception as error:  # noqa: BLE001  (the last resort: it is logged with an id)
        _fail(_explained(error) or _unexpected(error))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _reopen_streams() -> None:
    """Let a missing stdin be empty and a missing stderr be nobody; output.py sees to stdout."""
    if sys.stdin is None:
        sys.stdin = Path(os.devnull).open()  # noqa: SIM115  (it lives as long as the process)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115


def _handle_signals() -> dict[signal.Signals, Any]:
    """Let the signals to stop raise :class:`Stopped`; returns what they did before."""
    # SIGHUP is ignored under nohup, and stays so.
    heeded = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, _stop) for number in heeded}


def state_of_work() -> str:
    """Whether the running command has changed anything, in words."""
    unit = current_unit()
    if unit is None or not unit.committed:
        return "nothing was changed"
    return f"the change is made, audit event {unit.seq}"


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
        if word == "--format":
            chosen = following
        elif word.startswith("--format="):
            chosen = word.removeprefix("--format=")
    return chosen in ("json", "jsonl")


def _from_click(error: click.ClickException) -> OpsError:
    from opsapp.errors import Invalid

    kind = Invalid if error.exit_code == 2 else OpsError
    return kind(error.format_message())


def _fail(error: OpsError) -> NoReturn:
    ctx = click.get_current_context(silent=True)
    if error.hint and ctx is not None:
        error.hint = as_typed(error.hint, ctx.find_root().info_name)
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


def _say(message: str) -> None:
    # A closed stderr must not hide the exit code.
    try:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return


def say(message: str) -> None:
    """Talk to the person: progress and remarks, on stderr."""
    _say(text.safe(message))


def _debugging() -> bool:
    return os.environ.get("FLASK_DEBUG", "").lower() in ("1", "true", "yes", "on")


def _explained(error: Exception) -> OpsError | None:
    if "sqlalchemy" not in sys.modules:
        return None
    from sqlalchemy.exc import SQLAlchemyError

    from opsapp.engine import explained

    found = explained(error) if isinstance(error, SQLAlchemyError) else None
    if found is not None:
        found.__cause__ = error
    return found


def _unexpected(error: Exception) -> OpsError:
    from .errorlog import write

    reported_as = OpsError("something unexpected happened")
    reported_as.__cause__ = error
    number, file = write(error)
    reported_as.message = f"something unexpected happened (error {number})"
    reported_as.hint = f"{file} has the details" if file else "flask --debug … shows the details"
    return reported_as


def leave_stdout() -> None:
    """Point stdout at nothing, so that Python does not fail once more when it exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    if nothing != 1:
        os.dup2(nothing, 1)


@contextmanager
def application(*, web: bool = False) -> Iterator[None]:
    """The app that `flask` was told about, without its web floor unless asked, with a context.

    When the work is done and printed, its mail is sent, and who listens is told.
    """
    from flask.cli import NoAppException, ScriptInfo

    from opsapp import without_web
    from opsapp.extensions import db

    started = time.perf_counter()
    ctx = click.get_current_context()
    info = ctx.ensure_object(ScriptInfo)
    try:
        with nullcontext() if web else without_web():
            app = info.load_app()
    except NoAppException as error:
        # Flask's own advice says how, and not which.
        hint = None if info.app_import_path else "FLASK_APP=opsapp, or the one built on it"
        raise NotReady(f"the application cannot be loaded: {error.message}", hint=hint) from error
    _listen_to_log(app)
    with app.app_context():
        code, recorded = 1, record(app, ctx)
        try:
            yield
            code = ctx.meta.get("opsapp.findings") or DONE
        except BaseException as error:
            code = _code_of(error)
            raise
        finally:
            _send_mail()
            _tell(app, ctx, code, time.perf_counter() - started)
            # At exit nobody would close the connection, and SQLite's WAL would stay behind.
            db.session.remove()
            recorded(code)
            for engine in db.engines.values():
                engine.dispose()


class _Remarks(logging.Handler):
    """What opsapp logs while a command runs, a line each; tracebacks go to the error log."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        number = f" (error {_written_down(error)})" if isinstance(error, Exception) else ""
        say(f"Warning: {record.getMessage()}{number}")


def _written_down(error: Exception) -> str:
    from .errorlog import write

    number, _file = write(error)
    return number


def _listen_to_log(app: Flask) -> None:
    """Say what is logged, unless the application has decided where its log goes."""
    for name in {"opsapp", app.import_name}:
        log = logging.getLogger(name)
        if not log.hasHandlers():
            log.addHandler(_Remarks(logging.WARNING))


def _code_of(error: BaseException) -> int:
    """The exit code that this error will lead to."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    if isinstance(error, click.Abort):
        return Refused.exit_code
    if isinstance(error, OSError):
        return OutputFailed.exit_code
    if isinstance(error, Exception):
        error = _explained(error) or error
    return int(getattr(error, "exit_code", 1))


def _send_mail() -> None:
    """Try the mail that the command wrote, now that its answer is out."""
    if "opsapp.services.mail" not in sys.modules:
        return
    from opsapp.services import mail

    ids = mail.take_kept()
    if ids and (left := mail.send(ids)):
        say(f"{mail.in_words(left)}: flask mail send-pending.")


def _tell(app: Flask, ctx: click.Context, code: int, seconds: float) -> None:
    from opsapp import signals
    from opsapp.actors import at_terminal

    unit = current_unit()
    signals.announce(
        signals.command_finished,
        app,
        actor=unit.actor if unit else at_terminal(),
        command=" ".join(ctx.command_path.split()[1:]),
        exit_code=code,
        seconds=seconds,
        changed=unit is not None and unit.committed,
    )


# --- asking ------------------------------------------------------------------


def is_interactive() -> bool:
    """Whether somebody is there to answer a question."""
    return sys.stdin is not None and sys.stdin.isatty()


def approve(question: str, *, severe: bool = False) -> None:
    """Ask before something that cannot simply be undone.

    On a terminal it asks, unless ``--yes`` was given; without one ``--yes`` is
    needed. In production a ``severe`` act asks to type the environment's name
    instead, which ``--confirm NAME`` does without a terminal.

    :raises Refused: nobody agreed.
    """
    from opsapp.config import PRODUCTION, environment

    ctx = click.get_current_context()
    if ctx.params.get("dry_run"):
        return None
    if severe and environment() == PRODUCTION:
        return _approve_by_name(question, environment(), ctx.params["confirm"])
    if ctx.params["yes"]:
        return None
    if not is_interactive():
        raise Refused(f"{question} Nobody is here to answer", hint="repeat it with --yes")
    if not click.confirm(text.safe(question), err=True):
        raise Refused("declined; nothing was changed")
    return None


def _approve_by_name(question: str, name: str, given: str | None) -> None:
    if given is None:
        if not is_interactive():
            raise Refused(f"{question} This is {name}", hint=f"repeat it with --confirm {name}")
        given = click.prompt(f"{text.safe(question)} Type {name} to go on", err=True)
    if given != name:
        raise Refused(f"{text.shortened(given)} is not {name}; nothing was changed")
