"""`flask completion`: completion scripts for shells."""

from __future__ import annotations

import click
from click.shell_completion import ShellComplete, get_completion_class

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
    option=""
    if [[ $word == --*=* ]]; then option="${word%%%%=*}=" word="${word#*=}"; fi
    breaks="${COMP_WORDBREAKS//[^@:=,]/}"
    done="${word%%"${word##*[$breaks]}"}"
    if [[ -z $breaks ]]; then done=""; fi
    done="${done%%@}"  # Readline keeps an @ with the word that it begins.
    if [[ $breaks == *=* || -n $done ]]; then option=""; fi
    COMPREPLY=()
    while IFS=',' read -r type value; do
        if [[ $type == 'dir' ]]; then
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$option${value:${#done}}")
        fi
    done < <(env COMP_WORDS="$line" COMP_CWORD=$cword %(complete_var)s=bash_complete "$1")
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""
"""The script for bash; click's own gives up on words with @ and :."""

ZSH_OPTION = """\
    # Of --option=value only the value is completed.
    if [[ ${words[CURRENT]} == --*=* ]]; then compset -P "${words[CURRENT]%%=*}="; fi
"""
"""The beginning of the function for zsh; click's own replaces the option by the value."""

FISH = """\
function %(complete_func)s
    set -l option (string match -r -- '^--[^=]+=' (commandline -t))
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \
COMP_CWORD=(commandline -t) %(prog_name)s)
    for completion in $response
        set -l parts (string split -m 1 ',' -- $completion)
        switch $parts[1]
            case dir
                printf "$option%%s\\n" (__fish_complete_directories $parts[2])
            case file
                printf "$option%%s\\n" (__fish_complete_path $parts[2])
            case plain
                printf "$option%%s\\n" $parts[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments '(%(complete_func)s)'
"""
"""The script for fish; click's own knows neither values with commas nor --option=value."""


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
    write_lines([_source(script, shell)])


def _source(script: ShellComplete, shell: str) -> str:
    match shell:
        case "bash":
            return BASH % script.source_vars()
        case "fish":
            return FISH % script.source_vars()
    source = script.source().replace("() {\n", "() {\n" + ZSH_OPTION, 1)
    return source.replace("compadd -U ", 'compadd -U -i "$IPREFIX" ')
