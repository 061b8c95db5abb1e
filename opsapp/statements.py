"""Statements without what is in them: SQL with every literal replaced by a question mark.

A statement that cannot be read to its end loses the rest instead of showing it, and
a name in double quotes that SQLite may have taken for a string is shown only if it
is the name of a table or a column. A parser for every dialect would guess at escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container

LONGEST = 2000
"""Characters of a fingerprint; what is longer is cut."""

_COMMENT = r"--[^\n]*|/\*"
_STRING = (
    r"[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)"  # PostgreSQL's, with backslashes
    r"|(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*(?:'|\Z)"
    r"|\$(?P<tag>\w*)\$.*?(?:\$(?P=tag)\$|\Z)"
)
_NAME = r'(?:[uU]&)?"(?:[^"]|"")*(?:"|\Z)|`[^`]*(?:`|\Z)|\[[^\]\'"]*\]'
_PARAMETER = r"%\(\w+\)s|%s|\?\d*|\$\d+|(?<!:):[A-Za-z_]\w*|@\w+"
_NUMBER = r"0[xX][0-9a-fA-F_]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\w*"
_TOKEN = re.compile(
    rf"(?P<comment>{_COMMENT})|(?P<string>{_STRING})|(?P<name>{_NAME})"
    rf"|(?P<parameter>{_PARAMETER})|(?P<word>[^\W\d][\w$]*)|(?P<number>{_NUMBER})"
    r"|(?P<space>\s+)|(?P<mark>::|.)",
    re.DOTALL,
)
_LIST = re.compile(r"\(\?(?:, ?\?)+\)")
_ROWS = re.compile(r"(\(\?(?:, …)?\))(?:, ?\(\?(?:, …)?\))+")
_OF_COMMENT = re.compile(r"/\*|\*/")


class _Everything:
    def __contains__(self, _name: object) -> bool:
        return True


EVERY_NAME: Container[str] = _Everything()


def fingerprint(statement: str, names: Container[str] = EVERY_NAME) -> str:
    """``statement`` without literals, comments and needless space.

    :param names: what may be shown where it stands in double quotes.
    """
    parts: list[str] = []
    place = 0
    while place < len(statement) and len(parts) < LONGEST:
        found = _TOKEN.match(statement, place)
        if found is None:  # Nothing fits; `mark` takes any character, so this is the end.
            break
        place = found.end()
        if found.lastgroup == "comment":
            place = _end_of_comment(statement, found)
            parts.append(" ")
        else:
            kind = found.lastgroup if found.lastgroup != "tag" else "string"
            parts.append(_SHOWN[kind or "mark"](found[0], names))
    shown = " ".join("".join(parts).split())
    shown = _ROWS.sub(r"\1, …", _LIST.sub("(?, …)", shown))
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"


_SELECTED = re.compile(r"^(SELECT (?:DISTINCT )?).{40,}?( FROM )")


def brief(fingerprint: str) -> str:
    """A fingerprint without the columns that it selects, which are many and say little."""
    return _SELECTED.sub(r"\1…\2", fingerprint)


def _end_of_comment(statement: str, found: re.Match[str]) -> int:
    """Where the comment ends; they stand in each other in PostgreSQL, and hide more in SQLite."""
    if found[0] != "/*":
        return found.end()
    depth, place = 1, found.end()
    while depth:
        mark = _OF_COMMENT.search(statement, place)
        if mark is None:
            return len(statement)
        depth += 1 if mark[0] == "/*" else -1
        place = mark.end()
    return place


def _quoted(token: str, names: Container[str]) -> str:
    bare = token[1:-1].replace('""', '"')
    return token if token[0] in '"`[' and bare in names else '"?"'


_SHOWN: dict[str, Callable[[str, Container[str]], str]] = {
    "string": lambda _token, _names: "?",
    "number": lambda _token, _names: "?",
    "parameter": lambda _token, _names: "?",
    "name": _quoted,
    "word": lambda token, _names: token,
    "space": lambda _token, _names: " ",
    "mark": lambda token, _names: token,
}
