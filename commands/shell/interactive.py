"""The IPython console: every input is on record before it runs, no transaction open after it."""

from __future__ import annotations

import asyncio
import atexit
import linecache
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

from flask import current_app
from IPython.core.compilerop import CachingCompiler
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult
from IPython.core.profiledir import ProfileDir, ProfileDirError
from IPython.terminal.interactiveshell import TerminalInteractiveShell
from prompt_toolkit.application import Application, get_app
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from traitlets import Any as AnyTrait
from traitlets import Unicode
from traitlets.config import Config

from opsapp import config, settings, text
from opsapp.cli.messages import say
from opsapp.cli.stopping import Stopped
from opsapp.config import DEVELOPMENT
from opsapp.console import interrupts, readonly, tracebacks
from opsapp.console.lifecycle import Console
from opsapp.errors import OpsError
from opsapp.extensions import Model
from opsapp.profiling.record.recording import waiting

from . import completions, display, formatters, prompts
from .banner import banner, painted
from .history import MEMORY, History
from .magics import ConsoleMagics
from .sql_magics import SqlMagics


class Idle(EOFError):
    """No key was pressed for as long as the setting allows."""


class InputCompiler(CachingCompiler):
    """A compiler whose inputs have their first line as name, as the prompt has no number."""

    def format_code_name(self, name: str) -> tuple[str, str] | None:
        """Return the words of a traceback for the file ``name``; None for a real file."""
        if name not in self._filename_map:
            return None
        first = linecache.getline(name, 1).strip()
        return "Input", repr(text.safe(first if len(first) <= 40 else f"{first[:39]}…"))


