"""The TOML file of roles and grants: stable order, errors with line numbers.

docs/decisions/accounts.md#the-file-of-roles-is-written-by-hand
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .. import clock, text
from ..errors import Invalid, OpsError
from ..models import ADMIN
from . import permissions
from .roles import clean_description, clean_name

FOR_EVER = "forever"
"""The end of a grant without an end."""
EVERY = ("*",)
"""The permissions of the built-in role."""
_HEADER = "# Roles of opsapp: `flask roles apply FILE` makes a database like this file.\n"
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Definition:
    """The description and the sorted permissions of a role."""

    description: str
    permissions: tuple[str, ...]


Holders = Mapping[str, datetime | None]
"""The ends of a role's grants by the addresses of the accounts; None is forever."""


@dataclass(frozen=True, slots=True)
class Access:
    """Roles, and the grants of those roles of which anything is said."""

    roles: Mapping[str, Definition] = field(default_factory=dict)
    grants: Mapping[str, Holders] = field(default_factory=dict)


# --- writing -------------------------------------------------------------------


def render(access: Access) -> str:
    """Return the file: roles by name, each followed by its grants by address."""
    lines = [_HEADER]
    for name in sorted(access.roles.keys() | access.grants.keys()):
        if name in access.roles:
            lines += _definition(name, access.roles[name])
        if name in access.grants:
            lines += _grants(name, access.grants[name])
    return "\n".join(lines)


def _definition(name: str, role: Definition) -> Iterator[str]:
    yield f"[roles.{_key(name)}]"
    yield f"description = {_string(role.description)}"
    listed = "".join(f"  {_string(permission)},\n" for permission in role.permissions)
    yield f"permissions = [\n{listed}]\n" if listed else "permissions = []\n"


def _grants(name: str, holders: Holders) -> Iterator[str]:
    yield f"[grants.{_key(name)}]"
    for user, until in sorted(holders.items()):
        yield f"{_string(user)} = {clock.rfc3339(until) if until else _string(FOR_EVER)}"
    yield ""


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _string(name)


def _string(value: str) -> str:
    return f'"{"".join(map(_escape, value))}"'


def _escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08X}"


def difference(before: str, after: str) -> list[str]:
    """Return the lines that differ, with ``-`` and ``+``, below the header of their table."""
    old, new = _tables(before), _tables(after)
    lines: list[str] = []
    for header in sorted(old.keys() | new.keys(), key=_place):
        sign = "+" if header not in old else "-" if header not in new else " "
        pairs = difflib.unified_diff(old.get(header, []), new.get(header, []), n=0, lineterm="")
        changed = [line for line in list(pairs)[2:] if not line.startswith("@@")]
        lines += [sign + header, *changed] if changed or sign != " " else []
    return lines


def _tables(words: str) -> dict[str, list[str]]:
    """Return the lines of each table by its header."""
    tables: dict[str, list[str]] = {"": []}
    for line in filter(None, words.splitlines()):
        if line.startswith("["):
            tables[line] = []
        else:
            tables[next(reversed(tables))].append(line)
    return tables


def _place(header: str) -> tuple[str, bool]:
    """Return the order of the tables: by role, its grants behind its definition."""
    kind, _, name = header.partition(".")
    return name.strip('"]'), kind == "[grants"


# --- reading -------------------------------------------------------------------


def parse(words: str, *, name: str) -> Access:
    """Return the roles and grants of a file; the addresses are as they are written there.

    :param name: the file, for the errors.
    :raises Invalid: it is no TOML, or holds what no such file has; names the line.
    """
    try:
        content = tomllib.loads(words)
    except tomllib.TOMLDecodeError as error:
        reason, _, place = str(error).removesuffix(")").rpartition(" (at ")
        if place == "end of document":
            place = f"line {max(1, len(words.splitlines()))}"
        raise Invalid(f"{name} {place}: {text.truncate(reason, 200)}") from error
    except RecursionError as error:
        raise Invalid(f"{name}: brackets are nested too deeply") from error
    source = _Source(name, words)
    source.check(content, ("roles", "grants"))
    return Access(
        roles={
            _read_name(source, "roles", role): _read_role(source, role, entry)
            for role, entry in source.table(content, "roles").items()
        },
        grants={
            _read_name(source, "grants", role): {
                user: _read_end(source, role, user, end)
                for user, end in source.table(content["grants"], role, below="grants").items()
            }
            for role in source.table(content, "grants")
        },
    )


