"""Write the generated pages: ``python docs/make.py`` (``make docs``).

docs/cli.md comes from the commands, docs/settings.md from the settings, permissions and
signals, docs/api.md from what the packages say in ``__all__``, and docs/console.svg from a
real run. Tests hold the pages true.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
from blinker import NamedSignal

from opsapp import entrypoints, permissions, signals
from opsapp.settings import SETTINGS

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Write all of them."""
    (HERE / "cli.md").write_text(cli_page(), encoding="utf-8")
    (HERE / "settings.md").write_text(settings_page(), encoding="utf-8")
    (HERE / "api.md").write_text(api_page(), encoding="utf-8")
    (HERE / "console.svg").write_text(picture(), encoding="utf-8")


# --- docs/cli.md -------------------------------------------------------------

_CLI = """# The commands

Made by `make docs` from the commands themselves; `flask COMMAND --help` says the same. What they
all promise, and the exit codes, stand in [README.md](../README.md).
"""


def cli_page() -> str:
    """Every command of ours: usage, what it does, an example, its options."""
    parts = [_CLI]
    root = click.Context(click.Group("flask"), info_name="flask")
    for subject, listed in entrypoints.SUBJECTS.items():
        parts.append(f"## {subject}\n")
        for lazy in listed:
            parts += _sections(lazy.target, str(lazy.name), root)
    return "\n".join(parts)


