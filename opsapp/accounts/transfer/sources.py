"""Files to import: opened safely, decompressed, decoded, and read in bounded lines."""

from __future__ import annotations

import codecs as encodings
import hashlib
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePath
from typing import Any, BinaryIO

from ... import text, textfiles
from ...errors import Conflict, Invalid, OpsError
from . import codecs

LONGEST_LINE = 2**20
"""Characters of a line. A longer one is no row, and must not fill the memory."""
_MARK = "\ufeff"


class Source(AbstractContextManager["Source"]):
    """A file of rows.

    Stdin and pipes are copied into a temporary file without a name first, so each source has
    a digest before its first row is imported.

    :param file: its name, or ``-`` for stdin.
    :param format: ``csv`` or ``jsonl``; None tells it by the name.
    :raises Invalid: it cannot be read, or the encoding is unknown.
    """

    def __init__(self, file: str, *, format: str | None = None, encoding: str = "utf-8") -> None:
        self.format = codecs.format_of(file, format, "--input-format")
        self.encoding = encoding
        self.name = "stdin" if file == codecs.STDIO else PurePath(file).name
        self._place = "/dev/stdin" if file == codecs.STDIO else file
        self._raw = _open(file)
        self._reading = self._lines()
        try:
            self.compression = codecs.compression_of(file, self._raw.read(4))
            self._broken = codecs.errors_of(self.compression)
            self._raw.seek(0)
            self._stamp = self._state()
            digest = hashlib.file_digest(self._raw, "sha256")  # type: ignore[arg-type]
            self.digest = digest.hexdigest()
        except BaseException:
            self._raw.close()
            raise

    def __exit__(self, *_error: object) -> None:
        self._reading.close()  # It stands on the file.
        self._raw.close()

    def is_at(self, file: str) -> bool:
        """Return whether a name leads to this file, which to write there would destroy."""
        try:
            return Path(self._place).samefile(file)
        except OSError:
            return False

    def fraction(self) -> float:
        """Return how much of the file was read, from 0 to 1."""
        return min(1.0, self._raw.tell() / max(1, self._stamp[0]))

    def refuse_change(self) -> None:
        """Check that the file is the one that its digest is of.

        :raises Conflict: it was written to.
        """
        if self._state() != self._stamp:
            hint = "run it again when the file is complete"
            raise Conflict(f"{self.name} was changed while it was read", hint=hint)

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self._raw.fileno())
        return status.st_size, status.st_mtime_ns

    def lines(self) -> Iterator[str]:
        """Return the lines, which are read once."""
        return self._reading

    def _lines(self) -> Generator[str, None, None]:
        """Yield the lines with their ends. Bytes that the encoding lacks are lone surrogates.

        :raises Invalid: a line is too long, or the content is of another encoding or no
            archive.
        """
        self._raw.seek(0)
        number = 0
        with self._translate_errors():
            stream = codecs.open_reader(self._raw, self.compression)
            self._heed_mark(stream)
            lines = io.TextIOWrapper(
                stream,
                encoding=self.encoding,
                errors="surrogateescape",
                newline="" if self.format == "csv" else "\n",
            )
            try:
                while line := lines.readline(LONGEST_LINE + 1):
                    if len(line) > LONGEST_LINE:
                        limit = f"{LONGEST_LINE:,} characters"
                        raise Invalid(f"{self.name} line {number + 1} is longer than {limit}")
                    number += 1
                    yield line.removeprefix(_MARK) if number == 1 else line
            finally:
                lines.detach()

    def _heed_mark(self, stream: Any) -> None:
        """Refuse a file whose byte-order mark is of another encoding; keep the mark of UTF-8."""
        beginning = stream.peek(4)
        if beginning.startswith(encodings.BOM_UTF8) and self.encoding == "utf-8":
            # The rejects have the mark too, without which a spreadsheet would misread them.
            self.encoding = "utf-8-sig"
        marked = textfiles.marked_encoding(beginning)
        if marked and not self.encoding.startswith(marked.lower()):
            hint = f"--encoding {marked.lower()}"
            if marked == "UTF-8":
                hint += f"; or remove its byte-order mark: tail -c +4 {self.name}"
            raise Invalid(f"{self.name} is {marked} and not {self.encoding.upper()}", hint=hint)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except EOFError as error:
            raise Invalid(f"{self.name} is cut off") from error
        except self._broken as error:
            raise Invalid(f"{self.name} is no {self.compression} file: {error}") from error
        except UnicodeError as error:
            raise Invalid(f"{self.name} is not {self.encoding}: {error}") from error


def validate_encoding(name: str) -> str:
    """Return the name of a text encoding as Python writes it.

    :raises Invalid: there is none of this name.
    """
    try:
        io.TextIOWrapper(io.BytesIO(), encoding=name)
        return encodings.lookup(name).name
    except (LookupError, ValueError) as error:
        raise Invalid(f"--encoding {text.truncate(name)} is unknown") from error


def _open(file: str) -> BinaryIO:
    if file == codecs.STDIO:
        return _spool(sys.stdin.buffer)
    try:
        raw = os.fdopen(textfiles.open_descriptor(file, pipe=True), "rb")
    except (OSError, textfiles.NotText) as error:
        raise Invalid(f"{file}{textfiles.why(error)}") from error
    if stat.S_ISREG(os.fstat(raw.fileno()).st_mode):
        return raw
    with raw:
        return _spool(raw)


def _spool(stream: BinaryIO) -> BinaryIO:
    """Return a temporary file with the content of a stream; it has no name to be read by.

    :raises OpsError: it does not fit there.
    """
    spool = tempfile.TemporaryFile()  # noqa: SIM115  (the source closes it)
    try:
        shutil.copyfileobj(stream, spool, 2**20)
        spool.seek(0)
    except OSError as error:
        spool.close()
        folder = tempfile.gettempdir()
        message = f"the input cannot be kept in {folder}: {error.strerror}"
        raise OpsError(message, hint="TMPDIR=FOLDER names another place") from error
    except BaseException:
        spool.close()
        raise
    return spool
