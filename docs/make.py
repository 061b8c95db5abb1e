"""The generated pages: ``python -m docs.make`` (``make docs``) writes them.

docs/cli.md comes from the commands; docs/settings.md from the settings, permissions and
signals; docs/api.md from the packages' ``__all__``; the pictures from real runs; and the files
of the tutorial from examples/shop. Tests compare the pages with the code.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
from blinker import NamedSignal

from docs.pictures import PICTURES, flame, picture
from opsapp import entrypoints, signals
from opsapp.accounts import permissions
from opsapp.settings import SETTINGS

HERE = Path(__file__).resolve().parent
TUTORIAL = HERE / "building-on-opsapp.md"
SHOP = HERE.parent / "examples" / "shop"


def main() -> None:
    """Write every generated page, and the files of the tutorial."""
    (HERE / "cli.md").write_text(cli_page(), encoding="utf-8")
    (HERE / "settings.md").write_text(settings_page(), encoding="utf-8")
    (HERE / "api.md").write_text(api_page(), encoding="utf-8")
    for name, terminal in PICTURES.items():
        (HERE / f"{name}.svg").write_text(picture(terminal), encoding="utf-8")
    (HERE / "flame.svg").write_text(flame(), encoding="utf-8")
    TUTORIAL.write_text(tutorial(TUTORIAL.read_text(encoding="utf-8")), encoding="utf-8")


# --- docs/cli.md -------------------------------------------------------------

_CLI = """# Commands

