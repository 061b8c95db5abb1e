"""Checks for forgotten maintenance: overdue reviews, and production without its scheduled work.

That is jobs, copies, checkpoints and second factors. Nothing else notices what was never
installed: a job that has never run is not late.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from .. import clock, settings, text
from ..accounts import reviews
from ..extensions import db, this_app
from ..jobs import health, schedule
from ..models import AccessReview, AuditEvent, JobRun
from ..settings import config
from ..state import is_built_on

Omission = tuple[str, str, str]
"""The check, what it says, and the advice."""


def findings() -> Iterator[Omission]:
    """Yield overdue reviews; and in production, what is missing."""
    if is_built_on(this_app()):
        yield from _overdue_reviews()
    if config.environment() != config.PRODUCTION:
        return
    yield from _idle_schedule()
    if not _has(AuditEvent.seq, AuditEvent.action == "database:backup:create"):
        yield "backup", "no backup was ever made", "flask db backup FILE, or the job backup"
    if not _has(JobRun.id, JobRun.name == "checkpoint", JobRun.status == "succeeded"):
        message = "the job checkpoint has never succeeded"
        yield "checkpoint", message, "flask jobs run checkpoint; docs/audit.md"
    if is_built_on(this_app()) and settings.get("OPSAPP_TWO_FACTOR") == "optional":
        message = "no account must use two factors"
        yield "second factor", message, "OPSAPP_TWO_FACTOR=admins"
    if old := _old_pg_dump():
        yield PG_DUMP, old, "install the client of the server's version, or backups fail"


PG_DUMP = "pg_dump"
"""The check of a program, which says something of this host alone."""


def _idle_schedule() -> Iterator[Omission]:
    jobs = schedule.load()
    if health.in_use_since(jobs) is not None:
        return  # From then on, a job that has not run is late, which the check of jobs says.
    names = [job.name for job in jobs.values() if job.is_scheduled]
    never = [name for name in names if not _has(JobRun.id, JobRun.name == name)]
    ran = f"; never at all: {', '.join(never)}" if never else ""
    yield "schedule", f"no job has ever run by its schedule{ran}", "flask jobs install"


def _overdue_reviews() -> Iterator[Omission]:
    if not sa.inspect(db.engine).has_table(AccessReview.__tablename__):
        return  # The check of the migrations tells.
    for review in reviews.overdue():
        record = reviews.record(review)
        grants = text.pluralize(record["grants"], "grant")
        message = f"{record['undecided']} of {grants} of review {review.id} undecided"
        message += f", and it was due {clock.rfc3339(review.due_at)}"
        yield "reviews", message, f"flask roles review show {review.id} --undecided"


def _has(column: Any, *criteria: sa.ColumnElement[bool]) -> bool:
    return db.ours.scalar(sa.select(column).where(*criteria).limit(1)) is not None


def _old_pg_dump() -> str | None:
    """Return that pg_dump is older than the server, or missing; None where all is well."""
    if db.our_engine.dialect.name != "postgresql":
        return None
    program = shutil.which("pg_dump")
    if program is None:
        return "pg_dump is not installed: no backup can be made"
    answer = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603  (the program of the PATH, without a word of a user)
    number = re.search(r"\d+", answer.stdout)
    server = int(db.ours.scalar(sa.text("SHOW server_version_num")) or 0) // 10000
    if number and int(number[0]) < server:
        return f"pg_dump {number[0]} is older than the server, {server}"
    return None