class OpsShell(TerminalInteractiveShell):
    """IPython with every input on record."""

    prompts_class = prompts.ModePrompts
    displayhook_class = prompts.BareDisplayHook
    compiler_class = InputCompiler
    prompt_words = Unicode()
    console: Any = AnyTrait()
    idle_seconds = 0.0
    stopped: int | None = None
    """The number of the signal that asked to stop."""
    _depth = 0
    _heard: Any = None

    async def run_cell_async(self, raw_cell: str, *args: Any, **options: Any) -> ExecutionResult:
        """Run an input; each goes through here, also a silent one."""
        if not raw_cell or raw_cell.isspace():
            return await super().run_cell_async(raw_cell, *args, **options)
        try:
            self._record(raw_cell)
        except OpsError as error:
            return self._not_run(raw_cell, error)
        self._depth += 1
        try:
            return await super().run_cell_async(raw_cell, *args, **options)
        finally:
            self._depth -= 1
            if not self._depth:
                self._settle()

    def init_history(self) -> None:
        """Start the console also without a usable history."""
        self.history_manager = History(shell=self, parent=self)
        self.configurables.append(self.history_manager)  # type: ignore[arg-type]

    def _inspect(self, meth: str, oname: str, *where: Any, **how: Any) -> Any:
        """Show the columns of a model for ``User?``, and anything else as IPython does."""
        model = self.user_ns.get(oname)
        if meth == "pinfo" and isinstance(model, type) and issubclass(model, Model):
            print(display.columns_table(model))  # noqa: T201
            return None
        return super()._inspect(meth, oname, *where, **how)

    def _record(self, code: str) -> None:
        if self._depth:
            self.console.nested(code)
        else:
            self.console.before(code)

    def _format_exception_for_storage(self, exception: BaseException, *_how: Any) -> dict[str, Any]:
        """Keep no traceback for ``%notebook``: IPython colours each anew, which takes seconds."""
        return {"ename": type(exception).__name__, "evalue": str(exception), "traceback": []}

    def _not_run(self, code: str, error: OpsError) -> ExecutionResult:
        say(f"Error: {error.message}")
        result = ExecutionResult(ExecutionInfo(code, False, True, False, None, None))
        result.error_before_exec = error
        self.console.ended = "unrecordable"
        self.ask_exit()
        return result

    def _settle(self) -> None:
        try:
            for remark in self.console.after().remarks(may_commit=self.console.may_commit):
                say(remark)
        except Exception as error:  # noqa: BLE001  (the database is away; the console stays)
            say(f"The transaction could not be ended: {error}")
        if self.stopped is not None:
            self.ask_exit()

    def _extra_prompt_options(self) -> dict[str, Any]:
        options = super()._extra_prompt_options()
        return {**options, "pre_run": self._count_idleness} if self.idle_seconds else options

    def _count_idleness(self) -> None:
        """Leave the prompt when no key was pressed for long enough."""
        app, loop = get_app(), asyncio.get_running_loop()
        timer = [loop.call_later(self.idle_seconds, _leave, app, Idle())]

        def start_again(_sender: Any) -> None:
            timer[0].cancel()
            timer[0] = loop.call_later(self.idle_seconds, _leave, app, Idle())

        pressed = app.key_processor.before_key_press
        if self._heard is not None:
            pressed.remove_handler(self._heard)  # The prompt before had a loop of its own.
        pressed.add_handler(start_again)
        self._heard = start_again

    def stop(self, number: int, _frame: FrameType | None) -> None:
        """Stop because of a signal.

        :raises Stopped: unless the prompt is there, which then ends with it. An error that is
            raised inside of an event loop may break a task for which the loop waits.
        """
        is_first, self.stopped = self.stopped is None, number
        app = self.pt_app.app if self.pt_app else None
        if is_first and app and app.loop:
            app.loop.call_soon_threadsafe(_leave, app, Stopped(number))
        else:
            raise Stopped(number)

    def interact(self) -> None:
        """Prompt and run until the user leaves or is idle for too long."""
        ask = self.prompt_for_code

        def ask_and_notice() -> str:
            try:
                simply = self.simple_prompt and self.idle_seconds
                with waiting():  # The time of a user is not the time of the command.
                    answer = self._ask_simply(ask) if simply else str(ask())
            except Idle:
                self.console.ended = "idle"
                sys.stderr.write("\n")
                say(f"No key for {self.idle_seconds / 60:g} minutes: rolled back, session closed.")
                raise
            if self.stopped is not None:
                raise Stopped(self.stopped)  # It came too late for the prompt, and before the run.
            return answer

        self.prompt_for_code = ask_and_notice  # type: ignore[method-assign]
        super().interact()

    def _ask_simply(self, ask: Callable[[], str]) -> str:
        """Prompt and wait for a line, no longer than allowed; ``input()`` would wait on."""
        sys.stdout.write(self.prompt_words)
        sys.stdout.flush()
        if not select.select([sys.stdin], [], [], self.idle_seconds)[0]:
            raise Idle
        words, self.prompt_words = self.prompt_words, ""
        try:
            return str(ask())
        finally:
            self.prompt_words = words


def _leave(prompt: Application[Any], error: BaseException) -> None:
    if prompt.is_running and not prompt.is_done:
        prompt.exit(exception=error)


def start(
    console: Console, *, history: bool, idle_seconds: float, show_banner: bool = True
) -> None:
    """Run the console until the user leaves.

    :raises Stopped: a signal ended it.
    """
    environment = settings.get("OPSAPP_ENV")
    name = _name()
    shell = _shell(console, name, environment, history=history)
    shell.idle_seconds = idle_seconds
    if show_banner:
        sys.stderr.write(painted(banner(console, name, environment)) + "\n")
        sys.stderr.flush()
    with _signals(shell):
        shell.mainloop()
    if shell.stopped is not None:
        raise Stopped(shell.stopped)


def _name() -> str:
    """Return the name that ``OPSAPP_NAME`` gives, else that of the application's package."""
    name = str(settings.get("OPSAPP_NAME"))
    return name if name != "opsapp" else current_app.import_name.rpartition(".")[2]


