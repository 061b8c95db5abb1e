r"""The standard streams of a process, made so that printing does not fail by surprise.

A stream that is closed is opened on the null device: stdin is empty then, stderr is
thrown away, and stdout says at the first word that it cannot be written. A character
that the terminal's encoding lacks is printed as ``\u2026``.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

import click

from ..errors import OutputFailed


class Unwritten(click.ClickException):
    """Stdout refused what was printed; click says it where no frame of ours does."""

    exit_code = OutputFailed.exit_code

    def __init__(self, error: OSError) -> None:
        is_closed = error.errno == errno.EBADF
        super().__init__(
            "stdout is closed"
            if is_closed
            else f"the answer could not be written ({error.strerror})"
        )

    def show(self, file: Any = None) -> None:
        """Print the message as click's own errors are printed."""
        leave_stdout()
        click.echo(f"Error: {self.message}", file=file or sys.stderr)


class Stdout(io.TextIOWrapper):
    """Stdout whose failures are :class:`Unwritten`, which no library takes for a closed pipe."""

    replaced: TextIO | None = None

    def write(self, words: str, /) -> int:
        """Write ``words``.

        :raises Unwritten: the device is full, broken or closed.
        """
        try:
            return super().write(words)
        except BrokenPipeError:
            raise  # The reader has left, which is no fault.
        except OSError as error:
            raise Unwritten(error) from error

    def flush(self) -> None:
        """Write what is kept back.

        :raises Unwritten: the device is full, broken or closed.
        """
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Unwritten(error) from error


def prepare() -> None:
    """Make the streams of this process fit for printing; a second call changes nothing."""
    if sys.stdin is None:
        sys.stdin = open(_nothing(os.O_RDONLY), encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        # Not to be written to, so that what is printed fails as it must.
        sys.stdout = Stdout(open(_nothing(os.O_RDONLY), "wb"), encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(_nothing(os.O_WRONLY), "w", encoding="utf-8")  # noqa: SIM115
    if type(sys.stdout) is io.TextIOWrapper:
        sys.stdout = _careful(sys.stdout)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


def _nothing(flags: int) -> int:
    """The null device in a closed stream's place, for the programs that we start as well."""
    descriptor = os.open(os.devnull, flags)
    os.set_inheritable(descriptor, True)
    return descriptor


def _careful(stream: io.TextIOWrapper) -> Stdout:
    """The same stream as one of ours; the old one stays usable for those who hold it."""
    stream.flush()
    careful = Stdout(
        stream.buffer,
        encoding=stream.encoding,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    careful.replaced = stream  # It would close what both write to, if nothing held it.
    return careful


def leave_stdout() -> None:
    """Point stdout at nothing, so that Python does not fail once more when it exits."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    if nothing != 1:
        os.dup2(nothing, 1)
        os.close(nothing)


def printable(words: str, stream: TextIO) -> str:
    r"""``words`` with ``\u2026`` for what the stream's encoding lacks.

    Click writes UTF-8 to a stream that says ASCII, instead of what it can show.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return words.encode(encoding, "backslashreplace").decode(encoding)
