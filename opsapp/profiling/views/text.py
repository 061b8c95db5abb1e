"""Reports and traces as lines that fit a terminal: less of them where there is less room."""

from __future__ import annotations

from collections.abc import Sequence

from ...engine.fingerprint import brief
from ...text import sparkline
from ...types import Record
from ..reports import traces
from .svg import figure

NARROW = 120
"""Columns of a terminal; below it some of the report's are left out."""
LONGEST_NAME = 30
SHORT_TREND = 8
SHORT_BAR = 10
_LEFT_OUT = ("err %", "p50", "p99", "line")
_FIGURES = ("p50", "p95", "p99", "max")


def of_report(rows: Sequence[Record], by: str, width: int | None) -> list[Record]:
    """The rows of a report as a person reads them.

    :param width: of the terminal; None where nothing is cut, as in a pipe.
    """
    shown = [_line(row, by, width) for row in rows]
    if width is None:
        return shown
    for name in _FIGURES:
        longest = max((len(line[name]) for line in shown if name in line), default=0)
        shown = [
            {**line, name: line[name].rjust(longest)} if name in line else line for line in shown
        ]
    return shown


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
    # Statements need the room themselves.
    is_short = is_narrow or (by == "query" and width is not None)
    line["trend"] = sparkline(_shortened(row["trend"]) if is_short else row["trend"])
    return {k: v for k, v in line.items() if not is_narrow or k not in _LEFT_OUT}


def _name(name: str, is_narrow: bool) -> str:
    name = brief(name)
    if not is_narrow or len(name) <= LONGEST_NAME or " FROM " in name:
        return name
    return f"{name[: LONGEST_NAME // 2]}…{name[-LONGEST_NAME // 2 + 1 :]}"


def _shortened(trend: Sequence[float | None]) -> list[float | None]:
    """Each three points as one, the highest of them."""
    step = len(trend) // SHORT_TREND
    parts = [trend[n * step : (n + 1) * step] for n in range(SHORT_TREND)]
    return [max((p for p in part if p is not None), default=None) for part in parts]


def of_trace(trace: Record, width: int | None) -> Record:
    """A trace as a person reads it: statements without their columns, and bars that fit.

    :param width: of the terminal; None where nothing is cut, as in a pipe.
    """
    if width is None:
        return trace
    size = SHORT_BAR if width < NARROW else traces.BAR
    timeline = [
        {
            **row,
            "bar": traces.bar(row["at_ms"], row["ms"], trace["ms"], size),
            "statement": brief(row["statement"]),
        }
        for row in trace["timeline"]
    ]
    return {**trace, "timeline": timeline}
