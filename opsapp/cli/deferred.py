"""Deferred commands: imported when they run or print their help."""

from __future__ import annotations

import atexit
import gc
from functools import cache
from importlib import import_module
from typing import Any

import click


@cache
def _skip_collecting() -> None:
    """Collect garbage rarely: commands are short, and collecting costs a third of their time."""
    gc.set_threshold(200_000)
    atexit.register(gc.freeze)


Subjects = dict[str, "tuple[LazyCommand, ...]"]
"""Commands by subject, in the order of help."""


def write_subjects(subjects: Subjects, formatter: click.HelpFormatter) -> None:
    """Write the commands with their lines, in columns that agree over the subjects."""
    width = max(len(command.name or "") for commands in subjects.values() for command in commands)
    for subject, commands in subjects.items():
        with formatter.section(subject):
            formatter.write_dl(
                [(f"{command.name:{width}}", command.help or "") for command in commands]
            )


class LazyCommand(click.Command):
    """A command or group that is imported when it runs or prints its help."""

    def __init__(self, name: str, module: str, help: str, *, attribute: str = "cli") -> None:
        super().__init__(name, help=help)
        self.module = module
        self.attribute = attribute

    @property
    def target(self) -> click.Command:
        """Import the command."""
        command: click.Command = getattr(import_module(self.module), self.attribute)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        # Click invokes the command of the context: the imported one.
        _skip_collecting()
        from .errors import report_errors
        from .messages import remember_words

        remember_words(args)
        with report_errors():
            return self.target.make_context(info_name, args, parent=parent, **extra)
