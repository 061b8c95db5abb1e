r"""Standard streams: closed, full, or without UTF-8, they do not end a command by surprise.

A closed stream is opened on the null device: stdin is then empty, stderr is discarded,
and writing to stdout is an error. A character that the terminal's encoding lacks is
printed as ``\u2026``.
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
    """An answer that stdout did not take; click prints it for commands that are not ours."""

    exit_code = OutputFailed.exit_code

    def __init__(self, error: OSError) -> None:
        is_closed = error.errno == errno.EBADF
        super().__init__(
            "stdout is closed"
            if is_closed
            else f"the output could not be written ({error.strerror})"
        )

    def show(self, file: Any = None) -> None:
        """Print the message as click prints its own errors."""
        leave_stdout()
        click.echo(f"Error: {self.message}", file=file or sys.stderr)


class Stdout(io.TextIOWrapper):
    """Stdout that raises :class:`Unwritten`, which no library mistakes for a closed pipe."""

    replaced: TextIO | None = None

    def write(self, words: str, /) -> int:
        """Write ``words``.

        :raises Unwritten: the device is full, broken or closed.
        """
        try:
            return super().write(words)
        except BrokenPipeError:
            raise  # The reader has closed the pipe, which is not an error.
        except OSError as error:
            raise Unwritten(error) from error

    def flush(self) -> None:
        """Write the buffer.

        :raises Unwritten: the device is full, broken or closed.
        """
        try:
            super().flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Unwritten(error) from error


def prepare() -> None:
    """Replace closed streams, and escape characters that an encoding lacks. Idempotent."""
    if sys.stdin is None:
        sys.stdin = open(_nothing(os.O_RDONLY), encoding="utf-8")  # noqa: SIM115
    if sys.stdout is None:
        # Read-only, so that writing fails.
        sys.stdout = Stdout(open(_nothing(os.O_RDONLY), "wb"), encoding="utf-8")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(_nothing(os.O_WRONLY), "w", encoding="utf-8")  # noqa: SIM115
    if type(sys.stdout) is io.TextIOWrapper:
        sys.stdout = _stdout_of(sys.stdout)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != "backslashreplace":
            stream.reconfigure(errors="backslashreplace")


def _nothing(flags: int) -> int:
    """Open the null device in place of a closed stream, for child processes too."""
    descriptor = os.open(os.devnull, flags)
    os.set_inheritable(descriptor, True)
    return descriptor


def _stdout_of(stream: io.TextIOWrapper) -> Stdout:
    """Return ``stream`` as our class; the old object stays usable."""
    stream.flush()
    stdout = Stdout(
        stream.buffer,
        encoding=stream.encoding,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
    stdout.replaced = stream  # Garbage collection would close the buffer of both.
    return stdout


def leave_stdout() -> None:
    """Point stdout at the null device, so that Python does not fail again at exit."""
    descriptor = os.open(os.devnull, os.O_WRONLY)
    if descriptor != 1:
        os.dup2(descriptor, 1)
        os.close(descriptor)


def printable(words: str, stream: TextIO) -> str:
    r"""Return ``words`` with ``\u2026`` for characters that the stream's encoding lacks.

    Click writes UTF-8 to a stream whose encoding is ASCII.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return words.encode(encoding, "backslashreplace").decode(encoding)


def wants_colour(stream: TextIO | None = None) -> bool:
    """Return true for colours: NO_COLOR, then FORCE_COLOR, then the terminal decide.

    :param stream: default stdout.
    """
    if os.environ.get("NO_COLOR"):
        return False
    stream = stream or sys.stdout
    is_able = stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"
    return bool(os.environ.get("FORCE_COLOR")) or is_able


def style_text(text: str, style: str, stream: TextIO | None = None) -> str:
    """Return ``text`` in a style where the stream, by default stdout, has colours."""
    return force_style(text, style) if wants_colour(stream) else text


def force_style(text: str, style: str) -> str:
    """Return ``text`` in a colour, ``bold`` or ``dim``; as it is without a style."""
    match style:
        case "":
            return text
        case "bold" | "dim":
            return click.style(text, **{style: True})
    return click.style(text, fg=style)
