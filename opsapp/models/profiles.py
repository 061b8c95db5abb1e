"""Profiling: series of timings in windows of time, traces, and baselines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from .. import clock
from ..extensions import Model
from .types import BigNumber, Fraction, JSONMapping, LongWords, Number, Packed, UTCDateTime, Words

MINUTE, HOUR, DAY = 60, 3600, 86400
"""The widths of windows, in seconds."""


class ProfileSeries(Model):
    """A measured subject: an endpoint, a command, or a statement at a line."""

    __tablename__ = "profile_series"
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
    """The fingerprint of a repeat, whose ``name`` is the endpoint."""


class ProfileWindow(Model):
    """The counts of a series in a minute, hour or day.

    Each process has its own row of a minute and overwrites it with its counts so far, so
    writing twice is harmless. Compacting adds up the rows.
    """

    __tablename__ = "profile_windows"
    __table_args__ = (sa.Index("ix_profile_windows_width_starts_at", "width", "starts_at"),)

    series_id: so.Mapped[int] = so.mapped_column(
        sa.ForeignKey("profile_series.id"), primary_key=True
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
    bins: so.Mapped[bytes] = so.mapped_column(Packed)
    """A packed :mod:`opsapp.profiling.ddsketch` of the durations."""


class ProfileTrace(Model):
    """A request or command that was slow, failed, or was profiled on request."""

    __tablename__ = "profile_traces"
    __table_args__ = (
        sa.Index("ix_profile_traces_name_kind_seconds", "name", "kind", "seconds"),
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
    detail: so.Mapped[dict[str, Any]] = so.mapped_column(JSONMapping)
    """The statements with their times, the samples of the stack, the place of the error."""


class ProfileSave(Model):
    """A measurement, kept for comparison."""

    __tablename__ = "profile_saves"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    name: so.Mapped[str] = so.mapped_column(Words(64), unique=True)
    is_automatic: so.Mapped[bool] = so.mapped_column(default=False)
    """It has no name of a user's choice, so pruning may delete it."""
    mode: so.Mapped[str] = so.mapped_column(Words(16))
    """``recorded``, ``request`` or ``run``: only equal modes are compared."""
    subject: so.Mapped[str] = so.mapped_column(LongWords)
    """The measured subject: ``GET /users``, ``users list``, or the recorded span."""
    python: so.Mapped[str] = so.mapped_column(Words(32))
    environment: so.Mapped[str] = so.mapped_column(Words(64))
    made_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)
    made_by: so.Mapped[str] = so.mapped_column(LongWords)
    detail: so.Mapped[dict[str, Any]] = so.mapped_column(JSONMapping)
