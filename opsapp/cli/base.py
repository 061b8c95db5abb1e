"""The frame around every command: its group, and the application with its mail and signals.

Nothing here imports Flask's or SQLAlchemy's weight before a command runs, so
that help and completion stay quick.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import click

from .. import text
from ..errors import DONE, NotReady
from .confirm import approve as approve  # Applications take it from here.
from .errors import begin_with_known_signals, code_of, current_unit, reported, say
from .help import OpsContext

if TYPE_CHECKING:
    from flask import Flask

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
def application(*, web: bool = False) -> Iterator[None]:
    """The app that `flask` was told about, without its web floor unless asked, with a context.

    When the work is done and printed, its mail is sent, and who listens is told.
    """
    from flask.cli import NoAppException, ScriptInfo

    from ..extensions import db, end_session
    from ..factory import EXTENSION, without_web

    started = time.perf_counter()
    ctx = click.get_current_context()
    info = ctx.ensure_object(ScriptInfo)
    try:
        with nullcontext() if web else without_web():
            app = info.load_app()
            if web and not app.extensions[EXTENSION].has_web:
                # It was loaded without its pages, to ask whose application it is.
                info._loaded_app = None  # noqa: SLF001  (Flask has no other way to load it anew)
                app = info.load_app()
            app.extensions[EXTENSION].check(app)
    except NoAppException as error:
        # Flask's own advice says how, and not which.
        hint = None if info.app_import_path else "FLASK_APP=opsapp, or the one built on it"
        raise NotReady(f"the application cannot be loaded: {error.message}", hint=hint) from error
    begin_with_known_signals()  # The application may have ignored some as well.
    _listen_to_log(app)
    with app.app_context():
        code, recorded = 1, _record(app, command_words(ctx))
        try:
            yield
            code = ctx.meta.get("opsapp.findings") or DONE
        except BaseException as error:
            code = code_of(error)
            raise
        finally:
            _send_mail()
            _tell(app, ctx, code, time.perf_counter() - started)
            # At exit nobody would close the connection, and SQLite's WAL would stay behind.
            end_session()
            recorded(code)
            for engine in db.engines.values():
                engine.dispose()


def _record(app: Flask, words: str) -> Callable[[int], None]:
    """Begin to record the command for `flask profile`; what ends it takes the exit code."""
    from ..profiling import recorder_of

    recorder = recorder_of(app)
    if recorder is None:
        return lambda _code: None
    recording = recorder.begin(words)
    return lambda code: recorder.end(recording, code)


def command_words(ctx: click.Context) -> str:
    """``users list``, however `flask` itself was started."""
    words: list[str] = []
    while ctx.parent is not None:
        words.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return " ".join(words)


class _Remarks(logging.Handler):
    """What opsapp logs while a command runs, a line each; tracebacks go to the error log."""

    def emit(self, record: logging.LogRecord) -> None:
        from .error_log import write

        error = record.exc_info[1] if record.exc_info else None
        number = f" (error {write(error)[0]})" if isinstance(error, Exception) else ""
        say(f"Warning: {record.getMessage()}{number}")


def _listen_to_log(app: Flask) -> None:
    """Say what is logged, unless the application has decided where its log goes.

    What a driver logs of a connection that broke comes beside an error that we report.
    """
    for name in ("sqlalchemy", "psycopg"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    for name in {"opsapp", app.import_name}:
        log = logging.getLogger(name)
        if not log.hasHandlers():
            log.addHandler(_Remarks(logging.WARNING))


def _send_mail() -> None:
    """Try the mail that the command wrote, now that its answer is out."""
    if "opsapp.mail.outbox" not in sys.modules:
        return
    from ..mail import outbox

    ids = outbox.take_kept()
    if ids and (left := outbox.send(ids)):
        say(f"{outbox.in_words(left)}: flask mail send-pending.")


def _tell(app: Flask, ctx: click.Context, code: int, seconds: float) -> None:
    from .. import signals
    from ..actors import at_terminal

    unit = current_unit()
    signals.announce(
        signals.command_finished,
        app,
        actor=unit.actor if unit else at_terminal(),
        command=command_words(ctx),
        exit_code=code,
        seconds=seconds,
        changed=unit is not None and unit.committed,
    )
