"""Checks of an installation, each a function with advice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import current_app
from flask.helpers import get_debug_flag
from sqlalchemy.exc import SQLAlchemyError

from . import clock, config, operation, sources, text
from .accounts import breached
from .audit import verification
from .damage import Damaged
from .database import status
from .engine import conditions, direct
from .errors import OpsError
from .extensions import db
from .files import modes as files
from .jobs import health
from .mail import outbox
from .models import AuditEvent, AuditHead, Grant
from .models.types import Tolerant, database_now
from .ops import checks
from .profiling.reports import retention
from .settings import HANDED_DOWN, IN_FILES, SECRETS, SETTINGS, Setting, get
from .state import attached_to, instance_of
from .unit import invariants, pending
from .unit.ledger import read_head, refuse_other_owner

SLOW_MILLISECONDS = 100
SKEW_SECONDS = 2
COMPARED = 100_000
"""The most events with which the tables are compared, which takes some seconds."""
FREE_BYTES = 200 * 1024 * 1024
GRANTS_LATE = timedelta(minutes=10)
MAIL_LATE = timedelta(hours=1)
SEALING_LATE = timedelta(minutes=5)
PROFILES_LATE = timedelta(days=2)
SCANNED = 1000
"""Rows of a table in which damaged values are looked for, the newest ones."""
SHOWN = 5
PRODUCTION_LIKE = frozenset({"production", "prod", "prd", "live"})
"""Names that operators give to production, in small letters."""

Finding = dict[str, Any]


def finding(check: str, state: str, message: str, advice: str | None = None) -> Finding:
    """Return one line of the report; ``state`` is ``ok``, ``warn`` or ``fail``."""
    return {"state": state, "check": check, "says": message, "advice": advice}


# --- settings ----------------------------------------------------------------


def check_settings() -> Iterator[Finding]:
    """Yield the findings that need no application: the settings, and the files' modes."""
    yield _check_names()
    yield _check_environment_name()
    attached = _attached()
    if config.environment() != config.DEVELOPMENT and get_debug_flag():
        message = "a debugger that runs any code is for development only"
        yield finding("setting FLASK_DEBUG", "fail", message, "unset FLASK_DEBUG")
    for setting in SETTINGS:
        if setting.name in (SECRETS if attached is None else ("OPSAPP_AUDIT_KEY",)):
            yield _check_secret(setting)
    if attached is None:
        yield _tried("setting OPSAPP_URL", _check_url)
        if file := get("OPSAPP_BREACHED_PASSWORDS"):
            yield _tried("breached", lambda: finding("breached", "ok", breached.check(file)))
    yield from _check_modes(config.instance_folder())
    yield from _check_secret_files()


def _check_names() -> Finding:
    names = {*(setting.name for setting in SETTINGS), *IN_FILES, *HANDED_DOWN}
    strange = sorted({name for name in os.environ if name.startswith("OPSAPP_")} - names)
    if not strange:
        return finding("setting names", "ok", "every OPSAPP_… of the environment is a setting")
    message = ", ".join(strange) + (" is no setting" if len(strange) == 1 else " are no settings")
    near = text.did_you_mean(strange[0], names, likeness=0.8)
    return finding("setting names", "warn", message, near or "flask doctor --settings")


def _check_environment_name() -> Finding:
    check, name = "setting OPSAPP_ENV", config.environment()
    if name != config.PRODUCTION and name.strip().lower() in PRODUCTION_LIKE:
        message = f"{name} is not {config.PRODUCTION}: severe changes ask for no more than --yes"
        return finding(check, "warn", message, f"OPSAPP_ENV={config.PRODUCTION}, if that is meant")
    return finding(check, "ok", name)


def _check_secret(setting: Setting) -> Finding:
    try:
        get(setting.name, os.environ if _attached() is None else None)
    except OpsError as error:
        return finding(f"setting {setting.name}", "fail", error.message, error.hint)
    source = sources.source(setting)
    message = f"set, from the {source}" if source != "default" else "generated for development"
    return finding(f"setting {setting.name}", "ok", message)


def _check_url() -> Finding:
    check, url = "setting OPSAPP_URL", get("OPSAPP_URL")
    if url and url.startswith("http:") and config.environment() != config.DEVELOPMENT:
        message = f"{url}: cookies are for https only, so sign-in fails"
        return finding(check, "warn", message, "put TLS in front, and https:// here")
    if url:
        return finding(check, "ok", url)
    if config.environment() == config.DEVELOPMENT:
        return finding(check, "ok", "not set; development does without")
    message = "not set: the web part does not start, and mail has no links"
    return finding(check, "warn", message, "OPSAPP_URL=https://ops.example.com")


