"""Charts: a line of blocks for the terminal, SVG for a page."""

from __future__ import annotations

from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(points: Sequence[float | None]) -> str:
    """The points as blocks between nothing and the highest; a space where there is none."""
    highest = max((point for point in points if point is not None), default=0.0)
    if not highest:
        return "".join(" " if point is None else _BLOCKS[0] for point in points).rstrip()
    steps = len(_BLOCKS) - 1
    return "".join(
        " " if point is None else _BLOCKS[round(point / highest * steps)] for point in points
    )
