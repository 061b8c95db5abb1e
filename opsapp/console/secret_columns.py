"""Secret columns: those with telling names, those that a model declares, and their aliases.

The columns of a result are found by its names and by the statement's words; PostgreSQL
also tells which column of a table each of them is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ..models.application import application_tables
from ..redaction import is_secret_name

Declared = Mapping[str, Mapping[str, bool]]
"""The declarations of models, by the name of a column and its table."""

_WORD = re.compile(r"\w+")


def declared_columns() -> Declared:
    """Return the ``info["secret"]`` of every column that has it."""
    return _declared_columns(application_tables())


@lru_cache(maxsize=4)
def _declared_columns(tables: Sequence[Any]) -> Declared:
    columns: dict[str, dict[str, bool]] = {}
    for table in tables:
        for column in table.columns:
            if "secret" in column.info:
                by_table = columns.setdefault(column.name.lower(), {})
                by_table[table.name.lower()] = bool(column.info["secret"])
    return columns


def is_column(name: str) -> bool:
    """Return whether a table of the application or of opsapp has a column of this name."""
    return any(name in table.columns for table in application_tables())


def is_secret(column: str, table: str) -> bool:
    """Return whether the column of this table holds a secret."""
    verdict = declared_columns().get(column.lower(), {}).get(table.lower())
    return is_secret_name(column) if verdict is None else verdict


def secrecy_test(statement: str, columns: Declared) -> Callable[[str], bool]:
    """Return a test of whether a name is that of a secret column in this statement.

    :param columns: what models declare, which counts if the table is named there.
    """
    words = frozenset(_WORD.findall(statement.lower()))

    def is_secret_here(name: str) -> bool:
        by_table = columns.get(name.lower(), {})
        verdicts = [secret for table, secret in by_table.items() if table in words]
        return any(verdicts) if verdicts else is_secret_name(name)

    return is_secret_here


def of_result(statement: str, names: Sequence[str]) -> tuple[frozenset[int], frozenset[int]]:
    """Return the secret columns of a result, and those that are made from a secret."""
    return _of_result(statement, tuple(names), application_tables())


@lru_cache(maxsize=256)
def _of_result(
    statement: str, names: Sequence[str], tables: Sequence[Any]
) -> tuple[frozenset[int], frozenset[int]]:
    is_secret_here = secrecy_test(statement, _declared_columns(tables))
    aliases = _aliases(statement, is_secret_here)
    secrets = frozenset(
        i for i, name in enumerate(names) if is_secret_here(name) or aliases.get(name.lower())
    )
    return secrets, frozenset(
        i for i, name in enumerate(names) if name.lower() in aliases
    ) - secrets


def may_show(value: Any) -> bool:
    """Return whether a value that is made from a secret may show it, as a count does not."""
    return isinstance(value, str | bytes | list | tuple | dict)


@lru_cache(maxsize=256)
def _mentions(statement: str, tables: Sequence[Any]) -> bool:
    return any(map(secrecy_test(statement, _declared_columns(tables)), _WORD.findall(statement)))


def mentions(statement: str) -> bool:
    """Return whether the statement names a secret column, or has a word like one."""
    return _mentions(statement, application_tables())


def by_name(names: Sequence[str]) -> frozenset[int]:
    """Return the columns that a secret column of any table has the name of."""
    columns = declared_columns()
    return frozenset(
        i
        for i, name in enumerate(names)
        if is_secret_name(name) or any(columns.get(name.lower(), {}).values())
    )


def by_origin(connection: Any, result: Any) -> set[int]:
    """Return the secret columns of a result of libpq by the columns of tables that they are.

    :param connection: psycopg's, in the transaction of the result.
    """
    origins = [(result.ftable(i), result.ftablecol(i)) for i in range(result.nfields)]
    tables = sorted({table for table, _number in origins if table})
    if not tables:
        return set()
    columns = (
        "SELECT attrelid, attnum, attname, relname FROM pg_attribute"
        " JOIN pg_class ON pg_class.oid = attrelid WHERE attrelid = ANY(%s) AND attnum > 0"
    )
    secret = {
        (table, number)
        for table, number, column, name in connection.execute(columns, [tables]).fetchall()
        if is_secret(column, name)
    }
    return {i for i, origin in enumerate(origins) if origin in secret}


# --- aliases -------------------------------------------------------------------

_TOKEN = re.compile(
    r"""
    '(?:[^']|'')*' | (?P<quote>\$\w*\$).*?(?P=quote) | --[^\n]* | /\*.*?\*/
    | "(?:[^"]|"")*" | `[^`]*` | \w+ | \S
    """,
    re.VERBOSE | re.DOTALL,
)
_ENDS = frozenset({",", ";", "from", "union", "except", "intersect", "into"})
_LISTS = frozenset({"select", "distinct", "all", "with"})
_NO_OUTPUT = frozenset({
    "where", "on", "using", "group", "order", "having", "limit", "window", "returning", "set",
    "values", "is", "in", "like", "ilike", "between", "not", "isnull", "notnull",
    "=", "<", ">", "!", "~",
})  # fmt: skip
"""A secret before one of these is compared, or is in no list of columns."""
_UNNAMED = ("?column?", "array", "row", "case")
"""The names that PostgreSQL gives to expressions that are no functions."""
_TABLES = frozenset({"from", "join", "as", "lateral", "in", "exists", "materialized", "into"})
"""Words before the parenthesis of a subquery whose columns have names of their own."""


def _aliases(statement: str, is_secret_here: Callable[[str], bool]) -> dict[str, bool]:
    """Return the aliases of secrets: True of a column itself, False of an expression with it.

    An alias of an alias, as of a subquery or a CTE, counts too.
    """
    tokens = list(_tokens(statement))
    aliases: dict[str, bool] = {}
    before = -1
    while len(aliases) > before:
        before = len(aliases)
        for at, token in enumerate(tokens):
            if _is_name(token) and (token in aliases or is_secret_here(token)):
                is_itself = aliases.get(token, True)
                for alias, is_column in _alias(tokens, at):
                    aliases.setdefault(alias, is_column and is_itself)
    return aliases


def _tokens(statement: str) -> Iterator[str]:
    for match in _TOKEN.finditer(statement):
        token = match[0]
        if token.startswith(("'", "$")):
            yield "''"
        elif not token.startswith(("--", "/*")):
            yield token.strip('"`').lower() if len(token) > 1 else token.lower()


def _is_name(token: str) -> bool:
    return token.isidentifier()


def _alias(tokens: list[str], at: int) -> Iterator[tuple[str, bool]]:
    """Yield the names under which the secret at this place leaves its lists of columns."""
    is_column, function, place = True, "?column?", at + 1
    while place < len(tokens) and tokens[place] not in _NO_OUTPUT:
        word = tokens[place]
        if word == "(":
            place = _closing_place(tokens, place)
        elif word == ")" or word in _ENDS:
            opening = _opening_place(tokens, place)
            if word in _ENDS and (opening < 0 or tokens[opening + 1] in _LISTS):
                yield from _name_before(tokens, at, place, is_column, function)
            if opening < 1 or tokens[opening - 1] in _TABLES:
                return
            is_column, place = False, _closing_place(tokens, opening)
            function = tokens[opening - 1] if _is_name(tokens[opening - 1]) else function
        elif not _is_name(word):
            is_column = False
        place += 1
    if place >= len(tokens):
        yield from _name_before(tokens, at, len(tokens), is_column, function)


def _name_before(
    tokens: list[str], at: int, end: int, is_column: bool, function: str
) -> Iterator[tuple[str, bool]]:
    """Yield the name of an expression; without an alias PostgreSQL takes that of its kind."""
    last, before = tokens[end - 1], tokens[end - 2]
    if last != "end" and end - 1 > at and _is_name(last) and (before in ")]" or _is_name(before)):
        yield last, is_column
    elif not is_column or last == "end":
        yield from ((name, False) for name in (function, *_UNNAMED))


def _opening_place(tokens: list[str], place: int) -> int:
    """Return the place of the parenthesis around a token; -1 if there is none."""
    depth = 1
    while depth and place > 0:
        place -= 1
        depth += (tokens[place] == ")") - (tokens[place] == "(")
    return place if not depth else -1


def _closing_place(tokens: list[str], place: int) -> int:
    """Return the place of the parenthesis that closes the one at this place."""
    depth = 0
    while place < len(tokens):
        depth += (tokens[place] == "(") - (tokens[place] == ")")
        if not depth:
            break
        place += 1
    return place
