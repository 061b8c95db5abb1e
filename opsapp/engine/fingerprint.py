"""Fingerprints of statements: SQL with every literal replaced by a question mark.

Literals depend on the dialect: the end of one in a dialect may be inside of it in the other.
So each dialect has its own rules. A statement whose quotes do not match, as around
``O'Brien``, is shown up to the first. On SQLite a name in double
quotes may be a string, and is shown only if it is the name of a table or a column.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from itertools import islice

LONGEST = 2000
"""Characters of a fingerprint; what is longer is cut."""

# Comments may stand in each other on PostgreSQL, which is too rare to follow on either.
_COMMENT = r"/\*(?:(?!/\*).)*?\*/"
_COMMON = (
    r"(?P<word>[^\W\d][\w$]*)"
    r"|(?P<number>0[xX][0-9a-fA-F_]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\w*)"
    # SQLAlchemy doubles it for a driver whose parameters begin with it.
    r"|(?P<percent>%%)"
    r"|(?P<space>\s+)|(?P<mark>::|.)"
)
_SQLITE = re.compile(
    rf"(?P<comment>--[^\n]*|{_COMMENT})"
    r"|(?P<string>[xX]?'(?:[^']|'')*+'(?!\w))"
    r'|(?P<name>"(?:[^"]|"")*+"(?!\w)|`(?:[^`]|``)*+`|\[[^\]]*\])'
    r"|(?P<parameter>\?\d*|%\(\w+\)s|%s|[:@$][\w$]+(?:::[\w$]*)*(?:\([^)\s]*\))?)"
    r"|(?P<broken>['\"`\[]|/\*)"
    rf"|{_COMMON}",
    re.DOTALL,
)
_POSTGRESQL = re.compile(
    rf"(?P<comment>--[^\n\r]*|{_COMMENT})"
    # A string with backslashes goes on after a new line, and has them there too.
    r"|(?P<string>[eE]'(?:[^'\\]|\\.|''|'(?:\s|--[^\n\r]*[\n\r])+')*+'(?!\w)"
    r"|(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*+'(?!\w)"
    r"|\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)"
    r'|(?P<name>(?:[uU]&)?"(?:[^"]|"")*+"(?!\w))'
    r"|(?P<parameter>%\(\w+\)s|%s|\?\d*|\$\d+|(?<!:):[A-Za-z_]\w*|@\w+)"
    r"|(?P<broken>['\"`$]|/\*)"
    rf"|{_COMMON}",
    re.DOTALL,
)
_QUOTED = ("string", "name", "broken")
CAST = r"(?:::[A-Za-z_][\w ]*(?:\[\])*)?"
"""The type that SQLAlchemy writes after a parameter of PostgreSQL."""
_LIST = re.compile(rf"([(\[])(\?{CAST})(?:, ?\2)+([)\]])")
_ROWS = re.compile(r"(\([^()]*\?[^()]*\))(?:, ?\1)+")


def fingerprint(statement: str, names: Container[str] | None = None) -> str:
    """Return ``statement`` without literals, comments and needless space.

    :param names: what SQLite may have in double quotes; None where PostgreSQL reads it.
    """
    parts: list[str] = []
    first: int | None = None
    tokens = (_POSTGRESQL if names is None else _SQLITE).finditer(statement)
    for token in islice(tokens, LONGEST):
        kind = token.lastgroup
        if first is None and kind in _QUOTED:
            first = len(parts)
        if kind == "broken":
            parts[first:] = "?"
            break
        parts.append(_show_token(kind, token[0], names))
    text = " ".join("".join(parts).split())
    text = _ROWS.sub(r"\1, …", _LIST.sub(r"\1\2, …\3", text))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _show_token(kind: str | None, token: str, names: Container[str] | None) -> str:
    if kind in ("word", "mark"):
        return token
    if kind == "percent":
        return "%"
    if kind in ("space", "comment"):
        return " "
    if kind == "name":
        return token if names is None or token[1:-1] in names else '"?"'
    return "?"


def undouble_percents(statement: str, paramstyle: str) -> str:
    """Return a statement as it was written, where a driver takes ``%%`` for ``%``.

    :param paramstyle: that of the driver's module (PEP 249).
    """
    return statement.replace("%%", "%") if paramstyle in ("format", "pyformat") else statement


_PART = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | \bIS\ (?:NOT\ )?DISTINCT\ FROM\b"""
    r"| \b(?P<select>SELECT\ (?:DISTINCT\ |ALL\ )?) | (?P<from>\ FROM\b) | [()]",
    re.IGNORECASE | re.VERBOSE,
)
"""A part of a statement that tells where its lists of columns are, or that could hide one."""
FEW_COLUMNS = 40
"""The length of a column list that is not left out."""


def brief(fingerprint: str) -> str:
    """Return a fingerprint without the columns that its queries select: many, and they say little.

    Those of a query inside of another are left out as well.
    """
    parts, at = [], 0
    for begin, end, _depth in sorted(_column_lists(fingerprint)):
        if begin >= at and end - begin >= FEW_COLUMNS:
            parts += [fingerprint[at:begin], "…"]
            at = end
    return "".join([*parts, fingerprint[at:]])


def after_columns(fingerprint: str) -> str:
    """Return a SELECT from its own FROM on, not that of a query among its columns."""
    ends = (end for _begin, end, depth in _column_lists(fingerprint) if depth == 0)
    return fingerprint[next(ends, 0) :]


def _column_lists(statement: str) -> Iterator[tuple[int, int, int]]:
    """Yield the begin and end of each list of columns, and its depth in parentheses."""
    depth = 0
    begins: dict[int, int] = {}
    for part in _PART.finditer(statement):
        if part["select"]:
            begins[depth] = part.end()
        elif part["from"] and depth in begins:
            yield begins.pop(depth), part.start(), depth
        elif part[0] == "(":
            depth += 1
        elif part[0] == ")":
            begins.pop(depth, None)
            depth -= 1
