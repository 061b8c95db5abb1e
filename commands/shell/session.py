"""`flask shell`: a Python console with the application, every input on record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opsapp import text, textfiles
from opsapp.cli.base import OpsCommand, application
from opsapp.cli.confirm import approve, ask, is_interactive
from opsapp.cli.decorators import CONFIRM, REASON, remark_on_audit
from opsapp.cli.messages import say
from opsapp.cli.options import PROGRAM, stdin_text, validate_utf8, with_options
from opsapp.cli.process_signals import Stopped
from opsapp.errors import DONE, Invalid, NotFound, Refused
from opsapp.text import truncate

if TYPE_CHECKING:
    from flask import Flask

    from opsapp.console.lifecycle import Console
    from opsapp.console.modes import Mode
    from opsapp.console.preferences import Preferences


@click.command(
    "shell",
    cls=OpsCommand,
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option(
    "--read-only", "mode", flag_value="read-only", help="The database refuses every change."
)
@click.option(
    "--sandbox", "mode", flag_value="sandbox", help="Changes work, and are discarded at the end."
)
@click.option("--write", "mode", flag_value="write", help="Committed changes stay.")
@click.option("-c", "code", metavar="CODE", type=PROGRAM, help="Run this code and exit.")
@click.option("--web", is_flag=True, help="Load pages and API too: client, url_for, routes.")
@click.option("--plain", is_flag=True, help="Use Python's console, as Flask's own shell does.")
@click.option("--no-history", is_flag=True, help="Do not save a history of the inputs.")
@click.option("--no-banner", is_flag=True, help="Start with the prompt.")
@click.argument("words", metavar="[FILE] [ARGS]...", nargs=-1, type=PROGRAM)
@with_options(REASON, CONFIRM)
def cli(
    mode: str | None,
    code: str | None,
    web: bool,
    plain: bool,
    no_history: bool,
    no_banner: bool,
    words: tuple[str, ...],
    reason: str | None,
    confirm: str | None,
) -> None:
    """Start a Python shell with the application.

    It has app, db, every model, the services and some shortcuts; %names lists them.
    Production is opened read-only without --sandbox or --write. Every input is
    recorded before it runs. With -c, a FILE or piped input it runs that code instead.
    A program exits 1 if it fails, ends without commit() or rollback(), or closes a
    session, connection or context before a commit.

    \b
    Examples:
      flask shell
      flask shell --sandbox
      flask shell -c 'print(U("ada@example.com").id)'
    """
    session_mode = mode_of(mode)
    program = _program(code, words)
    reason = require_approval(session_mode, reason)
    with _own_path(), application(web=web):
        remark_on_audit()
        talk = _plain if plain else partial(_ipython, not no_history)
        _run(session_mode, program, reason, partial(_talk, talk, not no_banner))


Program = tuple[str, str, tuple[str, ...]]
"""Code, its name, and its arguments."""


def mode_of(name: str | None) -> Mode:
    """Return the mode of this name, else the default of the environment."""
    from opsapp.console.modes import Mode, default
    from opsapp.settings.config import environment

    return Mode(name) if name else default(environment())


def _program(code: str | None, words: tuple[str, ...]) -> Program | None:
    """Return the program to run; None for a user at the terminal."""
    if code is not None:
        return validate_utf8(code, "-c"), "-c", words
    if words and words[0] != "-":
        return _text_of(words[0]), words[0], words[1:]
    if words or not is_interactive():
        return stdin_text(), "-", words[1:]
    return None


def _text_of(name: str) -> str:
    import io
    import tokenize

    try:
        data = textfiles.read_bytes(name, pipe=True)
        encoding, _lines = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except FileNotFoundError:
        raise NotFound(f"there is no file {truncate(name)}") from None
    except textfiles.NotText as error:
        raise Invalid(f"{truncate(name)} {error}") from error
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        raise Invalid(f"{truncate(name)} cannot be read: {error}") from error


def require_approval(mode: Mode, reason: str | None) -> str | None:
    """Return the reason, once the user has agreed to write to production.

    :raises Refused: the user has not, or there is no reason.
    """
    from opsapp.console.modes import Mode
    from opsapp.settings.config import PRODUCTION, environment

    if mode is not Mode.WRITE or environment() != PRODUCTION:
        return reason
    if not reason:
        if not is_interactive():
            raise Refused("writing to production needs a reason", hint="repeat it with --reason")
        reason = ask("Why do you write to production?")
    approve("Commits are kept.", severe=True)
    return reason


def idle_seconds() -> float:
    """Return the seconds without a key after which the console ends; 0 is never.

    :raises NotReady: ``OPSAPP_SHELL_IDLE`` is not a number of minutes.
    """
    from opsapp import settings

    return float(settings.get("OPSAPP_SHELL_IDLE")) * 60


@contextmanager
def _own_path() -> Iterator[None]:
    """Import nothing from the current folder while the application is loaded."""
    from flask.cli import ScriptInfo

    before = list(sys.path)
    info = click.get_current_context().ensure_object(ScriptInfo)
    if info.create_app is None and info.app_import_path in ("opsapp", "opsapp:create_app"):
        # Flask would put the current folder first in the path, to look for it there.
        from opsapp import create_app

        info.create_app = create_app
    _leave_out_of_path(str(Path.cwd()))
    try:
        yield
    finally:
        sys.path[:] = before


def _leave_out_of_path(folder: str) -> None:
    sys.path[:] = [path for path in sys.path if path not in ("", folder)]


def _last_in_path(import_name: str) -> None:
    """Let an application of the current folder find its modules, and shadow no other ones."""
    here = str(Path.cwd())
    module = sys.modules.get(import_name.partition(".")[0])
    home = str(Path(getattr(module, "__file__", None) or "/").resolve())
    _leave_out_of_path(here)
    if home.startswith(here + "/"):
        sys.path.append(here)


Talk = Callable[["Console", float], None]
"""A dialogue with a user, who may be idle for so many seconds."""
Start = Callable[..., None]
"""A dialogue that also takes the preferences, and whether it shows the banner."""


def _run(mode: Mode, program: Program | None, reason: str | None, talk: Talk) -> None:
    from flask import current_app

    _last_in_path(current_app.import_name)
    idle = idle_seconds()
    by = {None: "terminal", "-c": "code", "-": "stdin"}.get(program and program[1], "file")
    with ExitStack() as afterwards:
        try:
            with open_session(mode, reason, by=by, afterwards=afterwards) as console:
                code = _program_or(talk, console, program, idle)
        except Stopped as stopped:
            stopped.is_reported = True
            say(f"Stopped by {stopped.name}; uncommitted changes are rolled back.")
            raise
    if code:
        click.get_current_context().exit(code)


@contextmanager
def open_session(
    mode: Mode, reason: str | None, *, by: str, afterwards: ExitStack
) -> Iterator[Console]:
    """Open a session of the application, and close it at the end.

    :param afterwards: gets the remarks for after the end.
    """
    from opsapp.actors import at_terminal
    from opsapp.console.lifecycle import open_console
    from opsapp.extensions import this_app

    app, idle = this_app(), idle_seconds()
    with (
        _names(app) as names,
        open_console(
            app, at_terminal(), mode, reason=reason, by=by, idle_seconds=idle, more=names
        ) as console,
    ):
        if mode.value == "sandbox":
            afterwards.callback(_say_discarded, console)
        yield console


@contextmanager
def _names(app: Flask) -> Iterator[dict[str, Any]]:
    """Yield the names that the options ask for.

    :raises Invalid: the application has no pages to load.
    """
    from opsapp.state import has_pages

    from .display import sql

    names: dict[str, Any] = {"sql": (sql, 'sql("select …", name=value): all rows')}
    if not click.get_current_context().params["web"]:
        yield names
        return
    if not has_pages(app):
        hint = "app.test_client() sends requests, and app.url_map has the routes"
        raise Invalid("--web: the application has no pages of opsapp", hint=hint)
    from opsapp.console import web_client

    with web_client.names(app) as of_web:
        yield {**names, **of_web}


def _program_or(talk: Talk, console: Console, program: Program | None, idle: float) -> int:
    if program is None:
        talk(console, idle)
        return DONE
    from .scripts import run

    return run(console, *program)


def _talk(start: Start, show_banner: bool, console: Console, idle: float) -> None:
    """Start a console as ``console.toml`` says.

    :raises NotReady: it cannot be used.
    """
    from opsapp.console import preferences

    preferred = preferences.read()
    for name, value, path in preferred.objects():
        if isinstance(value, Exception):
            why = f"{type(value).__name__}: {text.first_line(value)}"
            say(f"Warning: {preferences.NAME}: {name} is not bound ({path}: {why})")
        else:
            console.names.add(name, value, path, f"From {preferences.NAME}")
    start(console, preferred, idle_seconds=idle, show_banner=show_banner and preferred.banner)


def _ipython(history: bool, console: Console, preferred: Preferences, **options: Any) -> None:
    from .interactive import start

    start(console, preferred, history=history, **options)


def _plain(console: Console, preferred: Preferences, **options: Any) -> None:
    from .plain import start

    start(console, preferred, **options)


def _say_discarded(console: Console) -> None:
    """List the changes that the sandbox has discarded, on stderr."""
    from opsapp.cli.cells import human

    changes, rows = console.would_have()
    if not changes and not rows:
        say("Sandbox: nothing would have changed.")
        return
    say("Sandbox: nothing was saved. It would have been:")
    for change in changes:
        sides = " → ".join(human(change[side]) for side in ("before", "after") if change[side])
        say(f"  {change['action']} {change['subject']}: {sides}")
    for row in rows:
        say(f"  {row['table']}: {row['rows']}")
