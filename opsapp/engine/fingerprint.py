"""Fingerprints of statements: SQL with every literal replaced by a question mark.

Literals depend on the dialect: the end of one in a dialect may be inside of it in the other.
So each dialect has its own rules. A statement whose quotes do not match, as around
``O'Brien``, is shown up to the first. On SQLite a name in double
quotes may be a string, and is shown only if it is the name of a table or a column.
"""

from __future__ import annotations

import re
from collections.abc import Container
from itertools import islice

LONGEST = 2000
"""Characters of a fingerprint; what is longer is cut."""

# Comments may stand in each other on PostgreSQL, which is too rare to follow on either.
_COMMENT = r"/\*(?:(?!/\*).)*?\*/"
_COMMON = (
    r"(?P<word>[^\W\d][\w$]*)"
    r"|(?P<number>0[xX][0-9a-fA-F_]+|(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\w*)"
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
_LIST = re.compile(r"([(\[])\?(?:, ?\?)+([)\]])")
_ROWS = re.compile(r"(\(\?(?:, …)?\))(?:, ?\(\?(?:, …)?\))+")


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
        parts.append(_shown(kind, token[0], names))
    text = " ".join("".join(parts).split())
    text = _ROWS.sub(r"\1, …", _LIST.sub(r"\1?, …\2", text))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _shown(kind: str | None, token: str, names: Container[str] | None) -> str:
    if kind in ("word", "mark"):
        return token
    if kind in ("space", "comment"):
        return " "
    if kind == "name":
        return token if names is None or token[1:-1] in names else '"?"'
    return "?"


_SELECT = re.compile(r"SELECT (?:DISTINCT )?")
_FROM_OR_PARENTHESIS = re.compile(r" FROM |[()]")
FEW_COLUMNS = 40
"""The length of a column list that is not left out."""


def brief(fingerprint: str) -> str:
    """Return a fingerprint without the columns that it selects, which are many and say little."""
    select = _SELECT.match(fingerprint)
    end = len(fingerprint) - len(after_columns(fingerprint))
    if select is None or end - select.end() < FEW_COLUMNS:
        return fingerprint
    return f"{select[0]}…{fingerprint[end:]}"


def after_columns(fingerprint: str) -> str:
    """Return a SELECT from its own FROM on, not that of a query among its columns."""
    depth = 0
    for match in _FROM_OR_PARENTHESIS.finditer(fingerprint):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
        elif depth == 0:
            return fingerprint[match.start() :]
    return fingerprint