`make docs` generates this page from the commands. `flask COMMAND --help` prints the same text.
The promises of every command, and the exit codes, are in the
[README](../README.md#promises-of-every-command).
"""


_OF_OPS = """## On an application with its own users

`flask ops` has these, and `query`, `shell`, `backup`, `jobs`, `mail`, `audit`, `profile`, `doctor`
and `completion` from above. [attaching.md](attaching.md) begins with ten minutes.
"""


def cli_page() -> str:
    """Return the page of our commands: usage, purpose, example and options of each."""
    parts = [_CLI]
    root = click.Context(click.Group("flask"), info_name="flask")
    for subject, listed in entrypoints.SUBJECTS.items():
        parts.append(f"## {subject}\n")
        for lazy in listed:
            parts += _sections(lazy.target, str(lazy.name), root)
    parts.append(_OF_OPS)
    group = entrypoints.ops.target
    ops = click.Context(group, info_name="ops", parent=root)
    for name, lazy in group.commands.items():
        if lazy.module.startswith("opsapp.commands.ops."):
            parts += _sections(lazy.target, name, ops)
    return "\n".join(parts)


def _sections(command: click.Command, name: str, parent: click.Context) -> Iterator[str]:
    ctx = click.Context(command, info_name=name, parent=parent)
    yield f"### {ctx.command_path}\n"
    usage = " ".join([ctx.command_path, *command.collect_usage_pieces(ctx)])
    if not isinstance(command, click.Group):
        yield f"```\n{usage}\n```\n"
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        yield _block(paragraph)
    yield from _options(command, ctx)
    if isinstance(command, click.Group):
        for verb, subcommand in command.commands.items():
            yield from _sections(subcommand, verb, ctx)
        yield from _migrates(command, ctx)


def _migrates(group: click.Group, ctx: click.Context) -> Iterator[str]:
    """Yield the verbs that Flask-Migrate adds to a group of ours, a line each."""
    verbs = {
        name: verb
        for name in group.list_commands(ctx)
        if name not in group.commands and (verb := group.get_command(ctx, name))
    }
    if verbs:
        yield f"### {ctx.command_path}: the verbs of Flask-Migrate\n"
        yield f"`{ctx.command_path} VERB --help` lists the options of a verb.\n"
        lines = [
            f"| `{name}` | {_cell(verb.get_short_help_str(200))} |" for name, verb in verbs.items()
        ]
        yield "\n".join(["| verb | purpose |", "| --- | --- |", *lines, ""])


def _block(paragraph: str) -> str:
    if not paragraph.startswith("\b"):
        return f"{paragraph}\n"
    _mark, *lines = paragraph.splitlines()
    return "\n".join(["```sh", *(line.strip() for line in lines[1:]), "```", ""])


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    records = [
        param.get_help_record(ctx) for param in command.params if isinstance(param, click.Option)
    ]
    rows = [f"| `{_cell(names)}` | {_cell(help)} |" for names, help in filter(None, records)]
    if rows:
        yield "\n".join(["| option | purpose |", "| --- | --- |", *rows, ""])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# --- docs/settings.md --------------------------------------------------------

_SETTINGS = """# Settings, permissions and signals

`make docs` generates this page from the code. The actions of the audit log are in
[audit.md](audit.md#fields-of-an-event), and the keys of `jobs.toml` in [jobs.md](jobs.md).

## Settings

The environment takes precedence over `.env`, and `.env` over the defaults.
`flask doctor --settings` lists the values of an installation and their sources.

| setting | meaning | default |
| --- | --- | --- |
"""
_PERMISSIONS = """
## Permissions

`opsapp.accounts.permissions.declare(name, meaning)` adds the permissions of an application.
`flask roles matrix` shows the permissions of each role.

| permission | allows to |
| --- | --- |
"""
_SIGNALS = """
## Signals

The signals of `opsapp.signals` are sent after the commit, with `actor` and, for changes,
`correlation`. Take `**extra` in a receiver, because a signal may gain fields.
`signals.before_commit(signal)` is the twin of a signal inside the transaction.
[web.md](web.md#signals) has an example.

| signal | event and fields |
| --- | --- |
"""


def settings_page() -> str:
    """Return the page of settings, permissions and signals."""
    settings = [f"| `{s.name}` | {_cell(s.meaning)} | {_cell(s.default_text)} |" for s in SETTINGS]
    allowed = [f"| `{name}` | {_cell(use)} |" for name, use in permissions.DECLARED.items()]
    events = [
        f"| `{name}` | {_cell((signal.__doc__ or '').replace('``', '`'))} |"
        for name, signal in vars(signals).items()
        if isinstance(signal, NamedSignal)
    ]
    lines = (_SETTINGS + "\n".join(settings), _PERMISSIONS + "\n".join(allowed))
    return "\n".join([*lines, _SIGNALS + "\n".join(events), ""])


# --- docs/api.md -------------------------------------------------------------

_API = """# Python API

An application may import the names on this page. Anything deeper may move in any release.
`make docs` generates the page from the `__all__` of the packages.

```python
from opsapp import clock, errors, migrations, signals, text
from opsapp.accounts import authority, get_user, permissions, users
from opsapp.cli import USER, OpsGroup, answers, approve, changes
from opsapp.entrypoints import LazyCommand
from opsapp.extensions import db
from opsapp.mail import Message, keep, put
from opsapp.models import Model, User, UTCDateTime
from opsapp.ops import Roles
from opsapp.profiling import metrics, profile_endpoint
from opsapp.types import Record
from opsapp.unit import Unit, guard_table
from opsapp.web import needs, signed_in_user, unit_of_self
```
"""
FACES = (
    "opsapp",
    "opsapp.accounts",
    "opsapp.cli",
    "opsapp.mail",
    "opsapp.models",
    "opsapp.ops",
    "opsapp.profiling",
    "opsapp.settings",
    "opsapp.unit",
    "opsapp.web",
)
MODULES = (
    *("clock", "entrypoints", "errors", "extensions", "migrations", "signals"),
    *("text", "types"),
)


def api_page() -> str:
    """Return the page of the packages' public names, with the summary of each."""
    parts = [_API]
    for face in FACES:
        module = import_module(face)
        names = [name for name in module.__all__ if not name.startswith("_")]
        rows = [f"| `{name}` | {_cell(_summary(getattr(module, name)))} |" for name in names]
        parts.append("\n".join([f"## {face}\n", "| name | purpose |", "| --- | --- |", *rows, ""]))
    rows = [
        f"| `{name}` | {_cell(_summary(import_module(f'opsapp.{name}')))} |" for name in MODULES
    ]
    parts.append("\n".join(["## Modules\n", "| name | purpose |", "| --- | --- |", *rows, ""]))
    return "\n".join(parts)


def _summary(item: object) -> str:
    if isinstance(item, click.ParamType):
        return f"The type of an argument or option: {item.name}."
    if isinstance(item, str):
        return f"`{item!r}`"
    return (inspect.getdoc(item) or "").partition("\n\n")[0].replace("``", "`")


# --- the tutorial ------------------------------------------------------------

_FILE = re.compile(r"(^`shop/(?P<name>[\w./]+)`\n\n```\w+\n).*?(?=^```$)", re.M | re.S)


def tutorial(page: str) -> str:
    """Return the tutorial with the files of examples/shop as they are."""
    return _FILE.sub(lambda file: file[1] + (SHOP / file["name"]).read_text("utf-8"), page)


if __name__ == "__main__":
    main()
