"""Rows that were not imported, written so that they can be corrected and imported again."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .fields import Reject
from .records import REASONS
from .sources import Source
from .streams import written

Writer = Callable[[Reject], None]


@contextmanager
def writing(file: str, source: Source, header: Sequence[str]) -> Iterator[Writer]:
    """Give a function that writes a reject, in the format of the source and under its names.

    The file appears when the body is done, readable by its owner alone, and replaces the last
    one. It has passwords if its source has them.
    """
    with written(file, encoding=source.encoding) as lines:
        if source.format == "jsonl":
            yield lambda reject: _write_json(lines, reject)
            return
        names = [name for name in header if name not in REASONS]
        places = [index for index, name in enumerate(header) if name not in REASONS]
        rows = csv.writer(lines, lineterminator="\r\n")
        rows.writerow([*names, *REASONS])

        def write(reject: Reject) -> None:
            cells = reject.record.original
            own = [cells[place] if place < len(cells) else "" for place in places]
            rows.writerow([*own, *_reasons(reject).values()])

        yield write


def _write_json(lines: Any, reject: Reject) -> None:
    original = reject.record.original
    row = original if isinstance(original, dict) else {"text": original}
    lines.write(json.dumps({**row, **_reasons(reject)}) + "\n")


def _reasons(reject: Reject) -> dict[str, Any]:
    values = (reject.record.line, reject.column, reject.reason)
    return dict(zip(REASONS, values, strict=True))
