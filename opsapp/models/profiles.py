"""Profiling: series of timings in windows of time, traces, and baselines."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.engine import Dialect

from .. import clock
from ..extensions import Model
from .sketches import Sketch
from .types import BEYOND, BigNumber, Fraction, JSONMapping, LongWords, Number, UTCDateTime, Words

MINUTE, HOUR, DAY = 60, 3600, 86400
"""The widths of windows, in seconds."""


class ProfileSeries(Model):
    """A measured subject: an endpoint, a command, or a statement at a line."""

    __tablename__ = "ops_profile_series"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    digest: so.Mapped[str] = so.mapped_column(Words(64), unique=True)
    """A hash of the other columns, which are too long for an index."""
    kind: so.Mapped[str] = so.mapped_column(Words(16), index=True)
    """``endpoint``, ``command``, ``query``, or ``repeat``: a statement repeated in a request."""
    name: so.Mapped[str] = so.mapped_column(LongWords)
    """The endpoint or command, or the fingerprint of a query, without literals."""
    caller: so.Mapped[str] = so.mapped_column(LongWords, default="")
    """The line of the application that sends the query, such as ``shop/orders.py:12 in total``."""
    statement: so.Mapped[str] = so.mapped_column(LongWords, default="")
    """The fingerprint of a repeat, whose ``name`` is the endpoint; of a query, the endpoint."""


class ProfileWindow(Model):
    """The counts of a series in a minute, hour or day.

    Each process has its own row of a minute and overwrites it with its counts so far, so
    writing twice is harmless. Compacting adds up the rows.
    """

    __tablename__ = "ops_profile_windows"
    __table_args__ = (sa.Index("ix_ops_profile_windows_width_starts_at", "width", "starts_at"),)

    series_id: so.Mapped[int] = so.mapped_column(
        sa.ForeignKey("ops_profile_series.id"), primary_key=True
    )
    width: so.Mapped[int] = so.mapped_column(primary_key=True)
    """Seconds."""
    starts_at: so.Mapped[int] = so.mapped_column(BigNumber, primary_key=True)
    """Seconds since 1970, a multiple of the width."""
    process: so.Mapped[str] = so.mapped_column(Words(32), primary_key=True, default="")
    """The process that counts; empty after the processes are added up."""
    count: so.Mapped[int] = so.mapped_column(BigNumber)
    errors: so.Mapped[int] = so.mapped_column(BigNumber)
    seconds: so.Mapped[float] = so.mapped_column(Fraction)
    most: so.Mapped[float] = so.mapped_column(Fraction)
    """The longest duration, in seconds."""
    queries: so.Mapped[int] = so.mapped_column(BigNumber)
    query_seconds: so.Mapped[float] = so.mapped_column(Fraction)
    bins: so.Mapped[bytes] = so.mapped_column(Sketch)
    """A packed :mod:`opsapp.profiling.ddsketch` of the durations."""


class TraceDetail(JSONMapping):
    """The detail of a trace; one of another shape than the writer's comes as damaged."""

    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        detail = super().process_result_value(value, dialect)
        if detail is not None and not _is_trace(detail):
            raise TypeError
        return detail


class SaveDetail(JSONMapping):
    """The rows of a measurement; ones of another shape come as damaged."""

    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        detail = super().process_result_value(value, dialect)
        if detail is not None and not _is_measurement(detail):
            raise TypeError
        return detail


def _is_trace(detail: dict[str, Any]) -> bool:
    error = {} if detail.get("error") is None else detail["error"]
    return (
        _are(detail.get("sent", []), _is_number, _is_number, _is_text, _is_text)
        and _are(detail.get("samples", []), _is_number, _is_stack)
        and isinstance(error, dict)
        and _is_stack(error.get("stack", []))
        and all(part is None or _is_text(part)
                for part in (error.get("type"), detail.get("correlation"), detail.get("file")))
        and _is_list(detail.get("functions", []), _is_function)
    )  # fmt: skip


def _is_measurement(detail: dict[str, Any]) -> bool:
    rows = detail.get("rows")
    return isinstance(rows, dict) and all(_is_row(row) for row in rows.values())


def _is_row(row: Any) -> bool:
    return (
        isinstance(row, dict)
        and all(_is_number(row.get(name)) for name in ("count", "errors", "queries"))
        and row["count"] > 0
        and all(_is_list(row.get(name, []), _is_number) for name in ("samples", "cpu"))
    )


def _are(rows: Any, *columns: Callable[[Any], bool]) -> bool:
    """Tell whether these are rows, each with a value of its kind in each column."""
    return _is_list(
        rows,
        lambda row: (
            isinstance(row, list)
            and len(row) == len(columns)
            and all(fits(value) for fits, value in zip(columns, row, strict=True))
        ),
    )


def _is_list(values: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(values, list) and all(fits(value) for value in values)


def _is_number(value: Any) -> bool:
    # A comparison with NaN is false.
    return type(value) in (int, float) and -BEYOND < value < BEYOND


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_stack(value: Any) -> bool:
    return _is_list(value, _is_text)


def _is_function(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"calls", "self_ms", "total_ms", "function"}
        and _is_text(value["function"])
        and all(_is_number(value[name]) for name in ("calls", "self_ms", "total_ms"))
    )


class ProfileTrace(Model):
    """A request or command that was slow, failed, or was profiled on request."""

    __tablename__ = "ops_profile_traces"
    __table_args__ = (
        sa.Index("ix_ops_profile_traces_name_kind_seconds", "name", "kind", "seconds"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    kind: so.Mapped[str] = so.mapped_column(Words(16))
    """``slow``, ``error`` or ``asked``."""
    name: so.Mapped[str] = so.mapped_column(Words(255))
    at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now, index=True)
    seconds: so.Mapped[float] = so.mapped_column(Fraction)
    status: so.Mapped[int | None] = so.mapped_column(Number)
    """The HTTP status, or the exit code of a command."""
    queries: so.Mapped[int] = so.mapped_column(Number)
    query_seconds: so.Mapped[float] = so.mapped_column(Fraction)
    detail: so.Mapped[dict[str, Any]] = so.mapped_column(TraceDetail)
    """The statements with their times, the samples of the stack, the place of the error."""


class ProfileSave(Model):
    """A measurement, kept for comparison."""

    __tablename__ = "ops_profile_saves"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    name: so.Mapped[str] = so.mapped_column(Words(64), unique=True)
    is_automatic: so.Mapped[bool] = so.mapped_column(default=False)
    """It has no name of a user's choice, so pruning may delete it."""
    mode: so.Mapped[str] = so.mapped_column(Words(16))
    """``request`` or ``run``: only equal modes are compared."""
    subject: so.Mapped[str] = so.mapped_column(LongWords)
    """The measured request or command: ``GET /users``, ``users list``."""
    python: so.Mapped[str] = so.mapped_column(Words(32))
    environment: so.Mapped[str] = so.mapped_column(Words(64))
    made_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    made_by: so.Mapped[str] = so.mapped_column(LongWords)
    detail: so.Mapped[dict[str, Any]] = so.mapped_column(SaveDetail)