def _sections(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    ctx = click.Context(command, info_name=name, parent=parent)
    yield f"### {ctx.command_path}\n"
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    if not isinstance(command, click.Group):
        yield f"```\n{usage}\n```\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield _shown(paragraph)
    yield from _options(command, ctx)
    if isinstance(command, click.Group):
        for below, found in command.commands.items():
            yield from _sections(found, below, ctx)
        yield from _migrates(command, ctx)


def _migrates(group: click.Group, ctx: click.Context) -> Iterator[str]:
    """The verbs that Flask-Migrate adds to a group of ours, a line each."""
    found = {name: group.get_command(ctx, name) for name in group.list_commands(ctx)}
    theirs = {name: verb for name, verb in found.items() if verb and name not in group.commands}
    if theirs:
        yield f"### {ctx.command_path}: the verbs of Flask-Migrate\n"
        yield f"`{ctx.command_path} VERB --help` has their options.\n"
        lines = [
            f"| `{name}` | {_cell(verb.get_short_help_str(200))} |" for name, verb in theirs.items()
        ]
        yield "\n".join(["| verb | what it does |", "| --- | --- |", *lines, ""])


def _shown(paragraph: str) -> str:
    if not paragraph.startswith("\b"):
        return f"{paragraph}\n"
    _mark, *lines = paragraph.splitlines()
    return "\n".join(["```sh", *(line.strip() for line in lines[1:]), "```", ""])


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    records = [
        param.get_help_record(ctx) for param in command.params if isinstance(param, click.Option)
    ]
    rows = [f"| `{_cell(names)}` | {_cell(says)} |" for names, says in filter(None, records)]
    if rows:
        yield "\n".join(["| option | what for |", "| --- | --- |", *rows, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- docs/settings.md --------------------------------------------------------

_SETTINGS = """# Settings, permissions and signals

Made by `make docs` from the code. The audit's actions stand in
[audit.md](audit.md#fields-of-an-event), the keys of `jobs.toml` in [jobs.md](jobs.md).

## Settings

The environment goes over `.env`, and that over the default. `flask doctor --settings` says what
they are here.

| setting | meaning | default |
| --- | --- | --- |
"""
_PERMISSIONS = """
## Permissions

`opsapp.permissions.declare(name, meaning)` adds those of an application; `flask roles matrix` says
which role holds which.

| permission | allows to |
| --- | --- |
"""
_SIGNALS = """
## Signals

Of `opsapp.signals`, sent after the commit with `actor` and, where something was changed,
`correlation`. Take `**extra` in a receiver: a signal may gain fields. [web.md](web.md) has an
example.

| signal | says |
| --- | --- |
"""


def settings_page() -> str:
    """Every setting, permission and signal with its meaning."""
    settings = [f"| `{s.name}` | {_cell(s.meaning)} | {_cell(s.shown_default)} |" for s in SETTINGS]
    allowed = [f"| `{name}` | {_cell(says)} |" for name, says in permissions.DECLARED.items()]
    told = [
        f"| `{name}` | {_cell((signal.__doc__ or '').replace('``', '`'))} |"
        for name, signal in vars(signals).items()
        if isinstance(signal, NamedSignal)
    ]
    lines = (_SETTINGS + "\n".join(settings), _PERMISSIONS + "\n".join(allowed))
    return "\n".join([*lines, _SIGNALS + "\n".join(told), ""])


# --- docs/api.md -------------------------------------------------------------

_API = """# What an application may import

Made by `make docs` from the `__all__` of the packages. Anything deeper may move in any release.

```python
from opsapp import clock, errors, migrations, permissions, signals, text
from opsapp.accounts import authority, get_user
from opsapp.cli import USER, OpsGroup, answers, approve, changes
from opsapp.entrypoints import Lazy
from opsapp.extensions import db
from opsapp.mail import Message, keep
from opsapp.models import Model, User, UTCDateTime
from opsapp.profiling import metrics, profile_endpoint
from opsapp.unit import Unit, guarded
from opsapp.web import needs, signed_in_user, unit_of_self
```
"""
FACES = (
    "opsapp",
    "opsapp.accounts",
    "opsapp.cli",
    "opsapp.mail",
    "opsapp.models",
    "opsapp.profiling",
    "opsapp.unit",
    "opsapp.web",
)
MODULES = ("clock", "errors", "extensions", "migrations", "permissions", "signals", "text")


def api_page() -> str:
    """The public names of every package, with the first line of what each says of itself."""
    parts = [_API]
    for face in FACES:
        module = import_module(face)
        names = [name for name in module.__all__ if not name.startswith("_")]
        rows = [f"| `{name}` | {_cell(_summary(getattr(module, name)))} |" for name in names]
        parts.append("\n".join([f"## {face}\n", "| name | |", "| --- | --- |", *rows, ""]))
    rows = [
        f"| `{name}` | {_cell(_summary(import_module(f'opsapp.{name}')))} |" for name in MODULES
    ]
    parts.append("\n".join(["## Modules\n", "| name | |", "| --- | --- |", *rows, ""]))
    return "\n".join(parts)


def _summary(thing: object) -> str:
    if isinstance(thing, click.ParamType):
        return f"The type of an argument or option: {thing.name}."
    if isinstance(thing, str):
        return f"`{thing!r}`"
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("``", "`")


# --- docs/console.svg --------------------------------------------------------

_BEFORE = (
    ("db", "init"),
    ("users", "create-admin", "ada@example.com", "--username", "ada", "--generate-password"),
    ("users", "create", "grace@example.com", "--username", "grace", "--no-password"),
    ("roles", "create", "support", "--allow", "users:read"),
)
SHOWN = (
    "flask roles grant support grace@example.com --for 8h --reason 'on call' --dry-run",
    "flask roles grant support grace@example.com --for 8h --fields changed,user,role,valid_until",
    "flask users list --fields id,email,status,roles",
    "flask users can grace@example.com users:read --fields allowed,because",
    "flask users delete ada@example.com --yes",
    "flask audit verify --fields ok,events",
)
"""What the picture shows, in a database of its own."""
_WIDTH = 96


def picture() -> str:
    """A terminal in which these commands were really run."""
    from rich.console import Console
    from rich.text import Text

    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nothing:
        console = Console(record=True, width=_WIDTH, file=nothing)
        for words in _BEFORE:
            _run(folder, "flask", *words)
        for number, line in enumerate(SHOWN):
            console.print(Text(f"{chr(10) if number else ''}$ {line}", style="bold"))
            console.print(Text.from_ansi(_run(folder, "sh", "-c", line)))
    return console.export_svg(title="opsapp", unique_id="opsapp")


def _run(folder: str, *words: str) -> str:
    """What a command prints, its talk included, as a terminal of this width shows it."""
    programs = Path(sys.executable).parent
    done = subprocess.run(
        ["env", *words],  # It finds `flask` on the PATH below.
        env={
            "PATH": f"{programs}{os.pathsep}{os.defpath}",
            "FLASK_APP": "opsapp",
            "FLASK_SKIP_DOTENV": "1",
            "OPSAPP_INSTANCE": folder,
            "OPSAPP_FORMAT": "table",
            "FORCE_COLOR": "1",
            "TERM": "xterm-256color",
            "COLUMNS": str(_WIDTH),
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.rstrip("\n")


if __name__ == "__main__":
    main()
