"""Text that a file, a pipe or stdin holds: read in one place, in bounds, and as UTF-8.

Editors on Windows put a byte-order mark before a text and a carriage return at the
end of its lines; neither is part of what was written, so both are taken off.
"""

from __future__ import annotations

import codecs
import os
import stat
import sys
from pathlib import Path
from secrets import token_hex

LONGEST = 16 * 2**20
"""Bytes of a text that is read whole."""
_MARKS = {
    "UTF-8": (codecs.BOM_UTF8,),
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
"""The marks of encodings; that of UTF-16 begins the one of UTF-32."""


class NotText(ValueError):
    """The bytes are no text of ours; says why, and lacks only the name of the file."""


class NotUtf8(NotText):
    """The bytes are text in no encoding that can be told."""


def read(path: str | Path, *, pipe: bool = False, longest: int = LONGEST) -> str:
    """Return the text of a file.

    :param pipe: whether it may be a pipe that the process was started with, such as
        ``/dev/stdin`` or a shell's ``<(command)``.
    :param longest: the most bytes that are read.
    :raises OSError: it cannot be opened.
    :raises NotText: it is no regular file, is longer, or is not UTF-8.
    """
    return decode(read_bytes(path, pipe=pipe, longest=longest))


def create_private(path: Path, content: bytes) -> None:
    """Create a file that its owner alone can read; it appears whole, and is on the disk.

    :raises FileExistsError: it is there already.
    :raises OSError: it cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{token_hex(4)}.{path.name}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(draft, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link appears whole or not at all, and only the first one succeeds.
        os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def read_stdin(*, longest: int = LONGEST) -> str:
    """Return the text of stdin.

    :raises NotText: it is longer, or is not UTF-8.
    """
    return decode(_within(sys.stdin.buffer.read(longest + 1), longest))


def read_bytes(path: str | Path, *, pipe: bool = False, longest: int = LONGEST) -> bytes:
    """Return the bytes of a file, as :func:`read` gets them.

    :raises OSError: it cannot be opened.
    :raises NotText: it is no regular file, or is longer.
    """
    descriptor = open_descriptor(path, pipe=pipe)
    with os.fdopen(descriptor, "rb") as file:
        return _within(file.read(longest + 1), longest)


def open_descriptor(path: str | Path, *, pipe: bool = False) -> int:
    """Return a descriptor to read from.

    :raises OSError: it cannot be opened.
    :raises NotText: it is no regular file, such as a folder or a device that never ends, or no
        file can have the name.
    """
    try:  # Opening a named pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # A NUL, or what is no character.
        raise NotText("is not a file name") from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode) or str(path) == os.devnull:
        return descriptor
    if pipe and stat.S_ISFIFO(mode) and _is_inherited(str(path)):
        os.set_blocking(descriptor, True)
        return descriptor
    os.close(descriptor)
    raise NotText("is not a regular file")


def _is_inherited(path: str) -> bool:
    return path == "/dev/stdin" or path.startswith(("/dev/fd/", "/proc/self/fd/"))


def _within(data: bytes, longest: int) -> bytes:
    if len(data) > longest:
        raise NotText(f"is longer than {longest:,} bytes")
    return data


def decode(data: bytes) -> str:
    """Return the text of these bytes, without byte-order mark and carriage returns.

    :raises NotText: they are another encoding's; says which, or which line is not UTF-8.
    """
    marked = marked_encoding(data)
    if marked not in (None, "UTF-8"):
        raise NotText(f"is {marked} and not UTF-8")
    try:
        text = data.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise NotUtf8(f"is not UTF-8 in line {line}") from error
    return text.replace("\r\n", "\n")


def marked_encoding(beginning: bytes) -> str | None:
    """Return the encoding that the first bytes of a text name by a byte-order mark."""
    return next((name for name, marks in _MARKS.items() if beginning.startswith(marks)), None)


def why(error: OSError | NotText) -> str:
    """Return the reason in words that follow on the name of the file at once."""
    return f": {error.strerror or error}" if isinstance(error, OSError) else f" {error}"
