"""`%load_ext opsapp`: the console in a Jupyter kernel, or in an IPython that was started by hand.

A kernel runs each input as a task of its own, with the context variables that it had at
its start. So the session is opened in a context of its own, and each input gets the
variables that this has set.
"""

from __future__ import annotations

import atexit
import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import Context, ContextVar, Token, copy_context
from typing import Any

import click
from flask.cli import ScriptInfo, load_dotenv
from IPython.core.completer import CompletionContext, SimpleMatcherResult
from IPython.core.interactiveshell import ExecutionResult
from IPython.core.magic import Magics, line_magic, magics_class

from opsapp import settings
from opsapp.cli.base import application
from opsapp.cli.decorators import remark_on_audit
from opsapp.cli.messages import say
from opsapp.console.lifecycle import Console
from opsapp.console.modes import Mode
from opsapp.errors import Invalid, OpsError, Refused
from opsapp.extensions import this_app

from . import completions, conditions, session
from .banner import banner, name_of_application, paint
from .magics import ConsoleMagics
from .recorded import InputCompiler, Recorded, furnish
from .sql_magics import SqlMagics


class Kernel(Recorded):
    """A shell of another program, with every input on record while the extension is loaded."""

    held: Held

    async def run_cell_async(self, raw_cell: str, *args: Any, **options: Any) -> ExecutionResult:
        """Run an input in the context of the session."""
        with self.held.inside():
            return await super().run_cell_async(raw_cell, *args, **options)

    def user_expressions(self, expressions: dict[str, str]) -> dict[str, Any]:
        """Evaluate expressions of a front end, which are inputs too."""
        if not expressions:
            return {}
        with self.held.inside():
            self._record("\n".join(expressions.values()))
            try:
                return dict(super().user_expressions(expressions))
            finally:
                self._settle()

    def inside(self, complete: completions.Complete) -> completions.Complete:
        """Return the function with the context of the session around it."""

        def complete_inside(context: CompletionContext) -> SimpleMatcherResult:
            with self.held.inside():
                return complete(context)

        return complete_inside


class Held:
    """The session of a shell: opened in a mode, and opened anew in another one."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._kind, self._compile = type(shell), shell.compile
        self._history = shell.history_manager.enabled
        self._info = ScriptInfo(app_import_path=os.environ.get("FLASK_APP"))
        self._context = Context()
        self._afterwards = ExitStack()
        self._variables: dict[ContextVar[Any], Any] = {}
        self._give_back: Callable[[], None] = lambda: None
        self._entered: list[tuple[ContextVar[Any], Token[Any]]] = []
        atexit.register(self.close)

    def open(self, words: Sequence[str]) -> None:
        """Open a session, after the end of the one before.

        :param words: the options of `flask shell`.
        :raises OpsError: it is refused, or cannot be opened.
        """
        ctx, mode, reason = _parse_options(self._info, list(words))
        self.close()
        before = copy_context()
        self._context = before.copy()
        try:
            console = self._context.run(_open_session, self._afterwards, ctx, mode, reason)
        except BaseException:
            self.close()
            raise
        self._variables = {
            variable: value
            for variable, value in self._context.items()
            if variable not in before or before[variable] is not value
        }
        self._entered = self._enter()  # For the rest of this input.
        self._furnish(console)

    def _furnish(self, console: Console) -> None:
        shell, kind = self._shell, self._kind
        # Its own methods are called by the kernel, so it becomes a shell of ours.
        shell.__class__ = type(kind.__name__, (Kernel, kind), {})
        shell.held, shell.compile = self, InputCompiler()
        # IPython would write each input into a file of the user's home.
        shell.history_manager.enabled = False
        environment = settings.of(this_app(), "OPSAPP_ENV")
        self._give_back = _snapshot_shell(shell)
        furnish(shell, console, environment)
        shell.register_magics(KernelMagics(shell))
        shell.push(console.names.namespace())
        name = name_of_application()
        print(paint(banner(console, name, environment)))  # noqa: T201

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Give the present task the context variables of the session."""
        tokens = self._enter()
        try:
            yield
        finally:
            for variable, token in tokens:
                variable.reset(token)

    def leave(self) -> None:
        """Take the variables from the input that has loaded the extension, at its end."""
        self._shell.events.unregister("post_execute", self.leave)
        for variable, token in self._entered:
            with suppress(ValueError):  # That input was a task of its own.
                variable.reset(token)

    def _enter(self) -> list[tuple[ContextVar[Any], Token[Any]]]:
        return [(variable, variable.set(value)) for variable, value in self._variables.items()]

    def close(self) -> None:
        """End the session, and leave the shell as it was."""
        shell, variables, self._variables = self._shell, self._variables, {}
        if shell.__class__ is not self._kind:
            shell.__class__, shell.compile = self._kind, self._compile
            history = shell.history_manager  # It has kept the inputs, to write them later.
            history.db_input_cache, history.db_output_cache = [], []
            history.enabled = self._history
            shell.console = None
            self._give_back()
        # Output goes to the input of the variables in a context: this one, not that which opened.
        for variable, value in copy_context().items():
            if variable not in variables:
                self._context.run(variable.set, value)
        self._context.run(self._afterwards.close)


