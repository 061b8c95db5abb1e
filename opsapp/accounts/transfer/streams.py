"""Text that is written into a file which appears whole, compressed by its name."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TextIO

from ...files.drafts import writing
from . import codecs


@contextmanager
def open_file(file: str, *, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Give a stream of text; the file takes its place when the body has ended well.

    :raises OpsError: it cannot be written there.
    """
    with writing(file) as draft, draft.path.open("wb") as raw:
        with text_stream(raw, codecs.compression_of(file), encoding) as lines:
            yield lines
        raw.flush()
        os.fsync(raw.fileno())


@contextmanager
def text_stream(raw: BinaryIO, compression: str, encoding: str = "utf-8") -> Iterator[TextIO]:
    """Give a stream of text that ends up in ``raw``, which stays open."""
    binary = codecs.open_writer(raw, compression) if compression else raw
    lines = io.TextIOWrapper(binary, encoding=encoding, errors="surrogateescape", newline="")
    yield lines
    lines.flush()
    lines.detach()
    if compression:
        binary.close()
