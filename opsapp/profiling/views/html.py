"""Self-contained pages: the report with charts, and the flame graph of a trace.

See docs/decisions/profiling.md#pages-need-no-other-file.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ... import clock, settings
from ...engine.fingerprint import brief
from ...errors import NotFound, OpsError
from ...files.drafts import writing
from ...text import safe_value, sparkline
from ...types import Record
from ...values.damage import Damaged
from .. import ddsketch
from ..reports import Total, n_plus_one, totals, traces
from .text import figure

TOP = 20
DEEPEST = 60
NARROWEST = 0.05
"""Percent of the whole; a narrower box is not drawn."""

Sample = Sequence[Any]
"""Seconds, and the functions of the stack, the outermost first."""


# --- the report ----------------------------------------------------------------


def write_report(file: str, *, since: datetime, until: datetime | None) -> Record:
    """Write the report of a span as a page, and return its file and size.

    :raises Refused: the name is that of a folder or a device.
    """
    return _write_page(file, report(since, until))


def report(since: datetime, until: datetime | None = None, *, is_served: bool = False) -> str:
    """Return the report of a span as a page.

    :param is_served: link each trace to ``profile/ID``, which a server has beside the page.
    """
    until = until or clock.now()
    reports = {
        kind: totals.report(kind, since=since, until=until, top=TOP) for kind in totals.KINDS
    }
    over_time = totals.over_time(since, until)
    return _render(
        "report.html",
        is_served=is_served,
        since=_format_moment(since),
        until=_format_moment(until),
        tiles=list(_tiles(over_time)),
        endpoints=reports["endpoint"],
        queries=reports["query"],
        commands=reports["command"],
        repeats=n_plus_one.listing(since=since, until=until, top=TOP),
        traces=traces.worst_traces(TOP),
        **_charts(over_time, since, until),
    )


def _format_moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _tiles(slots: list[Total]) -> list[Record]:
    total = totals.sum_totals(slots)
    p50, p95, p99 = ddsketch.quantiles(total.bins, totals.SHARES)
    share = total.query_seconds / total.seconds if total.seconds else 0.0
    errors = total.errors / total.count if total.count else 0.0
    return [
        {"name": "requests", "value": f"{total.count:,}"},
        {"name": "failed", "value": f"{errors:.1%}", "warn": errors > 0},
        *(
            {"name": name, "value": f"{figure(_ms(seconds))} ms"}
            for name, seconds in (("p50", p50), ("p95", p95), ("p99", p99))
        ),
        {"name": "of the time in the database", "value": f"{share:.0%}"},
        {"name": "SQL a request", "value": figure(total.queries / (total.count or 1))},
    ]


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000


def _charts(slots: list[Total], since: datetime, until: datetime) -> Record:
    step = (until - since) / len(slots)
    form = "%H:%M" if (until - since).days < 2 else "%m-%d"
    labels = [f"{(since + step * n).astimezone(UTC):{form}}" for n in range(len(slots))]
    shares = [[_ms(value) or 0.0 for value in ddsketch.quantiles(slot.bins, totals.SHARES)]
              for slot in slots]  # fmt: skip
    sql = [min(slot.query_seconds, slot.seconds) for slot in slots]
    return {
        "requests_chart": _chart(
            labels, main=[slot.count - slot.errors for slot in slots],
            bad=[slot.errors for slot in slots],
        ),
        # Each percentile stands on the one below it.
        "latency_chart": _chart(
            labels, calm=[p50 for p50, _, _ in shares], main=[p95 - p50 for p50, p95, _ in shares],
            bad=[p99 - p95 for _, p95, p99 in shares],
        ),
        "time_chart": _chart(
            labels, sql=sql,
            main=[slot.seconds - query for slot, query in zip(slots, sql, strict=True)],
        ),
        "spread_chart": _spread(totals.sum_totals(slots).bins),
    }  # fmt: skip


def _chart(labels: Sequence[str], **parts: Sequence[float]) -> Record:
    """Return stacked columns: the parts by their CSS class, the lowest first."""
    columns = list(zip(*parts.values(), strict=True))
    top = max(map(sum, columns), default=0.0)
    return {
        "top": top,
        "columns": [
            {
                "label": label,
                "sum": sum(column),
                "parts": [(name, value / (top or 1.0) * 100)
                          for name, value in zip(parts, column, strict=True)],
            }
            for label, column in zip(labels, columns, strict=True)
        ],
    }  # fmt: skip


def _spread(bins: ddsketch.Bins) -> Record:
    """Return the number of requests by duration, in some forty columns of the sketch's buckets."""
    first, last = min(bins, default=0), max(bins, default=0)
    width = (last - first) // 40 + 1
    columns = [0] * ((last - first) // width + 1)
    for number, count in bins.items():
        columns[(number - first) // width] += count
    labels = [figure(ddsketch.value(first + n * width) * 1000) for n in range(len(columns))]
    return _chart(labels, main=columns)


# --- the flame -------------------------------------------------------------------


def write_flame(id: int, file: str) -> Record:
    """Write the stacks of a trace as a page, and return its file and size.

    :raises NotFound: there is no such trace, or it has no stacks.
    :raises OpsError: the trace is damaged.
    :raises Refused: the name is that of a folder or a device.
    """
    return _write_page(file, flame(id))


def flame(id: int) -> str:
    """Return the stacks of a trace as a page.

    :raises NotFound: there is no such trace, or it has no stacks.
    :raises OpsError: the trace is damaged.
    """
    trace = traces.get(id)
    if isinstance(trace.detail, Damaged):
        raise OpsError(f"trace {id} cannot be read: {trace.detail}")
    samples = trace.detail.get("samples") or ()
    if not samples:
        raise NotFound(
            f"no stack was seen in trace {id}: it was too quick",
            hint="have one profiled with X-Profile: sample, or flask profile request --sample",
        )
    rectangles = boxes(samples)
    return _render(
        "flame.html",
        trace=traces.detail(trace),
        boxes=rectangles,
        depth=max((box["depth"] for box in rectangles), default=0),
        seen=sum(seconds for seconds, _stack in samples) * 1000,
    )


def boxes(samples: Sequence[Sample]) -> list[Record]:
    """Return a box for each function of the stacks, merged, with its place in percent."""
    root: Record = {"name": "all", "seconds": 0.0, "below": {}}
    for seconds, stack in samples:
        node = root
        node["seconds"] += seconds
        for name in stack[:DEEPEST]:
            node = node["below"].setdefault(name, {"name": name, "seconds": 0.0, "below": {}})
            node["seconds"] += seconds
    rows: list[Record] = []
    _lay_out(root, 0.0, 0, root["seconds"] or 1.0, rows)
    return rows


def _lay_out(node: Record, offset: float, depth: int, total: float, rows: list[Record]) -> None:
    width = node["seconds"] / total * 100
    if width < NARROWEST:
        return
    file, _in, function = node["name"].partition(" in ")
    rows.append(
        {
            "name": node["name"],
            "short": function or file,
            "ms": node["seconds"] * 1000,
            "left": offset,
            "width": width,
            "depth": depth,
            "kind": _kind(file),
        }
    )
    for below in sorted(node["below"].values(), key=lambda node: -node["seconds"]):
        _lay_out(below, offset, depth + 1, total, rows)
        offset += below["seconds"] / total * 100


_LIBRARIES = frozenset(
    {
        *("flask", "werkzeug", "jinja2", "click", "blinker", "gunicorn", "itsdangerous"),
        *("flask_login", "flask_security", "flask_smorest", "flask_wtf", "flask_sqlalchemy"),
        *("marshmallow", "webargs", "threading", "socketserver"),
    }
)


def _kind(file: str) -> str:
    top = file.partition("/")[0].removesuffix(".py")
    if top in ("sqlalchemy", "psycopg", "psycopg_binary", "sqlite3"):
        return "sqla"
    return "theirs" if top in _LIBRARIES or file == "all" else "ours"


# --- files -------------------------------------------------------------------------


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, PackageLoader

    pages = Environment(
        loader=PackageLoader("opsapp.profiling"), autoescape=True, finalize=safe_value
    )
    pages.globals.update(figure=figure, sparkline=sparkline, brief=brief)
    return pages.get_template(template).render(
        app_name=settings.get("OPSAPP_NAME"),
        environment=settings.get("OPSAPP_ENV"),
        made_at=_format_moment(clock.now()) + " UTC",
        bound=f"{ddsketch.ACCURACY:.0%}".rstrip("%"),
        few=totals.FEW,
        **values,
    )


def _write_page(file: str, page: str) -> Record:
    """Write the page whole, readable by its owner only."""
    with writing(file) as draft:
        size = draft.path.write_bytes(page.encode(errors="backslashreplace"))
    return {"file": file, "bytes": size}
