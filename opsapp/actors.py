"""Actors: the person or account behind a change, as far as the machine can tell."""

from __future__ import annotations

import os
import pwd
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from . import settings, text

_CORRELATION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Actor:
    """One actor, with what the audit keeps of it.

    ``kind`` is ``os`` for a user at a terminal or cron, ``user`` for an account
    of the application, ``stranger`` for a visitor without one; ``name`` is the login
    name, or ``user:ID``; ``token`` names the API token it came with.
    """

    kind: str
    name: str
    sudo: str | None = None
    behind: str | None = None
    host: str | None = None
    terminal: str | None = None
    token: str | None = None

    def label(self) -> str:
        """Return one line for a person: ``root (sudo ada)@db1``."""
        extras = [f"sudo {self.sudo}"] if self.sudo else []
        extras += [f"for {self.behind}"] if self.behind else []
        extras += [f"token {self.token}"] if self.token else []
        return (
            self.name
            + (f" ({', '.join(extras)})" if extras else "")
            + (f"@{self.host}" if self.host else "")
        )

    def record(self) -> dict[str, str]:
        """Return the form that the audit stores: the fields that are known."""
        values = ((name, getattr(self, name)) for name in self.__slots__)
        return {name: value for name, value in values if value is not None}


_EXTRAS = {"sudo": "sudo", "behind": "for", "token": "token"}
"""The fields in a label's parentheses, in their order, and the word before each."""


def _patterns() -> Iterator[re.Pattern[str]]:
    for count in range(len(_EXTRAS) + 1):
        for fields in combinations(_EXTRAS, count):
            words = ", ".join(f"{_EXTRAS[field]} (?P<{field}>.+)" for field in fields)
            extras = rf" \({words}\)" if fields else ""
            for host in ("@(?P<host>[^@]+)", ""):
                yield re.compile(f"(?P<name>.+){extras}{host}")


_PATTERNS = tuple(_patterns())


def readings(label: str) -> Iterator[dict[str, str]]:
    """Yield the fields that :meth:`Actor.label` may have made this label of.

    There are several, because an address has an ``@`` too.
    """
    for pattern in _PATTERNS:
        if match := pattern.fullmatch(label):
            yield match.groupdict()


def _login_name(uid: int) -> str:
    # The environment (USER, LOGNAME) is the caller's to set; the user id is not.
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _terminal() -> str:
    for stream in (sys.__stdin__, sys.__stderr__):
        try:
            if stream is not None and stream.isatty():
                return os.ttyname(stream.fileno())
        except (OSError, ValueError):  # a closed stream has no terminal
            continue
    return "none"


def at_terminal() -> Actor:
    """Return the operating-system user of this process.

    ``OPSAPP_ACTOR`` adds who is behind a shared account; it never replaces the
    user the kernel knows.

    :raises Invalid: ``OPSAPP_ACTOR`` or ``SUDO_USER`` has hostile characters.
    """
    sudo = os.environ.get("SUDO_USER") if os.getuid() == 0 else None
    return Actor(
        kind="os",
        name=_login_name(os.getuid()),
        sudo=text.validate(sudo, "SUDO_USER", longest=64) if sudo else None,
        behind=settings.get("OPSAPP_ACTOR"),
        host=socket.gethostname(),
        terminal=_terminal(),
    )


def correlation_of_job() -> str | None:
    """Return the correlation of the job's run that this process belongs to; None outside of one.

    ``flask jobs run`` hands it down, so that what a command of a job changes is found by the run.
    """
    correlation = os.environ.get("OPSAPP_CORRELATION", "")
    return correlation if _CORRELATION.fullmatch(correlation) else None


@dataclass(frozen=True, slots=True)
class Powers:
    """An account's permissions, limited to those of the token it came with.

    It holds no list: what the account may do is read when it matters, inside of
    the gate, since it may have been taken away a moment ago.
    """

    user_id: int
    scope: frozenset[str] | None = None
    """The token's permissions; None does not limit."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The credential that lets an account act; it is checked again inside of the gate.

    A request may wait there while its token is revoked, its session ended or its
    account deactivated, and must not act on what it held when it began.
    """

    user_id: int
    uniquifier: str
    """The account's ``fs_uniquifier`` as the request saw it."""
    session_id: int | None = None
    token_id: int | None = None
