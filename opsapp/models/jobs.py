"""Jobs: a row for each run, written before it starts, and its output."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..extensions import Model
from .types import BigNumber, JSONWords, LongWords, Number, ShortFraction, UTCDateTime, Words

RUNNING = "running"


class JobRun(Model):
    """A run of a job. ``running`` is only true while a process holds the job's lock."""

    __tablename__ = "ops_job_runs"
    __table_args__ = (
        sa.Index("ix_ops_job_runs_name_id", "name", "id"),
        sa.Index("ix_ops_job_runs_started_at", "started_at"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    name: so.Mapped[str] = so.mapped_column(Words(64))
    status: so.Mapped[str] = so.mapped_column(Words(16), default=RUNNING)
    """One of :data:`opsapp.jobs.runs.STATUSES`, as it was written last."""
    slot: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    """The scheduled time of this run; each slot has one run on all hosts."""
    started_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime)
    finished_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)
    seconds: so.Mapped[float | None] = so.mapped_column(ShortFraction)
    exit_code: so.Mapped[int | None] = so.mapped_column(Number)
    peak_bytes: so.Mapped[int | None] = so.mapped_column(BigNumber)
    attempts: so.Mapped[int] = so.mapped_column(Number, default=1)
    reason: so.Mapped[str | None] = so.mapped_column(Words(255))
    """The reason for its end, if the exit code is not enough."""
    command: so.Mapped[list[str]] = so.mapped_column(JSONWords)
    host: so.Mapped[str] = so.mapped_column(Words(255))
    pid: so.Mapped[int] = so.mapped_column(Number)
    actor: so.Mapped[str] = so.mapped_column(LongWords)
    correlation: so.Mapped[str] = so.mapped_column(Words(36))
    """The id that the audit events of the command carry."""


class JobOutput(Model):
    """A piece of a run's output, made safe and without secrets, in order."""

    __tablename__ = "ops_job_output"
    __table_args__ = (
        sa.Index("ix_ops_job_output_run_id_id", "run_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    run_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("ops_job_runs.id"))
    stream: so.Mapped[str] = so.mapped_column(Words(8))
    """``stdout`` or ``stderr``."""
    text: so.Mapped[str] = so.mapped_column(LongWords)
