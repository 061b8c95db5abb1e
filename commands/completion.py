"""`flask completion`: TAB in the shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from opsapp.cli.base import OpsCommand
from opsapp.cli.output import write_lines


@click.command("completion", cls=OpsCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def cli(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell.

    Completes commands and options, and users, roles, permissions and jobs from the
    database.

    \b
    Examples:
      eval "$(flask completion bash)"
      flask completion fish > ~/.config/fish/completions/flask.fish
    """
    root = ctx.find_root()
    program = root.info_name or "flask"
    found = get_completion_class(shell)
    if found is None:
        raise click.UsageError(f"click does not know {shell}")
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    write_lines([found(root.command, {}, program, variable).source()])
