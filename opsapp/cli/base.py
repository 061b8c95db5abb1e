"""The group and the command class, and the application that a command runs in.

This module imports neither Flask nor SQLAlchemy before a command runs, so that
help and completion stay quick.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import click

from .. import text
from ..errors import DONE, Invalid, NotReady, OpsError
from .confirm import approve as approve  # Applications take it from here.
from .errors import code_of, current_unit, report_errors
from .help import OpsContext, is_in_ops
from .messages import say
from .process_signals import reset_signals

if TYPE_CHECKING:
    from flask import Flask

MAY_BE_EMPTY = frozenset({"username", "description"})
"""The options whose empty value has a meaning: remove the value."""


class OpsCommand(click.Command):
    """A command that reports errors as one line and an exit code."""

    context_class = OpsContext

    def make_parser(self, ctx: click.Context) -> Any:
        """Return click's parser, which refuses a second value for one option."""
        return _each_once(super().make_parser(ctx), ctx)

    def invoke(self, ctx: click.Context) -> Any:
        with report_errors():
            for param in self.params:
                if not getattr(param.type, "takes_anything", False):
                    _refuse_hostile(param, ctx.params.get(param.name or ""))
            return super().invoke(ctx)


def _refuse_hostile(param: click.Parameter, value: object) -> None:
    """Refuse hostile characters, and empty values, such as a variable that a script did not set.

    :raises Invalid: names the argument, and the position of the character.
    """
    for word in value if isinstance(value, tuple) else (value,):
        if isinstance(word, str) and not (word == "" and param.name in MAY_BE_EMPTY):
            name = param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name
            text.validate(word, name, longest=sys.maxsize)


def _each_once(parser: Any, ctx: click.Context) -> Any:
    """Let a parser refuse a second value for an option that holds one.

    Click would take the last one silently, and half of what the user typed would be ignored.
    """
    parse = parser.parse_args

    def parse_once(args: list[str]) -> Any:
        opts, rest, order = parse(args)
        for param in () if ctx.resilient_parsing else order:
            if order.count(param) > 1 and _holds_one(param):
                raise click.UsageError(
                    f"{param.opts[-1]} was given twice, and takes one value", ctx
                )
            if other := next((p for p in order if p.name == param.name and p != param), None):
                message = f"{param.opts[-1]} and {other.opts[-1]} say different things; give one"
                raise click.UsageError(message, ctx)
        return opts, rest, order

    parser.parse_args = parse_once
    return parser


def _holds_one(param: click.Parameter) -> bool:
    is_switch = isinstance(param, click.Option) and (param.is_flag or param.count)
    # A switch that is repeated says the same again, unless it has an opposite.
    return (
        isinstance(param, click.Option)
        and not param.multiple
        and (not is_switch or bool(param.secondary_opts))
    )


class OpsGroup(click.Group):
    """A group whose commands report errors as one line and an exit code."""

    command_class = OpsCommand
    context_class = OpsContext

    def make_parser(self, ctx: click.Context) -> Any:
        """Return click's parser, which refuses a second value for one option."""
        return _each_once(super().make_parser(ctx), ctx)

    def invoke(self, ctx: click.Context) -> Any:
        with report_errors():
            return super().invoke(ctx)


@contextmanager
def application(*, web: bool = False) -> Iterator[None]:
    """Load the application of `flask`, and push its context.

    At the end, send the mail of the command and the signal ``command_finished``.

    :param web: load it with its pages and API.
    :raises NotReady: the application cannot be loaded.
    """
    from ..extensions import db, end_session

    start = time.perf_counter()
    ctx = click.get_current_context()
    app = _load_app(ctx, web=web)
    reset_signals()  # The application may have ignored some as well.
    _Remarks.ctx = ctx
    _listen_to_log(app)
    with _without_steps(), app.app_context(), _attach(app):
        code, recorded = 1, _record(app, command_words(ctx))
        try:
            yield
            code = ctx.meta.get("opsapp.findings") or DONE
        except BaseException as error:
            code = code_of(error)
            raise
        finally:
            _send_mail(app)
            _announce(app, ctx, code, time.perf_counter() - start)
            # An open connection at exit would leave SQLite's WAL file.
            end_session()
            recorded(code)
            for engine in db.engines.values():
                engine.dispose()


