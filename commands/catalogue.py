"""The table of contents: what `flask` lists, and where each command lives.

`flask` imports this module on every call, whatever is called, so it knows click
and nothing else; a command's own module is imported when somebody asks for it.
"""

from __future__ import annotations

import atexit
import gc
from functools import cache
from importlib import import_module
from typing import Any

import click


@cache
def _skip_collecting() -> None:
    """Let the garbage be: a command ends before it matters, and looking for it costs a third."""
    gc.set_threshold(200_000)
    atexit.register(gc.freeze)


class Lazy(click.Command):
    """A command or group that is imported when it is called or asked for help."""

    def __init__(self, name: str, module: str, help: str, *, attribute: str = "cli") -> None:
        super().__init__(name, help=help)
        self.module = module
        self.attribute = attribute

    @property
    def target(self) -> click.Command:
        """The real command."""
        command: click.Command = getattr(import_module(self.module), self.attribute)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        # The context belongs to the real command, which click then invokes.
        _skip_collecting()
        from .frame import remember_words, reported

        remember_words(args)
        with reported():
            return self.target.make_context(info_name, args, parent=parent, **extra)


users = Lazy("users", "commands.users", "Create, find, change and delete accounts.")
profile = Lazy("profile", "commands.profile", "See where the time goes, and profile what is slow.")
roles = Lazy("roles", "commands.roles", "Define roles; grant and revoke them.")
audit = Lazy("audit", "commands.audit", "Read and verify who did what.")
db = Lazy("db", "commands.db", "Set up, migrate, inspect and back up the database.")
jobs = Lazy("jobs", "commands.jobs", "Run cron's jobs: never two at once, with a history.")
mail = Lazy("mail", "commands.mail", "See the mail that waits, and send it.")
shell = Lazy("shell", "commands.shell", "Start a Python console with the application.")
query = Lazy("query", "commands.query", "Run one SQL statement that reads.")
doctor = Lazy("doctor", "commands.doctor", "Check the installation and say what to mend.")
completion = Lazy("completion", "commands.completion", "Print the completion script of a shell.")
init_db = Lazy("init-db", "commands.shortcuts", "Short for `flask db init`.", attribute="init_db")
create_admin = Lazy(
    "create-admin",
    "commands.shortcuts",
    "Short for `flask users create-admin`.",
    attribute="create_admin",
)
