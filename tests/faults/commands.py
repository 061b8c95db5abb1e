"""The commands that are disturbed, each from the same beginning: Ada administers, Bob exists."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from tests.support import PASSWORD
from tests.support.templates import BOB

BEGINNING = BOB


@dataclass(frozen=True)
class Command:
    """One command.

    :param words: what the operator types after ``flask``.
    :param events: the actions of the events that it writes.
    :param units: how many of these events each of its transactions has.
    """

    words: tuple[str, ...]
    events: tuple[str, ...]
    stdin: str = ""
    units: tuple[int, ...] = ()

    @property
    def states(self) -> list[tuple[str, ...]]:
        """The events that may be there afterwards: those of none, some or all transactions."""
        ends = itertools.accumulate(self.units or (len(self.events),), initial=0)
        return [self.events[:end] for end in ends]

    def outcome(self, events: tuple[str, ...]) -> str:
        """Return the state that these events are, in the words of the page."""
        if not self.events:
            return "nothing to write"
        whole = {(): "old state", self.events: "new state"}
        return whole.get(events, "some of its transactions")

    @property
    def name(self) -> str:
        """The command without its arguments, such as ``users create``."""
        return " ".join(self.words[: 1 if self.words[0] == "shell" else 2])


def _command(words: str, *events: str, stdin: str = "") -> Command:
    return Command(tuple(words.split()), events, stdin)


COMMANDS = (
    _command("users create cyd@example.com --no-password", "user:account:create"),
    _command(
        "users create-admin cyd@example.com --password-stdin",
        *("user:account:create", "user:role:grant"),
        stdin=PASSWORD,
    ),
    _command("users update bob@example.com --username robert", "user:account:update"),
    _command("users deactivate bob@example.com", "user:account:deactivate"),
    _command("users delete bob@example.com --yes", "user:account:delete"),
    _command("roles create support", "role:definition:create"),
    _command("roles grant admin bob@example.com", "user:role:grant"),
    _command("db backup copy", "database:backup:create"),
    _command("audit checkpoint"),
    _command("jobs run nightly -- true"),
    Command(
        ("shell", "--write", "--reason", "t", "-c", "users.create('cyd@example.com')"),
        ("console:session:open", "user:account:create", "console:session:close"),
        units=(1, 1, 1),
    ),
)