def _read_name(source: _Source, table: str, role: str) -> str:
    with source.at(table, role):
        if clean_name(role) != role:
            raise Invalid(f"role {text.truncate(role)}: write {clean_name(role)}")
    return role


def _read_role(source: _Source, role: str, entry: Any) -> Definition:
    values = source.table({role: entry}, role, below="roles")
    source.check(values, ("description", "permissions"), "roles", role)
    description, names = values.get("description", ""), values.get("permissions", [])
    with source.at("roles", role, "description"):
        if not isinstance(description, str):
            raise Invalid("description is not a string")
        description = clean_description(description)
    with source.at("roles", role, "permissions"):
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise Invalid("permissions is not a list of strings")
        if role == ADMIN and names not in ([], list(EVERY)):
            raise Invalid(f'role {ADMIN} holds every permission: write permissions = ["*"]')
    if role == ADMIN:
        return Definition(description, EVERY)
    for name in names:
        with source.at("roles", role, "permissions", name):
            permissions.parse(name)
    return Definition(description, tuple(sorted(set(names))))


def _read_end(source: _Source, role: str, user: str, end: Any) -> datetime | None:
    if end == FOR_EVER:
        return None
    with source.at("grants", role, user):
        try:
            if isinstance(end, datetime):
                return (end if end.tzinfo else end.replace(tzinfo=UTC)).astimezone(UTC)
        except OverflowError:  # Its distance puts it before the year 1, or after 9999.
            pass
        name = text.truncate(user)
        raise Invalid(f'{name}: the end is "{FOR_EVER}" or a time such as 2030-12-31T18:00:00Z')


@dataclass(frozen=True, slots=True)
class _Source:
    """The text of the file, for the lines of its mistakes."""

    name: str
    words: str

    @contextmanager
    def at(self, *path: str) -> Iterator[None]:
        """Add file and line to an error about what stands there."""
        try:
            yield
        except OpsError as error:
            raise locate_error(error, self.name, self.words, *path) from error

    def check(self, table: Mapping[str, Any], names: tuple[str, ...], *path: str) -> None:
        """Refuse a key that is none of ``names``."""
        for key in table.keys() - set(names):
            with self.at(*path, key):
                near = text.did_you_mean(key, names) or f"there are {' and '.join(names)}"
                raise Invalid(f"{text.truncate(key)} is not a known key", hint=near)

    def table(self, content: Mapping[str, Any], key: str, *, below: str | None = None) -> Any:
        """Return the table of this key, empty where there is none."""
        value = content.get(key, {})
        if not isinstance(value, dict):
            with self.at(*filter(None, (below, key))):
                raise Invalid(f"{text.truncate(key)} is not a table")
        return value


def locate_error(error: OpsError, name: str, words: str, *path: str) -> OpsError:
    """Return the error with file and line of what it is about.

    :param path: the keys that lead there, and perhaps a string of a list.
    """
    message = f"{name} line {_line(words, *path)}: {error.message}"
    return type(error)(message, hint=error.hint)


def _line(words: str, *path: str) -> int:
    """Return the line of the last of these words behind the others, counted from 1.

    A parser that tells lines is no part of Python. The header of the table is looked for
    first, so that a word of another table is not taken for one of this.
    """
    lines = words.splitlines()
    number = 0
    if len(path) > 1:
        key = r"\s*\.\s*".join(f"[\"']?{re.escape(name)}[\"']?" for name in path[:2])
        header = re.compile(rf"\s*\[\s*{key}\s*\]")
        number = next((n for n, line in enumerate(lines) if header.match(line)), 0)
    for name in path[2:] if number else path:
        word = re.compile(rf"(?<![\w.:@-]){re.escape(name)}(?![\w.:@-])")
        places = (n for n in range(number, len(lines)) if word.search(lines[n]))
        number = next(places, number)
    return number + 1
