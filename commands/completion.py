"""`flask completion`: completion scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from opsapp.cli.base import OpsCommand
from opsapp.cli.output import write_lines

BASH = """\
%(complete_func)s() {
    # Bash breaks words at @ and :, which addresses and permissions contain. So the words are
    # taken from the line, and of each answer the part is left out that bash has taken for done.
    local line="${COMP_LINE:0:COMP_POINT}" words cword word breaks done type value
    read -ra words <<< "$line"
    cword=$(( ${#words[@]} - 1 ))
    if [[ $line == *[[:space:]] ]]; then cword=$(( cword + 1 )); fi
    word="${words[cword]}"
    breaks="${COMP_WORDBREAKS//[^@:=,]/}"
    done="${word%%"${word##*[$breaks]}"}"
    if [[ -z $breaks ]]; then done=""; fi
    done="${done%%@}"  # Readline keeps an @ with the word that it begins.
    COMPREPLY=()
    while IFS=',' read -r type value; do
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("${value:${#done}}")
        fi
    done < <(env COMP_WORDS="$line" COMP_CWORD=$cword %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
"""The script for bash; click's own gives up on words with @ and :."""


@click.command("completion", cls=OpsCommand)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def cli(ctx: click.Context, shell: str) -> None:
    """Print a completion script for your shell.

    It completes commands, options, fields, actions and files, and the names of users,
    roles, permissions and jobs from the database.

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
    script = completion(root.command, {}, program, variable)
    write_lines([BASH % script.source_vars() if shell == "bash" else script.source()])
