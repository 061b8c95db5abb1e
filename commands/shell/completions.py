"""Completions: tables and columns in SQL, columns of models, accounts and roles."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)
from sqlalchemy import orm as so
from sqlalchemy.exc import SQLAlchemyError

from opsapp.console import readonly
from opsapp.errors import OpsError
from opsapp.extensions import db, this_app
from opsapp.models.application import application_tables
from opsapp.state import attachment_of, is_built_on

if TYPE_CHECKING:
    from opsapp.ops.identity import Identity

Complete = Callable[[CompletionContext], SimpleMatcherResult]
Found = tuple[str, Iterable[str]]
"""The text before the cursor that a completion replaces, and the completions."""
_ID = "opsapp"


def teach(shell: Any, inside: Callable[[Complete], Complete] = lambda complete: complete) -> None:
    """Let the shell complete these.

    :param inside: makes a function that completes inside of the session's context.
    """

    def complete(context: CompletionContext) -> SimpleMatcherResult:
        if shell.console is None:
            return {"completions": []}
        lines = context.full_text.split("\n")[: context.cursor_line]
        before = "\n".join([*lines, context.text_until_cursor])
        match = _in_sql(before, context.full_text) or _account_or_role(before)
        replaced, texts = match or _keywords(before, shell.user_ns) or ("", [])
        return {
            "completions": [SimpleCompletion(text, type=_ID) for text in texts],
            "matched_fragment": replaced,
            "suppress": match is not None,  # A keyword stands beside other names of Python.
        }

    # A notebook opens several sessions, one after the other.
    matchers = shell.Completer.custom_matchers
    matchers[:] = [each for each in matchers if getattr(each, "matcher_identifier", "") != _ID]
    matchers.append(context_matcher(identifier=_ID)(inside(complete)))


# --- SQL ----------------------------------------------------------------------

_MAGIC = re.compile(
    r"^\s*(?:%%(?:sql|explain)\b(?P<cell>.*)"
    r"|(?:\w+\s*=\s*)?%(?:sql|explain|schema|tables)\s(?P<line>[^\n]*))\Z",
    re.MULTILINE | re.DOTALL,
)
_SQL_CALL = re.compile(
    r"""\bsql\(\s*('''|\"""|'|")(?P<statement>(?:\\.|(?!\1)[^\\])*)$""", re.DOTALL
)
_NAME = re.compile(r"""(?:"[^"]*"|[^"])*?(?P<name>\\?"[^"]*|\w*)$""", re.DOTALL)


def _in_sql(before: str, statement: str) -> Found | None:
    """Return tables, and the columns of those that the statement has."""
    call = _SQL_CALL.search(before)
    place = call or _MAGIC.search(before)
    if place is None:
        return None
    match = _NAME.match(str(place[place.lastgroup or 0]))
    typed = match["name"] if match else ""
    quote = db.engine.dialect.identifier_preparer.quote
    start = typed.lstrip('\\"').lower()
    names = [quote(name) for name in _names_in(statement) if name.lower().startswith(start)]
    return typed, [_within(name, call[1][0]) for name in names] if call else names


def _names_in(statement: str) -> list[str]:
    tables = application_tables()
    words = set(re.findall(r"\w+", statement))
    columns = {
        column.name
        for table in tables
        if words.issuperset(re.findall(r"\w+", table.name))
        for column in table.columns
    }
    return sorted({*(table.name for table in tables), *columns})


# --- accounts and roles ----------------------------------------------------------

_LOOKUP = re.compile(r"""\b(U|R|client\.as_)\(\s*(['"])(?P<typed>(?:\\.|(?!\2)[^\\\n])*)$""")
_NAMED = (
    "WITH named (name) AS ({}) SELECT name FROM named"
    " WHERE substr(name, 1, length(CAST(:typed AS text))) = :typed ORDER BY 1 LIMIT 1000"
)
_NAMES = {
    "U": _NAMED.format(
        "SELECT username FROM ops_users WHERE deleted_at IS NULL"
        " UNION SELECT email FROM ops_users WHERE deleted_at IS NULL"
    ),
    "R": _NAMED.format("SELECT name FROM ops_roles"),
}
_NAMES["client.as_"] = _NAMES["U"]


def _account_or_role(before: str) -> Found | None:
    """Return usernames and addresses in ``U("`` and ``client.as_("``, and roles in ``R("``."""
    match = _LOOKUP.search(before)
    if match is None:
        return None
    start = re.sub(r"\\(.)", r"\1", match["typed"])
    try:
        if is_built_on(this_app()):
            names = _ours(_NAMES[match[1]], start)
        elif match[1] == "U" and (identity := attachment_of(this_app()).identity) is not None:
            names = _of_identity(identity, start)
        else:
            return None
    except (OpsError, SQLAlchemyError, db.engine.dialect.loaded_dbapi.Error):
        return None  # The next input tells of it.
    return match["typed"], [_within(name, match[2]) for name in names]


# Each uses a connection of its own: the session's transaction is not for the prompt to begin.


def _ours(statement: str, start: str) -> list[str]:
    if db.engine.dialect.name != "sqlite":
        statement = statement.replace(":typed", "%(typed)s")
    with closing(readonly.connect(db.engine)) as connection:
        return [name for (name,) in connection.execute(statement, {"typed": start})]


def _of_identity(identity: Identity, start: str) -> list[str]:
    """Return the names and addresses of an application's own accounts."""
    bind = db.session.get_bind(sa.inspect(identity.model)).engine
    connect = partial(readonly.connect, bind)
    engine = sa.create_engine(bind.url, creator=connect, poolclass=sa.NullPool)
    names: set[str] = set()
    with so.Session(engine) as session:
        for attribute in filter(None, (identity.username, identity.email)):
            begins = sa.func.substr(attribute.column, 1, len(start)) == start
            names.update(session.scalars(sa.select(attribute.column).where(begins).limit(1000)))
    return sorted(names)


def _within(name: str, quote: str) -> str:
    """Return a name as it is written between these quotes in Python."""
    return "".join(
        f"\\{character}"
        if character in (quote, "\\")
        else character
        if character.isprintable()
        else repr(character)[1:-1]
        for character in name
    )


# --- keywords ---------------------------------------------------------------------

_PIECE = re.compile(
    r"""'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | (?P<open>[(\[{]) | (?P<close>[)\]}]) | ['"]""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORD = re.compile(r"[(,]\s*(?P<typed>\w*)$")
_OF_QUERY = re.compile(r"\b(?:(\w+)\.query\b(?!\()|(?:query|select)\(\s*(\w+))")


def _keywords(before: str, names: dict[str, Any]) -> Found | None:
    """Return the attributes of a model: in ``User(``, and in ``filter_by(`` of its queries."""
    keyword = _KEYWORD.search(before)
    callee = _callee(before)
    if keyword is None or callee is None:
        return None
    name = callee.rpartition(".")[2]
    if name == "filter_by":
        queries = _OF_QUERY.findall(callee)
        name = "".join(queries[-1]) if queries else ""
    model = names.get(name)
    mapper = sa.inspect(model, raiseerr=False) if isinstance(model, type) else None
    if not isinstance(mapper, so.Mapper):
        return None
    keys = [attribute.key for attribute in mapper.attrs]
    typed = keyword["typed"]
    return typed, [f"{key}=" for key in keys if key.startswith(typed)]


def _callee(before: str) -> str | None:
    """Return the text before the call that the cursor is in; None in a text or without one."""
    brackets: list[int] = []
    for piece in _PIECE.finditer(before):
        if piece["open"]:
            brackets.append(piece.start())
        elif piece["close"]:
            brackets = brackets[:-1]
        elif len(piece[0]) == 1:
            return None
    return before[: brackets[-1]] if brackets and before[brackets[-1]] == "(" else None
