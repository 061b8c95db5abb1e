"""Sources of a password: a hidden prompt, stdin, a private file, or random bytes."""

from __future__ import annotations

import os
import stat
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import click

from .. import text, textfiles
from ..errors import Invalid, Refused
from .confirm import ask, is_interactive
from .messages import say
from .output import field_names, say_if_lost

if TYPE_CHECKING:
    from ..unit.work import Unit

LONGEST = 4096
LONGEST_LINE = 4 * LONGEST + 8
"""Bytes of a line with so many characters, its byte-order mark and its end."""
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Source:
    """The source that the options name; the password is read only when needed."""

    stdin: bool
    file: str | None
    generate: bool

    @property
    def is_named(self) -> bool:
        """Return true if an option names a source."""
        return bool(self.stdin or self.file or self.generate)

    def read(self, check: Callable[[str], str] | None = None) -> str:
        """Return the password.

        :param check: returns a password that the policy accepts; a prompt asks again for
            one that it refuses. None is the policy of our own accounts.
        :raises Invalid: no source is named, and there is no terminal to ask on.
        :raises Refused: other users can read the file.
        """
        if sum((self.stdin, bool(self.file), self.generate)) > 1:
            raise Invalid("give one of --password-stdin, --password-file and --generate-password")
        if self.generate:
            from ..accounts.passwords import generate

            return generate()
        if self.stdin:
            return _from_stdin()
        return _from_file(self.file) if self.file else _from_prompt(check)

    def password_field(self, email: str, password: str | None, unit: Unit) -> dict[str, str]:
        """Return the field with a generated password, if the unit has set it."""
        if not (self.generate and password and unit.committed):
            return {}
        user = text.safe(email)
        say_if_lost(f"the password is lost: flask users set-password {user} --generate-password")
        return {"password": password}


def password_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a source; the command gets a :class:`Source` as ``source``."""

    def run_with_source(
        *, password_stdin: bool, password_file: str | None, generate_password: bool, **params: Any
    ) -> Any:
        options = click.get_current_context().params
        is_hidden = options["fields"] and "password" not in field_names(options["fields"])
        is_shown = generate_password and not options["dry_run"]
        if is_shown and (options["quiet"] or is_hidden):
            option = "--fields" if is_hidden else "-q"
            raise Invalid(f"{option} would hide the generated password, which is shown only once")
        source = Source(password_stdin, password_file, generate_password)
        return command(source=source, **params)

    run_with_source.__doc__, run_with_source.__name__ = command.__doc__, command.__name__
    for option in (
        click.option(
            "--generate-password",
            is_flag=True,
            help="Generate a random password and print it once.",
        ),
        click.option(
            "--password-file",
            metavar="FILE",
            help="Read the password from a file that only you can read.",
        ),
        click.option(
            "--password-stdin", is_flag=True, help="Read the password from the first line of stdin."
        ),
    ):
        option(run_with_source)
    return run_with_source


def _from_stdin() -> str:
    return _first_line(sys.stdin.buffer, "stdin")


def _from_file(path: str) -> str:
    try:
        descriptor = textfiles.open_descriptor(path, pipe=True)
    except OSError as error:
        raise Invalid(f"--password-file {path}: {error.strerror}") from error
    except textfiles.NotText as error:
        raise Invalid(f"--password-file {path} {error}") from error
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISREG(mode) and mode & 0o077:
            raise Refused(f"--password-file {path} can be read by others", hint=f"chmod 600 {path}")
        return _first_line(file, path)


def _from_prompt(check: Callable[[str], str] | None) -> str:
    check = check or _our_check()
    if not is_interactive():
        raise Invalid(
            "no password, and no terminal to ask on",
            hint="--password-stdin, --password-file FILE or --generate-password",
        )
    for _attempt in range(ATTEMPTS - 1):
        try:
            return check(_ask())
        except Invalid as error:
            say(error.message)
    return check(_ask())


def _our_check() -> Callable[[str], str]:
    from ..accounts.passwords import check

    return check


def _ask() -> str:
    try:
        return ask("Password", hide_input=True, confirmation_prompt="Repeat for confirmation:")
    except UnicodeDecodeError as error:
        raise Invalid(
            f"the password is not {error.encoding}, as this terminal says it is"
        ) from error


def _first_line(file: IO[bytes], source: str) -> str:
    try:
        password = textfiles.decode(file.readline(LONGEST_LINE)).rstrip("\r\n")
    except textfiles.NotUtf8 as error:
        raise Invalid(f"the first line of {source} is not UTF-8") from error
    except textfiles.NotText as error:
        raise Invalid(f"{source} {error}") from error
    if any(unicodedata.category(character) == "Cc" for character in password):
        raise Invalid(f"the first line of {source} has a control character, which cannot be typed")
    if not password:
        raise Invalid(f"the first line of {source} is empty")
    if len(password) > LONGEST:
        raise Invalid(f"the first line of {source} is longer than {LONGEST} characters")
    return password
