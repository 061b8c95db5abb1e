"""Traces: the few requests and commands that are kept whole."""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from ... import text
from ...engine import plans
from ...errors import Invalid, NotFound
from ...extensions import db
from ...models import ProfileTrace
from ...types import Record
from ...values.damage import Damaged
from .names import is_request, resolve_names

KINDS = ("slow", "error", "asked")


def listing(
    name: str | None = None, *, kind: str | None = None, limit: int | None = 50
) -> list[Record]:
    """Return the traces, the slowest first.

    :param name: only traces of this endpoint or command.
    :raises Invalid: there is no such kind.
    :raises NotFound: the name is not on record.
    """
    if kind is not None and kind not in KINDS:
        raise Invalid(f"kind {text.truncate(kind)} is not one of {', '.join(KINDS)}")
    query = sa.select(ProfileTrace).order_by(ProfileTrace.seconds.desc(), ProfileTrace.id)
    if name is not None:
        query = query.where(ProfileTrace.name.in_(resolve_names(name)))
    if kind is not None:
        query = query.where(ProfileTrace.kind == kind)
    return [record(trace) for trace in db.ours.scalars(query.limit(limit))]


def worst_traces(limit: int) -> list[Record]:
    """Return the slowest traces, and failed ones in up to half of the places, the slowest first.

    Requests come before commands. Of the failures, the newest of each endpoint comes before
    an older one of any.
    """
    trace = ProfileTrace
    failed = _names(trace.kind == "error", trace.id.desc())
    ranks, counts = {}, Counter[str]()
    for id, name in failed.items():
        ranks[id] = counts[name] = counts[name] + 1
    ids = sorted(failed, key=lambda it: (ranks[it], not is_request(failed[it])))[: limit // 2]
    slow = _names(trace.kind != "error", trace.seconds.desc())
    ids += sorted(slow, key=lambda it: not is_request(slow[it]))[: limit - len(ids)]
    query = sa.select(trace).where(trace.id.in_(ids)).order_by(trace.seconds.desc(), trace.id)
    return [record(each) for each in db.ours.scalars(query)]


def _names(condition: sa.ColumnElement[bool], order: sa.ColumnElement[Any]) -> dict[int, str]:
    """Return the endpoint or command of each trace by its id, in this order."""
    query = sa.select(ProfileTrace.id, ProfileTrace.name).where(condition).order_by(order)
    return {row.id: row.name for row in db.ours.execute(query)}


def find(reference: str) -> ProfileTrace:
    """Return the trace of this id, or of the request of this ``X-Profile-Trace``.

    :raises NotFound: there is none.
    """
    if reference.isdecimal() and len(reference) < 18:
        return get(int(reference))
    query = sa.select(ProfileTrace).where(ProfileTrace.kind == "asked")
    for trace in db.ours.scalars(query.order_by(ProfileTrace.id.desc())):
        if trace.detail.get("correlation") == reference:
            return trace
    raise _unknown(text.truncate(reference))


def get(id: int) -> ProfileTrace:
    """Return the trace of this id.

    :raises NotFound: there is none.
    """
    trace = db.ours.get(ProfileTrace, id) if id <= LARGEST_ID else None
    if trace is None:
        raise _unknown(str(id))
    return trace


LARGEST_ID = 2**31 - 1


def _unknown(reference: str) -> NotFound:
    return NotFound(f"there is no trace {reference}", hint="flask profile traces")


def record(trace: ProfileTrace) -> Record:
    """Return a trace as a line of a list."""
    error = trace.detail.get("error") or {}
    return {
        "id": trace.id,
        "at": trace.at,
        "kind": trace.kind,
        "name": trace.name,
        "ms": round(trace.seconds * 1000, 3),
        "status": trace.status,
        "queries": trace.queries,
        "query_ms": round(trace.query_seconds * 1000, 3),
        "samples": len(trace.detail.get("samples", ())),
        "error": str(trace.detail) if isinstance(trace.detail, Damaged) else error.get("type"),
        "file": trace.detail.get("file"),
    }


def detail(trace: ProfileTrace) -> Record:
    """Return a trace with its statements in time, its stacks, and the place of its failure.

    ``timeline`` has a row for each statement: its moment and its duration in milliseconds.
    ``hot`` has the functions with the most samples, and their share.
    """
    error = trace.detail.get("error") or {}
    return {
        **record(trace),
        "correlation": trace.detail.get("correlation"),
        "timeline": [
            {
                "at_ms": round(at * 1000, 3),
                "ms": round(seconds * 1000, 3),
                "bar": bar(at, seconds, trace.seconds),
                "line": line,
                "statement": statement,
            }
            for at, seconds, statement, line in trace.detail.get("sent", ())
        ],
        "hot": _hot_functions(trace.detail.get("samples", ())),
        "stack": list(error.get("stack", ())),
        "functions": trace.detail.get("functions", []),
    }


def explain(trace: ProfileTrace) -> Record:
    """Return the plan of the statement that took most of a trace, all its repetitions together.

    ``plan`` has a line for each step. The values of the statement were not recorded.

    :raises NotFound: it has no statement that has a plan.
    :raises Invalid: the statement cannot be planned without its values.
    """
    times: dict[tuple[str, str], list[float]] = {}
    statements = trace.detail.get("sent", ())
    for _at, seconds, statement, line in statements:
        if plans.has_plan(statement):
            times.setdefault((statement, line), []).append(seconds)
    if not times:
        is_cut = any(plans.is_cut(statement) for _at, _took, statement, _line in statements)
        why = "; a long one was recorded without its end" if is_cut else ""
        raise NotFound(f"trace {trace.id} has no statement with a plan{why}")
    (statement, line), seconds = max(times.items(), key=lambda item: sum(item[1]))
    return {
        "id": trace.id,
        "name": trace.name,
        "line": line,
        "times": len(seconds),
        "ms": round(sum(seconds) * 1000, 3),
        "statement": statement,
        "plan": plans.of_fingerprint(db.session(), statement),
    }


BAR = 24
"""The width of a bar for the whole time, in characters."""


def bar(at: float, long: float, total: float, size: int = BAR) -> str:
    """Draw a span within the whole, in so many characters: ``····██····``."""
    begin = min(size - 1, int(at / total * size)) if total else 0
    width = max(1, min(size - begin, round(long / total * size))) if total else 1
    return "·" * begin + "█" * width + "·" * (size - begin - width)


def _hot_functions(samples: Any) -> list[Record]:
    total = sum(seconds for seconds, _stack in samples)
    inside: dict[str, float] = {}
    alone: dict[str, float] = {}
    for seconds, stack in samples:
        for function in set(stack):
            inside[function] = inside.get(function, 0.0) + seconds
        if stack:
            alone[stack[-1]] = alone.get(stack[-1], 0.0) + seconds
    rows = sorted(inside, key=lambda name: (-alone.get(name, 0.0), -inside[name]))[:20]
    return [
        {
            "share": round(inside[name] / total, 3),
            "self": round(alone.get(name, 0.0) / total, 3),
            "function": name,
        }
        for name in rows
    ]
