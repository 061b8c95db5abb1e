"""Parameter types and options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from .. import clock, textfiles
from ..clock import duration
from ..errors import Invalid
from ..text import truncate

LONGEST = timedelta(days=36525)

Body = Callable[..., Any]
Value = TypeVar("Value")


class Duration(click.ParamType):  # type: ignore[type-arg]
    """``90d``, ``8h``, ``1h30m``; the units are s, m, h, d and w."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        if isinstance(value, timedelta):
            return value
        length = duration(value)
        if not length:
            self.fail(f"{value!r} is not a duration such as 90d, 8h or 1h30m", param, ctx)
        if length > LONGEST:
            self.fail(f"{value!r} is longer than a hundred years", param, ctx)
        return length


class When(click.ParamType):  # type: ignore[type-arg]
    """A point in time: ``2026-12-31T18:00Z``, ``friday``, ``18:00`` or ``2h``.

    Times without a zone are UTC.

    :param end: a day without a time of day is its end, else its start.
    :param ahead: ``friday``, ``18:00`` and ``2h`` are the next ones, else the last ones.
    """

    name = "time"

    def __init__(self, *, end: bool = False, ahead: bool = False) -> None:
        self.end = end
        self.ahead = ahead

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = clock.parse_time(value, clock.now(), ahead=self.ahead, end=self.end)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time such as {clock.FORMS}", param, ctx)
        return moment.replace(microsecond=0) if self.ahead else moment


class Name(click.ParamType):  # type: ignore[type-arg]
    """A name that the shell completes from the database, and a service looks up."""

    def __init__(self, kind: str) -> None:
        self.name = kind

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from .completion import names

        return [CompletionItem(name) for name in names(self.name, incomplete)]


class Program(click.ParamType):  # type: ignore[type-arg]
    """A program or one of its arguments; any character is allowed."""

    name = "text"
    takes_anything = True


class Choices(click.Choice):  # type: ignore[type-arg]
    """Words of a list, comma separated; the shell completes the last one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        convert = super().convert
        return tuple(convert(word, param, ctx) for word in value.split(","))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        items = super().shell_complete(ctx, param, last)
        return [CompletionItem(f"{before}{comma}{item.value}") for item in items]


class TextFile(click.ParamType):  # type: ignore[type-arg]
    """A file, or - for stdin, whose text the command gets."""

    name = "file"
    takes_anything = True

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return textfiles.read_stdin() if value == "-" else textfiles.read(value, pipe=True)
        except (OSError, textfiles.NotText) as error:
            name = "stdin" if value == "-" else f"'{value}'"
            self.fail(f"{name}{textfiles.why(error)}", param, ctx)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class NamedText(TextFile):
    """The same; the command gets the file's name for its errors, and the text."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name = "stdin" if value == "-" else str(value)
        return name, super().convert(value, param, ctx)


class Fields(click.ParamType):  # type: ignore[type-arg]
    """Fields of the answer, comma separated; the shell completes the last one."""

    name = "fields"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        fields = getattr(ctx.command.callback, "fields", ())
        names = [name for name in fields if name.startswith(last)]
        return [CompletionItem(f"{before}{comma}{name}") for name in names]


class NewFile(click.ParamType):  # type: ignore[type-arg]
    """The name of a file that the command writes."""

    name = "file"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


SEQ = click.IntRange(min=0, max=2**63 - 1)
"""The number of an audit event."""
ID = click.IntRange(min=0, max=2**31 - 1)
"""The id of an account, a session, a run or a trace."""
USER = Name("user")
ROLE = Name("role")
PERMISSION = Name("permission")
JOB = Name("job")
ACTION = Name("action")
FIELDS = Fields()
NEW_FILE = NewFile()
PROGRAM = Program()
TEXT_FILE = TextFile()
NAMED_TEXT = NamedText()
DURATION = Duration()
SINCE = When()
UNTIL = When(end=True)
NEXT = When(end=True, ahead=True)
RECORDED_SINCE = click.Option(
    ["--since"],
    type=SINCE,
    default="24h",
    show_default=True,
    help="Start of the period, such as yesterday or 24h.",
)
WAIT = click.Option(
    ["--wait"],
    type=click.FloatRange(min=0),
    default=0,
    metavar="SECONDS",
    help="Wait this long for the database server to start.",
)
RECORDED_UNTIL = click.Option(["--until"], type=UNTIL, help="End of the period. Default: now.")