def _check_modes(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        return
    modes = files.modes(folder)
    loose = [path for path, mode in modes.items() if files.is_exposed(path, mode, folder)]
    if loose:
        names = ", ".join(str(path) for path in loose[:3])
        yield finding("file modes", "fail", f"others can read {names}", f"chmod 600 {loose[0]}")
    else:
        yield finding("file modes", "ok", f"{files.in_words(modes)}, none that others can read")


def _check_secret_files() -> Iterator[Finding]:
    named = [Path(file) for name in IN_FILES if (file := os.environ.get(name))]
    # The group may read them: the deploying user owns them, and the application is in the group.
    loose = [path for path in named if (files.mode_of(path) or 0) & 0o007]
    if loose:
        names = ", ".join(map(str, loose))
        yield finding("secret files", "warn", f"others can read {names}", f"chmod o= {loose[0]}")
    elif present := [path for path in named if path.exists()]:
        yield finding("secret files", "ok", f"{files.in_words(present)}, none that others can read")


# --- the application ---------------------------------------------------------


def check_application() -> Iterator[Finding]:
    """Yield every check that needs the database; one that cannot be made is a failure itself."""
    reachable = _tried("database", _check_database)
    yield reachable
    if reachable["state"] == "fail":
        return  # The others would only say so again.
    for check, function in _checks().items():
        yield _tried(check, function)
        for session in dict.fromkeys((db.session, db.ours)):
            session.rollback()
    with suppress(OpsError):  # A schedule that cannot be read is the finding of the jobs.
        for check, message, advice in operation.findings():
            yield finding(check, "warn", message, advice)


def _attached() -> Any:
    """Return the ``Attached`` of the application; None if it is built on opsapp."""
    return attached_to(current_app) if current_app else None


def _checks() -> dict[str, Callable[[], Finding]]:
    attached = _attached()
    if attached is None:
        return _CHECKS
    names = _CHECKS.keys() - checks.OF_OUR_ACCOUNTS if attached.has_tables else checks.BEFORE_TABLES
    return {
        **{name: partial(_of_attached, attached, name) for name in checks.CHECKS},
        **{name: check for name, check in _CHECKS.items() if name in names},
    }


def _of_attached(attached: Any, name: str) -> Finding:
    return finding(name, *checks.CHECKS[name](attached))


def _tried(check: str, function: Callable[[], Finding]) -> Finding:
    try:
        return function()
    except OpsError as error:
        return finding(check, "fail", error.message, _advice(error.hint))
    except SQLAlchemyError as error:
        condition = conditions.explained(error)
        message = condition.message if condition else text.first_line(error)
        return finding(check, "fail", message, _advice(condition.hint) if condition else None)


def _advice(hint: str | None) -> str:
    # Doctor is what the other commands send people to; here the way ends.
    return hint if hint and hint != "flask doctor" else "see docs/troubleshooting.md"


def _check_database() -> Finding:
    measurement = status.measured()
    slow = measurement["latency_ms"] > SLOW_MILLISECONDS
    return finding(
        "database",
        "warn" if slow else "ok",
        f"{measurement['database']} answers in {measurement['latency_ms']} ms",
        "look for a slow network or a busy server" if slow else None,
    )


def _check_writing() -> Finding:
    status.check_writable()
    return finding("writing", "ok", "a change could be written")


def _check_migrations() -> Finding:
    status.check_revision()
    return finding("migrations", "ok", f"at {status.revision()}")


def _check_environment() -> Finding:
    stamped = db.ours.scalar(sa.select(AuditHead.environment))
    named = config.environment()
    if stamped == named:
        return finding("environment", "ok", named)
    return finding(
        "environment",
        "fail",
        f"OPSAPP_ENV is {named}, the database is stamped {stamped}",
        "set OPSAPP_ENV, or connect to the other database",
    )


def _check_administrator() -> Finding:
    has_one = invariants.has_administrator(db.session())
    if has_one is None:
        message = "nothing says who administers, so the last one is not kept"
        return finding("administrator", "ok", message, "flask ops identity")
    if has_one:
        return finding("administrator", "ok", "an account can log in and administer")
    return finding(
        "administrator",
        "fail",
        "no active account with a password holds admin for ever",
        "flask users create-admin EMAIL",
    )


def _check_grants() -> Finding:
    # The sweep marks them every five minutes; until then there is nothing to do.
    late = clock.now() - GRANTS_LATE
    over = (Grant.ended_at.is_(None), Grant.valid_until <= late)
    count = db.ours.scalar(sa.select(sa.func.count()).select_from(Grant).where(*over))
    if not count:
        return finding("grants", "ok", "none is past its end and unmarked")
    return finding("grants", "warn", f"{count} past their end and unmarked", "flask roles expire")


def _check_audit() -> Finding:
    head = read_head(db.ours())
    if head is None:
        return finding("audit", "fail", "the audit has no head", "flask audit verify")
    refuse_other_owner(head)
    last = db.ours.scalar(sa.select(sa.func.max(AuditEvent.seq))) or 0
    if last != head.seq:
        message = f"the head says {head.seq} events, the last one is {last}"
        return finding("audit", "fail", message, "flask audit verify")
    if not verification.is_genuine(head.seq, head.hash):
        return finding("audit", "fail", f"event {head.seq} was edited", "flask audit verify")
    count, since = pending.waiting(db.ours())
    if since is not None and clock.now() - since > SEALING_LATE:
        message = f"{count} changes wait to be chained, the oldest since {clock.rfc3339(since)}"
        return finding("audit", "warn", message, "flask audit seal")
    if head.seq > COMPARED:
        message = f"{head.seq} events, the last one is genuine; the job checkpoint compares all"
        return finding("audit", "ok", message)
    report = verification.verify(state=True)
    if not report["ok"]:
        return finding("audit", "fail", report["says"], "flask audit verify --state")
    return finding("audit", "ok", f"{head.seq} events; {report['says']}")


def _check_values() -> Finding:
    present = set(sa.inspect(db.our_engine).get_table_names())
    tables = [table for table in db.metadata.sorted_tables if table.name in present]
    damaged = [value for table in tables for value in _damaged(table)]
    if not damaged:
        return finding("values", "ok", f"none is damaged in the newest {SCANNED} rows of a table")
    more = f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else ""
    message = f"damaged: {', '.join(damaged[:SHOWN])}{more}"
    return finding("values", "fail", message, "write them anew, or restore a backup")


def _damaged(table: sa.Table) -> Iterator[str]:
    """Yield the values of a table's newest rows that cannot be read, by row and column."""
    columns = [column for column in table.columns if isinstance(column.type, Tolerant)]
    keys = list(table.primary_key.columns)
    if not columns or not keys:
        return
    newest = sa.select(*keys, *columns).order_by(*(key.desc() for key in keys)).limit(SCANNED)
    for row in db.ours.execute(newest, execution_options={"yield_per": 100}):
        key = ",".join(str(value) for value in row[: len(keys)])
        for column, value in zip(columns, row[len(keys) :], strict=True):
            if isinstance(value, Damaged):
                yield f"{table.name} {text.safe(key)} {column.name}"


def _check_clock() -> Finding:
    time = db.ours.scalar(sa.select(database_now()))
    skew = abs((clock.now() - time).total_seconds()) if time else 0.0
    if skew <= SKEW_SECONDS:
        return finding("clock", "ok", f"{skew:.1f} s from the database's")
    return finding("clock", "warn", f"{skew:.1f} s from the database's", "run an NTP client")


def _check_mail() -> Finding:
    count, since, _due = outbox.waiting()
    if not outbox.is_configured():
        state = "fail" if count else "warn"
        message = f"MAIL_SERVER is not set; {outbox.in_words(count)}"
        return finding("mail", state, message, "set MAIL_SERVER, then flask mail send-pending")
    if failed := outbox.last_failure():
        message = f"{outbox.in_words(count)}; the server: {failed}"
        return finding("mail", "warn", message, "check MAIL_*")
    if since is not None and clock.now() - since > MAIL_LATE:
        message = f"{outbox.in_words(count)}, the oldest since {clock.rfc3339(since)}"
        return finding("mail", "warn", message, "flask mail send-pending every few minutes")
    return finding("mail", "ok", outbox.in_words(count))


def _check_jobs() -> Finding:
    rows = health.check()
    bad = [row for row in rows if row["state"] != "ok"]
    if bad:
        message = f"{len(bad)} of {len(rows)}: {bad[0]['job']} {bad[0]['says']}"
        return finding("jobs", "warn", message, "flask jobs check")
    return finding("jobs", "ok", f"none of {len(rows)} fails or is late")


def _check_profiles() -> Finding:
    oldest = retention.oldest_minute()
    if oldest is not None and clock.now() - oldest > PROFILES_LATE:
        message = f"not compacted since {clock.rfc3339(oldest)}: the tables grow, reports get slow"
        return finding("profiles", "warn", message, "run the job prune-profiles every few minutes")
    if not get("OPSAPP_PROFILING"):
        return finding("profiles", "ok", "OPSAPP_PROFILING is off: nothing is recorded")
    return finding("profiles", "ok", "recorded, and compacted in time")


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
        if _attached() is not None:  # The file is the application's.
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
        return finding("locks", "ok", "files beside the database")
    direct.connect(db.our_engine).close()
    return finding("locks", "ok", "jobs and migrations have sessions of their own")


_CHECKS: dict[str, Callable[[], Finding]] = {
    "migrations": _check_migrations,
    "writing": _check_writing,
    "environment": _check_environment,
    "administrator": _check_administrator,
    "grants": _check_grants,
    "audit": _check_audit,
    "values": _check_values,
    "mail": _check_mail,
    "jobs": _check_jobs,
    "profiles": _check_profiles,
    "clock": _check_clock,
    "disk": _check_disk,
    "durability": _check_durability,
    "locks": _check_locks,
}