def _snapshot_shell(shell: Any) -> Callable[[], None]:
    """Return a function that gives the shell its own magics, printers and transformers again."""
    magics = shell.magics_manager.magics
    printer = shell.display_formatter.formatters["text/plain"]
    kind, own = type(printer), list(shell.input_transformers_cleanup)
    printers = {
        name: dict(getattr(printer, name)) for name in ("type_printers", "deferred_printers")
    }
    functions = [(magics[of], name, magics[of].get(name))
            for each in (ConsoleMagics, SqlMagics, KernelMagics)
            for of in magics for name in each.magics[of]]  # fmt: skip

    def give_back() -> None:
        printer.__class__ = kind
        shell.input_transformers_cleanup[:] = own
        for name, by_type in printers.items():
            setattr(printer, name, by_type)
        for by_name, name, before in functions:
            if before is None:
                by_name.pop(name, None)
            else:
                by_name[name] = before

    return give_back


def _parse_options(info: ScriptInfo, words: list[str]) -> tuple[click.Context, Mode, str | None]:
    """Return what the options ask for, as `flask shell` reads them.

    :raises Invalid: they are none of its options, or not of a kernel.
    :raises Refused: production is not written without a reason and its name.
    """
    try:
        ctx = session.cli.make_context("shell", words, obj=info)
    except click.UsageError as error:
        raise Invalid(error.format_message()) from error
    if ctx.params["code"] or ctx.params["words"] or ctx.params["plain"]:
        raise Invalid("%opsapp takes --read-only, --sandbox, --write, --web and --reason")
    with ctx.scope(cleanup=False):
        mode = session.mode_of(ctx.params["mode"])
        return ctx, mode, session.require_approval(mode, ctx.params["reason"])


def _open_session(
    afterwards: ExitStack, ctx: click.Context, mode: Mode, reason: str | None
) -> Console:
    """Open a session in the present context; ``afterwards`` has its end."""
    afterwards.enter_context(ctx)
    afterwards.enter_context(application(web=ctx.params["web"]))
    remark_on_audit()
    remarks = afterwards.enter_context(ExitStack())
    return afterwards.enter_context(
        session.open_session(mode, reason, by="kernel", afterwards=remarks)
    )


@magics_class
class KernelMagics(Magics):
    """%opsapp."""

    shell: Any

    @line_magic
    def opsapp(self, line: str) -> None:
        """Open the session anew: %opsapp --sandbox, with the options of `flask shell`."""
        self.shell.held.open(shlex.split(line))


def load_ipython_extension(shell: Any) -> None:
    """Open a session in the default mode of the environment.

    :raises OpsError: it cannot be opened.
    """
    if isinstance(shell, Recorded):
        raise Refused("this is a console of opsapp already")
    load_dotenv()
    shell.set_custom_exc((OpsError,), _tell)
    console = Held(shell)
    console.open([])
    shell.events.register("post_execute", console.leave)


def unload_ipython_extension(shell: Any) -> None:
    """End the session."""
    if isinstance(shell, Kernel):
        shell.held.close()
        say("The session is closed, and inputs are not recorded any more.")


def _tell(_shell: Any, _kind: Any, error: Any, _trace: Any, tb_offset: Any = None) -> list[str]:
    conditions.tell(error, may_commit=True)
    return []
