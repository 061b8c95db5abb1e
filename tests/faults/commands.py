"""The commands that are disturbed, each from the same beginning: Ada administers, Bob exists."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import timedelta

from opsapp import clock
from tests.support import PASSWORD, Database
from tests.support.forks import flask
from tests.support.templates import BOB

BEGINNING = BOB


@dataclass(frozen=True)
class Command:
    """One command.

    :param words: what the operator types after ``flask``.
    :param events: the actions of the events that it writes.
    :param units: how many of these events each of its transactions has.
    :param file: the name and the content of the file that it reads.
    """

    words: tuple[str, ...]
    events: tuple[str, ...]
    stdin: str = ""
    units: tuple[int, ...] = ()
    file: tuple[str, str] = ("", "")

    def prepare(self, database: Database) -> None:
        """Write the file that it reads."""
        name, content = self.file
        if name:
            (database.instance / name).write_text(content)

    @property
    def states(self) -> list[tuple[str, ...]]:
        """The events that may be there afterwards: those of any of its transactions, in order."""
        ends = itertools.accumulate(self.units or (len(self.events),), initial=0)
        parts = [self.events[begin:end] for begin, end in itertools.pairwise(ends)]
        choices = itertools.product((False, True), repeat=len(parts))
        return [sum(itertools.compress(parts, choice), ()) for choice in choices]

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


ROLES = """
[roles.admin]
description = "Holds every permission."
permissions = ["*"]
[roles.support]
permissions = ["users:read"]
[grants.support]
"bob@example.com" = 2090-01-01T00:00:00Z
"""


def people(number: int) -> str:
    """Return a file of so many accounts, half of which are to administer."""
    rows = [f"p{row}@example.com,{'admin' if row % 2 else ''}\n" for row in range(number)]
    return "".join(["email,roles\n", *rows])


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
    Command(
        ("users", "import", "people.csv"),
        ("user:account:import",),
        file=("people.csv", people(3)),
    ),
    Command(
        ("roles", "apply", "roles.toml", "--yes"),
        ("role:definition:create", "user:role:grant"),
        file=("roles.toml", ROLES),
    ),
    _command("users export out.csv"),
)
BATCHES = Command(
    ("users", "import", "people.csv"),
    ("user:account:import",) * 3,
    units=(1, 1, 1),
    file=("people.csv", people(12_000)),
)
"""An import of three transactions; it takes longer, so it is only killed at random."""


def flask_an_hour_ago(*words: str) -> None:
    """Run a command on a host whose clock was set back."""
    now = clock.now
    clock.now = lambda: now() - timedelta(hours=1)
    flask(*words)
