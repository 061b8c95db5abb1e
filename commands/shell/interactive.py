"""The IPython console: every input is on record before it runs, no transaction open after it."""

from __future__ import annotations

import asyncio
import atexit
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

from IPython.core.profiledir import ProfileDir, ProfileDirError
from IPython.terminal.interactiveshell import TerminalInteractiveShell
from prompt_toolkit.application import Application, get_app
from prompt_toolkit.history import InMemoryHistory
from traitlets import Unicode
from traitlets.config import Config

from opsapp import settings, text
from opsapp.cli.messages import say
from opsapp.cli.process_signals import Stopped
from opsapp.console.lifecycle import Console
from opsapp.console.preferences import COLOURS, Preferences
from opsapp.profiling.record.recording import waiting
from opsapp.settings import config

from . import help_pager, prompts
from .banner import banner, name_of_application, paint
from .history import MEMORY, History
from .recorded import Recorded, furnish


class Idle(EOFError):
    """No key was pressed for as long as the setting allows."""


class OpsShell(Recorded, TerminalInteractiveShell):
    """IPython with every input on record."""

    prompts_class = prompts.ModePrompts
    displayhook_class = prompts.BareDisplayHook
    prompt_words = Unicode()
    idle_seconds = 0.0
    stopped: int | None = None
    """The number of the signal that asked to stop."""
    _heard: Any = None

    def _settle(self) -> None:
        super()._settle()
        if self.stopped is not None:
            self.ask_exit()

    @property
    def debugger_cls(self) -> type[Any]:
        """The debugger, which is slow to import."""
        from .debugger import Debugger

        return super().debugger_cls if self.simple_prompt else Debugger

    def init_history(self) -> None:
        """Start the console also without a usable history."""
        self.history_manager = History(shell=self, parent=self)
        self.configurables.append(self.history_manager)  # type: ignore[arg-type]

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
                pause = text.pluralize(self.idle_seconds / 60, "minute")
                say(f"No key for {pause}: rolled back, session closed.")
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
    console: Console,
    preferred: Preferences,
    *,
    history: bool,
    idle_seconds: float,
    show_banner: bool,
) -> None:
    """Run the console until the user leaves.

    :raises Stopped: a signal ended it.
    """
    environment = settings.get("OPSAPP_ENV")
    name = name_of_application()
    shell = _shell(console, name, environment, history=history, preferred=preferred)
    shell.idle_seconds = idle_seconds
    if show_banner:
        sys.stderr.write(paint(banner(console, name, environment)) + "\n")
        sys.stderr.flush()
    with _signals(shell), help_pager.of_python():
        shell.mainloop()
    if shell.stopped is not None:
        raise Stopped(shell.stopped)


def _shell(
    console: Console,
    name: str,
    environment: str,
    *,
    history: bool,
    preferred: Preferences | None = None,
) -> OpsShell:
    preferred = preferred or Preferences()
    profile = _profile()
    folder = Path(profile.location).parent
    OpsShell.clear_instance()
    shell = OpsShell.instance(
        config=_config(folder, environment, preferred, history=history and preferred.history > 0),
        user_ns=console.names.namespace(),
        ipython_dir=str(folder),
        profile_dir=profile,
        prompt_words=prompts.words(name, environment, console.session.mode),
    )
    # IPython's is a file in the user's home.
    shell.debugger_history = InMemoryHistory()  # type: ignore[assignment]
    shell.set_hook("show_in_pager", help_pager.of_ipython)
    furnish(shell, console, environment)
    return shell


def _config(folder: Path, environment: str, preferred: Preferences, *, history: bool) -> Config:
    """Return the console's settings; configuration files are not read, since they are code."""
    settings = Config()
    settings.HistoryManager.enabled = history
    settings.HistoryManager.hist_file = str(folder / "history.sqlite") if history else MEMORY
    settings.OpsShell.confirm_exit = False
    settings.OpsShell.term_title = False
    settings.OpsShell.separate_in = ""
    colours = "none" if os.environ.get("NO_COLOR") else preferred.colours
    settings.OpsShell.colors = COLOURS[colours]
    settings.OpsShell.editing_mode = preferred.editing
    settings.OpsShell.history_load_length = max(preferred.history, 1)
    settings.History.most = max(preferred.history, 1)
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
