"""Banner: environment, mode and database, shown when the console starts; and every name."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable
from typing import NamedTuple

import click
from flask import current_app
from flask.cli import ScriptInfo

from opsapp import settings, text
from opsapp.console.lifecycle import Console
from opsapp.console.modes import Mode
from opsapp.console.namespace import Name
from opsapp.engine.connections import shown_url
from opsapp.extensions import db
from opsapp.text import safe


class Styled(NamedTuple):
    """A line with its colour, and whether it is bold; colour repeats what the words say."""

    line: str
    colour: str | None = None
    bold: bool = False


def paint(lines: Iterable[Styled]) -> str:
    """Return lines in their colours, unless ``NO_COLOR`` is set."""
    if os.environ.get("NO_COLOR"):
        return "\n".join(styled.line for styled in lines)
    return "\n".join(
        click.style(styled.line, fg=styled.colour, bold=styled.bold) for styled in lines
    )


def name_of_application() -> str:
    """Return the name that ``OPSAPP_NAME`` gives, else that of the application's module.

    An application without an import name of its own has that of ``FLASK_APP``.
    """
    name = str(settings.get("OPSAPP_NAME"))
    if name != "opsapp":
        return name
    module = current_app.import_name
    if module == "opsapp":
        path = click.get_current_context().ensure_object(ScriptInfo).app_import_path or module
        module = path.partition(":")[0].removesuffix(".py").replace(os.sep, ".")
    return module.rpartition(".")[2]


MOST_CLASHES = 2
"""The number of clashes in the banner; ``%names`` lists them all."""


def banner(console: Console, name: str, environment: str) -> list[Styled]:
    """Return at most twelve lines: environment, mode and database before anything else."""
    is_production = environment == "production"
    return [
        Styled(f"{name} · {environment}", "red" if is_production else "green", bold=True),
        *_mode(console),
        *_entry_lines("database", safe(shown_url(db.engine.url))),
        Styled(f"session   {console.session.id}, every input is recorded"),
        *_entry_lines("names", f"{_counts(console)}; %names lists them"),
        *_entry_lines("try", f"{_example(console)}, %sql SELECT …, %queries, %quickref"),
        *_clashes(console, MOST_CLASHES),
    ]


def _counts(console: Console) -> str:
    """Return how many names there are, by group: ``14 models, 10 services``."""
    groups = console.names.groups()
    words = {"Models": "model", "Services": "service", "Shortcuts": "helper"}
    counts = [text.pluralize(len(groups.get(group, ())), word) for group, word in words.items()]
    others = sum(len(names) for group, names in groups.items() if group.startswith("From "))
    return ", ".join([*counts, f"{others} of the application"] if others else counts)


def _example(console: Console) -> str:
    """Return a query of a model of the application, if it has one."""
    models = console.names.groups().get("Models", [])
    own = [each for each in models if not each.value.__module__.startswith("opsapp.")]
    names = console.names.names
    model = [*own, *(names[name] for name in ("User",) if name in names), *models][0]
    has_query = hasattr(model.value, "query")
    query = f"{model.name}.query" if has_query else f"db.session.query({model.name})"
    return f"{query}.first(){', U(1)' if 'U' in names else ''}"


def _mode(console: Console) -> list[Styled]:
    mode = console.session.mode
    colour = "red" if mode is Mode.WRITE else None
    lines = _entry_lines("mode", f"{mode.value}: {safe(console.wall)}", colour)
    if mode is Mode.READ_ONLY and not console.is_boundary:
        lines += _entry_lines(
            "",
            "can be undone by SQL; for a real boundary see OPSAPP_READONLY_DATABASE_URL",
            "yellow",
        )
    if not console.is_watched:
        lines += _entry_lines(
            "", "without the audit hook: OPSAPP_SHELL_AUDIT_HOOK is off", "yellow"
        )
    return lines


def _entry_lines(about: str, words: str, colour: str | None = None) -> list[Styled]:
    """Return words under a heading, in lines that fit the terminal."""
    room = max(30, shutil.get_terminal_size().columns - 10)
    lines = textwrap.wrap(words, room, break_long_words=False, break_on_hyphens=False)
    return [Styled(f"{about if i == 0 else '':<10}{line}", colour) for i, line in enumerate(lines)]


def catalogue(console: Console, word: str = "") -> list[Styled]:
    """Return every name with its line, by group, and the clashes.

    :param word: only the names and clashes with this word, without the groups.
    """
    lines: list[Styled] = []
    for group, names in console.names.groups().items():
        lines += [] if word else [Styled(""), Styled(safe(group), bold=True)]
        lines += _group(names, word)
    clashes = _clashes(console, len(console.names.clashes), word)
    return [*lines, Styled(""), *clashes] if clashes else lines


def _group(names: list[Name], word: str) -> list[Styled]:
    wide = min(28, max((len(name.name) for name in names), default=0))
    matches = (name for name in names if _has(f"{name.name} {name.line}", word))
    return [Styled(line) for name in matches for line in _entry(name, wide)]


def _has(words: str, word: str) -> bool:
    return word.lower() in words.lower()


def _entry(name: Name, wide: int) -> list[str]:
    """Return a name and its description, in lines that fit the terminal."""
    room = max(30, min(90, shutil.get_terminal_size().columns - wide - 4))
    first, *more = textwrap.wrap(safe(name.line), room, max_lines=3, placeholder=" …") or [""]
    return [
        f"  {name.name:<{wide}}  {first}".rstrip(),
        *(f"{'':{wide + 4}}{line}" for line in more),
    ]


def _clashes(console: Console, at_most: int, word: str = "") -> list[Styled]:
    clashes = [clash for clash in console.names.clashes if _has(clash, word)]
    lines = [Styled(f"Clash: {safe(clash)}.", "yellow") for clash in clashes[:at_most]]
    if more := len(clashes) - len(lines):
        lines.append(Styled(f"Clashes: {more} more, see %names.", "yellow"))
    return lines