def _shell(console: Console, name: str, environment: str, *, history: bool) -> OpsShell:
    profile = _profile()
    folder = Path(profile.location).parent
    OpsShell.clear_instance()
    shell = OpsShell.instance(
        config=_config(folder, environment, history=history),
        user_ns=console.names.namespace(),
        ipython_dir=str(folder),
        profile_dir=profile,
        console=console,
        prompt_words=prompts.words(name, environment, console.session.mode),
    )
    formatter: Any = shell.display_formatter
    formatters.teach(formatter.formatters["text/plain"])
    shell.set_custom_exc((OpsError, SQLAlchemyError, KeyboardInterrupt), _show_condition)
    shell.register_magics(ConsoleMagics(shell), SqlMagics(shell))
    completions.teach(shell)
    if environment == DEVELOPMENT:
        _reload(shell)
    return shell


def _config(folder: Path, environment: str, *, history: bool) -> Config:
    """Return the console's settings; configuration files are not read, since they are code."""
    settings = Config()
    settings.HistoryManager.enabled = history
    settings.HistoryManager.hist_file = str(folder / "history.sqlite") if history else MEMORY
    settings.OpsShell.confirm_exit = False
    settings.OpsShell.term_title = False
    settings.OpsShell.separate_in = ""
    settings.OpsShell.colors = "nocolor" if os.environ.get("NO_COLOR") else "neutral"
    settings.OpsShell.highlighting_style_overrides = prompts.style(environment)
    # prompt_toolkit has no idle limit for such a terminal; select() before input() has one.
    settings.OpsShell.simple_prompt = os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return settings


def _profile() -> ProfileDir:
    """Return the folder of IPython and the history, or else one that ends with this process."""
    folder = config.instance_folder() / "shell"
    try:
        return _profile_in(folder)
    except (OSError, ProfileDirError) as error:
        reason = text.reason(error)
        say(f"Warning: {folder} cannot be used ({reason}); the history ends with this session.")
        temporary = TemporaryDirectory(prefix="opsapp-shell-", ignore_cleanup_errors=True)
        atexit.register(temporary.cleanup)
        return _profile_in(Path(temporary.name))


def _profile_in(folder: Path) -> ProfileDir:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    profile: ProfileDir = ProfileDir.create_profile_dir_by_name(str(folder), "default")
    # IPython's copy is readable by every user, which `flask doctor` reports.
    (Path(profile.location) / "startup" / "README").chmod(0o600)
    return profile


def _show_condition(
    shell: Any, kind: Any, error: Any, trace: Any, tb_offset: Any = None
) -> list[str]:
    """Show a condition of ours or of the database as a line; ``%tb`` shows its traceback."""
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    if interrupts.is_interruption(error):
        say("Interrupted; %tb shows where.")
    elif isinstance(error, OpsError):
        _say_error(error, error.message, error.hint)
    elif isinstance(error, DBAPIError):
        is_refused = not shell.console.may_commit and readonly.is_refused_write(error)
        hint = f"this session is read-only: {readonly.OTHER_MODES}" if is_refused else None
        _say_error(error, text.first_line(error.orig or error), hint or _statement(error))
    else:
        for line in tracebacks.of_application(error).split("\n"):
            say(line)
        error.with_traceback(trace)  # For %tb.
        say("  → %tb shows the frames of the libraries")
    return []


def _say_error(error: Exception, message: str, hint: str | None) -> None:
    say(f"{type(error).__name__}: {message}")
    if hint:
        say(f"  → {hint}")


def _statement(error: DBAPIError) -> str | None:
    statement = " ".join((error.statement or "").split())
    return f"it was: {statement[:200]}" if statement else None


def _reload(shell: OpsShell) -> None:
    """Reload the modules that the developer edits, except models: a table is mapped once."""
    shell.run_line_magic("load_ext", "autoreload")
    shell.run_line_magic("autoreload", "2")
    reloader = shell.magics_manager.registry["AutoreloadMagics"]._reloader  # noqa: SLF001
    for module in {mapper.class_.__module__ for mapper in Model.registry.mappers}:
        reloader.mark_module_skipped(module)


@contextmanager
def _signals(shell: OpsShell) -> Iterator[None]:
    """Ctrl-C interrupts the input; the other signals to stop end the session in order."""
    handlers = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: shell.stop,
        signal.SIGHUP: shell.stop,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
