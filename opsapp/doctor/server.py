"""Checks of the database's server and of this host."""

from __future__ import annotations

import shutil
from datetime import timedelta

import sqlalchemy as sa
from flask import current_app

from .. import clock
from ..database import status
from ..engine import direct
from ..extensions import db, this_attachment
from ..models.types import database_now
from ..state import instance_of
from .findings import Check, Finding, finding

SLOW_MILLISECONDS = 100
SKEW_SECONDS = 2
FREE_BYTES = 200 * 1024 * 1024


def check_database() -> Finding:
    """Return that the database answers, and how fast."""
    measurement = status.measure()
    slow = measurement["latency_ms"] > SLOW_MILLISECONDS
    return finding(
        "database",
        "warn" if slow else "ok",
        f"{measurement['database']} answers in {measurement['latency_ms']} ms",
        "look for a slow network or a busy server" if slow else None,
    )


def _check_clock() -> Finding:
    before = clock.now()
    time = db.ours.scalars(sa.select(database_now())).one()
    # The time of the answer's way is no skew.
    skew = max(before - time, time - clock.now(), timedelta()).total_seconds()
    if skew <= SKEW_SECONDS:
        return finding("clock", "ok", f"{skew:.1f} s off the database's clock")
    return finding("clock", "warn", f"{skew:.1f} s off the database's clock", "run an NTP client")


def _check_disk() -> Finding:
    instance = instance_of(current_app)
    folder = next(each for each in (instance, *instance.parents) if each.exists())
    free = shutil.disk_usage(folder).free
    message = f"{free // 1024**2:,} MiB free at {folder}"
    if free < FREE_BYTES:
        return finding("disk", "warn", message, "make room: a full disk stops every change")
    return finding("disk", "ok", message)


def _check_durability() -> Finding:
    if db.our_engine.dialect.name == "sqlite":
        mode = db.ours.scalar(sa.text("PRAGMA journal_mode"))
        if mode == "wal":
            return finding("durability", "ok", "WAL, synchronous=FULL")
        message = f"journal_mode is {mode}, not wal: pages and commands block each other"
        if this_attachment() is not None:  # The file is the application's.
            return finding("durability", "warn", message, "flask ops init --wal")
        return finding("durability", "fail", message, "flask db init")
    names = ("fsync", "synchronous_commit", "full_page_writes")
    off = [n for n in names if db.ours.scalar(sa.text(f"SHOW {n}")) == "off"]
    if off:
        message = f"the server has {', '.join(off)} off: a crash loses what was acknowledged"
        return finding("durability", "fail", message, "turn them on in postgresql.conf")
    return finding("durability", "ok", ", ".join(f"{n} is on" for n in names))


def _check_locks() -> Finding:
    if db.our_engine.dialect.name == "sqlite":
        return finding("locks", "ok", "lock files beside the database")
    direct.connect(db.our_engine).close()
    return finding("locks", "ok", "jobs and migrations have sessions of their own")


CHECKS: dict[str, Check] = {
    "clock": _check_clock,
    "disk": _check_disk,
    "durability": _check_durability,
    "locks": _check_locks,
}
"""They need no tables of opsapp."""
