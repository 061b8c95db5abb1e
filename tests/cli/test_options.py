"""Options that several commands share, and what no command takes."""

from __future__ import annotations

import click
import pytest

from opsapp.entrypoints import SUBJECTS
from tests.support import Cli

EVERY = [command for listed in SUBJECTS.values() for command in listed]


@pytest.mark.parametrize("lazy", EVERY, ids=lambda lazy: str(lazy.name))
def test_no_command_takes_an_option_of_one_value_twice(lazy: click.Command) -> None:
    _check(lazy.target, click.Context(lazy, info_name="flask"))  # type: ignore[attr-defined]


def _check(command: click.Command, parent: click.Context) -> None:
    ctx = command.context_class(command, info_name=command.name, parent=parent)
    for param in command.params:
        if isinstance(param, click.Option) and not (param.multiple or param.is_flag or param.count):
            words = [param.opts[-1], "1"] * 2
            with pytest.raises(click.UsageError, match="was given twice, and takes one value"):
                command.make_parser(ctx).parse_args(words)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None
            _check(below, ctx)


def test_option_that_is_there_twice_is_named(cli: Cli, ada: str) -> None:
    done = cli("users", "list", "--limit", "5", "--limit", "6")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Error: --limit was given twice, and takes one value" in done.stderr


@pytest.mark.parametrize(
    ("command", "pair"),
    [
        (("shell", "-c", "1"), ("--read-only", "--write")),
        (("shell", "-c", "1"), ("--sandbox", "--read-only")),
        (("profile", "request", "get", "/"), ("--deep", "--sample")),
    ],
    ids=" ".join,
)
def test_switches_that_exclude_each_other_are_refused(
    cli: Cli, ada: str, command: tuple[str, ...], pair: tuple[str, str]
) -> None:
    for one, other in (pair, pair[::-1]):
        done = cli(*command, one, other)
        assert (done.exit_code, done.stdout) == (2, "")
        assert f"Error: {one} and {other} say different things; give one\n" in done.stderr


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (("query", "SELECT :a"), "--param"),
        (("jobs", "run", "x"), "--env"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else words,
)
def test_pair_whose_name_is_there_twice_is_refused(
    cli: Cli, ada: str, command: tuple[str, ...], option: str
) -> None:
    done = cli(*command, option, "a=1", option, "b=2", option, "a=1")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"Error: {option} a was given twice, and takes one value\n"


def test_option_that_is_repeated_with_a_meaning_has_it(cli: Cli, bob: str) -> None:
    cli("roles", "create", "support", check=True)
    cli("roles", "create", "writer", check=True)
    two = ("--role", "support", "--role", "writer")
    cli("users", "create", "cyd@example.com", "--no-password", *two, check=True)
    cli("roles", "grant", "support", "bob", check=True)
    assert cli("users", "list", *two, "--fields", "email").stdout == "email\ncyd@example.com\n"
