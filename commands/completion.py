"""`flask completion`: completion scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from opsapp.cli.base import OpsCommand
from opsapp.cli.output import write_lines


@click.command("completion", cls=OpsCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def cli(ctx: click.Context, shell: str) -> None:
    """Print a completion script for your shell.

    It completes commands and options, and the names of users, roles, permissions and
    jobs from the database.

    \b
    Examples:
      eval "$(flask completion bash)"
      flask completion fish > ~/.config/fish/completions/flask.fish
    """
    root = ctx.find_root()
    program = root.info_name or "flask"
    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"click does not know {shell}")
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    write_lines([completion(root.command, {}, program, variable).source()])
