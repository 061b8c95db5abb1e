"""Formats and compressions of files, by their names."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import PurePath
from typing import Any, BinaryIO

from ...errors import Invalid

FORMATS = ("csv", "jsonl")
STDIO = "-"
"""The name of stdin and stdout."""

Opener = Callable[[BinaryIO], BinaryIO]

_GZIP, _ZSTD = ".gz", ".zst"
_MAGIC = {b"\x1f\x8b": _GZIP, b"\x28\xb5\x2f\xfd": _ZSTD}


def format_of(file: str, format: str | None, option: str) -> str:
    """Return the format, else that of the file's name; csv for stdin and stdout.

    :param option: the one that names the format.
    :raises Invalid: the name tells neither.
    """
    if format is not None:
        return format
    name = suffix_of(file)
    if name in FORMATS:
        return name
    if file == STDIO or not name:
        return "csv"
    raise Invalid(f"{file} is named neither .csv nor .jsonl", hint=f"rename it, or {option} csv")


def suffix_of(file: str) -> str:
    """Return the suffix of a file's name, without that of its compression: ``csv``."""
    path = PurePath(file.lower())
    suffix = (path.with_suffix("") if path.suffix in (_GZIP, _ZSTD) else path).suffix
    return suffix.removeprefix(".")


def compression_of(file: str, beginning: bytes = b"") -> str:
    """Return the suffix of the compression, by the name or else by the ``beginning`` of a file."""
    suffix = PurePath(file).suffix.lower()
    if suffix in (_GZIP, _ZSTD):
        return suffix
    return next((kind for magic, kind in _MAGIC.items() if beginning.startswith(magic)), "")


def open_reader(raw: BinaryIO, compression: str) -> BinaryIO:
    """Return a stream of the content of ``raw``."""
    if compression == _GZIP:
        return gzip.open(raw)  # type: ignore[return-value]
    if compression == _ZSTD:
        stream: BinaryIO = _zstd().ZstdFile(raw)
        return stream
    return raw


def open_writer(raw: BinaryIO, compression: str) -> BinaryIO:
    """Return a stream that writes into ``raw``; closing it leaves ``raw`` open."""
    if compression == _GZIP:
        # Without a time the same accounts make the same file.
        return gzip.GzipFile("", "wb", 6, raw, mtime=0)  # type: ignore[return-value]
    stream: BinaryIO = _zstd().ZstdFile(raw, "w")
    return stream


def errors_of(compression: str) -> tuple[type[Exception], ...]:
    """Return the errors of content that is not of this compression."""
    if compression == _GZIP:
        return (gzip.BadGzipFile, zlib.error)
    return (_zstd().ZstdError,) if compression == _ZSTD else ()


def _zstd() -> Any:
    """Return Python's module, which versions before 3.14 have from the extra ``zstd``."""
    return import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
