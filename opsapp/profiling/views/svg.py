"""Charts: SVG for a page, which may load nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

WIDE, HIGH = 720, 180
"""The size of a chart in its own units; the page scales it."""
LEFT, BOTTOM, TOP = 52, 22, 8

Points = Sequence[float | None]


def spark(points: Points) -> Markup:
    """The points as a small picture: see :func:`opsapp.text.sparkline`."""
    highest = max((point for point in points if point is not None), default=0.0) or 1.0
    step = 96 / max(1, len(points))
    bars = Markup("").join(
        Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
            number * step, 20 - _height(point, highest), step * 0.8, _height(point, highest)
        )
        for number, point in enumerate(points)
        if point is not None
    )
    return Markup('<svg class="spark" viewBox="0 0 96 20" aria-hidden="true">{}</svg>').format(bars)


def _height(point: float, highest: float) -> float:
    return max(1.5, point / highest * 19)


def span(low: float, middle: float, high: float, highest: float) -> Markup:
    """Where p50, p95 and p99 (ms) lie from 0.1 to the highest, by powers of ten."""
    places = [_place(value, highest) for value in (low, middle, high)]
    return Markup(
        '<svg class="span" viewBox="0 0 120 12" aria-hidden="true">'
        '<line class="rail" x1="0" x2="120" y1="6" y2="6"/>'
        '<line class="reach" x1="{:.1f}" x2="{:.1f}" y1="6" y2="6"/>'
        '<circle class="p50" cx="{:.1f}" cy="6" r="4"/>'
        '<circle class="p95" cx="{:.1f}" cy="6" r="3.4"/>'
        '<line class="p99" x1="{:.1f}" x2="{:.1f}" y1="1.5" y2="10.5"/></svg>'
    ).format(places[0], places[2], places[0], places[1], places[2], places[2])


def _place(ms: float, highest: float) -> float:
    least = 0.1
    whole = math.log10(max(highest, 1.0) / least)
    return 5 + 110 * min(1.0, max(0.0, math.log10(max(ms, least) / least) / whole))


def bars(parts: Sequence[tuple[str, Points]], labels: Sequence[str], unit: str) -> Markup:
    """Columns of several parts on top of each other, one for each label.

    :param parts: each the class that colours it, and its points.
    """
    sums = [sum(points[n] or 0.0 for _name, points in parts) for n in range(len(parts[0][1]))]
    top = _round_up(max(sums, default=0.0))
    step = (WIDE - LEFT) / max(1, len(sums))
    shapes: list[Markup] = []
    for number in range(len(sums)):
        floor = float(HIGH - BOTTOM)
        for name, points in parts:
            height = (points[number] or 0.0) / top * (HIGH - BOTTOM - TOP)
            floor -= height
            if height:
                shapes.append(
                    Markup(
                        '<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
                        "<title>{}</title></rect>"
                    ).format(
                        name,
                        LEFT + number * step + 1,
                        floor,
                        max(1.0, step - 2),
                        height,
                        f"{labels[number]}: {figure(points[number])} {unit}",
                    )
                )
    return _chart(Markup("").join(shapes), top, labels, unit)


def lines(parts: Sequence[tuple[str, Points]], labels: Sequence[str], unit: str) -> Markup:
    """Lines over time, broken where nothing is known."""
    highest = max((p for _name, points in parts for p in points if p is not None), default=0.0)
    top = _round_up(highest)
    shapes = [
        Markup('<polyline class="{}" points="{}"/>').format(name, run)
        if " " in run
        else Markup('<circle class="{}" cx="{}" cy="{}" r="2.5"/>').format(name, *run.split(","))
        for name, points in parts
        for run in _runs(points, top)
    ]
    return _chart(Markup("").join(shapes), top, labels, unit)


def _runs(points: Points, top: float) -> list[str]:
    step = (WIDE - LEFT) / max(1, len(points))
    runs: list[list[str]] = [[]]
    for number, point in enumerate(points):
        if point is None:
            runs.append([])
        else:
            x = LEFT + (number + 0.5) * step
            y = HIGH - BOTTOM - point / top * (HIGH - BOTTOM - TOP)
            runs[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(run) for run in runs if run]


def _chart(shapes: Markup, top: float, labels: Sequence[str], unit: str) -> Markup:
    rails = Markup("").join(
        Markup(
            '<line class="rail" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>'
            '<text x="{}" y="{t:.1f}" text-anchor="end">{}</text>'
        ).format(
            LEFT,
            WIDE,
            LEFT - 6,
            figure(top * share),
            y=HIGH - BOTTOM - share * (HIGH - BOTTOM - TOP),
            t=HIGH - BOTTOM - share * (HIGH - BOTTOM - TOP) + 4,
        )
        for share in (0, 0.5, 1)
    )
    step = (WIDE - LEFT) / max(1, len(labels))
    each = max(1, len(labels) // 4)
    times = Markup("").join(
        Markup('<text x="{:.1f}" y="{}" text-anchor="start">{}</text>').format(
            LEFT + number * step, HIGH - 6, label
        )
        for number, label in enumerate(labels)
        if number % each == 0 and number + each // 2 <= len(labels)
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}{}{}</svg>'
    ).format(WIDE, HIGH, unit, rails, shapes, times)


def _round_up(value: float) -> float:
    """The next number that people count in: 1, 2 or 5 and noughts."""
    if value <= 0:
        return 1.0
    power = float(10 ** math.floor(math.log10(value)))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= value)


def figure(value: float | None) -> str:
    """Three digits that count, as a person compares them."""
    if value is None:
        return "–"
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    digits = 0 if value >= 100 or value == 0 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"
