"""A shell of IPython with every input on record, at a terminal or in a kernel."""

from __future__ import annotations

import linecache
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from IPython.core.compilerop import CachingCompiler
from IPython.core.interactiveshell import ExecutionInfo, ExecutionResult, InteractiveShell
from sqlalchemy.exc import SQLAlchemyError

from opsapp import text
from opsapp.cli.messages import say
from opsapp.console import tracebacks
from opsapp.console.lifecycle import Console
from opsapp.errors import OpsError
from opsapp.models.application import application_models, is_model
from opsapp.settings.config import DEVELOPMENT

from . import completions, conditions, display, formatters
from .magics import ConsoleMagics
from .sql_magics import SqlMagics, take_whole


class InputCompiler(CachingCompiler):
    """A compiler whose inputs have their first line as name, as the prompt has no number."""

    def format_code_name(self, name: str) -> tuple[str, str] | None:
        """Return the words of a traceback for the file ``name``; None for a real file."""
        if name not in self._filename_map:
            return None
        return "Input", tracebacks.first_line(name)


@contextmanager
def _name_inputs_in_warnings(compiler: CachingCompiler) -> Iterator[None]:
    """Let a warning name an input as a traceback does."""
    before = warnings.formatwarning

    def format_warning(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        words = " ".join(compiler.format_code_name(filename) or ())
        if words and line is None:
            line = linecache.getline(filename, lineno)
        return before(message, category, words or filename, lineno, line)

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        warnings.formatwarning = before


class ModelFiles:
    """The files of the models, which are not reloaded: a change of one is told once."""

    def __init__(self) -> None:
        modules = {model.__module__ for model in application_models()}
        files = {getattr(sys.modules.get(name), "__file__", None) for name in modules}
        self._times = {file: _modification_time(file) for file in files if file}

    def take_changed(self) -> list[str]:
        """Return the files that were changed since they were loaded, each of them once."""
        files = [file for file, before in self._times.items() if _modification_time(file) != before]
        for file in files:
            del self._times[file]
        return sorted(files)


def _modification_time(file: str) -> int | None:
    try:
        return Path(file).stat().st_mtime_ns
    except OSError:
        return None


class Recorded(InteractiveShell):
    """A shell whose inputs are on record, once it has a console."""

    compiler_class = InputCompiler
    console: Any = None
    ask_exit: Callable[[], None]
    """Those of a terminal and of a kernel differ."""
    _models: ModelFiles
    _depth = 0

    async def run_cell_async(self, raw_cell: str, *args: Any, **options: Any) -> ExecutionResult:
        """Run an input; each goes through here, also a silent one."""
        if not raw_cell or raw_cell.isspace():
            return await super().run_cell_async(raw_cell, *args, **options)
        try:
            self._record(raw_cell)
        except OpsError as error:
            return self._refuse_input(raw_cell, error)
        self._depth += 1
        try:
            with _name_inputs_in_warnings(self.compile):
                return await super().run_cell_async(raw_cell, *args, **options)
        finally:
            self._depth -= 1
            if not self._depth and self.console is not None:  # It may have ended the session.
                self._settle()

    def _inspect(self, meth: str, oname: str, *where: Any, **how: Any) -> Any:
        """Show the columns of a model for ``User?``, and anything else as IPython does."""
        model = self.user_ns.get(oname)
        if meth == "pinfo" and is_model(model):
            print(display.columns_table(model))  # noqa: T201
            return None
        return super()._inspect(meth, oname, *where, **how)

    def showtraceback(
        self, exc_tuple: Any = None, *how: Any, running_compiled_code: bool = False, **more: Any
    ) -> None:
        """Show the error of an input or its value without frames of opsapp, which ``%tb`` has."""
        options = {"running_compiled_code": running_compiled_code, **more}
        if isinstance(error := sys.exc_info()[1], KeyboardInterrupt):
            # Between two statements of an input it interrupts IPython; %tb handles no error.
            _show_condition(self, type(error), error, error.__traceback__)
            return
        if not running_compiled_code and exc_tuple is None:
            super().showtraceback(exc_tuple, *how, **options)
            return
        kind, error, trace = self._get_exc_info(exc_tuple)
        if not running_compiled_code and isinstance(error, (OpsError, SQLAlchemyError)):
            # The display of a value has failed, where IPython does not ask who shows the error.
            _show_condition(self, kind, error, trace)
            return
        if self.console is not None:
            self.console.advise(error)
        super().showtraceback((kind, error, tracebacks.without_ours(trace)), *how, **options)
        sys.last_traceback = trace

    def inside(self, complete: completions.Complete) -> completions.Complete:
        """Return the function with the context of the session around it, which a terminal has."""
        return complete

    def _record(self, code: str) -> None:
        if self._depth:
            self.console.record_nested_input(code)
        else:
            self.console.before(code)
            for file in self._models.take_changed():
                say(f"{text.safe(file)} has changed; start a new console to reload its tables.")

    def _format_exception_for_storage(self, exception: BaseException, *_how: Any) -> dict[str, Any]:
        """Keep no traceback for ``%notebook``: IPython colours each anew, which takes seconds."""
        return {"ename": type(exception).__name__, "evalue": str(exception), "traceback": []}

    def _refuse_input(self, code: str, error: OpsError) -> ExecutionResult:
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


def furnish(shell: Any, console: Console, environment: str) -> None:
    """Give a recorded shell its console, with its tables, magics and completions."""
    shell.console, shell._models = console, ModelFiles()  # noqa: SLF001  (it is one of ours)
    formatters.teach(shell.display_formatter.formatters["text/plain"])
    shell.set_custom_exc((OpsError, SQLAlchemyError, KeyboardInterrupt), _show_condition)
    shell.register_magics(ConsoleMagics(shell), SqlMagics(shell))
    if take_whole not in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.append(take_whole)
    completions.teach(shell, shell.inside)
    if environment == DEVELOPMENT:
        _reload(shell)


def _show_condition(
    shell: Any, kind: Any, error: Any, trace: Any, tb_offset: Any = None
) -> list[str]:
    """Show a condition of ours or of the database as a line; ``%tb`` shows its traceback."""
    sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace
    may_commit = shell.console is None or shell.console.may_commit
    conditions.tell(error, may_commit=may_commit, has_magics=True)
    return []


def _reload(shell: Any) -> None:
    """Reload the modules that the developer edits, except models: a table is mapped once."""
    if "AutoreloadMagics" not in shell.magics_manager.registry:
        shell.run_line_magic("load_ext", "autoreload")
    shell.run_line_magic("autoreload", "2")
    reloader = shell.magics_manager.registry["AutoreloadMagics"]._reloader  # noqa: SLF001
    for module in {model.__module__ for model in application_models()}:
        reloader.mark_module_skipped(module)