@contextmanager
def _without_steps() -> Iterator[None]:
    """Keep Alembic from logging its steps, which a command of ours says itself.

    An application that logs at INFO would print them, and those of its import.
    """
    logger = logging.getLogger("alembic")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def _load_app(ctx: click.Context, *, web: bool) -> Flask:
    """Return the application.

    :raises NotReady: it cannot be loaded, or has no database that opsapp knows.
    :raises Invalid: it is built on opsapp, and the command is one of ``flask ops``.
    """
    from flask.cli import NoAppException, ScriptInfo

    from ..factory import without_web
    from ..state import EXTENSION, is_built_on

    info = ctx.ensure_object(ScriptInfo)
    try:
        with nullcontext() if web else without_web():
            app = info.load_app()
            if web and is_built_on(app) and not app.extensions[EXTENSION].has_web:
                # It was loaded without its pages, to ask whose application it is.
                info._loaded_app = None  # noqa: SLF001  (Flask has no other way to load it anew)
                app = info.load_app()
    except NoAppException as error:
        if (cause := _import_error(error)) is not None:
            raise _load_failure(cause) from cause
        # Flask explains the option, but names no application.
        hint = None if info.app_import_path else "FLASK_APP=opsapp, or the one built on it"
        raise NotReady(f"the application cannot be loaded: {error.message}", hint=hint) from error
    except Exception as error:
        if _is_explained(error):
            raise
        raise _load_failure(error) from error
    if is_built_on(app):
        if is_in_ops(ctx):
            raise Invalid(
                "this application is built on opsapp", hint="the same command without ops"
            )
        app.extensions[EXTENSION].check(app)
    return app


def _import_error(error: BaseException) -> ImportError | None:
    """Return what failed below the import of an application, whose whole traceback Flask quotes.

    The error of a module that is not there has only the line of Flask's own import.
    """
    cause = error.__context__
    if isinstance(cause, ImportError) and len(extract_tb(cause.__traceback__)) > 1:
        return cause
    return None


def _load_failure(error: Exception) -> NotReady:
    where = extract_tb(error.__traceback__)[-1]
    return NotReady(
        f"the application cannot be loaded: {type(error).__name__}: {text.first_line(error)}",
        hint=f"{where.filename}, line {where.lineno}; flask routes shows the traceback",
    )


def _is_explained(error: Exception) -> bool:
    """Return whether an error has its words wherever it comes from."""
    from ..engine.conditions import translate_error

    is_known = isinstance(error, OpsError | OSError | click.ClickException)
    return is_known or translate_error(error) is not None


def _attach(app: Flask) -> AbstractContextManager[None]:
    """Attach opsapp for this process to an application that is not built on it.

    :raises NotReady: it has no database that opsapp knows.
    """
    from ..state import attachment_of, is_built_on

    if is_built_on(app):
        return nullcontext()
    from ..ops.attached import attach
    from ..ops.sessions import sessions_of

    attached = attachment_of(app)
    if attached is None:
        sessions = sessions_of(app)
        if sessions is None:
            raise NotReady(
                "this application has no Flask-SQLAlchemy that opsapp knows",
                hint="Ops(app, session=…, engine=…) in its code: docs/attaching.md",
            )
        attached = attach(app, sessions, {}, is_in_code=False)
    command: AbstractContextManager[None] = attached.as_command()
    return command


def _record(app: Flask, words: str) -> Callable[[int], None]:
    """Record the command for `flask profile`; return the function that ends the recording.

    A kernel is not a command: it waits for its user most of the time.
    """
    from ..profiling import recorder_of

    recorder = recorder_of(app)
    if recorder is None or not words:
        return lambda _code: None
    recording = recorder.begin(words)
    return lambda code: recorder.end(recording, code)


def command_words(ctx: click.Context) -> str:
    """Return the command's words, such as ``users list``, without the program's name."""
    words: list[str] = []
    while ctx.parent is not None:
        words.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return " ".join(words)


class _Remarks(logging.Handler):
    """A handler that prints each log message as a line; tracebacks go to the error log."""

    ctx: click.Context | None = None
    """The context of the running command, which its other threads do not have."""

    def emit(self, record: logging.LogRecord) -> None:
        from .error_log import write

        error = record.exc_info[1] if record.exc_info else None
        number = f" (error {write(error)[0]})" if isinstance(error, Exception) else ""
        with self.ctx.scope(cleanup=False) if self.ctx else nullcontext():
            say(f"Warning: {record.getMessage()}{number}")


def _listen_to_log(app: Flask) -> None:
    """Print warnings, unless the application has configured its own log.

    Drivers also log a broken connection, which we report as an error.
    """
    for name in ("sqlalchemy", "psycopg"):
        logging.getLogger(name).addHandler(logging.NullHandler())
    for name in {"opsapp", app.import_name}:
        log = logging.getLogger(name)
        if not log.hasHandlers():
            log.addHandler(_Remarks(logging.WARNING))


def _send_mail(app: Flask) -> None:
    """Send the mail that the command wrote, after its answer, and that of its requests."""
    if "opsapp.mail.outbox" not in sys.modules:
        return
    from ..mail import outbox

    ids = outbox.take_kept()
    if ids and (pending := outbox.send(ids)):
        say(f"{outbox.in_words(pending)}: flask mail send-pending.")
    outbox.wait_for_thread(app)


def _announce(app: Flask, ctx: click.Context, code: int, seconds: float) -> None:
    """Send the signal ``command_finished``."""
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
        changed=unit is not None and unit.seq is not None,
    )