def users_argument(required: bool = True) -> Callable[[Any], Any]:
    """Add ``USER…``: ids, e-mail addresses or usernames; ``-`` reads them from stdin, one a line.

    Empty lines and lines that begin with ``#`` are skipped.
    """
    return click.argument(
        "users",
        metavar="USER…" if required else "[USER…]",
        type=USER,
        nargs=-1,
        required=required,
        callback=_with_stdin,
    )


def _with_stdin(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    if ctx.resilient_parsing or "-" not in value:
        return value
    lines = [line.strip() for line in stdin_text().splitlines()]
    lines = [line for line in lines if not line.startswith("#")]
    entries = tuple(n for v in value for n in (lines if v == "-" else [v]) if n)
    if not entries:
        raise Invalid("no users on stdin")
    return entries


def stdin_text() -> str:
    """Return the text of stdin.

    :raises Invalid: it is not UTF-8, or too long.
    """
    try:
        return textfiles.read_stdin()
    except textfiles.NotText as error:
        raise Invalid(f"stdin {error}") from error


def validate_utf8(words: str, what: str) -> str:
    """Return ``words`` of the command line, which may hold any bytes, if they are UTF-8.

    :param what: the name of the argument, for the error.
    :raises Invalid: they are not UTF-8.
    """
    if not any("\udc80" <= character <= "\udcff" for character in words):
        return words
    try:
        return os.fsencode(words).decode()  # In the C locale Python has not decoded them.
    except UnicodeDecodeError as error:
        raise Invalid(f"{what} is not UTF-8 at byte {error.start + 1}") from error


def each_once(option: str, pairs: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Return the NAME=VALUE pairs of an option as a dictionary.

    :raises Invalid: a name is there twice, and the first value would be ignored.
    """
    values: dict[str, Value] = {}
    for name, value in pairs:
        if name in values:
            raise Invalid(f"{option} {truncate(name)} was given twice, and takes one value")
        values[name] = value
    return values


def default_option(name: str, type: Any, default: Any, help: str) -> Callable[[Body], Body]:
    """Add an option that has a default, which help shows."""
    metavar = "N" if isinstance(type, click.IntRange) else None
    return click.option(
        name, type=type, default=default, metavar=metavar, show_default=True, help=help
    )


def if_exists_option(help: str, *more: str) -> Callable[[Any], Any]:
    """Add ``--if-exists error|keep``, with ``more`` choices."""
    return default_option("--if-exists", click.Choice(["error", "keep", *more]), "error", help)


def older_than_option(default: str) -> Callable[[Any], Any]:
    """Add ``--older-than`` of commands that delete old rows."""
    return default_option("--older-than", DURATION, default, "Delete rows older than this.")


def receipt_option(content: str) -> Callable[[Any], Any]:
    """Add ``--receipt FILE`` of a change whose evidence is kept outside of the database."""
    return click.option(
        "--receipt",
        type=NEW_FILE,
        metavar="FILE",
        help=f"Write {content}, with the audit events and a checkpoint, to a new FILE; "
        "nothing is written if nothing changes.",
    )


def with_options(*options: click.Option) -> Callable[[Body], Body]:
    """Add options that several commands share."""

    def decorate(command: Body) -> Body:
        params: list[click.Parameter] = command.__dict__.setdefault("__click_params__", [])
        # click reads them from the last to the first.
        params.extend(reversed(options))
        return command

    return decorate


def end_options(subject: str, default: str = "") -> Callable[[Body], Body]:
    """Add ``--for`` and ``--until``, of which :func:`ending` makes one end.

    :param subject: what ends, for the help.
    :param default: what holds without them, for the help.
    """
    return with_options(
        click.Option(
            ["--for", "for_"],
            type=DURATION,
            help=f"End {subject} after this time, such as 8h{default}.",
        ),
        click.Option(
            ["--until"],
            type=NEXT,
            metavar="TIME",
            help=f"End {subject} at this time; a date alone means the end of that day, UTC.",
        ),
    )


def ending(for_: timedelta | None, until: datetime | None) -> datetime | None:
    """Return the end that ``--for`` or ``--until`` gives; None means no end.

    :raises Invalid: the user gave both.
    """
    if for_ and until:
        raise Invalid("--for and --until cannot be combined")
    return clock.now().replace(microsecond=0) + for_ if for_ else until
