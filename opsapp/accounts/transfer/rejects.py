"""Rows that were not imported, written so that they can be corrected and imported again."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from ...errors import Invalid
from . import codecs
from .fields import Reject
from .records import PASSWORD, REASONS, Columns, quote_formula
from .sources import Source
from .streams import open_file

Writer = Callable[[Reject], None]


@contextmanager
def writing(file: str, source: Source, header: Sequence[str], columns: Columns) -> Iterator[Writer]:
    """Give a function that writes a reject, in the format of the source and under its names.

    The file appears when the body is done, readable by its owner alone, and replaces the last
    one. It has passwords if its source has them.

    :raises Invalid: it is the source, whose other rows would be gone; or its name is one of
        another format.
    """
    if source.is_at(file):
        raise Invalid(f"--rejects {file} is the file to import", hint="name another file")
    if codecs.suffix_of(file) in {*codecs.FORMATS} - {source.format}:
        raise Invalid(f"--rejects {file} would be {source.format}, as its source", hint="rename it")
    with open_file(file, encoding=source.encoding) as lines:
        if source.format == "jsonl":
            yield lambda reject: _write_json(lines, reject)
            return
        places = [index for index, name in enumerate(header) if name not in REASONS]
        rows = csv.writer(lines, lineterminator="\r\n")
        rows.writerow([*map(_inert, (header[place] for place in places)), *REASONS])
        targets = columns.of_header(header)

        def write(reject: Reject) -> None:
            cells = reject.record.original
            own = [
                # A password is imported as it is, and would be another one.
                cells[place] if targets[place] == PASSWORD else _inert(cells[place])
                for place in places
                if place < len(cells)
            ]
            missing = [""] * (len(places) - len(own))
            reasons = [
                # The source's encoding may lack a character of ours.
                str(value).encode(source.encoding, "backslashreplace").decode(source.encoding)
                for value in _reasons(reject).values()
            ]
            # A row of another length stays one, or it would be imported without a correction.
            rest = cells[len(header) :] or [""] * (len(cells) < len(header))
            rows.writerow([*own, *missing, *map(_inert, reasons), *map(_inert, rest)])

        yield write


def _inert(cell: str) -> str:
    """Return a cell that no spreadsheet runs, and that an import reads as before."""
    return cell if cell.startswith("'") else quote_formula(cell)


def _write_json(lines: Any, reject: Reject) -> None:
    original = reject.record.original
    row = original if isinstance(original, dict) else {"text": original}
    lines.write(json.dumps({**row, **_reasons(reject)}) + "\n")


def _reasons(reject: Reject) -> dict[str, Any]:
    values = (reject.record.line, reject.column, reject.reason)
    return dict(zip(REASONS, values, strict=True))
