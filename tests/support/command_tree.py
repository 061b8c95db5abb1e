"""Every command of the click tree."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.metadata import entry_points

import click

from opsapp.cli.deferred import LazyCommand


@cache
def commands() -> dict[str, click.Command]:
    """Every command of opsapp by its path; those of Flask-Migrate are not ours.

    `flask ops` shares many with applications that are built on opsapp: they have their path there.
    """
    entries = [e for e in entry_points(group="flask.commands") if e.value.startswith("opsapp.")]
    by_command: dict[click.Command, str] = {}
    for entry in sorted(entries, key=lambda entry: entry.name == "ops"):
        for path, command in _below(entry.name, entry.load()):
            by_command.setdefault(command, path)
    return {path: command for command, path in by_command.items()}


def _below(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, LazyCommand):
        command = command.target
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _below(f"{path} {name}", below)
    else:
        yield path, command
