"""Reports and traces as lines that fit a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...engine.fingerprint import brief
from ...text import sparkline
from ...types import Record
from ..record.aggregates import REPEATED
from ..reports import traces

NARROW = 120
"""The width of a terminal below which a report is arranged for what fits."""
LONGEST_NAME = 30
SHORT_TREND = 8
SHORT_BAR = 10
_LAST = ("err %", "p50", "p99", "line")
"""The columns that a narrow terminal leaves out first: those on the right."""
_NARROW_QUERY = ("query", "count", "p95", "share %", "line")
"""The columns beside which a statement can be read there."""
LEFT_OUT = "p50, p99, max, trend"
_FIGURES = ("p50", "p95", "p99", "max")


def of_report(rows: Sequence[Record], by: str, width: int | None) -> list[Record]:
    """Return the rows of a report for a reader.

    :param width: the columns of the terminal; None for a pipe, where nothing is cut.
    """
    lines = [_line(row, by, width) for row in rows]
    if width is None:
        return lines
    for name in _FIGURES:
        longest = max((len(line[name]) for line in lines if name in line), default=0)
        lines = [
            {**line, name: line[name].rjust(longest)} if name in line else line for line in lines
        ]
    return lines


def _line(row: Record, by: str, width: int | None) -> Record:
    mark = "~" if row["few"] else ""
    is_narrow = width is not None and width < NARROW
    line: Record = {by: row[by] if width is None else _name(row[by], is_narrow)}
    line["count"] = row["count"]
    if by == "query":
        line["line"] = row["caller"]
    else:
        line["err %"] = round(row["error_rate"] * 100, 1)
    line["p50"] = figure(row["p50_ms"])
    line["p95"] = mark + figure(row["p95_ms"])
    line["p99"] = mark + figure(row["p99_ms"])
    line["max"] = figure(row["max_ms"])
    line["share %"] = round(row["share"] * 100, 1)
    if by != "query":
        line["sql"] = row["queries"]
    # Statements need the width.
    is_short = is_narrow or (by == "query" and width is not None)
    line["trend"] = sparkline(_shorten(row["trend"]) if is_short else row["trend"])
    if is_narrow and by == "query":
        return {name: line[name] for name in _NARROW_QUERY}
    return dict(sorted(line.items(), key=lambda item: is_narrow and item[0] in _LAST))


def _name(name: str, is_narrow: bool) -> str:
    name = brief(name)
    if not is_narrow or len(name) <= LONGEST_NAME or " FROM " in name:
        return name
    return f"{name[: LONGEST_NAME // 2]}…{name[-LONGEST_NAME // 2 + 1 :]}"


def _shorten(trend: Sequence[float | None]) -> list[float | None]:
    """Return the highest of each three points."""
    step = len(trend) // SHORT_TREND
    parts = [trend[n * step : (n + 1) * step] for n in range(SHORT_TREND)]
    return [max((p for p in part if p is not None), default=None) for part in parts]


def of_trace(trace: Record, width: int | None) -> Record:
    """Return a trace for a reader: equal statements in one line, and bars that fit.

    :param width: the columns of the terminal; None for a pipe, where each row has a field.
    """
    size = SHORT_BAR if width is not None and width < NARROW else traces.BAR
    timeline = [_group(rows, trace["ms"], size) for rows in _group_equal(trace["timeline"])]
    trace = {**trace, "timeline": timeline}
    return dict(_fields(trace)) if width is None else trace


def of_plan(record: Record, width: int | None) -> Record:
    """Return the plan of a trace for a reader: a line, or in a pipe a field, for each step."""
    record = {**record, "plan": [{"step": step} for step in record["plan"]]}
    return dict(_fields(record)) if width is None else record


def _group_equal(timeline: Sequence[Record]) -> Iterable[list[Record]]:
    """Return the rows of a timeline by their statement and line, in the order of the first."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for row in timeline:
        groups.setdefault((row["line"], row["statement"]), []).append(row)
    return groups.values()


def _group(rows: Sequence[Record], total: float, size: int) -> Record:
    first, count = rows[0], len(rows)
    milliseconds = round(sum(row["ms"] for row in rows), 3)
    return {
        "at_ms": first["at_ms"],
        "ms": milliseconds,
        "bar": traces.bar(first["at_ms"], milliseconds, total, size),
        "times": f"×{count} N+1" if count >= REPEATED else f"×{count}" if count > 1 else "",
        "line": first["line"],
        "statement": brief(first["statement"]),
    }


def _fields(trace: Record) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a trace, with one for each row of its lists."""
    for name, value in trace.items():
        if not isinstance(value, list):
            yield name, value
            continue
        for number, row in enumerate(value, start=1):
            parts = row.values() if isinstance(row, Mapping) else [row]
            yield f"{name} {number}", "  ".join(str(part) for part in parts if part != "")


def figure(value: float | None) -> str:
    """Return a number with three significant digits."""
    if value is None:
        return "–"
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    digits = 0 if value >= 100 or value == 0 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"
