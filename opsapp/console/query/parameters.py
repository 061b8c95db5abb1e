"""Parameters of a statement: a ``:name`` that stands in no literal, name or comment."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

_TOKEN = re.compile(
    r"""
    (?<![\w$])[eE]'(?:[^'\\]|\\.|'')*'      # a literal with escapes
    | '[^']*' | "[^"]*" | `[^`]*`             # two quotes in it are two of these
    | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
    | --[^\n]*
    | (?P<comment>/\*)
    | (?P<open>\[) | (?P<close>\])
    | (?<![\w$:\\]):(?P<name>[^\W\d]\w*)(?![\w$]|:(?!:))
    """,
    re.VERBOSE | re.DOTALL,
)


def names(statement: str, values: Container[str] = ()) -> list[str]:
    """Return the parameters of a statement, each once.

    :param values: the names that have a value; inside of ``[1:name]`` another is a column.
    """
    return list(dict.fromkeys(name for _at, name in _places(statement, values)))


def escape_colons(statement: str, values: Container[str] = ()) -> str:
    """Return the statement for ``sqlalchemy.text``, which takes every colon for a parameter."""
    places = {at for at, _name in _places(statement, values)}
    return "".join(
        f"\\{character}" if character == ":" and at not in places else character
        for at, character in enumerate(statement)
    )


def _places(statement: str, values: Container[str]) -> Iterator[tuple[int, str]]:
    at, depth = 0, 0
    while token := _TOKEN.search(statement, at):
        at = token.end()
        depth += (token["open"] is not None) - (token["close"] is not None)
        name = token["name"]
        if token["comment"]:
            at = _end_of_comment(statement, at)
        elif name and (depth <= 0 or name in values):
            yield token.start(), name


def _end_of_comment(statement: str, at: int) -> int:
    """Return the place after a comment that begins before ``at``; PostgreSQL nests comments."""
    depth = 1
    for mark in re.compile(r"/\*|\*/").finditer(statement, at):
        depth += 1 if mark[0] == "/*" else -1
        if not depth:
            return mark.end()
    return len(statement)
